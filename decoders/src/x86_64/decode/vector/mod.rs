//! Instructions on MMX and vector registers: which there are, and what decoding resolves for them.

mod ops;
#[cfg(test)]
mod tests;

pub use ops::{ElementOp, MoveOp, StringOp};

use super::{Class, Source};
use crate::x86_64::insn::{Insn, Memory, Op, Operand, SegmentCheck};
use crate::x86_64::mode::ModeBits;
use crate::x86_64::{regs, trap};
use c2w_engine::addr::Width::{W16, W32, W64};
use c2w_engine::emit::{VectorExtract, VectorOp as Compute};
use c2w_engine::guest::TrapCause;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// What an instruction on MMX or vector registers does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorOp {
    /// EMMS.
    Emms,
    /// Moves.
    Move(MoveOp),
    /// Operations whose result is a vector.
    Compute(Compute),
    /// One lane from or to a general register or memory.
    Element(ElementOp),
    /// Results in general registers and flags.
    Test(VectorExtract),
    /// Comparisons of strings.
    String(StringOp),
}

/// The exception that every SSE instruction raises in this mode, if any (SDM 3A 13.1; #UD comes first).
pub fn sse_allowed(mode: ModeBits) -> Result<(), TrapCause> {
    if mode.contains(ModeBits::SSE) { mmx_allowed(mode) } else { Err(trap::UNDEFINED) }
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
    let from = source.insn;
    let Some(op) = operation(from) else { return Ok(None) };
    let has_vector = (0..from.op_count()).any(|index| from.op_register(index).is_vector_register());
    if has_vector {
        sse_allowed(source.mode)?
    } else {
        mmx_allowed(source.mode)?
    }
    Ok(Some(Class::plain(Op::Vector(op))))
}

fn operation(from: &Instruction) -> Option<VectorOp> {
    let mnemonic = from.mnemonic();
    if mnemonic == Mnemonic::Emms {
        return Some(VectorOp::Emms);
    }
    // MOVSD is a string instruction, too.
    if from.is_string_instruction() {
        return None;
    }
    let mut found = MoveOp::of(mnemonic).map(VectorOp::Move);
    found = found.or_else(|| ops::compute(mnemonic).map(VectorOp::Compute));
    found = found.or_else(|| ElementOp::of(mnemonic).map(VectorOp::Element));
    found = found.or_else(|| StringOp::of(mnemonic).map(VectorOp::String));
    found.or_else(|| ops::test(mnemonic).map(VectorOp::Test))
}

/// Resolves what only these instructions have.
pub fn finish(insn: &mut Insn, op: VectorOp, source: &Source<'_>) -> Result<(), TrapCause> {
    let from = source.insn;
    match op {
        VectorOp::Compute(op) if insn.operands.contains(&Operand::Immediate) => {
            insn.op = Op::Vector(VectorOp::Compute(ops::by_immediate(op)));
        }
        VectorOp::Move(MoveOp::Movss) => insn.w = W32,
        VectorOp::Move(MoveOp::Movsd) => insn.w = W64,
        VectorOp::String(_) => {
            let wide = matches!(from.mnemonic(), Mnemonic::Pcmpestri64 | Mnemonic::Pcmpestrm64);
            insn.w = if wide { W64 } else { W32 };
        }
        VectorOp::Move(MoveOp::Maskmov) => {
            let address_width = match from.op_kind(0) {
                OpKind::MemorySegDI => W16,
                OpKind::MemorySegEDI => W32,
                _ => W64,
            };
            let (segment, checked) = super::segment(source, from.memory_segment());
            let bytes = if from.op_register(1).is_mm() { 8 } else { 16 };
            let check = if checked { SegmentCheck::new(bytes.into(), true) } else { SegmentCheck::NONE };
            insn.memory = Memory {
                base: regs::RDI,
                segment,
                address_width,
                check,
                linear_32: source.mode.code_width() != W64,
                ..Memory::NONE
            };
            insn.operands[0] = Operand::WideMemory(bytes);
        }
        _ => {}
    }
    Ok(())
}
