//! x86_64 instructions on our vCPU, and on the real processor that the tests run on.

pub mod approximate;
pub mod excluded;
pub mod features;
pub mod forms;
pub mod generate;
pub mod loops;
pub mod ours;
pub mod programs;
pub mod state;
pub mod system;
mod tune;
pub mod undefined;
pub mod values;
pub mod window;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod compare;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod kvm;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod makers;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod native;

use c2w_decoders::x86_64::board::PcBoard;
use c2w_decoders::x86_64::guest::X86_64;
use c2w_decoders::x86_64::state::State as SystemState;
use c2w_decoders::x86_64::{flags, mode};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::host::wasmtime::{self, Space};
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::jit::any::AnyTranslator;
use c2w_engine::jit::compiled::CompiledTranslator;
use c2w_engine::machine::{Backing, Machine};
use std::ops::Range;

/// Start of RAM of a [`user_machine`].
pub const RAM_BASE: Gpa = Gpa(0x1000_0000);
const USER_RAM_BYTES: u64 = 64 << 20;

/// A machine in user mode over memory that is mapped as it is, with an image at the start of RAM, where it starts.
/// Exceptions reset it.
///
/// # Panics
/// If the image does not fit.
pub fn user_machine(image: &[u8]) -> Machine<X86_64> {
    let mut cpu = user_vcpu(None, USER_RAM_BYTES);
    cpu.ram.write(RAM_BASE, image).expect("the image fits RAM");
    Machine::new(cpu)
}

/// The same, translating to wasm what has run `threshold` times, at once.
///
/// # Panics
/// If the image does not fit, or there is no memory for RAM.
pub fn wasm_user_machine(image: &[u8], threshold: u32) -> Machine<X86_64> {
    let space = Space::new(USER_RAM_BYTES).expect("the host has memory for RAM");
    let mut cpu = user_vcpu(Some(space.backing()), USER_RAM_BYTES);
    cpu.ram.write(RAM_BASE, image).expect("the image fits RAM");
    let mut machine = Machine::new(cpu);
    let host = wasmtime::Host::new(&space).expect("wasmtime starts");
    let translator = CompiledTranslator::new(host, threshold, false);
    machine.translate_by(AnyTranslator::Wasm(Box::new(translator)));
    machine
}

/// The vCPU of such a machine, with this much RAM.
///
/// # Panics
/// If there is no memory for it.
pub fn user_vcpu(backing: Option<Backing>, ram_bytes: u64) -> Cpu<X86_64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let clock = Box::new(InstructionClock::new(1));
    let guest = X86_64::new(SystemState::flat_64(3));
    let (ram, vcpu) = Backing::take(backing, RAM_BASE, ram_bytes).expect("the host has memory for RAM");
    let mut cpu = Cpu::with_backing(vcpu, guest, ram, PcBoard::bare(), lines, attention, clock);
    cpu.pc = Gva(RAM_BASE.0);
    flags::set_rflags(&mut cpu, flags::IF);
    mode::refresh(&mut cpu);
    cpu
}

/// Lets a machine that translates go on for about so many instructions, and one that interprets go as far, since translated
/// code looks at its budget less often but stops between two blocks, too. Gives in what they differ then, or what lock step
/// has found.
///
/// # Panics
/// If there is no such memory.
pub fn go_on(
    want: &mut Machine<X86_64>,
    got: &mut Machine<X86_64>,
    budget: u64,
    memory: Range<u64>,
) -> Option<String> {
    let exit = got.run(budget);
    if let Some(divergence) = got.divergence() {
        return Some(divergence.to_string());
    }
    let wanted = want.run(got.cpu.retired - want.cpu.retired);
    if wanted != exit {
        return Some(format!("it ended with {exit:?}, not with {wanted:?}"));
    }
    difference(want, got, memory)
}

/// The same of programs that nothing interrupts, where translated code may stop between any two instructions.
///
/// # Panics
/// If there is no such memory.
pub fn go_on_anywhere(
    want: &mut Machine<X86_64>,
    got: &mut Machine<X86_64>,
    budget: u64,
    memory: Range<u64>,
) -> Option<String> {
    got.run(budget);
    if let Some(divergence) = got.divergence() {
        return Some(divergence.to_string());
    }
    want.interpret_to(got.cpu.retired);
    difference(want, got, memory)
}

/// What differs between two machines: registers, counts, or memory that far from the start of RAM.
///
/// # Panics
/// If there is no such memory.
pub fn difference(
    want: &mut Machine<X86_64>,
    got: &mut Machine<X86_64>,
    memory: Range<u64>,
) -> Option<String> {
    let counts = |machine: &Machine<X86_64>| (machine.cpu.pc, machine.cpu.retired);
    if counts(want) != counts(got) {
        return Some(format!("at {:x?} instead of {:x?}", counts(got), counts(want)));
    }
    let slots = want.cpu.slots.iter().zip(got.cpu.slots.iter()).enumerate();
    if let Some((slot, (want, got))) = slots.into_iter().find(|(_, (want, got))| want != got) {
        return Some(format!("slot {slot} is {got:#x} instead of {want:#x}"));
    }
    let bytes = |machine: &Machine<X86_64>| {
        let bytes = machine.cpu.ram.slice(RAM_BASE.offset(memory.start), memory.end - memory.start);
        bytes.expect("programs work in RAM").to_vec()
    };
    (bytes(want) != bytes(got)).then(|| "memory differs".into())
}
