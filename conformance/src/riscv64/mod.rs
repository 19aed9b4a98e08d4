//! riscv64 machines for tests: RAM at the board's address, nothing connected, an instruction clock.

mod ins;
pub mod loops;
pub mod passes;
pub mod program;
pub mod random;

use c2w_decoders::riscv64::board::{BoardParts, RAM_BASE, VirtBoard};
use c2w_decoders::riscv64::csr::{self, CsrOp};
use c2w_decoders::riscv64::guest::{Riscv64, resume};
use c2w_decoders::riscv64::regs::Privilege;
use c2w_decoders::riscv64::status;
use c2w_devices::backend::char::NullChar;
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::host::wasmtime::{Host, Space};
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::jit::any::AnyTranslator;
use c2w_engine::jit::compiled::CompiledTranslator;
use c2w_engine::lower::wasm::Layout;
use c2w_engine::machine::Machine;
use c2w_engine::mem::ram::Ram;
use c2w_engine::vcpu::VcpuBacking;
pub use ins::InsMachine;

/// A machine in M-mode with zeroed registers and `ram_bytes` of RAM at [`RAM_BASE`], where it starts. Floating
/// point is on; every mode may access all memory.
pub fn machine(ram_bytes: u64) -> Machine<Riscv64> {
    machine_of(Ram::new(RAM_BASE, ram_bytes), None)
}

/// The vCPU of such a machine in the memory of a host for wasm code, that host, and where things are in the memory.
pub fn wasm_host(ram_bytes: u64) -> (Cpu<Riscv64>, Host<Riscv64>, Layout) {
    let space = Space::new(ram_bytes).expect("the host has memory for RAM");
    let machine = machine_of(Ram::with_backing(RAM_BASE, space.ram()), Some(space.vcpu()));
    (machine.cpu, Host::new(&space).expect("wasmtime starts"), space.layout())
}

/// The compilers whose code a machine can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// Cranelift, to code of this processor.
    Cranelift,
    /// wasm modules, in wasmtime.
    Wasm,
}

/// The same machine as [`machine`], translating what has run `threshold` times, at once.
pub fn compiling_machine(compiler: Compiler, ram_bytes: u64, threshold: u32) -> Machine<Riscv64> {
    match compiler {
        Compiler::Cranelift => {
            let mut machine = machine(ram_bytes);
            let host = c2w_engine::host::cranelift::Host::new(c2w_engine::jit::CODE_BYTES)
                .expect("Cranelift knows this processor");
            let translator = CompiledTranslator::new(host, threshold, false);
            machine.translate_by(AnyTranslator::Cranelift(Box::new(translator)));
            machine
        }
        Compiler::Wasm => {
            let (cpu, host, _) = wasm_host(ram_bytes);
            let mut machine = Machine::new(cpu);
            let translator = CompiledTranslator::new(host, threshold, false);
            machine.translate_by(AnyTranslator::Wasm(Box::new(translator)));
            machine
        }
    }
}

fn machine_of(ram: Ram, vcpu: Option<Box<dyn VcpuBacking>>) -> Machine<Riscv64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let parts = BoardParts { console: Box::new(NullChar), wall_clock: Box::new(|| 0), virtio: Vec::new() };
    let board = VirtBoard::new(parts, &lines, &attention);
    let clock = Box::new(InstructionClock::new(1));
    let guest = Riscv64::new(0);
    let mut cpu = Cpu::with_backing(vcpu, guest, ram, board, lines, attention, clock);
    cpu.pc = Gva(RAM_BASE.0);
    for (number, value) in
        [(PMPADDR0, u64::MAX), (PMPCFG0, PMP_NAPOT_RWX), (MENVCFG, u64::MAX), (SENVCFG, u64::MAX)]
    {
        csr::access(&mut cpu, number, CsrOp::Write(value), 0).expect("M-mode may write these registers");
    }
    cpu.guest.state.mstatus = status::with_fp_dirty(cpu.guest.state.mstatus);
    resume(&mut cpu);
    Machine::new(cpu)
}

// Numbers and fields of control and status registers (Priv. 2.2, 3.1.18, 3.7.1).
const PMPADDR0: u64 = 0x3b0;
const PMPCFG0: u64 = 0x3a0;
const PMP_NAPOT_RWX: u64 = 0x1f;
const MENVCFG: u64 = 0x30a;
const SENVCFG: u64 = 0x10a;

/// Where exceptions lead on a [`user_machine`]: the last page of its RAM.
pub const HANDLER: Gva = Gva(RAM_BASE.0 + USER_RAM_BYTES - PAGE_BYTES);
const USER_RAM_BYTES: u64 = 64 << 20;
/// `jal zero, 0`.
const STAY: [u8; 4] = [0x6f, 0, 0, 0];

/// A machine in U-mode with an image at the start of RAM, where it starts. Exceptions, system calls too, lead to
/// [`HANDLER`], where it stays.
///
/// # Panics
/// If the image does not fit in front of the handler.
pub fn user_machine(image: &[u8]) -> Machine<Riscv64> {
    user_code(machine(USER_RAM_BYTES), image)
}

/// The same, translating what has run `threshold` times, at once.
pub fn compiling_user_machine(compiler: Compiler, image: &[u8], threshold: u32) -> Machine<Riscv64> {
    user_code(compiling_machine(compiler, USER_RAM_BYTES, threshold), image)
}

fn user_code(mut machine: Machine<Riscv64>, image: &[u8]) -> Machine<Riscv64> {
    let cpu = &mut machine.cpu;
    assert!((image.len() as u64) < USER_RAM_BYTES - PAGE_BYTES, "the image fits RAM");
    for (at, bytes) in [(RAM_BASE, image), (Gpa(HANDLER.0), &STAY)] {
        cpu.ram.write(at, bytes).expect("both places are in RAM");
    }
    cpu.guest.state.mtvec = HANDLER.0;
    cpu.guest.state.privilege = Privilege::User;
    resume(cpu);
    machine
}
