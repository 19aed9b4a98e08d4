//! x87 instructions: which there are, and what decoding resolves for them.

use super::{Class, Source};
use crate::x86_64::insn::{Insn, Op};
use c2w_engine::guest::TrapCause;
use iced_x86::Mnemonic;

/// What an x87 instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum X87Op {
    Fninit,
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    Ok(match source.insn.mnemonic() {
        Mnemonic::Fninit => Some(Class::plain(Op::X87(X87Op::Fninit))),
        _ => None,
    })
}

/// Resolves what only these instructions have.
pub fn finish(_insn: &mut Insn, _op: X87Op, _source: &Source<'_>) -> Result<(), TrapCause> {
    Ok(())
}
