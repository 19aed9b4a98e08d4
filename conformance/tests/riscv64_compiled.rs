//! Random riscv64 code leaves the same machine behind whether it is interpreted or compiled, to wasm or by
//! Cranelift.

use c2w_conformance::riscv64::program::program;
use c2w_conformance::riscv64::random::{Random, sequence};
use c2w_conformance::riscv64::{Compiler, HANDLER, compiling_user_machine, user_machine};
use c2w_decoders::riscv64::board::RAM_BASE;
use c2w_decoders::riscv64::guest::{Riscv64, resume};
use c2w_decoders::riscv64::regs::Privilege;
use c2w_engine::addr::Gva;
use c2w_engine::machine::Machine;

const PROGRAMS: u64 = 24;
const SEQUENCES: usize = 12;
const INSNS: usize = 24;

/// Runs the program once more, from the same data.
fn run(machine: &mut Machine<Riscv64>, data: u64, bytes: &[u8]) {
    let cpu = &mut machine.cpu;
    cpu.ram.write(RAM_BASE.offset(data), bytes).unwrap();
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

#[test]
fn wasm_leaves_the_same_behind() {
    leaves_the_same_behind(Compiler::Wasm);
}

#[test]
fn cranelift_leaves_the_same_behind() {
    leaves_the_same_behind(Compiler::Cranelift);
}

fn leaves_the_same_behind(compiler: Compiler) {
    let mut random = Random(7);
    let mut translated = 0;
    for number in 0..PROGRAMS {
        let sequences: Vec<_> = (0..SEQUENCES).map(|_| sequence(&mut random, INSNS)).collect();
        let layout = program(&sequences);
        let data = layout.data as u64;
        let (mut want, mut got) =
            (user_machine(&layout.image), compiling_user_machine(compiler, &layout.image, 1));
        for pass in 0..3 {
            for machine in [&mut want, &mut got] {
                run(machine, data, &layout.image[layout.data..]);
            }
            let (want, got) = (&want.cpu, &got.cpu);
            assert!(want.slots[..] == got.slots[..], "program {number}, pass {pass}: registers");
            assert_eq!(want.guest.state.mcause, got.guest.state.mcause, "program {number}, pass {pass}");
            assert_eq!(want.guest.state.mepc, got.guest.state.mepc, "program {number}, pass {pass}");
            let len_bytes = layout.image.len() as u64;
            let memory =
                |cpu: &c2w_engine::cpu::Cpu<Riscv64>| cpu.ram.slice(RAM_BASE, len_bytes).unwrap().to_vec();
            assert!(memory(want) == memory(got), "program {number}, pass {pass}: memory");
        }
        translated += got.translator_statistics().map_or(0, |statistics| statistics.retired);
    }
    assert!(
        translated > PROGRAMS * SEQUENCES as u64 * INSNS as u64,
        "{translated} instructions were translated"
    );
}
