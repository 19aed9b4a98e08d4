//! Meanings of jumps (SDM 1 7.3.8).

use crate::x86_64::flags;
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use c2w_engine::emit::Emit;

/// The target in a register or memory; `None` if it is relative.
#[inline(always)]
pub(super) fn target<E: Emit>(e: &mut E, i: &Insn) -> Result<Option<E::Val>, E::Stop> {
    if i.operands[0] == Operand::Relative { Ok(None) } else { e.operand(i, 0).map(Some) }
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
    let target = target(e, i)?;
    go(e, i, target);
    Ok(())
}

/// Jcc.
#[inline(always)]
pub(super) fn jcc<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let taken = flags::condition(e, i.condition)?;
    e.branch_relative(taken, i.imm);
    Ok(())
}
