//! Floating-point instructions on vector registers: which there are, and what decoding resolves for them.

use super::{Class, Source};
use crate::x86_64::insn::{Insn, Op};
use c2w_engine::guest::TrapCause;
use iced_x86::Mnemonic;

/// What a floating-point instruction on vector registers does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum FloatOp {
    Ldmxcsr,
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    Ok(match source.insn.mnemonic() {
        Mnemonic::Ldmxcsr => Some(Class::plain(Op::Float(FloatOp::Ldmxcsr))),
        _ => None,
    })
}

/// Resolves what only these instructions have.
pub fn finish(_insn: &mut Insn, _op: FloatOp, _source: &Source<'_>) -> Result<(), TrapCause> {
    Ok(())
}
