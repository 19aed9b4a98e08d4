//! A small machine for tests of this guest: RAM, an unconnected board and an instruction clock.

use super::board::{BoardParts, RAM_BASE, VirtBoard};
use super::guest::{HartState, Riscv64, resume};
use c2w_devices::backend::char::NullChar;
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::machine::Machine;
use c2w_engine::mem::ram::Ram;

/// Pages of RAM.
const RAM_PAGES: u64 = 64;
/// Nanoseconds an instruction takes.
pub const NS_PER_INSN: u64 = 100;

/// A vCPU whose hart has the given registers, at the start of RAM.
pub fn cpu_with(state: HartState) -> Cpu<Riscv64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let parts = BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio: Vec::new() };
    let board = VirtBoard::new(parts, &lines, &attention);
    let ram = Ram::new(RAM_BASE, RAM_PAGES * PAGE_BYTES);
    let guest = Riscv64::try_from(state).expect("tests start from possible states");
    let clock = Box::new(InstructionClock::new(NS_PER_INSN));
    let mut cpu = Cpu::new(guest, ram, board, lines, attention, clock);
    cpu.pc = Gva(RAM_BASE.0);
    resume(&mut cpu);
    cpu
}

/// A vCPU at reset.
pub fn cpu() -> Cpu<Riscv64> {
    cpu_with(HartState::reset(0))
}

/// A machine at reset, with instructions at the start of RAM.
pub fn machine(insns: &[u32]) -> Machine<Riscv64> {
    let mut cpu = cpu();
    write_insns(&mut cpu, RAM_BASE, insns);
    Machine::new(cpu)
}

/// Writes instructions to memory.
pub fn write_insns(cpu: &mut Cpu<Riscv64>, at: Gpa, insns: &[u32]) {
    let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.to_le_bytes()).collect();
    cpu.ram.write(at, &bytes).expect("test code fits RAM");
}
