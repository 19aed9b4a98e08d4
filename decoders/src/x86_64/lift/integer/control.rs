//! Meanings of jumps (SDM 1 7.3.8).
//!
//! `i.w` is the operand size, which the new instruction pointer is truncated to. In 64-bit code, and in 32-bit code
//! with flat segments, a relative jump is one of the engine; addresses wrap where they are fetched from. Otherwise
//! the target is computed, and checked against the limit of CS if that may be one.

use crate::x86_64::flags;
use crate::x86_64::helpers::integer::Helper;
use crate::x86_64::insn::{Insn, InsnFlags, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::regs::{CS_BASE, RCX};
use crate::x86_64::trap;
use c2w_engine::addr::Width::W64;
use c2w_engine::emit::{Cond, Emit};
use c2w_engine::guest::TrapCause;

/// Whether a relative jump is as simple as the engine's.
#[inline(always)]
fn is_plain(i: &Insn) -> bool {
    i.w == i.ip_width && !i.flags.contains(InsnFlags::SEGMENTED)
}

/// The instruction pointer at `displacement` bytes from this instruction, not truncated.
#[inline(always)]
pub(super) fn pointer<E: Emit>(e: &mut E, i: &Insn, displacement: i64) -> E::Val {
    let (pc, displacement) = (e.pc(), e.imm(displacement as u64));
    let sum = e.add(W64, pc, displacement);
    if !i.flags.contains(InsnFlags::SEGMENTED) {
        return sum;
    }
    let base = e.get(CS_BASE);
    e.sub(W64, sum, base)
}

/// The linear address of code at an instruction pointer: `refused`, a kind of #GP(0), if it is not canonical, #GP(0) if it
/// is beyond the limit of CS.
#[inline(always)]
pub(super) fn code_address<E: Emit>(
    e: &mut E,
    i: &Insn,
    pointer: E::Val,
    refused: TrapCause,
) -> Result<E::Val, E::Stop> {
    if i.w == W64 {
        // Bits 47 to 63 are equal: with 2^47 added, none is left above bit 47.
        let (half, bits, zero) = (e.imm(1 << 47), e.imm(48), e.imm(0));
        let above = e.add(W64, pointer, half);
        let above = e.shr(W64, above, bits);
        e.trap_if(above, refused, zero)?;
        return Ok(pointer);
    }
    let pointer = e.zext(i.w, pointer);
    if i.flags.contains(InsnFlags::SEGMENTED) {
        e.helper(Helper::CodeAddress.id(), &[pointer])
    } else {
        Ok(pointer)
    }
}

/// The linear address of the target, as in [`code_address`]; `None` if the engine's relative jump leads there.
#[inline(always)]
pub(super) fn target<E: Emit>(e: &mut E, i: &Insn, refused: TrapCause) -> Result<Option<E::Val>, E::Stop> {
    let pointer = if i.operands[0] != Operand::Relative {
        e.operand(i, 0)?
    } else if is_plain(i) {
        return Ok(None);
    } else {
        pointer(e, i, i.imm)
    };
    code_address(e, i, pointer, refused).map(Some)
}

/// Continues at the target.
#[inline(always)]
pub(super) fn go<E: Emit>(e: &mut E, i: &Insn, target: Option<E::Val>) {
    match target {
        Some(target) => e.jump(target),
        None => e.jump_relative(i.imm),
    }
}

/// JMP, near.
#[inline(always)]
pub(super) fn jmp<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let target = target(e, i, trap::PROTECTION)?;
    go(e, i, target);
    Ok(())
}

/// Where a conditional jump that is not plain continues.
#[inline(never)]
fn either<E: Emit>(e: &mut E, i: &Insn, taken: E::Val) -> Result<E::Val, E::Stop> {
    let (there, next) = (pointer(e, i, i.imm), pointer(e, i, i64::from(i.len_bytes)));
    let (there, next) = (e.zext(i.w, there), e.zext(i.ip_width, next));
    let pointer = e.select(taken, there, next);
    if i.flags.contains(InsnFlags::SEGMENTED) {
        e.helper(Helper::CodeAddress.id(), &[pointer])
    } else {
        Ok(pointer)
    }
}

/// Jcc.
#[inline(always)]
pub(super) fn jcc<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let taken = flags::condition(e, i.condition)?;
    if is_plain(i) {
        e.branch_relative(taken, i.imm);
    } else {
        let target = either(e, i, taken)?;
        e.jump(target);
    }
    Ok(())
}

/// LOOP, LOOPE, LOOPNE: counts RCX down, jumps unless it is 0 then, or the condition does not hold.
#[inline(never)]
pub(super) fn count_down<E: Emit>(e: &mut E, i: &Insn, conditional: bool) -> Done<E> {
    let counter = i.memory.address_width;
    let (count, one, zero) = (e.get(RCX), e.imm(1), e.imm(0));
    let rest = e.sub(counter, count, one);
    let mut taken = e.compare(Cond::Ne, counter, rest, zero);
    if conditional {
        let holds = flags::condition(e, i.condition)?;
        taken = e.and(W64, taken, holds);
    }
    if is_plain(i) {
        e.set_gpr(RCX, counter, rest);
        e.branch_relative(taken, i.imm);
    } else {
        let target = either(e, i, taken)?;
        e.set_gpr(RCX, counter, rest);
        e.jump(target);
    }
    Ok(())
}

/// JRCXZ and its like.
#[inline(never)]
pub(super) fn jrcxz<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (count, zero) = (e.get(RCX), e.imm(0));
    let taken = e.compare(Cond::Eq, i.memory.address_width, count, zero);
    if is_plain(i) {
        e.branch_relative(taken, i.imm);
    } else {
        let target = either(e, i, taken)?;
        e.jump(target);
    }
    Ok(())
}
