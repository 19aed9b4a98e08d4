//! Helpers of integer and string instructions.

use super::{CHECKING, READS, address, helpers};
use crate::x86_64::flags;
use crate::x86_64::guest::X86_64;
use crate::x86_64::insn::{Condition, SegmentCheck};
use crate::x86_64::segment::SegmentRegister;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{Stopped, with_words};
use c2w_engine::guest::Trap;

helpers! { super::FIRST_INTEGER;
    /// (condition number): 1 if it holds for the flags, whoever produced them.
    Condition = "condition", READS, condition;
    /// (): the arithmetic flags.
    Flags = "flags", READS, all_flags;
    /// (segment register, [`SegmentCheck`], offset): the linear address, or #GP(0) or #SS(0).
    Linear = "linear", CHECKING, linear;
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
