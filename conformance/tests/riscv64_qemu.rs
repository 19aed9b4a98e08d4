//! Random riscv64 instructions from random registers: the interpreter against QEMU's user mode.
//!
//! `C2W_RANDOM_SEED` and `C2W_RANDOM_ROUNDS` in the environment look elsewhere and further.

use c2w_conformance::qemu_user::{self, Program};
use c2w_conformance::riscv64::random::{BLOCK_BYTES, Random, difference, program, sequence};
use c2w_conformance::riscv64::{HANDLER, user_machine};
use c2w_decoders::riscv64::board::RAM_BASE;
use c2w_engine::addr::Gpa;

/// Sequences in a program, and instructions in a sequence.
const SEQUENCES: usize = 2000;
const INSNS: usize = 12;
/// Differences that are printed.
const PRINTED: usize = 5;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect("settings are decimal numbers"))
}

#[test]
fn random_instructions() {
    let mut random = Random(setting("C2W_RANDOM_SEED", 1));
    let scratch = tempfile::tempdir().unwrap();
    for round in 0..setting("C2W_RANDOM_ROUNDS", 3) {
        let sequences: Vec<_> = (0..SEQUENCES).map(|_| sequence(&mut random, INSNS)).collect();
        let layout = program(&sequences);
        let ours = interpret(&layout.image, layout.data, SEQUENCES * BLOCK_BYTES);
        let program = Program { base: RAM_BASE.0, image: layout.image, entry: 0 };
        let theirs = qemu_user::run(&program, scratch.path()).unwrap();
        let blocks = ours.chunks(BLOCK_BYTES).zip(theirs.chunks(BLOCK_BYTES));
        let differences: Vec<String> =
            blocks.zip(&sequences).filter_map(|((a, b), sequence)| difference(sequence, a, b)).collect();
        let shown = differences.iter().take(PRINTED).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(differences.is_empty(), "round {round}: {} sequences differ\n{shown}", differences.len());
        assert_eq!(ours.len(), theirs.len());
    }
}

/// Runs the program up to its first system call and returns its data.
fn interpret(image: &[u8], data: usize, len: usize) -> Vec<u8> {
    let mut machine = user_machine(image);
    while machine.cpu.pc != HANDLER {
        machine.run(1_000_000);
    }
    let state = &machine.cpu.guest.state;
    assert_eq!(state.mcause, 8, "exception at {:#x}, value {:#x}", state.mepc, state.mtval);
    machine.cpu.ram.slice(Gpa(RAM_BASE.0 + data as u64), len as u64).unwrap().to_vec()
}
