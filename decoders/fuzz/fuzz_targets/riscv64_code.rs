//! Guest code from anywhere on a whole board: the input is the code at the start of RAM, behind a byte that says in
//! which privilege it starts and a byte for each of some pointers in registers.

#![no_main]

use c2w_decoders::riscv64::board::{BoardParts, RAM_BASE, VirtBoard};
use c2w_decoders::riscv64::guest::{HartState, Riscv64, resume};
use c2w_decoders::riscv64::regs::{self, Privilege};
use c2w_devices::backend::char::NullChar;
use c2w_engine::addr::Gva;
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::machine::{Exit, Machine};
use c2w_engine::mem::ram::Ram;
use libfuzzer_sys::fuzz_target;

const RAM_BYTES: u64 = 1 << 18;
/// Most code of an input: the rest of RAM is for page tables and data.
const CODE_BYTES: usize = 1 << 14;
const HEADER_BYTES: usize = 8;
/// Budgets of instructions, so that every program ends.
const SLICES: u32 = 20;
const SLICE_INSNS: u64 = 200;

/// What registers point at: code, data, the devices, nothing, and both ends of the address space.
const POINTERS: [u64; 12] = [
    RAM_BASE.0,
    RAM_BASE.0 + 0x8000,
    RAM_BASE.0 + 0x8ffc,
    RAM_BASE.0 + RAM_BYTES - 4,
    0x10_0000,
    0x10_1000,
    0x200_4000,
    0xc00_0000,
    0x1000_0000,
    0x1000_1000,
    8 << 60 | (RAM_BASE.0 + 0x8000) >> 12,
    u64::MAX - 3,
];

fn machine(header: &[u8], code: &[u8]) -> Machine<Riscv64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let parts = BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio: Vec::new() };
    let board = VirtBoard::new(parts, &lines, &attention);
    let mut ram = Ram::new(RAM_BASE, RAM_BYTES);
    ram.write(RAM_BASE, &code[..code.len().min(CODE_BYTES)]).expect("code fits RAM");
    let mut state = HartState::reset(0);
    state.privilege = match header[0] & 3 {
        0 => Privilege::User,
        1 => Privilege::Supervisor,
        _ => Privilege::Machine,
    };
    state.builtin_sbi = header[0] & 4 != 0;
    state.mtvec = RAM_BASE.0;
    state.stvec = RAM_BASE.0 + 0x40;
    // All of memory for every privilege, else nothing but M-mode would get anywhere.
    state.pmp.cfg[0] = 0x1f;
    state.pmp.addr[0] = (1 << 54) - 1;
    let guest = Riscv64::try_from(state).expect("this state is possible");
    let clock = Box::new(InstructionClock::new(100));
    let mut cpu = Cpu::new(guest, ram, board, lines, attention, clock);
    cpu.pc = Gva(RAM_BASE.0);
    for number in 1..32 {
        let choice = header[1 + number as usize % (HEADER_BYTES - 1)].wrapping_add(number);
        cpu.slots[regs::x(number).0 as usize] = POINTERS[choice as usize % POINTERS.len()];
    }
    resume(&mut cpu);
    Machine::new(cpu)
}

fuzz_target!(|data: &[u8]| {
    let Some((header, code)) = data.split_at_checked(HEADER_BYTES) else { return };
    let mut machine = machine(header, code);
    for _ in 0..SLICES {
        match machine.run(SLICE_INSNS) {
            Exit::Budget => {}
            Exit::Waiting { deadline_ns: Some(deadline_ns) } => {
                let retired = machine.cpu.retired;
                machine.cpu.clock.skip_to(deadline_ns, retired);
            }
            Exit::Waiting { deadline_ns: None } => break,
            Exit::Request(_) | Exit::Diverged => break,
        }
    }
    // Whatever happened, the hart is in a state that a saved machine may have.
    let state = HartState::from(machine.cpu.guest.clone());
    assert!(Riscv64::try_from(state.clone()).is_ok(), "a running hart got into {state:?}");
});
