//! Meanings of system instructions.

use super::Done;
use crate::x86_64::helpers::system::Helper;
use crate::x86_64::insn::{Insn, SystemOp};
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, _i: &Insn, op: SystemOp) -> Done<E> {
    match op {
        SystemOp::Hlt => e.helper(Helper::Hlt.id(), &[]).map(|_| ()),
    }
}
