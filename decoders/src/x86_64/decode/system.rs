//! Privileged and far instructions, and those that read or write system state: which there are, and what decoding
//! resolves for them.
//!
//! Privileged instructions at privilege level 3 are decided here; levels 1 and 2 are up to the helpers.

use super::{Class, Source};
use crate::x86_64::insn::{Insn, Op, Operand, SegmentCheck};
use crate::x86_64::mode::ModeBits;
use crate::x86_64::segment::SegmentRegister;
use crate::x86_64::{regs, trap};
use c2w_engine::addr::Width;
use c2w_engine::guest::TrapCause;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

/// What a system instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum SystemOp {
    Arpl,
    CallFar,
    Clac,
    Cli,
    /// CLI at privilege level 0, which IOPL does not concern.
    CliAllowed,
    Clts,
    Cpuid,
    Hlt,
    In,
    /// INS; the memory operand is where it stores.
    Ins,
    /// INT n and INT3, by the immediate.
    Int,
    Int1,
    Into,
    Invlpg,
    Invpcid,
    Iret,
    JmpFar,
    Lar,
    Lgdt,
    Lidt,
    Lldt,
    Lmsw,
    /// LDS, LES, LFS, LGS, LSS.
    LoadFar(SegmentRegister),
    Lsl,
    Ltr,
    MovFromControl,
    MovFromDebug,
    MovFromSegment,
    MovToControl,
    MovToDebug,
    MovToSegment,
    Out,
    /// OUTS; the memory operand is where it loads.
    Outs,
    Popf,
    PopSegment(SegmentRegister),
    Pushf,
    PushSegment(SegmentRegister),
    /// RDFSBASE, RDGSBASE.
    ReadBase(SegmentRegister),
    Rdmsr,
    Rdtsc,
    Rdtscp,
    RetFar,
    Sgdt,
    Sidt,
    Sldt,
    Smsw,
    Stac,
    Sti,
    /// STI at privilege level 0.
    StiAllowed,
    Str,
    Swapgs,
    Syscall,
    Sysenter,
    Sysexit,
    Sysret,
    Verr,
    Verw,
    /// INVD, WBINVD, WBNOINVD: there is no cache.
    Wbinvd,
    /// WRFSBASE, WRGSBASE.
    WriteBase(SegmentRegister),
    Wrmsr,
    Xgetbv,
    Xsetbv,
}

/// The class of an instruction, or the exception that it always raises; `None` if it is not one of these.
pub fn classify(source: &Source<'_>) -> Result<Option<Class>, TrapCause> {
    let Some(op) = operation(source.insn) else {
        return match source.insn.mnemonic() {
            // There are no performance counters, so every number of one is wrong.
            Mnemonic::Rdpmc => Err(trap::PROTECTION),
            _ => Ok(None),
        };
    };
    check_existence(source, op)?;
    let op = if source.mode.intersects(ModeBits::USER | ModeBits::MIDDLE) {
        if is_privileged(op) {
            return Err(trap::PROTECTION);
        }
        op
    } else {
        match op {
            SystemOp::Cli => SystemOp::CliAllowed,
            SystemOp::Sti => SystemOp::StiAllowed,
            op => op,
        }
    };
    Ok(Some(Class { op: Op::System(op), ends_block: ends_block(op) }))
}

/// Resolves what only these instructions have.
pub fn finish(insn: &mut Insn, op: SystemOp, source: &Source<'_>) -> Result<(), TrapCause> {
    let from = source.insn;
    if from.has_lock_prefix() {
        return Err(trap::UNDEFINED);
    }
    if let Some(w) = operand_width(from.code()) {
        insn.w = w;
    }
    match op {
        SystemOp::Int => {
            insn.imm = if from.code() == Code::Int3 { 3 } else { i64::from(from.immediate8()) };
        }
        SystemOp::JmpFar | SystemOp::CallFar => match from.op0_kind() {
            OpKind::FarBranch16 => far_pointer(insn, from, u32::from(from.far_branch16())),
            OpKind::FarBranch32 => far_pointer(insn, from, from.far_branch32()),
            _ => {}
        },
        SystemOp::RetFar => {
            insn.imm = if from.op_count() == 1 { i64::from(from.immediate16()) } else { 0 };
        }
        SystemOp::Ins => string_memory(insn, source, regs::RDI, Register::ES, from.op0_kind()),
        SystemOp::Outs => string_memory(insn, source, regs::RSI, from.memory_segment(), from.op1_kind()),
        // Only 64-bit code has another size than 32 bits, and it has no other.
        SystemOp::MovFromControl
        | SystemOp::MovToControl
        | SystemOp::MovFromDebug
        | SystemOp::MovToDebug
        | SystemOp::Invpcid => {
            insn.w = if source.mode.code_width() == Width::W64 { Width::W64 } else { Width::W32 };
        }
        _ => {}
    }
    Ok(())
}

/// A far pointer in the code: the offset in bits 0 to 31 of the immediate, the selector above.
fn far_pointer(insn: &mut Insn, from: &Instruction, offset: u32) {
    insn.imm = i64::from(from.far_branch_selector()) << 32 | i64::from(offset);
    insn.operands[0] = Operand::Immediate;
}

/// The memory operand of INS or OUTS.
fn string_memory(
    insn: &mut Insn,
    source: &Source<'_>,
    index: c2w_engine::emit::Slot,
    segment: Register,
    kind: OpKind,
) {
    let address_width = match kind {
        OpKind::MemoryESDI | OpKind::MemorySegSI => Width::W16,
        OpKind::MemoryESEDI | OpKind::MemorySegESI => Width::W32,
        _ => Width::W64,
    };
    let (slot, checked) = super::segment(source, segment);
    insn.memory.base = index;
    insn.memory.segment = slot;
    if checked {
        insn.memory.check = SegmentCheck::new(insn.w.bytes(), insn.op == Op::System(SystemOp::Ins));
    }
    insn.memory.address_width = address_width;
    insn.memory.linear_32 = source.mode.code_width() != Width::W64;
}

/// Whether the instruction is there in this mode.
fn check_existence(source: &Source<'_>, op: SystemOp) -> Result<(), TrapCause> {
    let from = source.insn;
    let is_64 = source.mode.code_width() == Width::W64;
    let exists = match op {
        // Intel's processors have these in 64-bit mode only.
        SystemOp::Syscall
        | SystemOp::Sysret
        | SystemOp::Swapgs
        | SystemOp::ReadBase(_)
        | SystemOp::WriteBase(_) => is_64,
        SystemOp::MovFromControl => has_control_register(from.op1_register()),
        SystemOp::MovToControl => has_control_register(from.op0_register()),
        SystemOp::MovFromDebug => from.op1_register().number() < 8,
        SystemOp::MovToDebug => from.op0_register().number() < 8,
        SystemOp::MovToSegment => from.op0_register() != Register::CS,
        // SDM 2A, CLAC: not #GP.
        SystemOp::Clac | SystemOp::Stac => !source.mode.contains(ModeBits::USER),
        _ => true,
    };
    if exists { Ok(()) } else { Err(trap::UNDEFINED) }
}

fn has_control_register(register: Register) -> bool {
    matches!(register.number(), 0 | 2 | 3 | 4 | 8)
}

/// Whether only privilege level 0 may execute it. SYSRET, XSETBV, CLAC and STAC have more to be asked first.
fn is_privileged(op: SystemOp) -> bool {
    use SystemOp::*;
    matches!(
        op,
        Clts | Hlt
            | Invlpg
            | Invpcid
            | Lgdt
            | Lidt
            | Lldt
            | Lmsw
            | Ltr
            | MovFromControl
            | MovFromDebug
            | MovToControl
            | MovToDebug
            | Rdmsr
            | Swapgs
            | Sysexit
            | Wbinvd
            | Wrmsr
    )
}

fn ends_block(op: SystemOp) -> bool {
    use SystemOp::*;
    !matches!(
        op,
        Arpl | CliAllowed
            | Cpuid
            | Lar
            | Lsl
            | MovFromControl
            | MovFromSegment
            | Pushf
            | PushSegment(_)
            | ReadBase(_)
            | Sgdt
            | Sidt
            | Sldt
            | Smsw
            | Str
            | Swapgs
            | Verr
            | Verw
            | Wbinvd
            | WriteBase(_)
            | Xgetbv
    )
}

fn operation(from: &Instruction) -> Option<SystemOp> {
    use SegmentRegister::{Ds, Es, Fs, Gs, Ss};
    use SystemOp as Op;
    Some(match from.mnemonic() {
        Mnemonic::Arpl => Op::Arpl,
        Mnemonic::Call if from.is_call_far() || from.is_call_far_indirect() => Op::CallFar,
        Mnemonic::Clac => Op::Clac,
        Mnemonic::Cli => Op::Cli,
        Mnemonic::Clts => Op::Clts,
        Mnemonic::Cpuid => Op::Cpuid,
        Mnemonic::Hlt => Op::Hlt,
        Mnemonic::In => Op::In,
        Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => Op::Ins,
        Mnemonic::Int | Mnemonic::Int3 => Op::Int,
        Mnemonic::Int1 => Op::Int1,
        Mnemonic::Into => Op::Into,
        Mnemonic::Invlpg => Op::Invlpg,
        Mnemonic::Invpcid => Op::Invpcid,
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => Op::Iret,
        Mnemonic::Jmp if from.is_jmp_far() || from.is_jmp_far_indirect() => Op::JmpFar,
        Mnemonic::Lar => Op::Lar,
        Mnemonic::Lds => Op::LoadFar(Ds),
        Mnemonic::Les => Op::LoadFar(Es),
        Mnemonic::Lfs => Op::LoadFar(Fs),
        Mnemonic::Lgdt => Op::Lgdt,
        Mnemonic::Lgs => Op::LoadFar(Gs),
        Mnemonic::Lidt => Op::Lidt,
        Mnemonic::Lldt => Op::Lldt,
        Mnemonic::Lmsw => Op::Lmsw,
        Mnemonic::Lsl => Op::Lsl,
        Mnemonic::Lss => Op::LoadFar(Ss),
        Mnemonic::Ltr => Op::Ltr,
        Mnemonic::Mov => return system_move(from),
        Mnemonic::Out => Op::Out,
        Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => Op::Outs,
        Mnemonic::Pop => Op::PopSegment(segment_register(from.op0_register())?),
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => Op::Popf,
        Mnemonic::Push => Op::PushSegment(segment_register(from.op0_register())?),
        Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => Op::Pushf,
        Mnemonic::Rdfsbase => Op::ReadBase(Fs),
        Mnemonic::Rdgsbase => Op::ReadBase(Gs),
        Mnemonic::Rdmsr => Op::Rdmsr,
        Mnemonic::Rdtsc => Op::Rdtsc,
        Mnemonic::Rdtscp => Op::Rdtscp,
        Mnemonic::Retf => Op::RetFar,
        Mnemonic::Sgdt => Op::Sgdt,
        Mnemonic::Sidt => Op::Sidt,
        Mnemonic::Sldt => Op::Sldt,
        Mnemonic::Smsw => Op::Smsw,
        Mnemonic::Stac => Op::Stac,
        Mnemonic::Sti => Op::Sti,
        Mnemonic::Str => Op::Str,
        Mnemonic::Swapgs => Op::Swapgs,
        Mnemonic::Syscall => Op::Syscall,
        Mnemonic::Sysenter => Op::Sysenter,
        Mnemonic::Sysexit | Mnemonic::Sysexitq => Op::Sysexit,
        Mnemonic::Sysret | Mnemonic::Sysretq => Op::Sysret,
        Mnemonic::Verr => Op::Verr,
        Mnemonic::Verw => Op::Verw,
        Mnemonic::Invd | Mnemonic::Wbinvd | Mnemonic::Wbnoinvd => Op::Wbinvd,
        Mnemonic::Wrfsbase => Op::WriteBase(Fs),
        Mnemonic::Wrgsbase => Op::WriteBase(Gs),
        Mnemonic::Wrmsr => Op::Wrmsr,
        Mnemonic::Xgetbv => Op::Xgetbv,
        Mnemonic::Xsetbv => Op::Xsetbv,
        _ => return None,
    })
}

/// MOV with a segment, control or debug register.
fn system_move(from: &Instruction) -> Option<SystemOp> {
    let (to, source) = (from.op0_register(), from.op1_register());
    Some(if source.is_segment_register() {
        SystemOp::MovFromSegment
    } else if to.is_segment_register() {
        SystemOp::MovToSegment
    } else if source.is_cr() {
        SystemOp::MovFromControl
    } else if to.is_cr() {
        SystemOp::MovToControl
    } else if source.is_dr() {
        SystemOp::MovFromDebug
    } else if to.is_dr() {
        SystemOp::MovToDebug
    } else {
        return None;
    })
}

fn segment_register(register: Register) -> Option<SegmentRegister> {
    register.is_segment_register().then(|| SegmentRegister::from_number(register.number() as u8)).flatten()
}

/// Operand size where no operand says it: what far pointers, stack slots and ports hold.
fn operand_width(code: Code) -> Option<Width> {
    use Code::*;
    Some(match code {
        Insb_m8_DX | Outsb_DX_m8 | In_AL_imm8 | In_AL_DX | Out_imm8_AL | Out_DX_AL => Width::W8,
        Insw_m16_DX | Outsw_DX_m16 | In_AX_imm8 | In_AX_DX | Out_imm8_AX | Out_DX_AX => Width::W16,
        Insd_m32_DX | Outsd_DX_m32 | In_EAX_imm8 | In_EAX_DX | Out_imm8_EAX | Out_DX_EAX => Width::W32,
        Call_ptr1616 | Call_m1616 | Jmp_ptr1616 | Jmp_m1616 | Retfw | Retfw_imm16 | Iretw => Width::W16,
        Call_ptr1632 | Call_m1632 | Jmp_ptr1632 | Jmp_m1632 | Retfd | Retfd_imm16 | Iretd => Width::W32,
        Call_m1664 | Jmp_m1664 | Retfq | Retfq_imm16 | Iretq => Width::W64,
        Les_r16_m1616 | Lds_r16_m1616 | Lss_r16_m1616 | Lfs_r16_m1616 | Lgs_r16_m1616 => Width::W16,
        Les_r32_m1632 | Lds_r32_m1632 | Lss_r32_m1632 | Lfs_r32_m1632 | Lgs_r32_m1632 => Width::W32,
        Lss_r64_m1664 | Lfs_r64_m1664 | Lgs_r64_m1664 => Width::W64,
        Pushfw | Popfw | Pushw_CS | Pushw_SS | Pushw_DS | Pushw_ES | Pushw_FS | Pushw_GS => Width::W16,
        Popw_SS | Popw_DS | Popw_ES | Popw_FS | Popw_GS => Width::W16,
        Pushfd | Popfd | Pushd_CS | Pushd_SS | Pushd_DS | Pushd_ES | Pushd_FS | Pushd_GS => Width::W32,
        Popd_SS | Popd_DS | Popd_ES | Popd_FS | Popd_GS => Width::W32,
        Pushfq | Popfq | Pushq_FS | Pushq_GS | Popq_FS | Popq_GS => Width::W64,
        Sysretd | Sysexitd => Width::W32,
        Sysretq | Sysexitq => Width::W64,
        // The 16-bit forms load 24 bits of the base.
        Lgdt_m1632_16 | Lidt_m1632_16 => Width::W16,
        Lgdt_m1632 | Lidt_m1632 | Sgdt_m1632 | Sidt_m1632 | Sgdt_m1632_16 | Sidt_m1632_16 => Width::W32,
        Lgdt_m1664 | Lidt_m1664 | Sgdt_m1664 | Sidt_m1664 => Width::W64,
        _ => return None,
    })
}
