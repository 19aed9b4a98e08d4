//! Instructions on MMX and vector registers: which there are, and what decoding resolves for them.

use super::{Class, Source};
use crate::x86_64::insn::{Insn, Op};
use c2w_engine::guest::TrapCause;
use iced_x86::Mnemonic;

/// What an instruction on MMX or vector registers does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum VectorOp {
    Emms,
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    Ok(match source.insn.mnemonic() {
        Mnemonic::Emms => Some(Class::plain(Op::Vector(VectorOp::Emms))),
        _ => None,
    })
}

/// Resolves what only these instructions have.
pub fn finish(_insn: &mut Insn, _op: VectorOp, _source: &Source<'_>) -> Result<(), TrapCause> {
    Ok(())
}
