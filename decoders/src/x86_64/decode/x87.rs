//! x87 instructions, and those that save and restore x87 and vector state: which there are, and what decoding resolves
//! for them.

use super::{Class, Source};
use crate::x86_64::helpers::x87::Form;
use crate::x86_64::insn::{Insn, Op};
use crate::x86_64::mode::ModeBits;
use crate::x86_64::trap;
use c2w_engine::addr::Width;
use c2w_engine::guest::TrapCause;
use iced_x86::Mnemonic;

/// What an x87 instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum X87Op {
    Fldcw,
    Fldenv,
    Fnclex,
    Fninit,
    Fnop,
    Fnsave,
    Fnstcw,
    Fnstenv,
    Fnstsw,
    Frstor,
    Fwait,
    /// FXRSTOR in the form that is the immediate.
    Fxrstor,
    /// FXSAVE likewise.
    Fxsave,
    /// XRSTOR likewise.
    Xrstor,
    /// XSAVE, XSAVEOPT and XSAVEC likewise.
    Xsave,
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    let Some(op) = operation(source.insn.mnemonic()) else { return Ok(None) };
    // FWAIT and the XSAVE family look at control registers themselves, in an order of their own.
    let looks_itself = matches!(op, X87Op::Fwait | X87Op::Xsave | X87Op::Xrstor);
    if !looks_itself && source.mode.contains(ModeBits::NO_X87) {
        return Err(trap::NO_FPU);
    }
    Ok(Some(Class::plain(Op::X87(op))))
}

/// Resolves what only these instructions have.
pub fn finish(insn: &mut Insn, op: X87Op, source: &Source<'_>) -> Result<(), TrapCause> {
    if source.insn.has_lock_prefix() {
        return Err(trap::UNDEFINED);
    }
    if matches!(op, X87Op::Fxsave | X87Op::Fxrstor | X87Op::Xsave | X87Op::Xrstor) {
        insn.imm = form(source).bits() as i64;
    }
    Ok(())
}

fn form(source: &Source<'_>) -> Form {
    use Mnemonic::{Fxrstor64, Fxsave64, Xrstor64, Xsave64, Xsavec, Xsavec64, Xsaveopt, Xsaveopt64};
    let mnemonic = source.insn.mnemonic();
    let wide = matches!(mnemonic, Fxsave64 | Fxrstor64 | Xsave64 | Xsaveopt64 | Xsavec64 | Xrstor64);
    let mut form = Form::empty();
    form.set(Form::WIDE_POINTERS, wide);
    form.set(Form::SIXTEEN, source.mode.code_width() == Width::W64);
    form.set(Form::OPTIMIZED, matches!(mnemonic, Xsaveopt | Xsaveopt64));
    form.set(Form::COMPACTED, matches!(mnemonic, Xsavec | Xsavec64));
    form
}

fn operation(mnemonic: Mnemonic) -> Option<X87Op> {
    use X87Op as Op;
    Some(match mnemonic {
        Mnemonic::Fldcw => Op::Fldcw,
        Mnemonic::Fldenv => Op::Fldenv,
        Mnemonic::Fnclex => Op::Fnclex,
        Mnemonic::Fninit => Op::Fninit,
        Mnemonic::Fnop => Op::Fnop,
        Mnemonic::Fnsave => Op::Fnsave,
        Mnemonic::Fnstcw => Op::Fnstcw,
        Mnemonic::Fnstenv => Op::Fnstenv,
        Mnemonic::Fnstsw => Op::Fnstsw,
        Mnemonic::Frstor => Op::Frstor,
        Mnemonic::Wait => Op::Fwait,
        Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => Op::Fxrstor,
        Mnemonic::Fxsave | Mnemonic::Fxsave64 => Op::Fxsave,
        Mnemonic::Xrstor | Mnemonic::Xrstor64 => Op::Xrstor,
        Mnemonic::Xsave
        | Mnemonic::Xsave64
        | Mnemonic::Xsaveopt
        | Mnemonic::Xsaveopt64
        | Mnemonic::Xsavec
        | Mnemonic::Xsavec64 => Op::Xsave,
        _ => return None,
    })
}
