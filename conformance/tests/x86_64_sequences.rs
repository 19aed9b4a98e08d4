//! What single instructions do not show: flags on their way from the instruction that leaves them to the one that reads
//! them, across blocks and in one, against the processor of the test machine.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use c2w_conformance::riscv64::random::Random;
use c2w_conformance::x86_64::compare::Bench;
use c2w_conformance::x86_64::generate::{Generator, Options};
use c2w_decoders::x86_64::flags::{AF, ARITHMETIC, DF};

/// Sequences of producers and a consumer of flags.
const SEQUENCES: usize = 20_000;
/// `mov eax, 0x11223344`, which a taken jump skips.
const SKIPPED: [u8; 5] = [0xb8, 0x44, 0x33, 0x22, 0x11];

/// A register other than RSP, by number.
fn register(random: &mut Random) -> u8 {
    random.pick(&[0, 1, 2, 3, 5, 6, 7])
}

/// Prefixes of an operand size.
fn size(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => vec![0x66],
        1 => vec![0x48 | random.below(2) as u8 | (random.below(2) as u8) << 2],
        2 => vec![0x40 | random.below(2) as u8 | (random.below(2) as u8) << 2],
        _ => Vec::new(),
    }
}

/// An instruction on registers that leaves flags, of which none but AF is ever undefined.
fn producer(random: &mut Random) -> Vec<u8> {
    let mut code = size(random);
    let both = 0xc0 | register(random) << 3 | register(random);
    let one = |extension: u8, random: &mut Random| 0xc0 | extension << 3 | register(random);
    match random.below(9) {
        // ADD to CMP, TEST, XADD, CMPXCHG.
        0..=2 => code.extend([(random.below(8) << 3 | random.below(4)) as u8, both]),
        3 => code.extend([0x84 | random.below(2) as u8, both]),
        4 => code.extend([0x0f, random.pick(&[0xc0, 0xc1, 0xb0, 0xb1]), both]),
        5 => code.extend([0x83, one(random.below(8) as u8, random), random.draw() as u8]),
        // INC, DEC, NEG.
        6 => code.extend([0xfe | random.below(2) as u8, one(random.below(2) as u8, random)]),
        7 => code.extend([0xf6 | random.below(2) as u8, one(3, random)]),
        // Shifts and rotations by 1: RCL and RCR read what was left.
        _ => code.extend([0xd0 | random.below(2) as u8, one(random.below(8) as u8, random)]),
    }
    code
}

/// An instruction that reads flags.
fn consumer(random: &mut Random) -> Vec<u8> {
    let condition = random.below(16) as u8;
    match random.below(7) {
        0 | 1 => [&[0x70 | condition, SKIPPED.len() as u8][..], &SKIPPED].concat(),
        2 => [&[0x0f, 0x80 | condition, SKIPPED.len() as u8, 0, 0, 0][..], &SKIPPED].concat(),
        3 => vec![0x0f, 0x90 | condition, 0xc0 | register(random)],
        4 => vec![0x48, 0x0f, 0x40 | condition, 0xc0 | register(random) << 3 | register(random)],
        // CMC, and ADC or SBB.
        5 => vec![0xf5],
        _ => vec![0x11 | (random.below(2) as u8) << 3, 0xc0 | register(random) << 3 | register(random)],
    }
}

#[test]
fn flags_reach_what_reads_them() {
    let mut random = Random(2);
    let mut bench = Bench::new(|| random.draw()).expect("tests may map the window");
    let options = Options { bits: 64, faults: false, segment_bases: false };
    let mut generator = Generator { random: Random(3), options };
    let mut problems = String::new();
    for _ in 0..SEQUENCES {
        let state = generator.state();
        let random = &mut generator.random;
        let mut code = Vec::new();
        for _ in 0..random.below(4) {
            code.extend(producer(random));
        }
        code.extend(consumer(random));
        let defined = (ARITHMETIC | DF) & !AF;
        problems.extend(bench.check_sequence(&code, &state, defined));
        assert!(problems.len() < 4000, "flags differ from the processor's:\n{problems}");
    }
    assert!(problems.is_empty(), "flags differ from the processor's:\n{problems}");
}
