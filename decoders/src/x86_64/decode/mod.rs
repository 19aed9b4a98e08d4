//! Bytes to [`Insn`]: iced-x86 once for each cached instruction.
//!
//! Code is decoded as if it were at address 0, so that relative targets come out as displacements. What an instruction
//! does is decided by class, one file each; this file reads what all have in common: operands, prefixes, lengths.

pub mod float;
pub mod integer;
pub mod system;
pub mod vector;
pub mod x87;

use super::insn::{Condition, Insn, InsnFlags, Memory, Op, Operand, SegmentCheck, Shape};
use super::mode::ModeBits;
use super::segment::SegmentRegister;
use super::{regs, trap};
use c2w_engine::addr::{Gva, Width};
use c2w_engine::emit::Slot;
use c2w_engine::guest::{Decoded, Mode, TrapCause};
use iced_x86::{
    ConditionCode, Decoder, DecoderError, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

/// Longest instruction (SDM 2A 2.3.11).
const MAX_BYTES: usize = 15;

/// What an instruction is, as its class decides it.
pub struct Class {
    /// What it does.
    pub op: Op,
    /// It may continue elsewhere or change mode, translations or interrupt state.
    pub ends_block: bool,
}

impl Class {
    /// An instruction that others follow in a block.
    pub const fn plain(op: Op) -> Self {
        Self { op, ends_block: false }
    }

    /// The last instruction of a block.
    pub const fn last(op: Op) -> Self {
        Self { op, ends_block: true }
    }
}

/// What classes look at.
pub struct Source<'a> {
    /// The instruction.
    pub insn: &'a Instruction,
    /// The mode.
    pub mode: ModeBits,
    /// Its encoding.
    pub bytes: &'a [u8],
}

/// The instruction that `bytes` are, as assembly has it.
pub fn disassemble(bytes: &[u8], pc: Gva, mode: Mode) -> String {
    let bits = ModeBits::of(mode).code_width().bits();
    Decoder::with_ip(bits, bytes, pc.0, DecoderOptions::FORCE_RESERVED_NOP).decode().to_string()
}

/// Decodes the instruction at the start of `bytes`. What is undefined or not known decodes to #UD; `None` means that
/// the instruction continues past the end of `bytes`.
pub fn decode(bytes: &[u8], mode: Mode) -> Option<Decoded<Insn>> {
    let mode = ModeBits::of(mode);
    let mut decoder = Decoder::new(mode.code_width().bits(), bytes, DecoderOptions::FORCE_RESERVED_NOP);
    let mut from = decoder.decode();
    if from.mnemonic() == Mnemonic::Pause && mode.code_width() == Width::W64 && has_rex_b(bytes, from.len()) {
        from = exchange_not_pause(bytes);
    }
    if decoder.last_error() == DecoderError::NoMoreBytes {
        return None;
    }
    if from.is_invalid()
        && from.len() == MAX_BYTES
        && bytes.first_chunk().is_some_and(|bytes| is_over_long(bytes, mode.code_width()))
    {
        return Some(raise(trap::PROTECTION, MAX_BYTES as u8));
    }
    let len_bytes = from.len().clamp(1, MAX_BYTES) as u8;
    let source = Source { insn: &from, mode, bytes: &bytes[..from.len().min(bytes.len())] };
    let decoded = translate(&source, len_bytes).unwrap_or_else(|cause| raise(cause, len_bytes));
    Some(Decoded { ends_block: decoded.ends_block || mode.contains(ModeBits::STEP), ..decoded })
}

/// Whether an instruction that iced calls invalid, and found to be as long as these bytes, goes on behind them: iced does
/// not tell that from 15 bytes that mean nothing. What is over-long has prefixes without effect; without them
/// the limit is not in the way.
fn is_over_long(bytes: &[u8; MAX_BYTES], code: Width) -> bool {
    const OPERAND_SIZE: u8 = 0x66;
    const ADDRESS_SIZE: u8 = 0x67;
    const LOCK: u8 = 0xf0;
    let is_repeat = |byte| matches!(byte, 0xf2 | 0xf3);
    let is_segment = |byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65);
    let is_rex = |byte| code == Width::W64 && byte & 0xf0 == 0x40;
    let is_prefix = |byte| {
        is_repeat(byte)
            || is_segment(byte)
            || is_rex(byte)
            || matches!(byte, OPERAND_SIZE | ADDRESS_SIZE | LOCK)
    };
    let Some(opcode) = bytes.iter().position(|&byte| !is_prefix(byte)) else { return true };
    let (prefixes, rest) = bytes.split_at(opcode);
    let mut short = [0; MAX_BYTES];
    let mut len = 0;
    for (at, &byte) in prefixes.iter().enumerate() {
        let behind = &prefixes[at + 1..];
        // REX counts right before the opcode only; of the others the last one of a kind is as good as all of them.
        let counts = match byte {
            byte if is_rex(byte) => behind.is_empty(),
            byte if is_repeat(byte) => !behind.iter().copied().any(is_repeat),
            byte => !is_segment(byte) && !behind.contains(&byte),
        };
        if counts {
            short[len] = byte;
            len += 1;
        }
    }
    short[len..len + rest.len()].copy_from_slice(rest);
    let mut decoder =
        Decoder::new(code.bits(), &short[..len + rest.len()], DecoderOptions::FORCE_RESERVED_NOP);
    let _ = decoder.decode();
    decoder.last_error() == DecoderError::NoMoreBytes
}

/// Whether the byte before the one-byte opcode at the end of an instruction is a REX prefix with B set.
fn has_rex_b(bytes: &[u8], len_bytes: usize) -> bool {
    len_bytes >= 2 && bytes[len_bytes - 2] & 0xf1 == 0x41
}

/// Opcode 90 with REX.B exchanges R8, REP or not; iced calls it PAUSE. REP becomes a prefix without meaning.
fn exchange_not_pause(bytes: &[u8]) -> Instruction {
    const REP: u8 = 0xf3;
    const DS: u8 = 0x3e;
    let mut without = [0; MAX_BYTES];
    for (to, &byte) in without.iter_mut().zip(bytes) {
        *to = if byte == REP { DS } else { byte };
    }
    Decoder::new(Width::W64.bits(), &without, DecoderOptions::NONE).decode()
}

/// An instruction that raises an exception.
fn raise(cause: TrapCause, len_bytes: u8) -> Decoded<Insn> {
    let insn = Insn { imm: i64::from(cause.0), ..Insn::new(Op::Raise, len_bytes) };
    Decoded { insn, len_bytes, ends_block: true }
}

/// The compact form, or the exception that the instruction always raises.
fn translate(source: &Source<'_>, len_bytes: u8) -> Result<Decoded<Insn>, TrapCause> {
    let from = source.insn;
    if from.is_invalid() {
        return Err(trap::UNDEFINED);
    }
    let classes = [integer::classify, vector::classify, float::classify, x87::classify, system::classify];
    let found = classes.iter().find_map(|classify| classify(source).transpose());
    let class = found.unwrap_or(Err(trap::UNDEFINED))?;
    let mut insn = Insn::new(class.op, len_bytes);
    insn.ip_width = source.mode.code_width();
    insn.stack_width = source.mode.stack_width();
    insn.flags.set(InsnFlags::LOCK, from.has_lock_prefix());
    insn.flags.set(InsnFlags::REP, from.has_rep_prefix());
    insn.flags.set(InsnFlags::REPNE, from.has_repne_prefix());
    insn.flags.set(InsnFlags::SEGMENTED, source.mode.contains(ModeBits::SEGMENTED));
    insn.flags.set(InsnFlags::FLOAT_TRAPS, source.mode.contains(ModeBits::FLOAT_TRAPS));
    for index in 0..from.op_count().min(3) {
        insn.operands[index as usize] = operand(&mut insn, source, index).ok_or(trap::UNDEFINED)?;
    }
    insn.condition = condition(from.condition_code());
    insn.w = insn.operands.iter().find_map(|&operand| width(operand)).unwrap_or(Width::W64);
    match class.op {
        Op::Integer(op) => integer::finish(&mut insn, op, source)?,
        Op::Vector(op) => vector::finish(&mut insn, op, source)?,
        Op::Float(op) => float::finish(&mut insn, op, source)?,
        Op::X87(op) => x87::finish(&mut insn, op, source)?,
        Op::System(op) => system::finish(&mut insn, op, source)?,
        Op::Raise => {}
    }
    insn.shape = Shape::of(&insn);
    Ok(Decoded { insn, len_bytes, ends_block: class.ends_block })
}

/// Width of an operand, if it has one.
pub fn width(operand: Operand) -> Option<Width> {
    match operand {
        Operand::Register { w, .. } | Operand::Memory(w) => Some(w),
        Operand::HighByte(_) => Some(Width::W8),
        _ => None,
    }
}

fn operand(insn: &mut Insn, source: &Source<'_>, index: u32) -> Option<Operand> {
    let from = source.insn;
    Some(match from.op_kind(index) {
        OpKind::Register => register(from.op_register(index))?,
        OpKind::Memory => {
            insn.memory = memory(source)?;
            let bytes = from.memory_size().size();
            match Width::from_bytes(bytes as u64) {
                Some(w) => Operand::Memory(w),
                None => Operand::WideMemory(u8::try_from(bytes).unwrap_or(0)),
            }
        }
        OpKind::NearBranch64 => relative(insn, from.near_branch64() as i64),
        OpKind::NearBranch32 => relative(insn, i64::from(from.near_branch32() as i32)),
        OpKind::NearBranch16 => relative(insn, i64::from(from.near_branch16() as i16)),
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
        // Second immediates, string operands and far pointers: the class knows where they are.
        _ => Operand::None,
    })
}

fn relative(insn: &mut Insn, displacement: i64) -> Operand {
    insn.imm = displacement;
    Operand::Relative
}

fn register(register: Register) -> Option<Operand> {
    if register.is_gpr() {
        let slot = gpr(register)?;
        return Some(match register {
            Register::AH | Register::CH | Register::DH | Register::BH => Operand::HighByte(slot),
            _ => Operand::Register { slot, w: Width::from_bytes(register.size() as u64)? },
        });
    }
    let number = register.number() as u8;
    if register.is_vector_register() {
        Some(Operand::Vector(regs::vector(number)))
    } else if register.is_mm() {
        Some(Operand::Mmx(regs::x87_significand(number)))
    } else if register.is_st() {
        Some(Operand::Stack(number))
    } else {
        Some(Operand::Numbered(number))
    }
}

/// Slot of the general register that `register` is, or is part of.
fn gpr(register: Register) -> Option<Slot> {
    register.is_gpr().then(|| regs::gpr(register.full_register().number() as u8))
}

/// The memory operand of an instruction.
pub fn memory(source: &Source<'_>) -> Option<Memory> {
    let from = source.insn;
    let part = |register: Register| match register {
        Register::None | Register::RIP | Register::EIP => Some(regs::NONE),
        register => gpr(register),
    };
    let (base, index) = (from.memory_base(), from.memory_index());
    let address_bytes = match (base, index) {
        // Without registers the size of the displacement tells: it is as wide as the address, but not wider than 4
        // bytes where it has no 64-bit form of its own, and then iced extends it.
        (Register::None, Register::None) => from.memory_displ_size().max(1) as u64,
        (Register::RIP, _) => 8,
        (Register::EIP, _) => 4,
        (Register::None, index) => index.size() as u64,
        (base, _) => base.size() as u64,
    };
    let (segment, checked) = segment(source, from.memory_segment());
    let check = if checked { segment_check(from) } else { SegmentCheck::NONE };
    Some(Memory {
        base: part(base)?,
        index: part(index)?,
        scale: from.memory_index_scale().trailing_zeros() as u8,
        segment,
        address_width: Width::from_bytes(address_bytes)?,
        rip_relative: from.is_ip_rel_memory_operand(),
        check,
        linear_32: source.mode.code_width() != Width::W64,
        displacement: from.memory_displacement64() as i64,
    })
}

/// How much of the memory operand is accessed in which way.
fn segment_check(from: &Instruction) -> SegmentCheck {
    let mut factory = InstructionInfoFactory::new();
    let write = factory.info(from).used_memory().iter().any(|used| {
        use OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
        matches!(used.access(), CondWrite | ReadCondWrite | ReadWrite | Write)
            && used.segment() == from.memory_segment()
            && used.base() == from.memory_base()
            && used.index() == from.memory_index()
    });
    SegmentCheck::new(from.memory_size().size() as u64, write)
}

/// Slot of a segment's base, [`regs::NONE`] if that is known to be zero, and whether accesses are checked.
pub fn segment(source: &Source<'_>, register: Register) -> (Slot, bool) {
    let Some(register) = SegmentRegister::from_number(register.number() as u8) else {
        return (regs::NONE, false);
    };
    let checks = match register {
        SegmentRegister::Fs => ModeBits::FS_CHECKED,
        SegmentRegister::Gs => ModeBits::GS_CHECKED,
        _ => ModeBits::SEGMENTED,
    };
    // Code segments refuse writes, so that CS is never as good as none.
    let is_32 = source.mode.code_width() != Width::W64;
    let checked = source.mode.contains(checks) || is_32 && register == SegmentRegister::Cs;
    let has_base = checked || matches!(register, SegmentRegister::Fs | SegmentRegister::Gs);
    (if has_base { register.base_slot() } else { regs::NONE }, checked)
}

fn condition(code: ConditionCode) -> Condition {
    use ConditionCode::*;
    let numbered = [o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g];
    Condition(numbered.iter().position(|&known| known == code).unwrap_or(0) as u8)
}

#[cfg(test)]
mod tests;
