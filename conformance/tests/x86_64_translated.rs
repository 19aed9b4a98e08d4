//! Random programs of many blocks, interpreted and translated side by side: after every few instructions both vCPUs and
//! their memory are the same, so nothing that translated code puts off is missing where it is left.

#![cfg(all(unix, target_arch = "x86_64"))]

use c2w_conformance::riscv64::random::Random;
use c2w_conformance::x86_64::{go_on, user_machine};
use c2w_decoders::x86_64::guest::X86_64;
use c2w_engine::addr::PAGE_BYTES;
use c2w_engine::machine::Machine;

const PROGRAMS: u64 = 200;
/// Those that are checked in lock step, too.
const CHECKED_PROGRAMS: u64 = 50;
/// Runs of each program, of a few instructions each.
const RUNS: usize = 600;
const BLOCKS: usize = 14;
/// Registers that programs compute with; RSI and RSP point to memory.
const REGISTERS: [u8; 7] = [0, 1, 2, 3, 7, 8, 9];

/// A program: blocks of random instructions, each with a conditional jump to a random one at its end.
fn program(random: &mut Random) -> Vec<u8> {
    // Some work where two pages meet.
    let data = 0x10_0000 + random.pick(&[0, 0, 0xfd0]);
    let stack = random.pick(&[0x200, 0x2d]);
    let mut code = [&[0x48, 0x8d, 0x35][..], &i32::to_le_bytes(data)].concat(); // lea rsi, [rip+data]
    code.extend([&[0x48, 0x8d, 0xa6][..], &i32::to_le_bytes(stack)].concat()); // lea rsp, [rsi+stack]
    let (mut starts, mut jumps) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        starts.push(code.len());
        for _ in 0..random.below(6) {
            code.extend(instruction(random));
        }
        let (a, b) = (register(random), register(random));
        let test = random.pick(&[0x39, 0x85, 0x29, 0x01]);
        code.extend(two_registers(random, &[test], a, b));
        if random.below(3) == 0 {
            // A second jump on the same flags: its block starts with flags of another.
            code.extend([0x0f, 0x80 | random.below(16) as u8, 0, 0, 0, 0]);
            jumps.push(code.len());
        }
        code.extend([0x0f, 0x80 | random.below(16) as u8, 0, 0, 0, 0]);
        jumps.push(code.len());
    }
    code.extend([0xe9, 0, 0, 0, 0]);
    jumps.push(code.len());
    for end in jumps {
        let to = starts[random.below(BLOCKS as u64) as usize];
        code[end - 4..end].copy_from_slice(&(to as i32 - end as i32).to_le_bytes());
    }
    code
}

fn register(random: &mut Random) -> u8 {
    REGISTERS[random.below(REGISTERS.len() as u64) as usize]
}

/// An instruction on two registers of 32 or 64 bits.
fn two_registers(random: &mut Random, opcode: &[u8], reg: u8, rm: u8) -> Vec<u8> {
    let rex = 0x40 | (random.below(2) as u8) << 3 | (reg >> 3) << 2 | rm >> 3;
    [&[rex], opcode, &[0xc0 | (reg & 7) << 3 | rm & 7]].concat()
}

/// An instruction on a register and memory.
fn memory(random: &mut Random, opcode: &[u8], reg: u8) -> Vec<u8> {
    let rex = 0x40 | (random.below(2) as u8) << 3 | (reg >> 3) << 2;
    [&[rex], opcode, &[0x46 | (reg & 7) << 3, random.below(64) as u8]].concat()
}

fn instruction(random: &mut Random) -> Vec<u8> {
    let (a, b, alu) = (register(random), register(random), random_alu(random));
    let (bit, condition, byte) = (random.below(2) as u8, random.below(16) as u8, random.below(64) as u8);
    let shift = random.pick(&[0, 1, 4, 5, 7]);
    match random.below(23) {
        0 => two_registers(random, &[alu], a, b),
        1 => memory(random, &[alu | 2], a),
        2 => memory(random, &[alu], a),
        3 => two_registers(random, &[0x8b], a, b),
        4 => two_registers(random, &[0x0f, 0xaf], a, b),
        5 => two_registers(random, &[0x0f, 0x40 | condition], a, b),
        6 => two_registers(random, &[0x0f, 0x90 | condition], 0, a),
        7 => [two_registers(random, &[0xc1], shift, a), vec![byte]].concat(),
        8 => two_registers(random, &[0xd3], shift, a),
        9 => two_registers(random, &[0xff], bit, a),
        10 => two_registers(random, &[0x0f, 0xb6 | bit | (condition & 1) << 3], a, b),
        11 => memory(random, &[0x0f, 0xc1], a),
        12 => memory(random, &[0x0f, 0xb1], a),
        13 => vec![0x9c, 0x5a],                       // pushfq; pop rdx
        14 => vec![0x51, 0x5b],                       // push rcx; pop rbx
        15 => vec![0x0f, 0xa2],                       // cpuid
        16 => vec![random.pick(&[0xf8, 0xf9, 0xf5])], // clc, stc, cmc
        17 => {
            let opcode = random.pick(&[0xbc, 0xbd, 0xa3, 0xa5]);
            two_registers(random, &[0x0f, opcode], a, b)
        }
        18 => two_registers(random, &[0xf7], 2 + (condition & 3), a),
        // paddd, psubd, pxor, pcmpeqd
        19 => vec![0x66, 0x0f, random.pick(&[0xfe, 0xfa, 0xef, 0x76]), 0xc0 | byte],
        // movq between xmm0 and a general register
        20 => vec![0x66, 0x48, 0x0f, random.pick(&[0x6e, 0x7e]), 0xc0 | condition & 3],
        // crc32 of a byte, or of four or eight
        21 => [vec![0xf2], two_registers(random, &[0x0f, 0x38, 0xf0 | bit], a, b)].concat(),
        // movdqu between xmm0 and memory
        _ => vec![0xf3, 0x0f, random.pick(&[0x6f, 0x7f]), 0x46, byte],
    }
}

/// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, to be read as `memory, register`.
fn random_alu(random: &mut Random) -> u8 {
    (random.below(8) as u8) << 3 | 1
}

#[test]
fn translated_programs_go_as_interpreted_ones() {
    compare(1..=PROGRAMS, |_| {});
}

/// What lock step does and takes back again changes nothing, and it finds nothing.
#[test]
fn checked_programs_go_as_interpreted_ones() {
    compare(1..=CHECKED_PROGRAMS, Machine::verify);
}

fn compare(seeds: std::ops::RangeInclusive<u64>, prepare: impl Fn(&mut Machine<X86_64>)) {
    for seed in seeds {
        let mut random = Random(seed);
        let code = program(&mut random);
        let (mut want, mut got) = (user_machine(&code), user_machine(&code));
        assert!(got.translate(2), "this host runs generated code");
        prepare(&mut got);
        for run in 0..RUNS {
            let budget = 1 + random.below(60);
            let memory = 0x10_0000..0x10_0000 + 2 * PAGE_BYTES;
            if let Some(difference) = go_on(&mut want, &mut got, budget, memory) {
                panic!("program {seed}, after run {run}: {difference}\n{code:02x?}");
            }
        }
        let retired = got.translator_statistics().expect("it translates").retired;
        assert!(retired > 1000, "program {seed} ran only {retired} instructions translated");
    }
}
