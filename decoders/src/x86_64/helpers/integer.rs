//! Helpers of integer and string instructions.

use super::{CHECKING, READS, REGISTERS, address, decimal, helpers, string};
use crate::x86_64::flags;
use crate::x86_64::guest::X86_64;
use crate::x86_64::insn::{Condition, SegmentCheck};
use crate::x86_64::segment::SegmentRegister;
use crate::x86_64::trap;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{Stopped, with_words};
use c2w_engine::guest::{HelperEffects, HelperFunction, Trap};

/// A function of its arguments that may trap.
const PURE_TRAPPING: HelperEffects = HelperEffects { traps: true, ..HelperEffects::PURE };

helpers! { super::FIRST_INTEGER;
    /// (condition number): 1 if it holds for the flags, whoever produced them.
    Condition = "condition", READS, condition;
    /// (): the arithmetic flags.
    Flags = "flags", READS, all_flags;
    /// (segment register, [`SegmentCheck`], offset): the linear address, or #GP(0) or #SS(0).
    Linear = "linear", CHECKING, linear;
    /// (instruction pointer): the linear address, or #GP(0) beyond the limit of CS.
    CodeAddress = "code_address", CHECKING, code_address;
    /// (high, low, divisor): the quotient of 128 bits, or #DE.
    DivideUnsigned = "div128", PURE_TRAPPING, divide_unsigned;
    /// (high, low, divisor): the signed quotient of 128 bits, or #DE.
    DivideSigned = "idiv128", PURE_TRAPPING, divide_signed;
    /// (checksum, data, bytes): the checksum with the data added.
    Crc32 = "crc32", HelperEffects::PURE, crc32, HelperFunction::Crc32c;
    /// ([`super::string::Repeat`]): runs a repeated string instruction for a while; 1 if it is not done.
    Repeat = "repeat", HelperEffects::ALL, string::repeat;
    /// (): a random number.
    Random = "random", REGISTERS, random;
    /// (): AAA.
    Aaa = "aaa", REGISTERS, decimal::aaa;
    /// (): AAS.
    Aas = "aas", REGISTERS, decimal::aas;
    /// (base): AAM.
    Aam = "aam", REGISTERS, decimal::aam;
    /// (base): AAD.
    Aad = "aad", REGISTERS, decimal::aad;
    /// (): DAA.
    Daa = "daa", REGISTERS, decimal::daa;
    /// (): DAS.
    Das = "das", REGISTERS, decimal::das;
}

fn condition(cpu: &mut Cpu<X86_64>, [number, ..]: [u64; 4]) -> Result<u64, Trap> {
    let result: Result<u64, Stopped> = with_words(cpu, |e| flags::condition(e, Condition(number as u8)));
    Ok(result.expect("conditions are functions of registers"))
}

fn all_flags(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    Ok(flags::rflags(cpu) & flags::ARITHMETIC)
}

fn linear(cpu: &mut Cpu<X86_64>, [register, check, offset, _]: [u64; 4]) -> Result<u64, Trap> {
    let register = SegmentRegister::ALL[register as usize % SegmentRegister::ALL.len()];
    address::linear(cpu, register, SegmentCheck::from_number(check), offset)
}

fn code_address(cpu: &mut Cpu<X86_64>, [pointer, ..]: [u64; 4]) -> Result<u64, Trap> {
    let code = cpu.guest.segment(SegmentRegister::Cs);
    if pointer > u64::from(code.limit) {
        return Err(trap::protection(0));
    }
    Ok(address::base(cpu, SegmentRegister::Cs).wrapping_add(pointer) & u64::from(u32::MAX))
}

fn divide_unsigned(_: &mut Cpu<X86_64>, [high, low, divisor, _]: [u64; 4]) -> Result<u64, Trap> {
    if high >= divisor {
        // The divisor is 0 or the quotient needs more than 64 bits.
        return Err(trap::plain(trap::DIVIDE));
    }
    if high == 0 {
        return Ok(low / divisor);
    }
    let dividend = u128::from(high) << 64 | u128::from(low);
    Ok((dividend / u128::from(divisor)) as u64)
}

fn divide_signed(_: &mut Cpu<X86_64>, [high, low, divisor, _]: [u64; 4]) -> Result<u64, Trap> {
    let overflow = trap::plain(trap::DIVIDE);
    let divisor = divisor as i64;
    if high as i64 == low as i64 >> 63 {
        return (low as i64).checked_div(divisor).map(|quotient| quotient as u64).ok_or(overflow);
    }
    let dividend = (u128::from(high) << 64 | u128::from(low)) as i128;
    let quotient = dividend.checked_div(i128::from(divisor)).ok_or(overflow)?;
    i64::try_from(quotient).map(|quotient| quotient as u64).map_err(|_| overflow)
}

/// CRC-32C of every byte: the polynomial of SDM 2A, CRC32, bits reflected. Of a byte with up to seven zeros behind it, by their
/// number.
static CRC_TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = sum >> 1 ^ if sum & 1 != 0 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let sum = tables[zeros - 1][byte];
            tables[zeros][byte] = sum >> 8 ^ tables[0][(sum & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
};

fn crc32(_: &mut Cpu<X86_64>, [sum, data, len_bytes, _]: [u64; 4]) -> Result<u64, Trap> {
    let mut sum = sum as u32;
    if len_bytes == 8 {
        // The sum of eight sums of which none waits for another.
        let bytes = (data ^ u64::from(sum)).to_le_bytes();
        let sums = bytes.iter().zip(CRC_TABLES.iter().rev()).map(|(&byte, table)| table[usize::from(byte)]);
        return Ok(u64::from(sums.fold(0, |all, sum| all ^ sum)));
    }
    for &byte in data.to_le_bytes().iter().take(len_bytes as usize) {
        sum = sum >> 8 ^ CRC_TABLES[0][usize::from(sum as u8 ^ byte)];
    }
    Ok(u64::from(sum))
}

fn random(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    Ok(cpu.guest.random.draw())
}
