//! Meanings of the stack instructions, near calls and returns (SDM 1 6.2 to 6.4). `i.w` is the size of what is pushed.

use super::control;
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::regs::RSP;
use c2w_engine::addr::Width::W64;
use c2w_engine::emit::Emit;

/// Stores a value below the stack pointer and moves that there.
#[inline(always)]
fn push_value<E: Emit>(e: &mut E, i: &Insn, value: E::Val) -> Done<E> {
    let (top, size) = (e.get(RSP), e.imm(i.w.bytes()));
    let new_top = e.sub(W64, top, size);
    e.store(i.w, new_top, value)?;
    e.set(RSP, new_top);
    Ok(())
}

/// What is on top of the stack, and the stack pointer above it.
#[inline(always)]
fn top<E: Emit>(e: &mut E, i: &Insn) -> Result<(E::Val, E::Val), E::Stop> {
    let top = e.get(RSP);
    let value = e.load(i.w, top)?;
    let size = e.imm(i.w.bytes());
    Ok((value, e.add(W64, top, size)))
}

/// PUSH. The stack pointer is pushed as it was before.
#[inline(always)]
pub(super) fn push<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.operand(i, 0)?;
    push_value(e, i, value)
}

/// POP. What is popped into the stack pointer stays there.
#[inline(always)]
pub(super) fn pop<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (value, new_top) = top(e, i)?;
    let to = e.place(i, 0)?;
    if let Operand::Memory(_) = i.operands[0] {
        // Memory first: it may trap.
        e.write(to, value)?;
        e.set(RSP, new_top);
        return Ok(());
    }
    e.set(RSP, new_top);
    e.write(to, value)
}

/// CALL, near.
#[inline(always)]
pub(super) fn call<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let target = control::target(e, i)?;
    let (pc, len) = (e.pc(), e.imm(u64::from(i.len_bytes)));
    let next = e.add(W64, pc, len);
    push_value(e, i, next)?;
    control::go(e, i, target);
    Ok(())
}

/// RET, near; an immediate releases more of the stack.
#[inline(always)]
pub(super) fn ret<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (target, new_top) = top(e, i)?;
    let released = e.imm(i.imm as u64);
    let new_top = e.add(W64, new_top, released);
    e.set(RSP, new_top);
    e.jump(target);
    Ok(())
}
