//! The floating-point environment: `fflags` and `frm` (Unpriv. 20.2) as the engine and an x86 host compute with them.
//!
//! Exceptions accrue in one slot in the form of MXCSR, which is the processor's while translated code runs; so `fflags` is
//! read from there. `frm` has modes that MXCSR has not, and a slot of its own; where MXCSR has the mode, it says so, too.
//! x86's flag of subnormal operands, which nobody asks for, is always set, so that no two ways of computing differ in it.

use super::guest::Riscv64;
use super::regs;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{Env, Flags, Rounding};

/// All exceptions masked; a subnormal operand has been seen.
const ALWAYS: u64 = 0x1f80 | 1 << 1;
/// Flags of MXCSR.
const FLAGS: u64 = 0x3f;
/// Position of MXCSR's rounding control.
const CONTROL_SHIFT: u32 = 13;
/// The first of the rounding modes that MXCSR does not have.
pub const FIRST_OTHER_MODE: u8 = 4;

const SLOT: usize = regs::FLOAT_ENVIRONMENT.0 as usize;

/// MXCSR's flags by those of `fflags`.
const TO_MXCSR: [u8; 32] = {
    let mut table = [0; 32];
    let mut flags = 0;
    while flags < 32 {
        // Inexact, underflow, overflow, division by zero, invalid are bits 0 to 4 here, 5, 4, 3, 2 and 0 there.
        let (inexact, underflow, overflow) = (flags & 1, flags >> 1 & 1, flags >> 2 & 1);
        let (by_zero, invalid) = (flags >> 3 & 1, flags >> 4 & 1);
        table[flags as usize] = inexact << 5 | underflow << 4 | overflow << 3 | by_zero << 2 | invalid;
        flags += 1;
    }
    table
};

/// `fflags` by MXCSR's flags.
const FROM_MXCSR: [u8; 64] = {
    let mut table = [0; 64];
    let mut flags = 0;
    while flags < 32 {
        table[TO_MXCSR[flags] as usize] = flags as u8;
        table[(TO_MXCSR[flags] | 2) as usize] = flags as u8;
        flags += 1;
    }
    table
};

/// `fflags`.
#[inline(always)]
pub fn flags(cpu: &Cpu<Riscv64>) -> u64 {
    FROM_MXCSR[(cpu.slots[SLOT] & FLAGS) as usize].into()
}

/// `frm`.
#[inline(always)]
pub fn rounding_mode(cpu: &Cpu<Riscv64>) -> u8 {
    cpu.slots[regs::FRM.0 as usize] as u8 & 7
}

/// Writes `fflags`.
pub fn set_flags(cpu: &mut Cpu<Riscv64>, value: u64) {
    let flags = TO_MXCSR[(value & 0x1f) as usize];
    cpu.slots[SLOT] = cpu.slots[SLOT] & !FLAGS | u64::from(flags);
    settle(cpu);
}

/// Writes `frm`. The mode of code depends on it: see [`super::guest::update_mode`].
pub fn set_rounding_mode(cpu: &mut Cpu<Riscv64>, value: u64) {
    cpu.slots[regs::FRM.0 as usize] = value & 7;
    settle(cpu);
}

/// Makes the slot one that a processor can be given: at reset it is zero, and a saved state may hold anything.
pub fn settle(cpu: &mut Cpu<Riscv64>) {
    let control = match rounding_mode(cpu) {
        1 => 3,
        2 => 1,
        3 => 2,
        _ => 0,
    };
    cpu.slots[SLOT] = cpu.slots[SLOT] & FLAGS | ALWAYS | control << CONTROL_SHIFT;
}

/// The rounding mode of a number.
#[inline(always)]
pub fn rounding(mode: u64) -> Rounding {
    match mode {
        0 => Rounding::NearestEven,
        1 => Rounding::TowardZero,
        2 => Rounding::Down,
        3 => Rounding::Up,
        _ => Rounding::NearestAway,
    }
}

/// Runs an operation that rounds as `mode` says over the accrued exceptions.
#[inline(always)]
pub fn with_env<R>(cpu: &mut Cpu<Riscv64>, mode: u64, operation: impl FnOnce(&mut Env) -> R) -> R {
    let before = Flags::from_bits_truncate(flags(cpu) as u8);
    let mut env = Env::canonical(rounding(mode), before);
    let result = operation(&mut env);
    let after = env.flags & !Flags::DENORMAL_OPERAND;
    if after != before {
        cpu.slots[SLOT] |= u64::from(TO_MXCSR[usize::from(after.bits())]);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::riscv64::testing;

    #[test]
    fn flags_keep_and_the_slot_is_one_for_a_processor() {
        let mut cpu = testing::cpu();
        for frm in 0..8 {
            set_rounding_mode(&mut cpu, frm);
            for value in 0..32 {
                set_flags(&mut cpu, value);
                assert_eq!((flags(&cpu), u64::from(rounding_mode(&cpu))), (value, frm));
                let slot = cpu.slots[SLOT];
                assert_eq!(slot & ALWAYS, ALWAYS);
                // Neither reserved bits nor those that make zeros of subnormal numbers.
                assert_eq!(slot & !(0x7fff & !(1 << 6)), 0, "{slot:#x}");
            }
        }
        cpu.slots[SLOT] = u64::MAX;
        settle(&mut cpu);
        assert_eq!((flags(&cpu), cpu.slots[SLOT] & !(0x7fff & !(1 << 6))), (31, 0));
    }

    #[test]
    fn exceptions_accrue() {
        let mut cpu = testing::cpu();
        with_env(&mut cpu, 0, |env| env.raise(Flags::INEXACT | Flags::DENORMAL_OPERAND));
        with_env(&mut cpu, 0, |env| env.raise(Flags::INVALID));
        assert_eq!(flags(&cpu), 0b1_0001);
    }
}
