//! Random instruction sequences from the decode table.
//!
//! Every sequence has a block of data that `sp`, `s0` and `t6` point into and that loads and stores stay inside;
//! no instruction writes these registers.

use c2w_decoders::riscv64::asm;
use c2w_decoders::riscv64::decode::{Insn, decode};
use c2w_decoders::riscv64::insns::{Op, ROWS};
use c2w_decoders::riscv64::names;
use c2w_decoders::riscv64::regs::{self, FpState, Privilege};
use c2w_decoders::riscv64::table::{Operand, Row};

/// A generator of pseudo-random numbers: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Registers that a block holds: fcsr in the place of x0, x1 to x31, f0 to f31.
pub(super) const REGISTERS: usize = 64;
/// Bytes of a block in front of the memory that instructions access, where the reserved registers point.
pub(super) const MEMORY: usize = 1024;
/// Bytes of that memory.
pub(super) const MEMORY_BYTES: usize = 512;
/// Registers that point to the memory: `sp`, `s0` and `t6`.
pub(super) const RESERVED: [u64; 3] = [2, 8, 31];

/// Instructions that are no function of registers and memory alone, or that QEMU's user mode does not have.
fn is_excluded(op: Op) -> bool {
    use Op::*;
    let calls = matches!(op, Ecall | Ebreak | Sret | Mret | Wfi | WrsNto | WrsSto);
    let fences = matches!(op, SfenceVma | SinvalVma | SfenceWInval | SfenceInvalIr);
    calls || fences || matches!(op, CboInval | CboClean | CboFlush)
}

/// A random sequence.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The machine code of each instruction, together with those that only make sense with it.
    pub insns: Vec<Vec<u8>>,
    /// The block's registers and memory before.
    pub before: Vec<u8>,
}

impl Sequence {
    /// The first `len` instructions of it.
    pub fn prefix(&self, len: usize) -> Sequence {
        Sequence { insns: self.insns[..len].to_vec(), before: self.before.clone() }
    }
}

/// Generates a sequence of about `len` instructions.
pub fn sequence(random: &mut Random, len: usize) -> Sequence {
    let mut insns: Vec<Vec<u8>> = Vec::new();
    while insns.len() < len {
        let next = one(random);
        insns.push([skip(random, &next), next].concat());
    }
    let mut before = vec![0; MEMORY + MEMORY_BYTES];
    for (index, register) in before.chunks_exact_mut(8).enumerate() {
        let value = if index < 32 { integer(random) } else { float(random) };
        register.copy_from_slice(&value.to_le_bytes());
    }
    // A valid rounding mode and any flags.
    let fcsr = random.below(5) << 5 | random.below(32);
    before[..8].copy_from_slice(&fcsr.to_le_bytes());
    Sequence { insns, before }
}

/// One instruction, or one with another that belongs to it.
fn one(random: &mut Random) -> Vec<u8> {
    if random.below(6) == 0 {
        return compressed(random);
    }
    loop {
        let op = random.pick(Op::ALL);
        let row = &ROWS[op as usize];
        if is_excluded(op) || row.ends_block && op != Op::FenceI && !is_float_csr(row) {
            continue;
        }
        let raw = word(random, row);
        if decoded(&raw.to_le_bytes()).op != op {
            continue;
        }
        let mut code = raw.to_le_bytes().to_vec();
        if matches!(op, Op::LrW | Op::LrD) {
            // The reservation holds if both use the same register; else the store fails.
            let sc = if op == Op::LrW { Op::ScW } else { Op::ScD };
            code.extend(word(random, &ROWS[sc as usize]).to_le_bytes());
        }
        if row.name.starts_with("fround") {
            // QEMU 10.0 drops these, and the flags they raise, where it finds that nothing reads the result.
            let number = raw >> 7 & 31;
            code.extend(assembled(&format!("fsd {}, 0(t6)", names::F[number as usize])));
        }
        return code;
    }
}

pub(super) fn decoded(code: &[u8]) -> Insn {
    let mode = regs::mode(Privilege::User, FpState::Dirty, 0);
    decode(code, mode).map_or(Insn::new(Op::Illegal, 0), |decoded| decoded.insn)
}

/// Whether the operands are those of a CSR instruction: these are kept to `fflags`, `frm` and `fcsr`.
fn is_float_csr(row: &Row) -> bool {
    row.operands().contains(&Operand::Csr)
}

/// A 32-bit instruction of a row with random operands.
fn word(random: &mut Random, row: &Row) -> u32 {
    let mut raw = random.draw() as u32 & !row.mask | row.bits;
    let mut put = |low: u32, len: u32, value: u64| {
        let mask = ((1u64 << len) - 1) as u32;
        raw = raw & !(mask << low) | (value as u32 & mask) << low;
    };
    let misaligned = random.below(8) == 0;
    for operand in row.operands() {
        match operand {
            Operand::Rd => put(7, 5, destination(random)),
            Operand::Rm => put(12, 3, random.pick(&[0, 1, 2, 3, 4, 7, 7, 7])),
            Operand::MemLoad => {
                put(15, 5, random.pick(&RESERVED));
                put(20, 12, offset(random, misaligned));
            }
            Operand::MemStore => {
                put(15, 5, random.pick(&RESERVED));
                let offset = offset(random, misaligned);
                put(7, 5, offset);
                put(25, 7, offset >> 5);
            }
            Operand::MemAtomic => put(15, 5, random.pick(&RESERVED)),
            Operand::Csr => {
                let immediate = row.operands().contains(&Operand::Zimm5);
                let writes_all = row.bits >> 12 & 3 == 1;
                // Writing `frm` a number that is a rounding mode is possible with an immediate only.
                let csr = if immediate && writes_all { random.pick(&[1, 2]) } else { 1 };
                put(20, 12, csr);
                if csr == 2 {
                    put(15, 5, random.below(5));
                } else if !immediate && random.below(4) == 0 {
                    put(20, 12, random.pick(&[2, 3]));
                    put(15, 5, 0);
                    put(12, 3, 2);
                }
            }
            _ => {}
        }
    }
    raw
}

/// An integer register that may be written.
fn destination(random: &mut Random) -> u64 {
    loop {
        let number = random.below(32);
        if !RESERVED.contains(&number) {
            return number;
        }
    }
}

fn offset(random: &mut Random, misaligned: bool) -> u64 {
    let offset = random.below(MEMORY_BYTES as u64 - 8);
    if misaligned { offset } else { offset & !7 }
}

/// A compressed instruction that keeps to the rules: found by trying.
fn compressed(random: &mut Random) -> Vec<u8> {
    loop {
        let raw = random.draw() as u16;
        let code = raw.to_le_bytes();
        if raw & 3 == 3 {
            continue;
        }
        let insn = decoded(&code);
        let row = match insn.op {
            Op::Illegal => continue,
            op if is_excluded(op) => continue,
            op => &ROWS[op as usize],
        };
        let is_reserved = |slot: u8| RESERVED.contains(&u64::from(slot));
        let accesses = row.operands().iter().any(|o| matches!(o, Operand::MemLoad | Operand::MemStore));
        let outside = !is_reserved(insn.rs1.0) || !(0..MEMORY_BYTES as i32 - 8).contains(&insn.imm);
        if row.ends_block || is_reserved(insn.rd.0) || accesses && outside {
            continue;
        }
        return code.to_vec();
    }
}

/// Sometimes a branch or jump over `next`.
fn skip(random: &mut Random, next: &[u8]) -> Vec<u8> {
    if random.below(8) != 0 {
        return Vec::new();
    }
    let distance = 4 + next.len();
    let (a, b) = (random.pick(&names::X), random.pick(&names::X));
    let link = names::X[destination(random) as usize];
    let text = match random.below(8) {
        0 => format!("beq {a}, {b}, {distance}"),
        1 => format!("bne {a}, {b}, {distance}"),
        2 => format!("blt {a}, {b}, {distance}"),
        3 => format!("bge {a}, {b}, {distance}"),
        4 => format!("bltu {a}, {b}, {distance}"),
        5 => format!("bgeu {a}, {b}, {distance}"),
        6 => format!("jal {link}, {distance}"),
        _ => format!("auipc ra, 0\njalr {link}, {}(ra)", distance + 4),
    };
    assembled(&text)
}

pub(super) fn assembled(text: &str) -> Vec<u8> {
    asm::assemble(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// An integer: random, small, or at an edge.
fn integer(random: &mut Random) -> u64 {
    const EDGES: [u64; 10] = [
        0,
        1,
        u64::MAX,
        1 << 63,
        i64::MAX as u64,
        0x8000_0000,
        0x7fff_ffff,
        0xffff_ffff,
        0xffff_ffff_8000_0000,
        0xff,
    ];
    match random.below(4) {
        0 => random.pick(&EDGES),
        1 => random.below(128).wrapping_sub(64),
        2 => random.draw() as i32 as u64,
        _ => random.draw(),
    }
}

/// A floating-point register: numbers of every format, at edges, near each other, and patterns that are none.
pub fn float(random: &mut Random) -> u64 {
    // Zero, one, infinity, quiet and signalling NaN, smallest and largest numbers; a sign may be added.
    const D: [u64; 9] = [
        0,
        0x3ff0_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        0x7ff0_0000_0000_0001,
        1,
        0x000f_ffff_ffff_ffff,
        0x0010_0000_0000_0000,
        0x7fef_ffff_ffff_ffff,
    ];
    const S: [u64; 9] =
        [0, 0x3f80_0000, 0x7f80_0000, 0x7fc0_0000, 0x7f80_0001, 1, 0x7f_ffff, 0x80_0000, 0x7f7f_ffff];
    const H: [u64; 9] = [0, 0x3c00, 0x7c00, 0x7e00, 0x7c01, 1, 0x3ff, 0x400, 0x7bff];
    let sign = random.below(2);
    // Few different exponents, so that sums cancel and products stay finite.
    let near = random.below(70);
    match random.below(11) {
        0 => random.pick(&D) | sign << 63,
        1 => ((random.pick(&S) | sign << 31) as u32) as u64 | 0xffff_ffff_0000_0000,
        2 => random.pick(&H) | sign << 15 | 0xffff_ffff_ffff_0000,
        3 => (random.below(1 << 52) | (1023 - 35 + near) << 52) | sign << 63,
        4 => (random.below(1 << 23) | (127 - 35 + near) << 23 | sign << 31) | 0xffff_ffff_0000_0000,
        5 => (random.below(1 << 10) | (1 + near % 30) << 10 | sign << 15) | 0xffff_ffff_ffff_0000,
        6 => ((random.below(1 << 20) as f64) / 16.0).to_bits() | sign << 63,
        7 => {
            u64::from(((random.below(1 << 14) as f32) / 16.0).to_bits()) | sign << 31 | 0xffff_ffff_0000_0000
        }
        8 => random.draw() | 0xffff_ffff_0000_0000,
        9 => random.draw() | 0xffff_ffff_ffff_0000,
        _ => random.draw(),
    }
}
