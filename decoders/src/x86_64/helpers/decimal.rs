//! Decimal adjustments (SDM 2A, AAA to DAS): 32-bit code only, and rare even there. Flags that the manual leaves
//! undefined are those of the result, or 0.

use crate::x86_64::flags::{self, AF, ARITHMETIC, CF, PF, SF, ZF};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::RAX;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// AL, AH and the flags before.
fn before(cpu: &mut Cpu<X86_64>) -> (u8, u8, u64) {
    let accumulator = cpu.slots[usize::from(RAX.0)];
    (accumulator as u8, (accumulator >> 8) as u8, flags::rflags(cpu))
}

/// SF, ZF and PF of a byte.
fn result_flags(value: u8) -> u64 {
    let mut result = 0;
    result |= if value & 0x80 != 0 { SF } else { 0 };
    result |= if value == 0 { ZF } else { 0 };
    result | if value.count_ones().is_multiple_of(2) { PF } else { 0 }
}

/// Writes AL, AH and the arithmetic flags.
fn finish(cpu: &mut Cpu<X86_64>, low: u8, high: u8, arithmetic: u64) -> Result<u64, Trap> {
    let accumulator = &mut cpu.slots[usize::from(RAX.0)];
    *accumulator = *accumulator & !0xffff | u64::from(high) << 8 | u64::from(low);
    let others = flags::rflags(cpu) & !ARITHMETIC;
    flags::set_rflags(cpu, others | arithmetic);
    Ok(0)
}

/// AAA and AAS: AL becomes a digit, AX is corrected by 0x106.
fn unpacked(cpu: &mut Cpu<X86_64>, correct: fn(u16, u16) -> u16) -> Result<u64, Trap> {
    let (low, high, flags) = before(cpu);
    let adjusts = low & 15 > 9 || flags & AF != 0;
    let all = u16::from_le_bytes([low, high]);
    let [low, high] = (if adjusts { correct(all, 0x106) } else { all }).to_le_bytes();
    let low = low & 15;
    finish(cpu, low, high, result_flags(low) | if adjusts { AF | CF } else { 0 })
}

/// AAA.
pub fn aaa(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    unpacked(cpu, u16::wrapping_add)
}

/// AAS.
pub fn aas(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    unpacked(cpu, u16::wrapping_sub)
}

/// (base): AAM. Decoding refuses base 0.
pub fn aam(cpu: &mut Cpu<X86_64>, [base, ..]: [u64; 4]) -> Result<u64, Trap> {
    let (low, _, _) = before(cpu);
    let base = (base as u8).max(1);
    let rest = low % base;
    finish(cpu, rest, low / base, result_flags(rest))
}

/// (base): AAD.
pub fn aad(cpu: &mut Cpu<X86_64>, [base, ..]: [u64; 4]) -> Result<u64, Trap> {
    let (low, high, _) = before(cpu);
    let number = low.wrapping_add(high.wrapping_mul(base as u8));
    finish(cpu, number, 0, result_flags(number))
}

/// DAA and DAS: both digits of AL are corrected.
fn packed(cpu: &mut Cpu<X86_64>, subtract: bool) -> Result<u64, Trap> {
    let (old, high, flags) = before(cpu);
    let low_digit = old & 15 > 9 || flags & AF != 0;
    let high_digit = old > 0x99 || flags & CF != 0;
    let correction = if low_digit { 6 } else { 0 } + if high_digit { 0x60 } else { 0 };
    let value = if subtract { old.wrapping_sub(correction) } else { old.wrapping_add(correction) };
    // DAS keeps the borrow of the low digit.
    let borrows = subtract && low_digit && old < 6;
    let carry = high_digit || borrows;
    let mut arithmetic = result_flags(value) | if low_digit { AF } else { 0 };
    arithmetic |= if carry { CF } else { 0 };
    finish(cpu, value, high, arithmetic)
}

/// DAA.
pub fn daa(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    packed(cpu, false)
}

/// DAS.
pub fn das(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    packed(cpu, true)
}
