//! Meanings of instructions on MMX and vector registers.
//!
//! What computes has two operands and a destination, which is the first of them unless the instruction is VEX-encoded.
//! An MMX register is the low half of a [`Pair`] here; what is in the high half does not matter then.

mod element;
mod lanes;
mod moves;
mod shift;
mod shuffle;
mod special;
mod test;

use super::Done;
use super::vector_operands::{Alignment, Pair, VectorEmit};
use crate::x86_64::insn::{Insn, InsnFlags, Operand, VectorOp};
use c2w_engine::emit::{Emit, Slot};

/// The meaning of an instruction.
#[inline(never)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: VectorOp) -> Done<E> {
    match op {
        VectorOp::Emms => {
            e.check_mmx()?;
            e.leave_mmx();
            Ok(())
        }
        VectorOp::Move(op) => moves::lift(e, i, op),
        VectorOp::Simple(op) => lanes::simple(e, i, op),
        VectorOp::Lanes(op) => lanes::lanes(e, i, op),
        VectorOp::Gather(op) => lanes::gather(e, i, op),
        VectorOp::Shift(op) => shift::lift(e, i, op),
        VectorOp::Shuffle(op) => shuffle::lift(e, i, op),
        VectorOp::Element(op) => element::lift(e, i, op),
        VectorOp::Extend(op) => element::extend(e, i, op),
        VectorOp::String(op) => test::strings(e, i, op),
        VectorOp::Special(op) => special::lift(e, i, op),
        VectorOp::Test(op) => test::lift(e, i, op),
    }
}

/// Destination and operands of what computes.
#[derive(Clone, Copy)]
struct Operands<V> {
    to: Slot,
    /// The registers are MMX registers: only the low halves count.
    mmx: bool,
    /// First operand.
    a: Pair<V>,
    /// Second operand.
    b: Pair<V>,
}

/// The number of the first operand.
#[inline(always)]
fn first(i: &Insn) -> usize {
    usize::from(i.flags.contains(InsnFlags::VEX))
}

/// Reads the operands.
#[inline(always)]
fn operands<E: Emit>(e: &mut E, i: &Insn) -> Result<Operands<E::Val>, E::Stop> {
    let first = first(i);
    if let Operand::Mmx(to) = i.operands[0] {
        e.check_mmx()?;
        let b = e.scalar(i, 1)?;
        let a = e.get(to);
        return Ok(Operands { to, mmx: true, a: Pair { lo: a, hi: a }, b: Pair { lo: b, hi: b } });
    }
    let b = e.vector(i, first + 1, Alignment::Legacy)?;
    let (to, from) = (e.slot_of(i, 0), e.slot_of(i, first));
    let a = e.get_vector(from);
    Ok(Operands { to, mmx: false, a, b })
}

/// Writes the destination.
#[inline(always)]
fn finish<E: Emit>(e: &mut E, i: &Insn, to: Slot, mmx: bool, value: Pair<E::Val>) {
    if mmx {
        e.enter_mmx();
        e.set_mmx(to, value.lo);
    } else {
        e.set_vector(i, to, value);
    }
}
