//! Meanings of x87 instructions.

use super::Done;
use crate::x86_64::helpers::x87::Helper;
use crate::x86_64::insn::{Insn, X87Op};
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, _i: &Insn, op: X87Op) -> Done<E> {
    match op {
        X87Op::Fninit => e.helper(Helper::Init.id(), &[]).map(|_| ()),
    }
}
