//! A small assembler over the instruction table, for tests and benchmarks: the text that the disassembler writes,
//! with labels as jump targets.

use super::insns::{Op, ROWS};
use super::lift::f::CONSTANTS;
use super::names;
use super::table::{Operand, Row};
use std::collections::HashMap;

/// Why a line could not be assembled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AsmError {
    /// No instruction has this name.
    #[error("line {line}: unknown instruction `{name}`")]
    UnknownInstruction {
        /// Counted from 1.
        line: usize,
        /// As written.
        name: String,
    },
    /// An operand is missing, malformed, out of range, or one too many.
    #[error("line {line}: bad operand `{operand}`")]
    BadOperand {
        /// Counted from 1.
        line: usize,
        /// As written; empty if missing.
        operand: String,
    },
}

/// Assembles lines of `[label:] [instruction] [# comment]` to little-endian machine code, 4 bytes an instruction.
///
/// # Errors
/// The first line that is not understood.
pub fn assemble(text: &str) -> Result<Vec<u8>, AsmError> {
    let mut labels = HashMap::new();
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.split('#').next().unwrap_or("").trim();
        while let Some((label, after)) = rest.split_once(':') {
            labels.insert(label.trim(), 4 * lines.len() as i64);
            rest = after.trim();
        }
        if !rest.is_empty() {
            lines.push((number + 1, rest));
        }
    }
    let mut code = Vec::with_capacity(4 * lines.len());
    for (index, &(line, text)) in lines.iter().enumerate() {
        let here = 4 * index as i64;
        let resolve = |name: &str| labels.get(name).map(|at| at - here);
        code.extend_from_slice(&encode(line, text, resolve)?.to_le_bytes());
    }
    Ok(code)
}

fn encode(line: usize, text: &str, resolve: impl Fn(&str) -> Option<i64>) -> Result<u32, AsmError> {
    let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
    let (row, ordering) =
        find(name).ok_or_else(|| AsmError::UnknownInstruction { line, name: name.to_owned() })?;
    let mut given = operands.split(',').map(str::trim).filter(|operand| !operand.is_empty());
    let mut raw = row.bits;
    for &operand in row.operands() {
        let text = match operand {
            Operand::AqRl => {
                raw |= ordering << 25;
                continue;
            }
            Operand::Rm => given.next().unwrap_or("dyn").to_owned(),
            Operand::Fence => format!("{},{}", given.next().unwrap_or(""), given.next().unwrap_or("")),
            _ => given.next().unwrap_or("").to_owned(),
        };
        raw |= operand_bits(operand, &text, &resolve).ok_or(AsmError::BadOperand { line, operand: text })?;
    }
    match given.next() {
        None => Ok(raw),
        Some(extra) => Err(AsmError::BadOperand { line, operand: extra.to_owned() }),
    }
}

/// The line of the table for a name, and the ordering bits that its suffix says.
fn find(name: &str) -> Option<(&'static Row, u32)> {
    Op::ALL.iter().map(|&op| &ROWS[op as usize]).find_map(|row| {
        let suffix = name.strip_prefix(row.name)?;
        let last = if row.operands().contains(&Operand::AqRl) { 3 } else { 0 };
        let ordering = names::ORDERING[..=last].iter().position(|&s| s == suffix)?;
        Some((row, ordering as u32))
    })
}

/// The bits that an operand puts into the encoding.
fn operand_bits(operand: Operand, text: &str, resolve: &impl Fn(&str) -> Option<i64>) -> Option<u32> {
    let x = |shift: u32| Some(position(&names::X, text)? << shift);
    let f = |shift: u32| Some(position(&names::F, text)? << shift);
    let unsigned = |bits: u32, shift: u32| Some((in_range(number(text)?, 0, 1 << bits)? as u32) << shift);
    Some(match operand {
        Operand::Rd => x(7)?,
        Operand::Rs1 => x(15)?,
        Operand::Rs2 => x(20)?,
        Operand::Fd => f(7)?,
        Operand::Fs1 => f(15)?,
        Operand::Fs2 => f(20)?,
        Operand::Fs3 => f(27)?,
        Operand::Rm => position(&names::ROUNDING, text)? << 12,
        Operand::Imm12 => immediate_i(number(text)?)?,
        Operand::Imm20 => unsigned(20, 12)?,
        Operand::Bimm12 => {
            let d = displacement(text, resolve, 1 << 12)?;
            (d >> 12 & 1) << 31 | (d >> 5 & 63) << 25 | (d >> 1 & 15) << 8 | (d >> 11 & 1) << 7
        }
        Operand::Jimm20 => {
            let d = displacement(text, resolve, 1 << 20)?;
            (d >> 20 & 1) << 31 | (d >> 1 & 0x3ff) << 21 | (d >> 11 & 1) << 20 | (d >> 12 & 0xff) << 12
        }
        Operand::MemLoad => {
            let (offset, base) = memory(text)?;
            immediate_i(offset)? | base << 15
        }
        Operand::MemStore => {
            let (offset, base) = memory(text)?;
            let offset = in_range(offset, -2048, 2048)? as u32;
            (offset >> 5 & 127) << 25 | (offset & 31) << 7 | base << 15
        }
        Operand::MemAtomic => match memory(text)? {
            (0, base) => base << 15,
            _ => return None,
        },
        Operand::AqRl => return None,
        Operand::Shamt6 => unsigned(6, 20)?,
        Operand::Shamt5 => unsigned(5, 20)?,
        Operand::Csr => unsigned(12, 20)?,
        Operand::Zimm5 => unsigned(5, 15)?,
        Operand::Fence => {
            let (before, after) = text.split_once(',')?;
            fence_bits(before)? << 24 | fence_bits(after)? << 20
        }
        Operand::Constant => {
            let index = (0..CONSTANTS.len()).position(|index| names::constant(index) == text)?;
            (index as u32) << 15
        }
    })
}

fn position(names: &[&str], text: &str) -> Option<u32> {
    names.iter().position(|&name| name == text && !name.is_empty()).map(|index| index as u32)
}

/// A decimal or `0x` hexadecimal number with an optional minus sign.
fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let magnitude = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    magnitude.ok().map(|value| if negative { -value } else { value })
}

/// `value` if it is at least `least` and below `end`.
fn in_range(value: i64, least: i64, end: i64) -> Option<i64> {
    (least..end).contains(&value).then_some(value)
}

fn immediate_i(value: i64) -> Option<u32> {
    Some((in_range(value, -2048, 2048)? as u32) << 20)
}

/// `offset(register)`; the offset may be missing.
fn memory(text: &str) -> Option<(i64, u32)> {
    let (offset, base) = text.strip_suffix(')')?.split_once('(')?;
    let offset = if offset.is_empty() { 0 } else { number(offset)? };
    Some((offset, position(&names::X, base)?))
}

fn displacement(text: &str, resolve: &impl Fn(&str) -> Option<i64>, reach: i64) -> Option<u32> {
    let value = number(text).or_else(|| resolve(text))?;
    (value & 1 == 0).then_some(in_range(value, -reach, reach)? as u32)
}

fn fence_bits(set: &str) -> Option<u32> {
    let set = if set == "0" { "" } else { set };
    set.chars().try_fold(0, |bits, kind| {
        let index = names::FENCE.iter().position(|&c| c == kind)?;
        Some(bits | 8 >> index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::riscv64::decode::decode;
    use crate::riscv64::regs::{FpState, Privilege, mode};

    /// A generator of no quality, enough to vary operand bits.
    fn scrambled(seed: u32) -> u32 {
        let mut x = seed.wrapping_mul(0x9e37_79b9).wrapping_add(0x7f4a_7c15);
        x ^= x >> 16;
        x = x.wrapping_mul(0x85eb_ca6b);
        x ^ x >> 13
    }

    #[test]
    fn disassembly_assembles_to_the_same_instruction() {
        let mode = mode(Privilege::Machine, FpState::Dirty, 0);
        for &op in Op::ALL {
            let row = &ROWS[op as usize];
            let mut same = 0;
            for seed in 0..200 {
                let raw = scrambled(seed * 1000 + op as u32) & !row.mask | row.bits;
                let insn = decode(&raw.to_le_bytes(), mode).unwrap().insn;
                if insn.op == Op::Illegal {
                    continue; // a reserved rounding mode
                }
                same += u32::from(insn.op == op);
                let text = insn.to_string();
                let again = assemble(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                let again = decode(&again, mode).unwrap().insn;
                assert_eq!(Insn { raw: 0, ..again }, Insn { raw: 0, ..insn }, "{text}");
            }
            assert!(same > 100, "{} is hidden by another line of the table", row.name);
        }
    }

    use crate::riscv64::decode::Insn;

    #[test]
    fn encodings_by_another_assembler() {
        let cases: &[(&str, u32)] = &[
            ("addiw a0, a1, 1", 0x0015_851b),
            ("lui a0, 0x12345", 0x1234_5537),
            ("sd ra, -8(sp)", 0xfe11_3c23),
            ("amoswap.w.aqrl a0, a1, (a2)", 0x0eb6_252f),
            ("fmadd.d fa0, fa1, fa2, fa3, rtz", 0x6ac5_9543),
            ("fence rw, w", 0x0310_000f),
            ("csrrwi zero, 0x300, 8", 0x3004_5073),
            ("fli.s fa0, 1", 0xf018_0553),
        ];
        for &(text, want) in cases {
            assert_eq!(assemble(text).unwrap(), want.to_le_bytes(), "{text}");
        }
    }

    #[test]
    fn labels_and_errors() {
        let code = assemble("loop: addi a0, a0, -1\n  bne a0, zero, loop # again").unwrap();
        assert_eq!(code[4..], 0xfe05_1ee3u32.to_le_bytes());
        let error = assemble("nop\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1: unknown instruction `nop`");
        assert!(matches!(assemble("addi a0, a0, 2048"), Err(AsmError::BadOperand { line: 1, .. })));
        assert!(matches!(assemble("add a0, a0"), Err(AsmError::BadOperand { .. })));
        assert!(matches!(assemble("add a0, a0, a0, a0"), Err(AsmError::BadOperand { .. })));
    }
}
