//! Meanings of instructions on MMX and vector registers.

use super::Done;
use crate::x86_64::helpers::vector::Helper;
use crate::x86_64::insn::{Insn, VectorOp};
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, _i: &Insn, op: VectorOp) -> Done<E> {
    match op {
        VectorOp::Emms => e.helper(Helper::Emms.id(), &[]).map(|_| ()),
    }
}
