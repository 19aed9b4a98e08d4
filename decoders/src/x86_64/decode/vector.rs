//! Instructions on MMX and vector registers: which there are, and what decoding resolves for them.

use super::{Class, Source};
use crate::x86_64::insn::{Insn, Op};
use crate::x86_64::mode::ModeBits;
use crate::x86_64::trap;
use c2w_engine::guest::TrapCause;
use iced_x86::Mnemonic;

/// What an instruction on MMX or vector registers does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum VectorOp {
    Emms,
    MoveAligned,
    MoveUnaligned,
}

/// The exception that every SSE instruction raises in this mode, if any (SDM 3A 13.1; #UD comes first).
pub fn sse_allowed(mode: ModeBits) -> Result<(), TrapCause> {
    if mode.contains(ModeBits::EMULATE) || !mode.contains(ModeBits::SSE) {
        Err(trap::UNDEFINED)
    } else if mode.contains(ModeBits::TASK_SWITCHED) {
        Err(trap::NO_FPU)
    } else {
        Ok(())
    }
}

/// The exception that every MMX instruction raises in this mode, if any (SDM 3A 12.1).
pub fn mmx_allowed(mode: ModeBits) -> Result<(), TrapCause> {
    if mode.contains(ModeBits::EMULATE) {
        Err(trap::UNDEFINED)
    } else if mode.contains(ModeBits::TASK_SWITCHED) {
        Err(trap::NO_FPU)
    } else {
        Ok(())
    }
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    let op = match source.insn.mnemonic() {
        Mnemonic::Emms => {
            mmx_allowed(source.mode)?;
            VectorOp::Emms
        }
        Mnemonic::Movaps | Mnemonic::Movapd | Mnemonic::Movdqa => VectorOp::MoveAligned,
        Mnemonic::Movups | Mnemonic::Movupd | Mnemonic::Movdqu | Mnemonic::Lddqu => VectorOp::MoveUnaligned,
        _ => return Ok(None),
    };
    if op != VectorOp::Emms {
        sse_allowed(source.mode)?;
    }
    Ok(Some(Class::plain(Op::Vector(op))))
}

/// Resolves what only these instructions have.
pub fn finish(_insn: &mut Insn, _op: VectorOp, _source: &Source<'_>) -> Result<(), TrapCause> {
    Ok(())
}
