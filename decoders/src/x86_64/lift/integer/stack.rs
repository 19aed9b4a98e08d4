//! Meanings of the stack instructions, near calls and returns (SDM 1 6.2 to 6.5). `i.w` is the size of what is pushed.

use super::control;
use crate::x86_64::insn::{Insn, InsnFlags, Operand, SegmentCheck};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::regs::{self, RBP, RSP, SS_BASE};
use crate::x86_64::trap;
use c2w_engine::addr::Width::{self, W64};
use c2w_engine::emit::{Emit, Slot};

/// The stack pointer, or a register used like it.
#[inline(always)]
fn pointer<E: Emit>(e: &mut E, i: &Insn, slot: Slot) -> E::Val {
    let value = e.get(slot);
    if i.stack_width == W64 { value } else { e.zext(i.stack_width, value) }
}

/// The linear address of an access of `i.w` on the stack.
#[inline(always)]
fn address<E: Emit>(e: &mut E, i: &Insn, offset: E::Val, write: bool) -> Result<E::Val, E::Stop> {
    if i.flags.contains(InsnFlags::SEGMENTED) {
        e.checked_linear(SS_BASE, SegmentCheck::new(i.w.bytes(), write), offset)
    } else {
        Ok(offset)
    }
}

/// Stores a value below the stack pointer and moves that there.
#[inline(always)]
pub(in crate::x86_64::lift) fn push_value<E: Emit>(e: &mut E, i: &Insn, value: E::Val) -> Done<E> {
    push_low(e, i, i.w, value)
}

/// The same, but only the low `w` bits of what was reserved are stored.
#[inline(always)]
pub(in crate::x86_64::lift) fn push_low<E: Emit>(e: &mut E, i: &Insn, w: Width, value: E::Val) -> Done<E> {
    let (top, size) = (e.get(RSP), e.imm(i.w.bytes()));
    let new_top = e.sub(i.stack_width, top, size);
    let addr = address(e, i, new_top, true)?;
    e.store(w, addr, value)?;
    e.set_gpr(RSP, i.stack_width, new_top);
    Ok(())
}

/// What is on top of the stack, and the stack pointer above it.
#[inline(always)]
pub(in crate::x86_64::lift) fn top<E: Emit>(e: &mut E, i: &Insn) -> Result<(E::Val, E::Val), E::Stop> {
    let top = pointer(e, i, RSP);
    let addr = address(e, i, top, false)?;
    let value = e.load(i.w, addr)?;
    let size = e.imm(i.w.bytes());
    Ok((value, e.add(i.stack_width, top, size)))
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
        e.set_gpr(RSP, i.stack_width, new_top);
        return Ok(());
    }
    e.set_gpr(RSP, i.stack_width, new_top);
    e.write(to, value)
}

/// CALL, near.
#[inline(always)]
pub(super) fn call<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let target = control::target(e, i, trap::CALL_TARGET)?;
    let next = control::pointer(e, i, i64::from(i.len_bytes));
    push_value(e, i, next)?;
    control::go(e, i, target);
    Ok(())
}

/// RET, near; an immediate releases more of the stack.
#[inline(always)]
pub(super) fn ret<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (target, new_top) = top(e, i)?;
    let target = control::code_address(e, i, target, trap::PROTECTION)?;
    let released = e.imm(i.imm as u64);
    let new_top = e.add(i.stack_width, new_top, released);
    e.set_gpr(RSP, i.stack_width, new_top);
    e.jump(target);
    Ok(())
}

/// LEAVE: the stack pointer becomes the frame pointer, which is popped.
#[inline(always)]
pub(super) fn leave<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let frame = pointer(e, i, RBP);
    let addr = address(e, i, frame, false)?;
    let (value, size) = (e.load(i.w, addr)?, e.imm(i.w.bytes()));
    let new_top = e.add(i.stack_width, frame, size);
    e.set_gpr(RSP, i.stack_width, new_top);
    e.set_gpr(RBP, i.w, value);
    Ok(())
}

/// ENTER: `imm` is the size of the frame, and in bits 16 to 20 how many frame pointers it holds, of which all but the
/// last, which is its own, are copied from the frame before.
#[inline(never)]
pub(super) fn enter<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (size, levels) = (i.imm as u64 & 0xffff, i.imm as u64 >> 16);
    let at = |e: &mut E, from: E::Val, slots: u64| {
        let distance = e.imm(slots * i.w.bytes());
        e.sub(i.stack_width, from, distance)
    };
    let (top, old) = (e.get(RSP), e.get(RBP));
    let frame = at(e, top, 1);
    let addr = address(e, i, frame, true)?;
    e.store(i.w, addr, old)?;
    for level in 1..levels {
        let (from, to) = (at(e, old, level), at(e, frame, level));
        let (from, to) = (address(e, i, from, false)?, address(e, i, to, true)?);
        let value = e.load(i.w, from)?;
        e.store(i.w, to, value)?;
    }
    if levels > 0 {
        let to = at(e, frame, levels);
        let to = address(e, i, to, true)?;
        e.store(i.w, to, frame)?;
    }
    let below = at(e, frame, levels);
    let size = e.imm(size);
    let new_top = e.sub(i.stack_width, below, size);
    // The new top must be writable (SDM 2A, ENTER).
    let addr = address(e, i, new_top, true)?;
    e.load_to_modify(i.w, addr)?;
    e.set_gpr(RSP, i.stack_width, new_top);
    e.set_gpr(RBP, i.w, frame);
    Ok(())
}

/// PUSHA: eight registers, the stack pointer as it was before.
#[inline(never)]
pub(super) fn pusha<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let top = e.get(RSP);
    let mut bottom = top;
    let mut places = [top; 8];
    for (number, place) in (1..).zip(&mut places) {
        let distance = e.imm(number * i.w.bytes());
        bottom = e.sub(i.stack_width, top, distance);
        *place = address(e, i, bottom, true)?;
    }
    // All of them before any is written, in the order of single pushes.
    for &place in &places {
        e.load_to_modify(i.w, place)?;
    }
    for (number, &place) in (0..8).zip(&places) {
        let value = e.get(regs::gpr(number));
        e.store(i.w, place, value)?;
    }
    e.set_gpr(RSP, i.stack_width, bottom);
    Ok(())
}

/// POPA: what PUSHA pushed, without the stack pointer.
#[inline(never)]
pub(super) fn popa<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let top = e.get(RSP);
    let mut values = [top; 8];
    for (number, value) in (0..).zip(&mut values) {
        let distance = e.imm(number * i.w.bytes());
        let offset = e.add(i.stack_width, top, distance);
        let addr = address(e, i, offset, false)?;
        *value = e.load(i.w, addr)?;
    }
    let all = e.imm(8 * i.w.bytes());
    let new_top = e.add(i.stack_width, top, all);
    e.set_gpr(RSP, i.stack_width, new_top);
    for (number, value) in (0..8).rev().zip(values) {
        let slot = regs::gpr(number);
        if slot != RSP {
            e.set_gpr(slot, i.w, value);
        }
    }
    Ok(())
}
