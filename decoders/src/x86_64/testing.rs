//! A small machine for tests of this guest.

use super::board::PcBoard;
use super::guest::X86_64;
use super::mode;
use super::state::State;
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{BlockEnd, run_block};
use c2w_engine::emit::Slot;
use c2w_engine::guest::{Guest, Trap};
use c2w_engine::ir::verify::verify;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::machine::Machine;
use c2w_engine::mem::ram::Ram;
use c2w_engine::record::record;

/// Pages of RAM, from address 0.
const RAM_PAGES: u64 = 64;
/// Where code is put.
pub const CODE: u64 = 0x8000;
/// Where the stack ends.
pub const STACK: u64 = 0x2_0000;

/// A vCPU with this state, over a board without devices.
pub fn cpu_with(state: State) -> Cpu<X86_64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let ram = Ram::new(Gpa(0), RAM_PAGES * PAGE_BYTES);
    let clock = Box::new(InstructionClock::new(1));
    let mut cpu = Cpu::new(X86_64::new(state), ram, PcBoard::bare(), lines, attention, clock);
    cpu.pc = Gva(CODE);
    cpu.slots[usize::from(super::regs::RSP.0)] = STACK;
    super::flags::set_rflags(&mut cpu, 0);
    super::mmu::select_space(&mut cpu);
    mode::refresh(&mut cpu);
    cpu
}

/// Executes one instruction, put at [`CODE`]: the address it continues at, or the trap it raises. What is recorded of it
/// must keep the rules of the IR, too.
pub fn step(cpu: &mut Cpu<X86_64>, code: &[u8]) -> Result<u64, Trap> {
    start(cpu, CODE, code);
    // Something always follows: decoding looks behind what it refuses.
    let mut bytes = code.to_vec();
    bytes.resize(15, 0x90);
    let decoded = X86_64::decode(&bytes, cpu.mode()).expect("no instruction is longer");
    let (insns, offsets, len_bytes) = ([decoded.insn], [0], decoded.len_bytes);
    let block = record::<X86_64>(&insns, &offsets, len_bytes.into(), &[]);
    assert_eq!(verify(&block, X86_64::HELPERS), Ok(()), "{code:x?}");
    match run_block(cpu, Gva(CODE), len_bytes.into(), &insns, &offsets) {
        BlockEnd::Next(pc) | BlockEnd::Cut { next: pc, .. } => Ok(pc.0),
        BlockEnd::Trapped { trap, .. } => Err(trap),
    }
}

/// A vCPU in flat 64-bit code at privilege level 0.
pub fn cpu() -> Cpu<X86_64> {
    cpu_with(State::flat_64(0))
}

/// A machine around a vCPU, with code at [`CODE`].
pub fn machine(mut cpu: Cpu<X86_64>, code: &[u8]) -> Machine<X86_64> {
    cpu.ram.write(Gpa(CODE), code).expect("test code fits RAM");
    Machine::new(cpu)
}

/// Writes bytes to RAM.
pub fn write(cpu: &mut Cpu<X86_64>, at: u64, bytes: &[u8]) {
    cpu.ram.write(Gpa(at), bytes).expect("test data fits RAM");
}

/// Writes numbers to RAM.
pub fn write_words(cpu: &mut Cpu<X86_64>, at: u64, words: &[u64]) {
    for (word, i) in words.iter().zip(0..) {
        write(cpu, at + 8 * i, &word.to_le_bytes());
    }
}

/// Reads a number from RAM.
pub fn word(cpu: &Cpu<X86_64>, at: u64) -> u64 {
    cpu.ram.read_u64(Gpa(at)).expect("test data is in RAM")
}

/// Sets a register.
pub fn set(cpu: &mut Cpu<X86_64>, slot: Slot, value: u64) {
    cpu.slots[usize::from(slot.0)] = value;
}

/// Reads a register.
pub fn get(cpu: &Cpu<X86_64>, slot: Slot) -> u64 {
    cpu.slots[usize::from(slot.0)]
}

/// Puts code at an address, which is where execution goes on.
pub fn start(cpu: &mut Cpu<X86_64>, at: u64, code: &[u8]) {
    write(cpu, at, code);
    cpu.pc = Gva(at);
}
