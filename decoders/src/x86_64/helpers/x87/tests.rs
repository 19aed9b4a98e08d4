//! When instructions do not run: switched off by control registers, or behind an exception that waits.

use super::unit::Unit;
use crate::x86_64::board::PcBoard;
use crate::x86_64::control::{CR0_EM, CR0_MP, CR0_TS, CR4_OSXSAVE};
use crate::x86_64::guest::X86_64;
use crate::x86_64::state::State;
use crate::x86_64::{flags, mode, regs, trap};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{BlockEnd, run_block};
use c2w_engine::guest::{Guest, TrapCause};
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::mem::ram::Ram;

const FLD1: &[u8] = &[0xd9, 0xe8];
const FWAIT: &[u8] = &[0x9b];
const FNSTSW: &[u8] = &[0xdf, 0xe0];
const FNINIT: &[u8] = &[0xdb, 0xe3];
const FNCLEX: &[u8] = &[0xdb, 0xe2];
const FLDCW: &[u8] = &[0xd9, 0x2f];
const FXSAVE: &[u8] = &[0x0f, 0xae, 0x07];
const XSAVE: &[u8] = &[0x0f, 0xae, 0x27];
const LOCK_FLD: &[u8] = &[0xf0, 0xd9, 0x07];

/// A vCPU with these bits changed in CR0 and CR4, and RDI at this address.
fn cpu(cr0: u64, cr4: u64, rdi: u64) -> Cpu<X86_64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let mut state = State::flat_64(3);
    state.cr0 ^= cr0;
    state.cr4 ^= cr4;
    let clock = Box::new(InstructionClock::new(1));
    let ram = Ram::new(Gpa(0), 0x4000);
    let mut cpu = Cpu::new(X86_64::new(state), ram, PcBoard::bare(), lines, attention, clock);
    flags::set_rflags(&mut cpu, 0);
    Unit::of(&mut cpu).init();
    cpu.slots[usize::from(regs::RDI.0)] = rdi;
    mode::refresh(&mut cpu);
    cpu
}

/// The exception that an instruction raises, if any.
fn raised(cpu: &mut Cpu<X86_64>, bytes: &[u8]) -> Option<TrapCause> {
    let decoded = X86_64::decode(bytes, cpu.mode()).expect("the instruction is complete");
    match run_block(cpu, Gva(0x1000), bytes.len() as u64, &[decoded.insn], &[0]) {
        BlockEnd::Trapped { trap, .. } => Some(trap.cause),
        _ => None,
    }
}

#[test]
fn control_registers_switch_off() {
    const NM: Option<TrapCause> = Some(trap::NO_FPU);
    const UD: Option<TrapCause> = Some(trap::UNDEFINED);
    const GP: Option<TrapCause> = Some(trap::PROTECTION);
    for (bytes, cr0, cr4, rdi, expected) in [
        (FLD1, 0, 0, 0x2000, None),
        (FLD1, CR0_TS, 0, 0x2000, NM),
        (FNINIT, CR0_EM, 0, 0x2000, NM),
        (FXSAVE, CR0_TS, 0, 0x2000, NM),
        (FXSAVE, 0, 0, 0x2008, GP),
        // FWAIT looks at TS only if MP, which is set, says so.
        (FWAIT, CR0_TS, 0, 0x2000, NM),
        (FWAIT, CR0_TS | CR0_MP, 0, 0x2000, None),
        (FWAIT, CR0_EM, 0, 0x2000, None),
        (XSAVE, 0, 0, 0x2000, UD),
        (XSAVE, CR0_TS, CR4_OSXSAVE, 0x2000, NM),
        (XSAVE, 0, CR4_OSXSAVE, 0x2020, GP),
        (XSAVE, CR0_EM, CR4_OSXSAVE, 0x2000, None),
        (LOCK_FLD, 0, 0, 0x2000, UD),
    ] {
        assert_eq!(raised(&mut cpu(cr0, cr4, rdi), bytes), expected, "{bytes:x?} {cr0:x} {cr4:x} {rdi:x}");
    }
}

#[test]
fn unmasked_exceptions_wait_for_the_next_instruction_that_looks() {
    const MF: Option<TrapCause> = Some(trap::X87_ERROR);
    for (bytes, expected) in
        [(FLD1, MF), (FWAIT, MF), (FLDCW, MF), (FNSTSW, None), (FNCLEX, None), (FNINIT, None), (FXSAVE, None)]
    {
        let mut cpu = cpu(0, 0, 0x2000);
        // Division by zero, which is unmasked only afterwards.
        Unit::of(&mut cpu).set_words(0x37f, 1 << 2);
        assert_eq!(raised(&mut cpu, FWAIT), None);
        Unit::of(&mut cpu).set_words(0x37b, 1 << 2);
        assert_eq!(raised(&mut cpu, bytes), expected, "{bytes:x?}");
    }
}
