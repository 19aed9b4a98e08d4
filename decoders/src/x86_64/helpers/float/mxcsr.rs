//! MXCSR: the environment of one instruction, and what its exceptions lead to (SDM 1 10.2.3 and 11.5).
//!
//! The exceptions of all elements are gathered. Unmasked ones that are found before computing (invalid, denormal,
//! divide by zero) hide those that computing finds. Flags are set in any case; an unmasked exception is a fault.

use crate::x86_64::control::CR4_OSXMMEXCPT;
use crate::x86_64::guest::X86_64;
use crate::x86_64::{mode, regs, trap};
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{Env, Flags, NanRule, Rounding};
use c2w_engine::guest::Trap;

/// Bits of MXCSR that exist.
pub const BITS: u64 = 0xffff;
/// MXCSR after reset: all exceptions masked.
pub const RESET: u64 = 0x1f80;

/// The exception flags.
const EXCEPTIONS: u64 = 0x3f;
/// Those found before computing: IE, DE, ZE.
const BEFORE: u64 = 7;
/// PE, inexact.
const PRECISION: u64 = 1 << 5;
/// Denormals are zeros.
const DAZ: u64 = 1 << 6;
/// Position of the masks, in the order of the flags.
const MASKS: u32 = 7;
/// Mask of OE.
const OVERFLOW_MASKED: u64 = 1 << 10;
/// Mask of UE.
const UNDERFLOW_MASKED: u64 = 1 << 11;
/// Mask of PE.
const PRECISION_MASKED: u64 = 1 << 12;
/// Position of the rounding control, two bits.
const RC: u32 = 13;
/// Flush to zero.
const FTZ: u64 = 1 << 15;

const SLOT: usize = regs::MXCSR.0 as usize;

/// LDMXCSR.
pub(super) fn load(cpu: &mut Cpu<X86_64>, [value, ..]: [u64; 4]) -> Result<u64, Trap> {
    let value = value & 0xffff_ffff;
    if value & !BITS != 0 {
        return Err(trap::protection(0));
    }
    cpu.slots[SLOT] = value;
    mode::refresh(cpu);
    Ok(0)
}

/// The direction that a rounding control names, in its low two bits.
pub(super) fn rounding(control: u64) -> Rounding {
    match control & 3 {
        0 => Rounding::NearestEven,
        1 => Rounding::Down,
        2 => Rounding::Up,
        _ => Rounding::TowardZero,
    }
}

/// The environment of an instruction, without flags.
fn environment(mxcsr: u64) -> Env {
    let mut trapped = Flags::empty();
    trapped.set(Flags::OVERFLOW, mxcsr & OVERFLOW_MASKED == 0);
    trapped.set(Flags::UNDERFLOW, mxcsr & UNDERFLOW_MASKED == 0);
    Env {
        rounding: rounding(mxcsr >> RC),
        nan: NanRule::FirstOperand,
        flush_inputs: mxcsr & DAZ != 0,
        flush_results: mxcsr & FTZ != 0,
        trapped,
        ..Env::default()
    }
}

/// Runs the quick path of an instruction, which may raise nothing but inexact, if it is masked and the direction is the
/// host's. `None` means that it is the exact path's business.
#[inline(always)]
pub(super) fn quickly<R>(cpu: &mut Cpu<X86_64>, operation: impl FnOnce(&mut Env) -> Option<R>) -> Option<R> {
    let mxcsr = cpu.slots[SLOT];
    if mxcsr & (PRECISION_MASKED | 3 << RC) != PRECISION_MASKED {
        return None;
    }
    // Inexact is not looked for if it has been raised before.
    let raised = if mxcsr & PRECISION != 0 { Flags::INEXACT } else { Flags::empty() };
    let mut env = Env { flags: raised, ..Env::default() };
    let result = operation(&mut env)?;
    if env.flags != raised {
        cpu.slots[SLOT] = mxcsr | PRECISION;
    }
    Some(result)
}

/// Runs an instruction, or one of its steps, with MXCSR's environment. The fault of an unmasked exception leaves
/// everything but the flags in MXCSR as it was.
#[inline]
pub(super) fn exactly<R>(cpu: &mut Cpu<X86_64>, operation: impl FnOnce(&mut Env) -> R) -> Result<R, Trap> {
    let mut env = environment(cpu.slots[SLOT]);
    let result = operation(&mut env);
    settle(cpu, env.flags)?;
    Ok(result)
}

/// Flags in MXCSR's order.
fn in_order(flags: Flags) -> u64 {
    let order = [
        Flags::INVALID,
        Flags::DENORMAL_OPERAND,
        Flags::DIVIDE_BY_ZERO,
        Flags::OVERFLOW,
        Flags::UNDERFLOW,
        Flags::INEXACT,
    ];
    order.iter().enumerate().map(|(bit, &flag)| u64::from(flags.contains(flag)) << bit).sum()
}

/// Sets flags and raises what is unmasked.
fn settle(cpu: &mut Cpu<X86_64>, flags: Flags) -> Result<(), Trap> {
    if flags.is_empty() {
        return Ok(());
    }
    let mxcsr = cpu.slots[SLOT];
    let raised = in_order(flags);
    let unmasked = raised & !(mxcsr >> MASKS) & EXCEPTIONS;
    cpu.slots[SLOT] |= if unmasked & BEFORE != 0 { raised & BEFORE } else { raised };
    if unmasked == 0 {
        Ok(())
    } else if cpu.guest.cr4 & CR4_OSXMMEXCPT != 0 {
        Err(trap::plain(trap::SIMD_ERROR))
    } else {
        Err(trap::plain(trap::UNDEFINED))
    }
}
