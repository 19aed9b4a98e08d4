//! x86_64 instructions on a bare vCPU, and on the real processor that the tests run on.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;

use c2w_decoders::x86_64::board::PcBoard;
use c2w_decoders::x86_64::guest::X86_64;
use c2w_decoders::x86_64::state::State as SystemState;
use c2w_decoders::x86_64::{flags, mode, regs};
use c2w_engine::addr::Gpa;
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::mem::ram::Ram;

/// A vCPU in user mode over zeroed memory that is mapped as it is.
pub fn cpu(base: Gpa, len_bytes: u64) -> Cpu<X86_64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let clock = Box::new(InstructionClock::new(1));
    let guest = X86_64::new(SystemState::flat_64(3));
    let mut cpu = Cpu::new(guest, Ram::new(base, len_bytes), PcBoard::bare(), lines, attention, clock);
    flags::set_rflags(&mut cpu, 0);
    mode::refresh(&mut cpu);
    cpu
}

/// What instructions compute with: general registers by number, and the arithmetic flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// General registers.
    pub gpr: [u64; 16],
    /// The arithmetic flags at their places in EFLAGS.
    pub flags: u64,
}

/// Gives a vCPU these registers.
pub fn set_state(cpu: &mut Cpu<X86_64>, state: &State) {
    cpu.slots[..16].copy_from_slice(&state.gpr);
    flags::set_rflags(cpu, state.flags);
}

/// The registers of a vCPU.
pub fn state(cpu: &mut Cpu<X86_64>) -> State {
    let mut gpr = [0; 16];
    for (number, value) in (0..).zip(&mut gpr) {
        *value = cpu.slots[regs::gpr(number).0 as usize];
    }
    State { gpr, flags: flags::rflags(cpu) & flags::ARITHMETIC }
}
