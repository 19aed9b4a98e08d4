//! Meanings of instructions on MMX and vector registers.

mod compute;
mod element;
mod moves;
mod test;

use super::Done;
use super::vector_operands::VectorEmit;
use crate::x86_64::insn::{Insn, VectorOp};
use c2w_engine::emit::Emit;

pub(super) use compute::compute;
pub(super) use test::compare;

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
        VectorOp::Compute(op) => compute(e, i, op),
        VectorOp::Element(op) => element::lift(e, i, op),
        VectorOp::String(op) => test::strings(e, i, op),
        VectorOp::Test(op) => test::lift(e, i, op),
    }
}
