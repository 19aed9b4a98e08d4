//! Random riscv64 instructions from random registers: the interpreter against QEMU's user mode.
//!
//! `C2W_RANDOM_SEED` and `C2W_RANDOM_ROUNDS` in the environment look elsewhere and further.

use c2w_conformance::qemu_user::{self, Program};
use c2w_conformance::riscv64::program::{BLOCK_BYTES, difference, program};
use c2w_conformance::riscv64::random::{Random, Sequence, sequence};
use c2w_conformance::riscv64::{HANDLER, user_machine};
use c2w_decoders::riscv64::board::RAM_BASE;
use c2w_engine::addr::Gpa;
use std::path::Path;

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
    for round in 0..setting("C2W_RANDOM_ROUNDS", 5) {
        let sequences: Vec<_> = (0..SEQUENCES).map(|_| sequence(&mut random, INSNS)).collect();
        let different = different(&sequences, scratch.path());
        let shown: String = different
            .iter()
            .take(PRINTED)
            .map(|(number, _)| {
                // The shortest beginning that differs ends with the instruction to blame.
                let whole = &sequences[*number];
                let prefixes: Vec<_> = (1..=whole.insns.len()).map(|len| whole.prefix(len)).collect();
                self::different(&prefixes, scratch.path()).swap_remove(0).1
            })
            .collect();
        assert!(different.is_empty(), "round {round}: {} sequences differ\n{shown}", different.len());
    }
}

/// The sequences that leave something else behind here than under QEMU, with descriptions.
fn different(sequences: &[Sequence], scratch: &Path) -> Vec<(usize, String)> {
    let layout = program(sequences);
    let ours = interpret(&layout.image, layout.data, sequences.len() * BLOCK_BYTES);
    let program = Program { base: RAM_BASE.0, image: layout.image, entry: 0 };
    let theirs = qemu_user::run(&program, scratch).unwrap();
    assert_eq!(ours.len(), theirs.len());
    let blocks = ours.chunks(BLOCK_BYTES).zip(theirs.chunks(BLOCK_BYTES));
    let described = blocks.zip(sequences).map(|((a, b), sequence)| difference(sequence, a, b));
    described.enumerate().filter_map(|(number, text)| Some((number, text?))).collect()
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
