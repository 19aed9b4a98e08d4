//! The compressed encodings (C, Zca, Zcd and Zcb): each is another encoding of an instruction of the table
//! (Unpriv. 27 and 28.1).

use super::decode::{Insn, field, signed, x_written};
use super::insns::Op;
use super::regs;

/// Register number of a 3-bit register field at bit `low`.
const fn short(raw: u32, low: u32) -> u32 {
    8 + field(raw, low, 3)
}

const RA: u32 = 1;
const SP: u32 = 2;

/// Operands as the expansion names them: register numbers and the immediate.
#[derive(Clone, Copy, Default)]
struct Parts {
    rd: u32,
    rs1: u32,
    rs2: u32,
    imm: i32,
}

/// Decodes a 16-bit encoding, in a mode where everything is allowed.
pub(super) fn decode(raw: u16) -> Insn {
    let raw = u32::from(raw);
    let expanded = match raw & 3 {
        0 => quadrant0(raw),
        1 => quadrant1(raw),
        _ => quadrant2(raw),
    };
    let Some((op, parts)) = expanded else { return Insn::new(Op::Illegal, raw) };
    let x = |number: u32| regs::x(number as u8);
    let f = |number: u32| regs::f(number as u8);
    let mut insn = Insn {
        rd: x_written(parts.rd),
        rs1: x(parts.rs1),
        rs2: x(parts.rs2),
        imm: parts.imm,
        ..Insn::new(op, raw)
    };
    match op {
        Op::Fld => insn.rd = f(parts.rd),
        Op::Fsd => insn.rs2 = f(parts.rs2),
        _ => {}
    }
    insn
}

/// Loads and stores through the eight popular registers, and sums with the stack pointer.
fn quadrant0(raw: u32) -> Option<(Op, Parts)> {
    let base = Parts { rd: short(raw, 2), rs1: short(raw, 7), rs2: short(raw, 2), imm: 0 };
    let word = (field(raw, 10, 3) << 3 | field(raw, 6, 1) << 2 | field(raw, 5, 1) << 6) as i32;
    let double = (field(raw, 10, 3) << 3 | field(raw, 5, 2) << 6) as i32;
    let load = |op, imm| Some((op, Parts { rs2: 0, imm, ..base }));
    let store = |op, imm| Some((op, Parts { rd: 0, imm, ..base }));
    match field(raw, 13, 3) {
        0 => {
            let imm = field(raw, 11, 2) << 4
                | field(raw, 7, 4) << 6
                | field(raw, 6, 1) << 2
                | field(raw, 5, 1) << 3;
            let parts = Parts { rd: short(raw, 2), rs1: SP, rs2: 0, imm: imm as i32 };
            // An immediate of zero is reserved; all zeros is the defined illegal instruction.
            (imm != 0).then_some((Op::Addi, parts))
        }
        1 => load(Op::Fld, double),
        2 => load(Op::Lw, word),
        3 => load(Op::Ld, double),
        4 => {
            // Zcb: byte and halfword accesses.
            let byte = (field(raw, 5, 1) << 1 | field(raw, 6, 1)) as i32;
            let half = (field(raw, 5, 1) << 1) as i32;
            match (field(raw, 10, 3), field(raw, 6, 1)) {
                (0, _) => load(Op::Lbu, byte),
                (1, 0) => load(Op::Lhu, half),
                (1, _) => load(Op::Lh, half),
                (2, _) => store(Op::Sb, byte),
                (3, 0) => store(Op::Sh, half),
                _ => None,
            }
        }
        5 => store(Op::Fsd, double),
        6 => store(Op::Sw, word),
        _ => store(Op::Sd, double),
    }
}

/// Immediates, arithmetic, jumps and branches.
fn quadrant1(raw: u32) -> Option<(Op, Parts)> {
    let rd = field(raw, 7, 5);
    let imm = signed(field(raw, 12, 1) << 5 | field(raw, 2, 5), 6);
    match field(raw, 13, 3) {
        0 => Some((Op::Addi, Parts { rd, rs1: rd, rs2: 0, imm })),
        1 => (rd != 0).then_some((Op::Addiw, Parts { rd, rs1: rd, rs2: 0, imm })),
        2 => Some((Op::Addi, Parts { rd, imm, ..Parts::default() })),
        3 if rd == SP => {
            let low = field(raw, 6, 1) << 4 | field(raw, 2, 1) << 5 | field(raw, 5, 1) << 6;
            let imm = signed(low | field(raw, 3, 2) << 7 | field(raw, 12, 1) << 9, 10);
            (imm != 0).then_some((Op::Addi, Parts { rd, rs1: rd, rs2: 0, imm }))
        }
        3 => (imm != 0).then_some((Op::Lui, Parts { rd, imm: imm << 12, ..Parts::default() })),
        4 => arithmetic(raw, imm),
        5 => {
            let low = field(raw, 3, 3) << 1
                | field(raw, 11, 1) << 4
                | field(raw, 2, 1) << 5
                | field(raw, 7, 1) << 6;
            let mid = field(raw, 6, 1) << 7 | field(raw, 9, 2) << 8 | field(raw, 8, 1) << 10;
            let imm = signed(low | mid | field(raw, 12, 1) << 11, 12);
            Some((Op::Jal, Parts { imm, ..Parts::default() }))
        }
        branch => {
            let low = field(raw, 3, 2) << 1 | field(raw, 10, 2) << 3 | field(raw, 2, 1) << 5;
            let imm = signed(low | field(raw, 5, 2) << 6 | field(raw, 12, 1) << 8, 9);
            let op = if branch == 6 { Op::Beq } else { Op::Bne };
            Some((op, Parts { rs1: short(raw, 7), imm, ..Parts::default() }))
        }
    }
}

/// Arithmetic on the eight popular registers; `imm` is the 6-bit immediate.
fn arithmetic(raw: u32, imm: i32) -> Option<(Op, Parts)> {
    let rd = short(raw, 7);
    let with_imm = |op, imm| Some((op, Parts { rd, rs1: rd, rs2: 0, imm }));
    let with_reg = |op| Some((op, Parts { rd, rs1: rd, rs2: short(raw, 2), imm: 0 }));
    let unary = |op| Some((op, Parts { rd, rs1: rd, ..Parts::default() }));
    match (field(raw, 10, 2), field(raw, 12, 1), field(raw, 5, 2)) {
        (0, _, _) => with_imm(Op::Srli, imm & 63),
        (1, _, _) => with_imm(Op::Srai, imm & 63),
        (2, _, _) => with_imm(Op::Andi, imm),
        (_, 0, 0) => with_reg(Op::Sub),
        (_, 0, 1) => with_reg(Op::Xor),
        (_, 0, 2) => with_reg(Op::Or),
        (_, 0, _) => with_reg(Op::And),
        (_, _, 0) => with_reg(Op::Subw),
        (_, _, 1) => with_reg(Op::Addw),
        // Zcb: multiplication, extensions and complement.
        (_, _, 2) => with_reg(Op::Mul),
        _ => match field(raw, 2, 3) {
            0 => with_imm(Op::Andi, 0xff),
            1 => unary(Op::SextB),
            2 => unary(Op::ZextH),
            3 => unary(Op::SextH),
            4 => unary(Op::AddUw),
            5 => with_imm(Op::Xori, -1),
            _ => None,
        },
    }
}

/// Accesses relative to the stack pointer, moves and jumps through registers.
fn quadrant2(raw: u32) -> Option<(Op, Parts)> {
    let rd = field(raw, 7, 5);
    let rs2 = field(raw, 2, 5);
    let high = field(raw, 12, 1);
    let load_double = (field(raw, 5, 2) << 3 | high << 5 | field(raw, 2, 3) << 6) as i32;
    let load_word = (field(raw, 4, 3) << 2 | high << 5 | field(raw, 2, 2) << 6) as i32;
    let store_double = (field(raw, 10, 3) << 3 | field(raw, 7, 3) << 6) as i32;
    let store_word = (field(raw, 9, 4) << 2 | field(raw, 7, 2) << 6) as i32;
    let load = |op, imm| Some((op, Parts { rd, rs1: SP, rs2: 0, imm }));
    let store = |op, imm| Some((op, Parts { rd: 0, rs1: SP, rs2, imm }));
    let jump = |link| Some((Op::Jalr, Parts { rd: link, rs1: rd, ..Parts::default() }));
    match field(raw, 13, 3) {
        0 => Some((Op::Slli, Parts { rd, rs1: rd, rs2: 0, imm: (high << 5 | rs2) as i32 })),
        1 => load(Op::Fld, load_double),
        2 if rd != 0 => load(Op::Lw, load_word),
        3 if rd != 0 => load(Op::Ld, load_double),
        4 => match (high, rd, rs2) {
            (0, 0, 0) => None,
            (0, _, 0) => jump(0),
            (0, _, _) => Some((Op::Add, Parts { rd, rs1: 0, rs2, imm: 0 })),
            (_, 0, 0) => Some((Op::Ebreak, Parts::default())),
            (_, _, 0) => jump(RA),
            _ => Some((Op::Add, Parts { rd, rs1: rd, rs2, imm: 0 })),
        },
        5 => store(Op::Fsd, store_double),
        6 => store(Op::Sw, store_word),
        7 => store(Op::Sd, store_double),
        _ => None,
    }
}
