//! Integer, string and near control transfer instructions: which there are, and what decoding resolves for them.

use super::{Class, Source};
use crate::x86_64::insn::{Insn, InsnFlags, Memory, Op, Operand, SegmentCheck};
use crate::x86_64::{regs, trap};
use c2w_engine::addr::Width::{self, W8, W16, W32, W64};
use c2w_engine::guest::TrapCause;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// What an integer instruction does. Operand sizes and forms are in its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum IntegerOp {
    Aaa,
    Aad,
    Aam,
    Aas,
    Adc,
    Add,
    And,
    Bound,
    Bsf,
    Bsr,
    Bswap,
    Bt,
    Btc,
    Btr,
    Bts,
    Call,
    /// CBW, CWDE, CDQE: the accumulator's low half is extended to all of it.
    Cbw,
    Clc,
    Cld,
    /// CLFLUSH, CLFLUSHOPT, CLWB.
    Clflush,
    Cmc,
    Cmov,
    Cmp,
    Cmps,
    Cmpxchg,
    Cmpxchg16b,
    Cmpxchg8b,
    Crc32,
    /// CWD, CDQ, CQO: the accumulator's sign fills RDX.
    Cwd,
    Daa,
    Das,
    Dec,
    Div,
    Enter,
    /// MFENCE, LFENCE, SFENCE.
    Fence,
    Idiv,
    /// IMUL with two or three operands.
    Imul,
    /// IMUL with one operand.
    ImulWide,
    Inc,
    Jcc,
    Jmp,
    /// JCXZ, JECXZ, JRCXZ. As for LOOP, the counter's width is the address size.
    Jrcxz,
    Lahf,
    Lea,
    Leave,
    Lods,
    Loop,
    /// LOOPE, LOOPNE.
    LoopIf,
    Mov,
    Movbe,
    Movs,
    Movsx,
    Movzx,
    Mul,
    Neg,
    /// NOP of every length, and hints.
    Nop,
    Not,
    Or,
    Pop,
    Popa,
    Popcnt,
    Push,
    Pusha,
    Rcl,
    Rcr,
    /// RDRAND, RDSEED.
    Rdrand,
    Ret,
    Rol,
    Ror,
    Sahf,
    Salc,
    Sar,
    Sbb,
    Scas,
    Set,
    Shl,
    Shld,
    Shr,
    Shrd,
    Stc,
    Std,
    Stos,
    Sub,
    Test,
    Xadd,
    Xchg,
    Xlat,
    Xor,
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    let from = source.insn;
    match from.mnemonic() {
        Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 => return Err(trap::UNDEFINED),
        // PREFETCHW and its kin have no register form.
        Mnemonic::Reservednop if is_prefetch(from.code()) && from.op0_kind() == OpKind::Register => {
            return Err(trap::UNDEFINED);
        }
        Mnemonic::Aam if from.immediate8() == 0 => return Err(trap::DIVIDE),
        _ => {}
    }
    let Some(op) = operation(from) else { return Ok(None) };
    use IntegerOp::{Call, Cmps, Jcc, Jmp, Jrcxz, Lods, Loop, LoopIf, Movs, Neg, Ret, Scas, Stos};
    let ends_block = match op {
        Call | Jcc | Jmp | Jrcxz | Loop | LoopIf | Ret => true,
        // These may start again.
        Cmps | Lods | Movs | Scas | Stos => from.has_rep_prefix() || from.has_repne_prefix(),
        Neg => from.has_lock_prefix(),
        _ => false,
    };
    Ok(Some(Class { op: Op::Integer(op), ends_block }))
}

fn is_prefetch(code: Code) -> bool {
    use Code::*;
    matches!(code, Reservednop_rm16_r16_0F0D | Reservednop_rm32_r32_0F0D | Reservednop_rm64_r64_0F0D)
}

/// Resolves what only these instructions have.
pub fn finish(insn: &mut Insn, op: IntegerOp, source: &Source<'_>) -> Result<(), TrapCause> {
    use IntegerOp as Op;
    let from = source.insn;
    match op {
        Op::Push | Op::Pop | Op::Call | Op::Ret => {
            let bytes = u64::from(stack_bytes(from).unsigned_abs());
            insn.w = Width::from_bytes(bytes).ok_or(trap::UNDEFINED)?;
            if op == Op::Pop && insn.memory.base == regs::RSP {
                // The address is computed with the incremented stack pointer (SDM 2B, POP).
                insn.memory.displacement += insn.w.bytes() as i64;
            }
        }
        Op::Jmp | Op::Jcc | Op::Jrcxz | Op::Loop | Op::LoopIf => {
            insn.w = match from.op0_kind() {
                OpKind::NearBranch16 => W16,
                OpKind::NearBranch32 => W32,
                OpKind::NearBranch64 => W64,
                _ => insn.w,
            };
            insn.memory.address_width = match op {
                Op::Jrcxz | Op::Loop | Op::LoopIf => counter_width(from),
                _ => insn.memory.address_width,
            };
        }
        Op::Cmps | Op::Lods | Op::Movs | Op::Scas | Op::Stos => string(insn, op, source)?,
        Op::Enter => {
            insn.w = implied_width(from.code());
            insn.imm = i64::from(from.immediate16()) | i64::from(from.immediate8_2nd() & 31) << 16;
        }
        Op::Cbw | Op::Cwd | Op::Leave | Op::Pusha | Op::Popa => insn.w = implied_width(from.code()),
        // AL, the index, is added by the lift: it is 8 bits of a register.
        Op::Xlat => insn.memory.index = regs::NONE,
        Op::Xchg => {
            let with_memory = insn.operands.iter().any(|operand| matches!(operand, Operand::Memory(_)));
            insn.flags.set(InsnFlags::LOCK, with_memory);
        }
        // Flags do not depend on the size of what follows.
        Op::Crc32 => insn.w = super::width(insn.operands[1]).unwrap_or(W8),
        _ => {}
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

/// Operand size of instructions without operands that tell.
fn implied_width(code: Code) -> Width {
    match code {
        Code::Cbw | Code::Cwd | Code::Pushaw | Code::Popaw | Code::Leavew | Code::Enterw_imm16_imm8 => W16,
        Code::Cwde | Code::Cdq | Code::Pushad | Code::Popad | Code::Leaved | Code::Enterd_imm16_imm8 => W32,
        _ => W64,
    }
}

/// Width of the counter of LOOP, JRCXZ and their like.
fn counter_width(from: &Instruction) -> Width {
    use Code::*;
    match from.code() {
        Loop_rel8_16_CX | Loop_rel8_32_CX | Loope_rel8_16_CX | Loope_rel8_32_CX | Loopne_rel8_16_CX
        | Loopne_rel8_32_CX | Jcxz_rel8_16 | Jcxz_rel8_32 => W16,
        Loop_rel8_16_RCX | Loop_rel8_64_RCX | Loope_rel8_16_RCX | Loope_rel8_64_RCX | Loopne_rel8_16_RCX
        | Loopne_rel8_64_RCX | Jrcxz_rel8_16 | Jrcxz_rel8_64 => W64,
        _ => W32,
    }
}

/// Operands of string instructions: the memory operand is the source at RSI if there is one, else the destination.
fn string(insn: &mut Insn, op: IntegerOp, source: &Source<'_>) -> Result<(), TrapCause> {
    let from = source.insn;
    insn.operands = [Operand::None; 3];
    insn.w = Width::from_bytes(from.memory_size().size() as u64).ok_or(trap::UNDEFINED)?;
    let mut address_width = W64;
    for index in 0..from.op_count() {
        address_width = match from.op_kind(index) {
            OpKind::MemorySegSI | OpKind::MemoryESDI => W16,
            OpKind::MemorySegESI | OpKind::MemoryESEDI => W32,
            OpKind::MemorySegRSI | OpKind::MemoryESRDI => W64,
            _ => address_width,
        };
    }
    let (base, segment, write) = match op {
        IntegerOp::Stos => (regs::RDI, Register::ES, true),
        IntegerOp::Scas => (regs::RDI, Register::ES, false),
        _ => (regs::RSI, from.memory_segment(), false),
    };
    let (segment, checked) = super::segment(source, segment);
    let check = if checked { SegmentCheck::new(insn.w.bytes(), write) } else { SegmentCheck::NONE };
    let linear_32 = source.mode.code_width() != W64;
    insn.memory = Memory { base, segment, address_width, check, linear_32, ..Memory::NONE };
    Ok(())
}

fn operation(from: &Instruction) -> Option<IntegerOp> {
    use IntegerOp as Op;
    Some(match from.mnemonic() {
        Mnemonic::Aaa => Op::Aaa,
        Mnemonic::Aad => Op::Aad,
        Mnemonic::Aam => Op::Aam,
        Mnemonic::Aas => Op::Aas,
        Mnemonic::Adc => Op::Adc,
        Mnemonic::Add => Op::Add,
        Mnemonic::And => Op::And,
        Mnemonic::Bound => Op::Bound,
        // Without BMI1 and LZCNT, which are not advertised, REP before BSF and BSR means nothing.
        Mnemonic::Bsf | Mnemonic::Tzcnt => Op::Bsf,
        Mnemonic::Bsr | Mnemonic::Lzcnt => Op::Bsr,
        Mnemonic::Bswap => Op::Bswap,
        Mnemonic::Bt => Op::Bt,
        Mnemonic::Btc => Op::Btc,
        Mnemonic::Btr => Op::Btr,
        Mnemonic::Bts => Op::Bts,
        Mnemonic::Call if from.is_call_near() || from.is_call_near_indirect() => Op::Call,
        Mnemonic::Cbw | Mnemonic::Cwde | Mnemonic::Cdqe => Op::Cbw,
        Mnemonic::Clc => Op::Clc,
        Mnemonic::Cld => Op::Cld,
        Mnemonic::Clflush | Mnemonic::Clflushopt | Mnemonic::Clwb => Op::Clflush,
        Mnemonic::Cmc => Op::Cmc,
        Mnemonic::Cmp => Op::Cmp,
        Mnemonic::Cmpxchg => Op::Cmpxchg,
        Mnemonic::Cmpxchg16b => Op::Cmpxchg16b,
        Mnemonic::Cmpxchg8b => Op::Cmpxchg8b,
        Mnemonic::Crc32 => Op::Crc32,
        Mnemonic::Cwd | Mnemonic::Cdq | Mnemonic::Cqo => Op::Cwd,
        Mnemonic::Daa => Op::Daa,
        Mnemonic::Das => Op::Das,
        Mnemonic::Dec => Op::Dec,
        Mnemonic::Div => Op::Div,
        Mnemonic::Enter => Op::Enter,
        Mnemonic::Idiv => Op::Idiv,
        Mnemonic::Imul if from.op_count() == 1 => Op::ImulWide,
        Mnemonic::Imul => Op::Imul,
        Mnemonic::Inc => Op::Inc,
        Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => Op::Jrcxz,
        Mnemonic::Jmp if from.is_jmp_short_or_near() || from.is_jmp_near_indirect() => Op::Jmp,
        Mnemonic::Lahf => Op::Lahf,
        Mnemonic::Lea => Op::Lea,
        Mnemonic::Leave => Op::Leave,
        Mnemonic::Loop => Op::Loop,
        Mnemonic::Loope | Mnemonic::Loopne => Op::LoopIf,
        Mnemonic::Mfence | Mnemonic::Lfence | Mnemonic::Sfence => Op::Fence,
        Mnemonic::Mov if !has_system_register(from) => Op::Mov,
        Mnemonic::Movbe => Op::Movbe,
        Mnemonic::Movnti => Op::Mov,
        Mnemonic::Movsx | Mnemonic::Movsxd => Op::Movsx,
        Mnemonic::Movzx => Op::Movzx,
        Mnemonic::Mul => Op::Mul,
        Mnemonic::Neg => Op::Neg,
        Mnemonic::Nop | Mnemonic::Pause | Mnemonic::Reservednop => Op::Nop,
        Mnemonic::Endbr32 | Mnemonic::Endbr64 => Op::Nop,
        Mnemonic::Not => Op::Not,
        Mnemonic::Or => Op::Or,
        Mnemonic::Pop if !has_system_register(from) => Op::Pop,
        Mnemonic::Popa | Mnemonic::Popad => Op::Popa,
        Mnemonic::Popcnt => Op::Popcnt,
        Mnemonic::Push if !has_system_register(from) => Op::Push,
        Mnemonic::Pusha | Mnemonic::Pushad => Op::Pusha,
        Mnemonic::Rcl => Op::Rcl,
        Mnemonic::Rcr => Op::Rcr,
        Mnemonic::Rdrand | Mnemonic::Rdseed => Op::Rdrand,
        Mnemonic::Ret => Op::Ret,
        Mnemonic::Rol => Op::Rol,
        Mnemonic::Ror => Op::Ror,
        Mnemonic::Sahf => Op::Sahf,
        Mnemonic::Sal | Mnemonic::Shl => Op::Shl,
        Mnemonic::Salc => Op::Salc,
        Mnemonic::Sar => Op::Sar,
        Mnemonic::Sbb => Op::Sbb,
        Mnemonic::Shld => Op::Shld,
        Mnemonic::Shr => Op::Shr,
        Mnemonic::Shrd => Op::Shrd,
        Mnemonic::Stc => Op::Stc,
        Mnemonic::Std => Op::Std,
        Mnemonic::Sub => Op::Sub,
        Mnemonic::Test => Op::Test,
        Mnemonic::Xadd => Op::Xadd,
        Mnemonic::Xchg => Op::Xchg,
        Mnemonic::Xlatb => Op::Xlat,
        Mnemonic::Xor => Op::Xor,
        _ => return by_kind(from),
    })
}

/// Instructions with many mnemonics, or with one that others share.
fn by_kind(from: &Instruction) -> Option<IntegerOp> {
    use IntegerOp as Op;
    use Mnemonic::*;
    if from.is_jcc_short_or_near() {
        return Some(Op::Jcc);
    }
    Some(match from.mnemonic() {
        Seta | Setae | Setb | Setbe | Sete | Setg | Setge | Setl | Setle | Setne | Setno | Setnp | Setns
        | Seto | Setp | Sets => Op::Set,
        Cmova | Cmovae | Cmovb | Cmovbe | Cmove | Cmovg | Cmovge | Cmovl | Cmovle | Cmovne | Cmovno
        | Cmovnp | Cmovns | Cmovo | Cmovp | Cmovs => Op::Cmov,
        // MOVSD and CMPSD are also the names of vector instructions.
        Movsb | Movsw | Movsd | Movsq if from.is_string_instruction() => Op::Movs,
        Cmpsb | Cmpsw | Cmpsd | Cmpsq if from.is_string_instruction() => Op::Cmps,
        Stosb | Stosw | Stosd | Stosq => Op::Stos,
        Scasb | Scasw | Scasd | Scasq => Op::Scas,
        Lodsb | Lodsw | Lodsd | Lodsq => Op::Lods,
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
