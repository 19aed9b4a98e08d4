//! Random loops that walk through memory, interpreted and translated side by side: forwards and backwards, over the ends of
//! pages, with flags and vectors that pass from turn to turn. After every few instructions both machines are the same.

#![cfg(all(unix, target_arch = "x86_64"))]

use c2w_conformance::riscv64::random::Random;
use c2w_conformance::x86_64::{RAM_BASE, go_on, go_on_anywhere, user_machine, wasm_user_machine};
use c2w_decoders::x86_64::guest::X86_64;
use c2w_decoders::x86_64::regs;
use c2w_engine::machine::Machine;
use std::ops::{Range, RangeInclusive};

const PROGRAMS: u64 = 300;
/// Those that are checked in lock step, too.
const CHECKED_PROGRAMS: u64 = 80;
/// How often a block is run before it is translated.
const TRANSLATE_AFTER: u32 = 2;
/// Runs of each program.
const RUNS: usize = 300;
/// Where programs have their data, from the start of RAM, and how much of it they may touch.
const DATA: u64 = 0x10_0000;
const DATA_BYTES: u64 = 0x4_0000;
/// MXCSR with all exceptions masked.
const ALL_MASKED: u64 = 0x1f80;
/// Registers that programs compute with. RSI and RDI walk, RBX counts up, RCX counts turns down, RSP points to a stack.
const REGISTERS: [u8; 6] = [0, 2, 5, 8, 9, 10];

/// A register that walks, and the displacement of a place near it.
#[derive(Clone, Copy)]
struct Walk {
    register: u8,
    step: i8,
    aligned: bool,
}

/// A program: some registers, and a loop that is entered again when it ends.
fn program(random: &mut Random) -> Vec<u8> {
    let aligned = random.below(2) == 0;
    let offset = |random: &mut Random| {
        let offset = 0x2_0000 + random.below(0x1000) as i32;
        if aligned { offset & !15 } else { offset }
    };
    let mut code = Vec::new();
    // lea rsi, rdi and rsp, [rip+..]
    for (register, at) in [(6u8, offset(random)), (7, offset(random)), (4, 0x1_0000)] {
        let end = code.len() as i32 + 7;
        code.extend([0x48, 0x8d, 0x05 | register << 3]);
        code.extend((DATA as i32 + at - end).to_le_bytes());
    }
    let most = random.pick(&[8, 900, 900, 900]);
    let turns = 1 + random.below(most) as i32;
    code.extend([0x31, 0xdb, 0xb9]); // xor ebx, ebx; mov ecx, turns
    code.extend(turns.to_le_bytes());
    let start = code.len();
    let walks = [6, 7].map(|register| {
        let step = random.pick(&[0, 1, 4, 8, 16, 16, 32, 48, 100]) * random.pick(&[1, -1]);
        Walk { register, step: if aligned { step & !15 } else { step }, aligned }
    });
    let mut body: Vec<Vec<u8>> = (0..1 + random.below(8)).map(|_| instruction(random, walks)).collect();
    for walk in walks {
        // add register, step
        let place = random.below(body.len() as u64 + 1) as usize;
        body.insert(place, vec![0x48, 0x83, 0xc0 | walk.register, walk.step as u8]);
    }
    // lea rbx, [rbx+1]
    let place = random.below(body.len() as u64 + 1) as usize;
    body.insert(place, vec![0x48, 0x8d, 0x5b, 0x01]);
    code.extend(body.concat());
    // dec ecx leaves the carry; sub ecx, 1 does not.
    code.extend_from_slice(random.pick(&[&[0xff, 0xc9][..], &[0x83, 0xe9, 0x01]]));
    code.extend([0x0f, 0x85]); // jne
    code.extend((start as i32 - (code.len() as i32 + 4)).to_le_bytes());
    code.push(0xe9); // jmp
    code.extend((-(code.len() as i32 + 4)).to_le_bytes());
    code
}

/// Opcode bytes with a ModRM byte for a register and memory near one that walks.
fn memory(random: &mut Random, walk: Walk, before: &[u8], opcode: &[u8], reg: u8, mask: u8) -> Vec<u8> {
    let rex = 0x40 | u8::from(before.is_empty()) << 3 | (reg >> 3) << 2;
    let mut code = [before, &[rex], opcode].concat();
    if !walk.aligned && random.below(4) == 0 {
        // [register + rbx * scale]
        code.extend([0x44 | (reg & 7) << 3, (random.below(4) as u8) << 6 | 3 << 3 | walk.register]);
    } else {
        code.push(0x40 | (reg & 7) << 3 | walk.register);
    }
    code.push(random.below(128) as u8 & mask);
    code
}

fn instruction(random: &mut Random, walks: [Walk; 2]) -> Vec<u8> {
    let walk = random.pick(&walks);
    let [a, b] = [(); 2].map(|()| random.pick(&REGISTERS));
    let (xmm, other, condition) = (random.below(8) as u8, random.below(8) as u8, random.below(16) as u8);
    let (alu, bit) = ((random.below(8) as u8) << 3, random.below(2) as u8);
    let registers = |opcode: &[u8]| {
        [&[0x48 | (a >> 3) << 2 | b >> 3][..], opcode, &[0xc0 | (a & 7) << 3 | b & 7]].concat()
    };
    match random.below(16) {
        0 => memory(random, walk, &[], &[0x8b], a, 0xff), // mov a, [..]
        1 => memory(random, walk, &[], &[alu | 3], a, 0xff), // alu a, [..]
        2 => memory(random, walk, &[], &[alu | 1], a, 0xff), // alu [..], a
        3 => memory(random, walk, &[], &[0x88], a, 0xff), // mov [..], a as a byte
        4 => memory(random, walk, &[], &[0x0f, 0xb7], a, 0xff), // movzx a, word [..]
        5 => memory(random, walk, &[], &[0x0f, 0xbe], a, 0xff), // movsx a, byte [..]
        6 | 7 => {
            // movdqa where that is aligned, movdqu
            let prefix = if walk.aligned { 0x66 } else { 0xf3 };
            memory(random, walk, &[prefix], &[0x0f, 0x6f | bit << 4], xmm, 0xf0)
        }
        // movups, movsd
        8 => memory(random, walk, &[0x66], &[0x0f, 0x10 | bit], xmm, 0xff),
        9 => memory(random, walk, &[0xf2], &[0x0f, 0x10 | bit], xmm, 0xff),
        // paddd, pcmpgtb, pshufb; addps, divps, sqrtps, which may take a NaN or a denormal
        10 => [&[0x66, 0x0f, random.pick(&[0xfe, 0x64, 0xef])][..], &[0xc0 | xmm << 3 | other]].concat(),
        11 => vec![0x0f, random.pick(&[0x58, 0x5e, 0x51]), 0xc0 | xmm << 3 | other],
        12 => registers(&[random.pick(&[0x11, 0x19, 0x01, 0x89])]), // adc, sbb, add, mov
        13 => registers(&[0x0f, 0x40 | condition]),                 // cmovcc
        14 => registers(&[0x0f, 0xaf]),                             // imul
        _ => vec![0x50 | a & 7, 0x58 | b & 7]
            .into_iter()
            .zip([a, b])
            .flat_map(|(opcode, register)| [0x40 | register >> 3, opcode]) // push a; pop b
            .collect(),
    }
}

fn native(code: &[u8]) -> Machine<X86_64> {
    let mut machine = user_machine(code);
    assert!(machine.translate(TRANSLATE_AFTER), "this host runs generated code");
    machine
}

fn wasm(code: &[u8]) -> Machine<X86_64> {
    wasm_user_machine(code, TRANSLATE_AFTER)
}

fn checked(mut machine: Machine<X86_64>) -> Machine<X86_64> {
    machine.verify();
    machine
}

#[test]
fn translated_walks_go_as_interpreted_ones() {
    compare(1..=PROGRAMS, native, go_on);
}

#[test]
fn walks_in_wasm_go_as_interpreted_ones() {
    compare(1..=PROGRAMS, wasm, go_on_anywhere);
}

/// What lock step does and takes back again changes nothing, and it finds nothing.
#[test]
fn checked_walks_go_as_interpreted_ones() {
    compare(1..=CHECKED_PROGRAMS, |code| checked(native(code)), go_on);
}

#[test]
fn checked_walks_in_wasm_go_as_interpreted_ones() {
    compare(1..=CHECKED_PROGRAMS, |code| checked(wasm(code)), go_on_anywhere);
}

/// How both machines go on for about so many instructions, and what of memory is compared then.
type GoOn = fn(&mut Machine<X86_64>, &mut Machine<X86_64>, u64, Range<u64>) -> Option<String>;

fn compare(seeds: RangeInclusive<u64>, translating: impl Fn(&[u8]) -> Machine<X86_64>, go_on: GoOn) {
    for seed in seeds {
        let mut random = Random(seed);
        let code = program(&mut random);
        let (mut want, mut got) = (user_machine(&code), translating(&code));
        let data: Vec<u8> = (0..DATA_BYTES).map(|_| random.draw() as u8).collect();
        for machine in [&mut want, &mut got] {
            machine.cpu.ram.write(RAM_BASE.offset(DATA), &data).expect("data is in RAM");
            machine.cpu.slots[usize::from(regs::MXCSR.0)] = ALL_MASKED;
        }
        for run in 0..RUNS {
            if random.below(8) == 0 {
                got.cpu.tlb.flush();
            }
            let most = random.pick(&[10, 500, 5000]);
            let budget = 1 + random.below(most);
            let memory = if run % 16 == 0 || run + 1 == RUNS { DATA..DATA + DATA_BYTES } else { 0..0 };
            if let Some(difference) = go_on(&mut want, &mut got, budget, memory) {
                panic!("program {seed}, after run {run}: {difference}\n{code:02x?}");
            }
        }
        let retired = got.translator_statistics().expect("it translates").retired;
        assert!(retired > 1000, "program {seed} ran only {retired} instructions translated");
    }
}
