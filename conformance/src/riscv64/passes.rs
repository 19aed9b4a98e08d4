//! Random programs that run again and again on two machines, of which one translates what has run before: both leave
//! the same behind.

use super::program::program;
use super::random::{Random, sequence};
use super::{HANDLER, user_machine};
use c2w_decoders::riscv64::board::RAM_BASE;
use c2w_decoders::riscv64::guest::{Riscv64, resume};
use c2w_decoders::riscv64::regs::Privilege;
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::machine::Machine;

const SEQUENCES: usize = 12;
const INSNS: usize = 24;
const PASSES: usize = 3;

/// Runs the program once more, from the same data.
fn run(machine: &mut Machine<Riscv64>, data: u64, bytes: &[u8]) {
    let cpu = &mut machine.cpu;
    cpu.ram.write(RAM_BASE.offset(data), bytes).expect("the program is in RAM");
    cpu.pc = Gva(RAM_BASE.0);
    cpu.guest.state.privilege = Privilege::User;
    resume(cpu);
    for _ in 0..1000 {
        machine.run(100);
        if machine.cpu.pc == HANDLER {
            return;
        }
    }
    panic!("the program does not end, at {}", machine.cpu.pc);
}

/// Runs so many programs on the interpreter and on machines that `translating` makes with an image.
///
/// # Panics
/// If they differ, or if less is translated than runs once.
pub fn compare(random: &mut Random, programs: u64, translating: impl Fn(&[u8]) -> Machine<Riscv64>) {
    let mut translated = 0;
    for number in 0..programs {
        let sequences: Vec<_> = (0..SEQUENCES).map(|_| sequence(random, INSNS)).collect();
        let layout = program(&sequences);
        let data = layout.data as u64;
        let (mut want, mut got) = (user_machine(&layout.image), translating(&layout.image));
        for pass in 0..PASSES {
            for machine in [&mut want, &mut got] {
                run(machine, data, &layout.image[layout.data..]);
            }
            let (want, got) = (&want.cpu, &got.cpu);
            assert!(want.slots[..] == got.slots[..], "program {number}, pass {pass}: registers");
            assert_eq!(want.guest.state.mcause, got.guest.state.mcause, "program {number}, pass {pass}");
            assert_eq!(want.guest.state.mepc, got.guest.state.mepc, "program {number}, pass {pass}");
            let memory = |cpu: &Cpu<Riscv64>| {
                let bytes = cpu.ram.slice(RAM_BASE, layout.image.len() as u64);
                bytes.expect("the program is in RAM").to_vec()
            };
            assert!(memory(want) == memory(got), "program {number}, pass {pass}: memory");
        }
        translated += got.translator_statistics().map_or(0, |statistics| statistics.retired);
    }
    let once = programs * SEQUENCES as u64 * INSNS as u64;
    assert!(translated > once, "{translated} instructions were translated");
}
