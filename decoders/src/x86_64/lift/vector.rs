//! Meanings of instructions on MMX and vector registers.

use super::Done;
use super::vector_operands::{Alignment, VectorEmit};
use crate::x86_64::helpers::vector::Helper;
use crate::x86_64::insn::{Insn, VectorOp};
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: VectorOp) -> Done<E> {
    match op {
        VectorOp::Emms => e.helper(Helper::Emms.id(), &[]).map(|_| ()),
        VectorOp::MoveAligned => mov(e, i, Alignment::Always),
        VectorOp::MoveUnaligned => mov(e, i, Alignment::Never),
    }
}

/// MOVAPS, MOVUPS and their like.
#[inline(always)]
fn mov<E: Emit>(e: &mut E, i: &Insn, alignment: Alignment) -> Done<E> {
    let value = e.vector(i, 1, alignment)?;
    e.write_vector(i, 0, value, alignment)
}
