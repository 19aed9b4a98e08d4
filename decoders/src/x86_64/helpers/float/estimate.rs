//! RCPPS, RSQRTPS and their scalar forms: approximations within 1.5 x 2^-12 of the exact value, relatively.
//!
//! Processors differ in them, so there is no one right answer. Here they are exact but for rounding to the format, the
//! same on every host: any processor's is within 3 x 2^-12 of them. Special values are as the manual says: subnormal
//! numbers count as zeros and tiny results are zeros whatever MXCSR says, and nothing is raised (SDM 2B, RCPPS and
//! RSQRTPS).

use super::lanes::{Lane, build, destination, write};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::F32;
use c2w_engine::guest::Trap;

const SIGN: u32 = 1 << 31;
const QUIET: u32 = 1 << 22;
/// 2^126, whose inverse is the smallest normal number. Processors deliver a little less, which is tiny: zero.
const LARGE: u32 = 0x7e80_0000;
/// The NaN of an operation without a result.
const INDEFINITE: u32 = 0xffc0_0000;

/// Zero of the same sign where a number is subnormal.
fn flushed(bits: u32) -> u32 {
    if f32::from_bits(bits).is_subnormal() { bits & SIGN } else { bits }
}

fn inverse(bits: u32) -> u32 {
    let number = f32::from_bits(flushed(bits));
    if number.is_nan() {
        bits | QUIET
    } else if bits & !SIGN >= LARGE {
        bits & SIGN
    } else {
        (1.0 / number).to_bits()
    }
}

fn inverse_root(bits: u32) -> u32 {
    let number = f32::from_bits(flushed(bits));
    if number.is_nan() {
        bits | QUIET
    } else if number < 0.0 {
        INDEFINITE
    } else {
        // The root of -0 is -0, its inverse minus infinity.
        ((1.0 / f64::from(number).sqrt()) as f32).to_bits()
    }
}

fn packed(
    cpu: &mut Cpu<X86_64>,
    [to, lo, hi, _]: [u64; 4],
    estimate: impl Fn(u32) -> u32,
) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    write(cpu, slot, build::<F32>(|i| estimate(F32::at([lo, hi], i))));
    Ok(0)
}

/// RCPPS.
pub(super) fn reciprocals(cpu: &mut Cpu<X86_64>, args: [u64; 4]) -> Result<u64, Trap> {
    packed(cpu, args, inverse)
}

/// RSQRTPS.
pub(super) fn reciprocal_roots(cpu: &mut Cpu<X86_64>, args: [u64; 4]) -> Result<u64, Trap> {
    packed(cpu, args, inverse_root)
}

/// RCPSS.
pub(super) fn reciprocal(_: &mut Cpu<X86_64>, [a, b, ..]: [u64; 4]) -> Result<u64, Trap> {
    Ok(F32::with_low(a, inverse(b as u32)))
}

/// RSQRTSS.
pub(super) fn reciprocal_root(_: &mut Cpu<X86_64>, [a, b, ..]: [u64; 4]) -> Result<u64, Trap> {
    Ok(F32::with_low(a, inverse_root(b as u32)))
}
