//! Meanings of the most frequent instructions for their most frequent operands.
//!
//! The interpreter asks once what the operands are and then runs code in which that is known. Nothing is said twice: a
//! meaning is the same function, given an instruction of which part is a constant.

use crate::x86_64::insn::{Insn, InsnFlags, Operand, Shape};
use crate::x86_64::lift::Done;
use crate::x86_64::regs;
use c2w_engine::addr::Width::{self, W32, W64};
use c2w_engine::emit::{Emit, Slot};

/// Slot of a register operand.
#[inline(always)]
fn slot(operand: Operand) -> Slot {
    match operand {
        Operand::Register { slot, .. } => slot,
        _ => regs::NONE,
    }
}

/// The instruction with two operands of a width, where `first` and `second` say what they are.
#[inline(always)]
fn known(
    i: &Insn,
    w: Width,
    first: impl Fn(Operand) -> Operand,
    second: impl Fn(Operand) -> Operand,
) -> Insn {
    Insn {
        w,
        operands: [first(i.operands[0]), second(i.operands[1]), Operand::None],
        flags: i.flags.difference(InsnFlags::LOCK),
        ..*i
    }
}

/// Says a meaning, for the interpreter once for each shape.
#[inline(always)]
pub(super) fn each<E: Emit>(e: &mut E, i: &Insn, meaning: impl Fn(&mut E, &Insn) -> Done<E>) -> Done<E> {
    let register = |w| move |operand| Operand::Register { slot: slot(operand), w };
    let memory = |w| move |_| Operand::Memory(w);
    let immediate = |_| Operand::Immediate;
    if E::RECORDS {
        return meaning(e, i);
    }
    match i.shape {
        Shape::Registers64 => meaning(e, &known(i, W64, register(W64), register(W64))),
        Shape::Registers32 => meaning(e, &known(i, W32, register(W32), register(W32))),
        Shape::Immediate64 => meaning(e, &known(i, W64, register(W64), immediate)),
        Shape::Immediate32 => meaning(e, &known(i, W32, register(W32), immediate)),
        Shape::Load64 => meaning(e, &known(i, W64, register(W64), memory(W64))),
        Shape::Load32 => meaning(e, &known(i, W32, register(W32), memory(W32))),
        Shape::Store64 => meaning(e, &known(i, W64, memory(W64), register(W64))),
        Shape::Store32 => meaning(e, &known(i, W32, memory(W32), register(W32))),
        Shape::Any => meaning(e, i),
    }
}
