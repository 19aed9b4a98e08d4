//! Meanings of the moves and of LEA (SDM 1 7.3.1).

use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use c2w_engine::addr::Width::{self, W8, W64};
use c2w_engine::emit::Emit;

/// MOV between general registers, memory and immediates.
#[inline(always)]
pub(super) fn mov<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.operand(i, 1)?;
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// Width of the operand that is extended.
#[inline(always)]
fn source_width(i: &Insn) -> Width {
    match i.operands[1] {
        Operand::Register { w, .. } | Operand::Memory(w) => w,
        Operand::HighByte(_) => W8,
        _ => W64,
    }
}

/// MOVZX.
#[inline(always)]
pub(super) fn movzx<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.operand(i, 1)?;
    let value = e.zext(source_width(i), value);
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// MOVSX, MOVSXD.
#[inline(always)]
pub(super) fn movsx<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.operand(i, 1)?;
    let value = e.sext(source_width(i), value);
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// LEA: the offset, without the segment's base.
#[inline(always)]
pub(super) fn lea<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let offset = e.effective(&i.memory);
    let to = e.place(i, 0)?;
    e.write(to, offset)
}
