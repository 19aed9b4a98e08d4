//! Meanings of floating-point instructions on vector registers.

use super::Done;
use super::operands::X86Emit;
use crate::x86_64::helpers::float::Helper;
use crate::x86_64::insn::{FloatOp, Insn};
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: FloatOp) -> Done<E> {
    match op {
        FloatOp::Ldmxcsr => {
            let value = e.operand(i, 0)?;
            e.helper(Helper::LoadMxcsr.id(), &[value]).map(|_| ())
        }
    }
}
