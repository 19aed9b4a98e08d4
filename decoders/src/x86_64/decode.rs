//! Bytes to [`Insn`]: iced-x86 once for each cached instruction.
//!
//! Code is decoded as if it were at address 0, so that relative targets come out as displacements.

use super::insn::{Condition, Insn, Memory, Op, Operand};
use super::regs;
use c2w_engine::addr::Width;
use c2w_engine::emit::Slot;
use c2w_engine::guest::Decoded;
use iced_x86::{
    ConditionCode, Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic, OpKind, Register,
};

/// Decodes the instruction at the start of `bytes` for 64-bit mode. What is undefined or not known decodes to
/// [`Op::Undefined`]; `None` means that the instruction continues past the end of `bytes`.
pub fn decode(bytes: &[u8]) -> Option<Decoded<Insn>> {
    let mut decoder = Decoder::new(64, bytes, DecoderOptions::NONE);
    let from = decoder.decode();
    if decoder.last_error() == DecoderError::NoMoreBytes {
        return None;
    }
    let len_bytes = from.len().clamp(1, 15) as u8;
    let insn = translate(&from, len_bytes).unwrap_or(Insn::new(Op::Undefined, len_bytes));
    let ends_block = matches!(insn.op, Op::Call | Op::Jcc | Op::Jmp | Op::Ret | Op::Undefined);
    Some(Decoded { insn, len_bytes, ends_block })
}

fn translate(from: &Instruction, len_bytes: u8) -> Option<Insn> {
    let op = operation(from)?;
    if from.has_lock_prefix() {
        // Locked forms need atomic words, which no lift says yet.
        return None;
    }
    let mut insn = Insn::new(op, len_bytes);
    for index in 0..from.op_count() {
        *insn.operands.get_mut(index as usize)? = operand(&mut insn, from, index)?;
    }
    insn.condition = condition(from.condition_code());
    insn.w = match op {
        Op::Push | Op::Pop | Op::Call | Op::Ret => {
            Width::from_bytes(u64::from(stack_bytes(from).unsigned_abs()))?
        }
        _ => insn.operands.iter().find_map(|&operand| width(operand)).unwrap_or(Width::W64),
    };
    if op == Op::Pop && insn.memory.base == regs::RSP {
        // The address is computed with the incremented stack pointer (SDM 2B, POP).
        insn.memory.displacement += insn.w.bytes() as i64;
    }
    Some(insn)
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

fn operation(from: &Instruction) -> Option<Op> {
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
        Mnemonic::Mov => Op::Mov,
        Mnemonic::Movsx | Mnemonic::Movsxd => Op::Movsx,
        Mnemonic::Movzx => Op::Movzx,
        Mnemonic::Nop => Op::Nop,
        Mnemonic::Or => Op::Or,
        Mnemonic::Pop => Op::Pop,
        Mnemonic::Push => Op::Push,
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

fn width(operand: Operand) -> Option<Width> {
    match operand {
        Operand::Register { w, .. } | Operand::Memory(w) => Some(w),
        Operand::HighByte(_) => Some(Width::W8),
        Operand::None | Operand::Immediate | Operand::Relative => None,
    }
}

fn operand(insn: &mut Insn, from: &Instruction, index: u32) -> Option<Operand> {
    Some(match from.op_kind(index) {
        OpKind::Register => register(from.op_register(index))?,
        OpKind::Memory => {
            insn.memory = memory(from)?;
            let bytes = from.memory_size().size() as u64;
            // LEA and NOP name memory without accessing it.
            if bytes == 0 { Operand::Memory(Width::W64) } else { Operand::Memory(Width::from_bytes(bytes)?) }
        }
        OpKind::NearBranch64 => {
            insn.imm = from.near_branch64() as i64;
            Operand::Relative
        }
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => {
            insn.imm = from.immediate(index) as i64;
            Operand::Immediate
        }
        _ => return None,
    })
}

fn register(register: Register) -> Option<Operand> {
    let slot = gpr(register)?;
    Some(match register {
        Register::AH | Register::CH | Register::DH | Register::BH => Operand::HighByte(slot),
        _ => Operand::Register { slot, w: Width::from_bytes(register.size() as u64)? },
    })
}

/// Slot of the general register that `register` is, or is part of.
fn gpr(register: Register) -> Option<Slot> {
    register.is_gpr().then(|| regs::gpr(register.full_register().number() as u8))
}

fn memory(from: &Instruction) -> Option<Memory> {
    let part = |register: Register| match register {
        Register::None | Register::RIP | Register::EIP => Some(regs::NONE),
        register => gpr(register),
    };
    let (base, index) = (from.memory_base(), from.memory_index());
    let narrow = [base, index].iter().any(|part| part.is_gpr32() || *part == Register::EIP)
        || base == Register::None && index == Register::None && from.memory_displ_size() == 4;
    Some(Memory {
        base: part(base)?,
        index: part(index)?,
        scale: from.memory_index_scale().trailing_zeros() as u8,
        segment: match from.memory_segment() {
            Register::FS => regs::FS_BASE,
            Register::GS => regs::GS_BASE,
            _ => regs::NONE,
        },
        address_width: if narrow { Width::W32 } else { Width::W64 },
        rip_relative: from.is_ip_rel_memory_operand(),
        displacement: from.memory_displacement64() as i64,
    })
}

fn condition(code: ConditionCode) -> Condition {
    use ConditionCode::*;
    let numbered = [o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g];
    Condition(numbered.iter().position(|&known| known == code).unwrap_or(0) as u8)
}
