//! Every form of the x86_64 instructions that are lifted, with random operands, against the processor of the test
//! machine: registers, flags and memory, from the interpreter and from recorded IR. Only the flags that the manual
//! calls undefined are not compared.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use c2w_conformance::riscv64::random::Random;
use c2w_conformance::x86_64::native::{DATA, LEN_BYTES, Native};
use c2w_conformance::x86_64::{State, cpu, set_state, state};
use c2w_decoders::x86_64::decode::decode;
use c2w_decoders::x86_64::flags::{AF, ARITHMETIC, CF, OF, PF, SF, ZF};
use c2w_decoders::x86_64::guest::X86_64;
use c2w_decoders::x86_64::insn::{Insn, IntegerOp, Op, Operand};
use c2w_decoders::x86_64::mode::ModeBits;
use c2w_engine::addr::{Gpa, Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{BlockEnd, run_block, run_ir};
use c2w_engine::guest::{Guest, Mode};
use c2w_engine::ir::verify::verify;
use c2w_engine::record::record;
use std::fmt::Write as _;

/// 64-bit user code.
const USER: Mode = Mode(ModeBits::USER.union(ModeBits::SSE).bits());

/// Cases of each form.
const ROUNDS: usize = 100;
/// Sequences of producers and a consumer of flags.
const SEQUENCES: usize = 4000;

/// What follows the opcode and its operands.
#[derive(Clone, Copy)]
enum Imm {
    No,
    Byte,
    /// 2 or 4 bytes, by operand size.
    Full,
    /// 2, 4 or 8 bytes.
    Wide,
}

/// How the operands are encoded.
#[derive(Clone, Copy)]
enum Operands {
    /// In the opcode.
    Implied,
    /// A register in the low bits of the opcode.
    InOpcode,
    /// ModRM with two operands.
    Two,
    /// ModRM with two operands, of which one must be memory.
    OnlyMemory,
    /// ModRM with an opcode extension.
    One(u8),
}

/// A form: opcode, operands, immediate.
#[derive(Clone, Copy)]
struct Form(&'static [u8], Operands, Imm);

const MOVES: &[Form] = &[
    Form(&[0x88], Operands::Two, Imm::No),
    Form(&[0x89], Operands::Two, Imm::No),
    Form(&[0x8a], Operands::Two, Imm::No),
    Form(&[0x8b], Operands::Two, Imm::No),
    Form(&[0x8d], Operands::OnlyMemory, Imm::No),
    Form(&[0xb0], Operands::InOpcode, Imm::Byte),
    Form(&[0xb8], Operands::InOpcode, Imm::Wide),
    Form(&[0xc6], Operands::One(0), Imm::Byte),
    Form(&[0xc7], Operands::One(0), Imm::Full),
    Form(&[0x63], Operands::Two, Imm::No),
    Form(&[0x0f, 0xb6], Operands::Two, Imm::No),
    Form(&[0x0f, 0xb7], Operands::Two, Imm::No),
    Form(&[0x0f, 0xbe], Operands::Two, Imm::No),
    Form(&[0x0f, 0xbf], Operands::Two, Imm::No),
    Form(&[0x0f, 0x1f], Operands::One(0), Imm::No),
];

const STACK: &[Form] = &[
    Form(&[0x50], Operands::InOpcode, Imm::No),
    Form(&[0x58], Operands::InOpcode, Imm::No),
    Form(&[0x68], Operands::Implied, Imm::Full),
    Form(&[0x6a], Operands::Implied, Imm::Byte),
    Form(&[0xff], Operands::One(6), Imm::No),
    Form(&[0x8f], Operands::One(0), Imm::No),
];

const PRODUCTS: &[Form] = &[
    Form(&[0x69], Operands::Two, Imm::Full),
    Form(&[0x6b], Operands::Two, Imm::Byte),
    Form(&[0x0f, 0xaf], Operands::Two, Imm::No),
    Form(&[0xf6], Operands::One(5), Imm::No),
    Form(&[0xf7], Operands::One(5), Imm::No),
];

/// ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC: nothing but AF is ever undefined after them.
fn arithmetic() -> Vec<Form> {
    static OPCODES: [u8; 48] = {
        let mut opcodes = [0; 48];
        let mut i = 0;
        while i < 48 {
            opcodes[i] = (i / 6 * 8 + i % 6) as u8;
            i += 1;
        }
        opcodes
    };
    let mut forms = Vec::new();
    for (index, opcode) in OPCODES.iter().enumerate() {
        let (operands, imm) = match index % 6 {
            4 => (Operands::Implied, Imm::Byte),
            5 => (Operands::Implied, Imm::Full),
            _ => (Operands::Two, Imm::No),
        };
        forms.push(Form(std::slice::from_ref(opcode), operands, imm));
    }
    let forms_of = |forms: &mut Vec<Form>, opcode: &'static [u8], extensions: &[u8], imm| {
        forms.extend(extensions.iter().map(|&extension| Form(opcode, Operands::One(extension), imm)));
    };
    forms_of(&mut forms, &[0x80], &[0, 1, 2, 3, 4, 5, 6, 7], Imm::Byte);
    forms_of(&mut forms, &[0x81], &[0, 1, 2, 3, 4, 5, 6, 7], Imm::Full);
    forms_of(&mut forms, &[0x83], &[0, 1, 2, 3, 4, 5, 6, 7], Imm::Byte);
    forms_of(&mut forms, &[0xf6], &[0], Imm::Byte);
    forms_of(&mut forms, &[0xf7], &[0], Imm::Full);
    forms_of(&mut forms, &[0xfe], &[0, 1], Imm::No);
    forms_of(&mut forms, &[0xff], &[0, 1], Imm::No);
    forms.push(Form(&[0x84], Operands::Two, Imm::No));
    forms.push(Form(&[0x85], Operands::Two, Imm::No));
    forms.push(Form(&[0xa8], Operands::Implied, Imm::Byte));
    forms.push(Form(&[0xa9], Operands::Implied, Imm::Full));
    forms
}

/// SHL, SHR, SAR by an immediate, by 1 and by CL.
fn shifts() -> Vec<Form> {
    const BY: [(&[u8], Imm); 6] = [
        (&[0xc0], Imm::Byte),
        (&[0xc1], Imm::Byte),
        (&[0xd0], Imm::No),
        (&[0xd1], Imm::No),
        (&[0xd2], Imm::No),
        (&[0xd3], Imm::No),
    ];
    BY.iter()
        .flat_map(|&(opcode, imm)| [4, 5, 7].map(|extension| Form(opcode, Operands::One(extension), imm)))
        .collect()
}

/// Registers that point into the data, by number: with and without REX.B they are 3 and 6.
const POINTERS: [usize; 4] = [3, 6, 11, 14];
/// Registers that are small enough for an index; with REX.X they are 1 and 4.
const INDICES: [usize; 2] = [9, 12];

/// An encoding with random operands at address `at`. Memory is used only if `memory`.
fn encode(random: &mut Random, form: Form, memory: bool, at: u64, native_base: u64) -> Vec<u8> {
    let Form(opcode, operands, imm) = form;
    let movsxd = opcode == [0x63];
    let small = random.below(4) == 0 && !movsxd;
    let mut rex = if random.below(2) == 0 { 0x40 | random.below(16) as u8 } else { 0 };
    let (mut tail, mut relative_at) = (Vec::new(), None);
    let mut address_prefix = false;
    if let Operands::Two | Operands::OnlyMemory | Operands::One(_) = operands {
        let reg =
            if let Operands::One(extension) = operands { extension } else { random.below(8) as u8 } << 3;
        let must = matches!(operands, Operands::OnlyMemory);
        if !must && (!memory || random.below(2) == 0) {
            tail.push(0xc0 | reg | random.below(8) as u8);
        } else {
            address_prefix = random.below(8) == 0;
            let pointer = [3, 6][random.below(2) as usize];
            let mode = random.below(3) as u8;
            let scale = (random.below(4) as u8) << 6;
            match random.below(6) {
                0 => {
                    // Relative to the next instruction.
                    tail.push(reg | 5);
                    relative_at = Some(tail.len());
                    tail.extend([0; 4]);
                }
                1 => {
                    // Absolute.
                    rex &= !2;
                    tail.extend([reg | 4, scale | 0x25]);
                    tail.extend((native_base as u32 + DATA as u32 + random.below(4096) as u32).to_le_bytes());
                }
                2 => {
                    // The stack pointer.
                    rex &= !3;
                    tail.extend([0x40 | reg | 4, 0x24, random.below(64) as u8 & !7]);
                }
                3 => {
                    rex |= 0x42;
                    let index = [1, 4][random.below(2) as usize];
                    tail.extend([mode << 6 | reg | 4, scale | index << 3 | pointer]);
                    displacement(random, mode, &mut tail);
                }
                _ => {
                    tail.push(mode << 6 | reg | pointer);
                    displacement(random, mode, &mut tail);
                }
            }
        }
    }
    let wide = rex & 8 != 0;
    let imm_len = match imm {
        Imm::No => 0,
        Imm::Byte => 1,
        Imm::Wide if wide => 8,
        Imm::Full | Imm::Wide => {
            if small && !wide {
                2
            } else {
                4
            }
        }
    };
    let imm = if random.below(3) == 0 { random.below(256).wrapping_sub(128) } else { random.draw() };
    tail.extend(&imm.to_le_bytes()[..imm_len]);
    let mut code = Vec::new();
    if small {
        code.push(0x66);
    }
    if address_prefix {
        code.push(0x67);
    }
    if rex != 0 {
        code.push(rex);
    }
    code.extend(opcode);
    if let (Operands::InOpcode, Some(last)) = (operands, code.last_mut()) {
        *last |= random.below(8) as u8;
    }
    let tail_at = code.len();
    code.extend(tail);
    if let Some(field) = relative_at {
        let target = native_base + DATA as u64 + random.below(4096);
        let displacement = target.wrapping_sub(at + code.len() as u64) as u32;
        code[tail_at + field..tail_at + field + 4].copy_from_slice(&displacement.to_le_bytes());
    }
    code
}

fn displacement(random: &mut Random, mode: u8, tail: &mut Vec<u8>) {
    let value = random.below(256) as u8 as i8;
    match mode {
        1 => tail.push(value as u8),
        2 => tail.extend(i32::from(value).to_le_bytes()),
        _ => {}
    }
}

fn random_state(random: &mut Random, base: u64) -> State {
    const EDGES: [u64; 8] =
        [0, 1, u64::MAX, 1 << 63, i64::MAX as u64, 0x8000_0000, 0x7fff_ffff, 0x8080_8080_7f7f_8080];
    let mut state = State { flags: random.draw() & ARITHMETIC, ..State::default() };
    for value in &mut state.gpr {
        *value = match random.below(4) {
            0 => EDGES[random.below(8) as usize],
            1 => random.below(300).wrapping_sub(150),
            _ => random.draw(),
        };
    }
    for register in POINTERS {
        state.gpr[register] = base + DATA as u64 + 0x1000 + random.below(0x1000);
    }
    for register in INDICES {
        state.gpr[register] = random.below(64);
    }
    // The stack.
    state.gpr[4] = base + DATA as u64 + 0x4000 + random.below(0x100) * 8;
    state
}

/// The flags that are undefined after an instruction that starts in this state (SDM 2).
fn undefined(insn: &Insn, state: &State) -> u64 {
    let Op::Integer(op) = insn.op else { return 0 };
    match op {
        IntegerOp::And | IntegerOp::Or | IntegerOp::Xor | IntegerOp::Test => AF,
        IntegerOp::Imul | IntegerOp::ImulWide => SF | ZF | AF | PF,
        IntegerOp::Shl | IntegerOp::Shr | IntegerOp::Sar => {
            let given = if insn.operands[1] == Operand::Immediate { insn.imm as u64 } else { state.gpr[1] };
            let count = given & if insn.w == Width::W64 { 63 } else { 31 };
            let carry = op != IntegerOp::Sar && count >= u64::from(insn.w.bits());
            match count {
                0 => 0,
                1 => AF,
                _ => AF | OF | if carry { CF } else { 0 },
            }
        }
        _ => 0,
    }
}

/// Which builder runs our side.
#[derive(Clone, Copy, Debug)]
enum Tier {
    Eager,
    Ir,
}

/// The processor and a vCPU that has the same memory.
struct Bench {
    native: Native,
    cpu: Cpu<X86_64>,
    data: Vec<u8>,
    start: u64,
}

impl Bench {
    fn new(random: &mut Random) -> Self {
        let mut native = Native::new().expect("tests may map executable memory");
        let (start, _) = native.install(&[]);
        let cpu = cpu(Gpa(native.base()), LEN_BYTES as u64);
        let data = (DATA..LEN_BYTES).step_by(8).flat_map(|_| random.draw().to_le_bytes()).collect();
        Self { native, cpu, data, start }
    }

    /// Where the first instruction will be.
    fn at(&self) -> u64 {
        self.native.base() + self.start
    }

    /// Runs instructions everywhere and compares. `patch` is written into the data first.
    fn check(&mut self, code: &[u8], before: &State, patch: Option<(u64, u64)>, mask: u64) {
        let mut data = self.data.clone();
        let base = self.native.base();
        if let Some((address, value)) = patch {
            let at = (address - base) as usize - DATA;
            data[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let (start, end) = self.native.install(code);
        self.native.bytes()[DATA..].copy_from_slice(&data);
        // SAFETY: the generators give memory operands inside the data only, and code that runs to its end.
        let mut want = unsafe { self.native.run(before) };
        want.flags &= !mask;
        for tier in [Tier::Eager, Tier::Ir] {
            self.cpu.ram.write(Gpa(base + start), code).expect("the code is in memory");
            self.cpu.ram.write(Gpa(base + DATA as u64), &data).expect("the data is in memory");
            set_state(&mut self.cpu, before);
            run(&mut self.cpu, base + start, base + end, tier);
            let mut got = state(&mut self.cpu);
            got.flags &= !mask;
            let ours = self.cpu.ram.slice(Gpa(base + DATA as u64), data.len() as u64).unwrap();
            let same_memory = ours == &self.native.bytes()[DATA..];
            if got != want || !same_memory {
                panic!("{tier:?}: {}", report(code, before, &want, &got, same_memory));
            }
        }
    }
}

/// Runs blocks from one address to another.
fn run(cpu: &mut Cpu<X86_64>, from: u64, to: u64, tier: Tier) {
    let mut pc = from;
    for _ in 0..4 {
        if pc == to {
            return;
        }
        let bytes = cpu.ram.slice(Gpa(pc), to - pc).expect("code is in memory").to_vec();
        let (mut insns, mut offsets, mut at) = (Vec::new(), Vec::new(), 0);
        while at < bytes.len() {
            let decoded = decode(&bytes[at..], USER).expect("code ends with an instruction");
            insns.push(decoded.insn);
            offsets.push(at as u16);
            at += usize::from(decoded.len_bytes);
            if decoded.ends_block {
                break;
            }
        }
        let block = record::<X86_64>(&insns, &offsets, at as u16);
        verify(&block, X86_64::HELPERS).unwrap_or_else(|error| panic!("{error}: {insns:?}"));
        let end = match tier {
            Tier::Eager => run_block(cpu, Gva(pc), at as u64, &insns, &offsets),
            Tier::Ir => run_ir(cpu, Gva(pc), &block),
        };
        match end {
            BlockEnd::Next(next) => pc = next.0,
            other => panic!("{other:?}: {insns:?}"),
        }
    }
    panic!("{pc:#x} is not {to:#x}");
}

fn report(code: &[u8], before: &State, want: &State, got: &State, same_memory: bool) -> String {
    let mut text =
        format!("{code:02x?} {:?}\nmemory agrees: {same_memory}\n", decode(code, USER).map(|d| d.insn));
    for register in 0..16 {
        let (before, want, got) = (before.gpr[register], want.gpr[register], got.gpr[register]);
        let mark = if want == got { "" } else { "  <--" };
        let _ = writeln!(text, "{register:2}: {before:#018x} processor {want:#018x} here {got:#018x}{mark}");
    }
    let _ = writeln!(text, "flags {:#x} processor {:#x} here {:#x}", before.flags, want.flags, got.flags);
    text
}

#[test]
fn every_form() {
    let mut random = Random(1);
    let mut bench = Bench::new(&mut random);
    let (at, base) = (bench.at(), bench.native.base());
    let forms = [MOVES, STACK, PRODUCTS, &arithmetic(), &shifts()].concat();
    for form in forms {
        for _ in 0..ROUNDS {
            let code = encode(&mut random, form, true, at, base);
            let insn = decode(&code, USER).expect("an encoding is complete").insn;
            assert_eq!(usize::from(insn.len_bytes), code.len(), "{code:02x?} {insn:?}");
            assert_ne!(insn.op, Op::Raise, "{code:02x?}");
            let before = random_state(&mut random, base);
            let mask = undefined(&insn, &before);
            bench.check(&code, &before, None, mask);
        }
    }
}

/// `mov eax, 0x11223344`, which a taken jump skips.
const SKIPPED: [u8; 5] = [0xb8, 0x44, 0x33, 0x22, 0x11];

#[test]
fn flags_reach_what_reads_them() {
    let mut random = Random(2);
    let mut bench = Bench::new(&mut random);
    let (at, base) = (bench.at(), bench.native.base());
    let (arithmetic, shifts) = (arithmetic(), shifts());
    for _ in 0..SEQUENCES {
        let mut before = random_state(&mut random, base);
        before.gpr[1] = random.below(8);
        let mut code = Vec::new();
        let shifting = random.below(4) == 0;
        if shifting {
            let form = shifts[random.below(shifts.len() as u64) as usize];
            code = encode(&mut random, form, false, at, base);
        } else {
            for _ in 0..random.below(3) {
                let form = arithmetic[random.below(arithmetic.len() as u64) as usize];
                code.extend(encode(&mut random, form, false, at, base));
            }
        }
        let mut mask = if code.is_empty() { 0 } else { AF };
        // After a shift by more than 1 only what does not depend on OF is defined, and CF up to the width.
        let mut condition = random.below(16) as u8;
        if shifting {
            let insn = decode(&code, USER).expect("an encoding is complete").insn;
            mask |= undefined(&insn, &before);
            let needs = |flag| mask & flag != 0;
            if needs(CF) || needs(OF) {
                condition = [4, 5, 8, 9, 10, 11][random.below(6) as usize];
            }
        }
        if random.below(2) == 0 {
            code.extend([0x70 | condition, SKIPPED.len() as u8]);
        } else {
            code.extend([0x0f, 0x80 | condition, SKIPPED.len() as u8, 0, 0, 0]);
        }
        code.extend(SKIPPED);
        bench.check(&code, &before, None, mask);
    }
}

#[test]
fn calls_returns_and_jumps() {
    let mut random = Random(3);
    let mut bench = Bench::new(&mut random);
    let (at, base) = (bench.at(), bench.native.base());
    // Relative ones skip an instruction; the others go to an address in r10 or where rbx points, behind the code.
    let relative: [&[u8]; 3] = [&[0xe8, 5, 0, 0, 0], &[0xeb, 5], &[0xe9, 5, 0, 0, 0]];
    for code in relative {
        let before = random_state(&mut random, base);
        bench.check(&[code, &SKIPPED].concat(), &before, None, 0);
    }
    let indirect: [&[u8]; 4] = [&[0x41, 0xff, 0xd2], &[0x41, 0xff, 0xe2], &[0xff, 0x13], &[0xff, 0x23]];
    for code in indirect {
        let mut before = random_state(&mut random, base);
        let code = [code, &SKIPPED].concat();
        let target = at + code.len() as u64;
        before.gpr[10] = target;
        bench.check(&code, &before, Some((before.gpr[3], target)), 0);
    }
    let returns: [&[u8]; 2] = [&[0xc3], &[0xc2, 0x18, 0]];
    for code in returns {
        let before = random_state(&mut random, base);
        let code = [code, &SKIPPED].concat();
        bench.check(&code, &before, Some((before.gpr[4], at + code.len() as u64)), 0);
    }
}
