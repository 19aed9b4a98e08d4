//! Integer, string and near control transfer instructions: which there are, and what decoding resolves for them.

use super::{Class, Source};
use crate::x86_64::insn::{Insn, Op};
use crate::x86_64::{regs, trap};
use c2w_engine::addr::Width;
use c2w_engine::guest::TrapCause;
use iced_x86::{Instruction, Mnemonic};

/// What an integer instruction does. Operand sizes and forms are in its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum IntegerOp {
    Adc,
    Add,
    And,
    Call,
    Cmp,
    Dec,
    /// IMUL with two or three operands.
    Imul,
    /// IMUL with one operand.
    ImulWide,
    Inc,
    Jcc,
    Jmp,
    Lea,
    Mov,
    Movsx,
    Movzx,
    Nop,
    Or,
    Pop,
    Push,
    Ret,
    Sar,
    Sbb,
    Shl,
    Shr,
    Sub,
    Test,
    Xor,
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    let Some(op) = operation(source.insn) else { return Ok(None) };
    use IntegerOp::{Call, Jcc, Jmp, Ret};
    let ends_block = matches!(op, Call | Jcc | Jmp | Ret);
    Ok(Some(Class { op: Op::Integer(op), ends_block }))
}

/// Resolves what only these instructions have.
pub fn finish(insn: &mut Insn, op: IntegerOp, source: &Source<'_>) -> Result<(), TrapCause> {
    use IntegerOp::{Call, Pop, Push, Ret};
    if source.insn.has_lock_prefix() {
        return Err(trap::UNDEFINED);
    }
    if matches!(op, Call | Pop | Push | Ret) {
        let bytes = u64::from(stack_bytes(source.insn).unsigned_abs());
        insn.w = Width::from_bytes(bytes).ok_or(trap::UNDEFINED)?;
    }
    if op == Pop && insn.memory.base == regs::RSP {
        // The address is computed with the incremented stack pointer (SDM 2B, POP).
        insn.memory.displacement += insn.w.bytes() as i64;
    }
    Ok(())
}

/// Bytes that the stack grows or shrinks by, without what RET releases besides.
fn stack_bytes(from: &Instruction) -> i32 {
    let all = from.stack_pointer_increment();
    if from.mnemonic() == Mnemonic::Ret && from.op_count() == 1 {
        all - i32::from(from.immediate16())
    } else {
        all
    }
}

fn operation(from: &Instruction) -> Option<IntegerOp> {
    use IntegerOp as Op;
    Some(match from.mnemonic() {
        Mnemonic::Adc => Op::Adc,
        Mnemonic::Add => Op::Add,
        Mnemonic::And => Op::And,
        Mnemonic::Call if from.is_call_near() || from.is_call_near_indirect() => Op::Call,
        Mnemonic::Cmp => Op::Cmp,
        Mnemonic::Dec => Op::Dec,
        Mnemonic::Imul if from.op_count() == 1 => Op::ImulWide,
        Mnemonic::Imul => Op::Imul,
        Mnemonic::Inc => Op::Inc,
        Mnemonic::Jmp if from.is_jmp_short_or_near() || from.is_jmp_near_indirect() => Op::Jmp,
        Mnemonic::Lea => Op::Lea,
        Mnemonic::Mov if !has_system_register(from) => Op::Mov,
        Mnemonic::Movsx | Mnemonic::Movsxd => Op::Movsx,
        Mnemonic::Movzx => Op::Movzx,
        Mnemonic::Nop => Op::Nop,
        Mnemonic::Or => Op::Or,
        Mnemonic::Pop if !has_system_register(from) => Op::Pop,
        Mnemonic::Push if !has_system_register(from) => Op::Push,
        Mnemonic::Ret => Op::Ret,
        Mnemonic::Sal | Mnemonic::Shl => Op::Shl,
        Mnemonic::Sar => Op::Sar,
        Mnemonic::Sbb => Op::Sbb,
        Mnemonic::Shr => Op::Shr,
        Mnemonic::Sub => Op::Sub,
        Mnemonic::Test => Op::Test,
        Mnemonic::Xor => Op::Xor,
        _ if from.is_jcc_short_or_near() => Op::Jcc,
        _ => return None,
    })
}

/// MOV, PUSH and POP of segment, control and debug registers are system instructions.
fn has_system_register(from: &Instruction) -> bool {
    (0..from.op_count()).any(|index| {
        let register = from.op_register(index);
        register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr()
    })
}
