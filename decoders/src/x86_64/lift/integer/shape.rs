//! Meanings of the most frequent instructions for their most frequent operands.
//!
//! The interpreter asks once what the operands are and then runs code in which that is known. Nothing is said twice: a
//! meaning is the same function, given an instruction of which part is a constant.

use crate::x86_64::insn::{Insn, InsnFlags, Operand};
use crate::x86_64::regs;
use c2w_engine::addr::Width;
use c2w_engine::emit::Slot;

/// Slot of a register operand.
#[inline(always)]
fn slot(operand: Operand) -> Slot {
    match operand {
        Operand::Register { slot, .. } => slot,
        _ => regs::NONE,
    }
}

/// The first two operands, of a width that is known.
#[inline(always)]
pub(super) fn known(i: &Insn, w: Width, first: Operand, second: Operand) -> Insn {
    let flags = i.flags.difference(InsnFlags::LOCK);
    Insn { w, operands: [first, second, Operand::None], flags, ..*i }
}

/// Register operand `index`, of a width that is known.
#[inline(always)]
pub(super) fn register(i: &Insn, index: usize, w: Width) -> Operand {
    Operand::Register { slot: slot(i.operands[index]), w }
}

/// Says a meaning, for the interpreter once for each shape: `each!(e, i, i => meaning(e, i))`. A closure would be
/// compiled once, and then know nothing.
macro_rules! each {
    ($e:ident, $insn:expr, $i:ident => $meaning:expr) => {{
        use crate::x86_64::insn::{Operand, Shape};
        use crate::x86_64::lift::integer::shape::{known, register};
        use c2w_engine::addr::Width::{W32, W64};
        let insn: &Insn = $insn;
        let shape = if E::RECORDS { Shape::Any } else { insn.shape };
        match shape {
            Shape::Registers64 => {
                let $i = &known(insn, W64, register(insn, 0, W64), register(insn, 1, W64));
                $meaning
            }
            Shape::Registers32 => {
                let $i = &known(insn, W32, register(insn, 0, W32), register(insn, 1, W32));
                $meaning
            }
            Shape::Immediate64 => {
                let $i = &known(insn, W64, register(insn, 0, W64), Operand::Immediate);
                $meaning
            }
            Shape::Immediate32 => {
                let $i = &known(insn, W32, register(insn, 0, W32), Operand::Immediate);
                $meaning
            }
            Shape::Load64 => {
                let $i = &known(insn, W64, register(insn, 0, W64), Operand::Memory(W64));
                $meaning
            }
            Shape::Load32 => {
                let $i = &known(insn, W32, register(insn, 0, W32), Operand::Memory(W32));
                $meaning
            }
            Shape::Store64 => {
                let $i = &known(insn, W64, Operand::Memory(W64), register(insn, 1, W64));
                $meaning
            }
            Shape::Store32 => {
                let $i = &known(insn, W32, Operand::Memory(W32), register(insn, 1, W32));
                $meaning
            }
            Shape::Any => {
                let $i = insn;
                $meaning
            }
        }
    }};
}
pub(super) use each;
