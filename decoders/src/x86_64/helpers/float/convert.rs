//! Conversions between formats and to and from integers, and rounding to integers. What an integer cannot hold becomes
//! the "integer indefinite", its smallest value (SDM 1 4.8.3.7).

use super::lanes::{Lane, Vector, build, destination, write};
use super::mxcsr::{exactly, rounding};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{self, Env, F32, F64, Rounding};
use c2w_engine::guest::Trap;

/// Two 32-bit elements in a word.
fn pair(lo: u32, hi: u32) -> u64 {
    u64::from(lo) | u64::from(hi) << 32
}

/// The high element of two.
fn above(word: u64) -> u64 {
    word >> 32
}

fn direction<const TRUNCATE: bool>(env: &Env) -> Rounding {
    if TRUNCATE { Rounding::TowardZero } else { env.rounding }
}

fn narrow<F: Lane, const TRUNCATE: bool>(env: &mut Env, a: F::Bits) -> u32 {
    let direction = direction::<TRUNCATE>(env);
    fp::to_int::<F, i32>(env, direction, a).unwrap_or(i32::MIN) as u32
}

fn single(env: &mut Env, integer: u64) -> u32 {
    fp::from_int::<F32, i32>(env, integer as i32)
}

/// Four singles to integers.
pub(super) fn singles_to_integers<const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [to, lo, hi, _]: [u64; 4],
) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let result = exactly(cpu, |env| build::<F32>(|i| narrow::<F32, TRUNCATE>(env, F32::at([lo, hi], i))))?;
    write(cpu, slot, result);
    Ok(0)
}

/// Two singles to integers.
pub(super) fn singles_to_pair<const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [source, ..]: [u64; 4],
) -> Result<u64, Trap> {
    exactly(cpu, |env| {
        let lo = narrow::<F32, TRUNCATE>(env, source as u32);
        pair(lo, narrow::<F32, TRUNCATE>(env, above(source) as u32))
    })
}

/// Two doubles to integers.
pub(super) fn doubles_to_pair<const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [lo, hi, ..]: [u64; 4],
) -> Result<u64, Trap> {
    exactly(cpu, |env| {
        let lo = narrow::<F64, TRUNCATE>(env, lo);
        pair(lo, narrow::<F64, TRUNCATE>(env, hi))
    })
}

/// Two doubles to integers in the low half of a register, the high half becoming 0.
pub(super) fn doubles_to_integers<const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [to, lo, hi, _]: [u64; 4],
) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let result = doubles_to_pair::<TRUNCATE>(cpu, [lo, hi, 0, 0])?;
    write(cpu, slot, [result, 0]);
    Ok(0)
}

/// Four integers to singles.
pub(super) fn integers_to_singles(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let result = exactly(cpu, |env| build::<F32>(|i| single(env, u64::from(F32::at([lo, hi], i)))))?;
    write(cpu, slot, result);
    Ok(0)
}

/// Two integers to singles.
pub(super) fn pair_to_singles(cpu: &mut Cpu<X86_64>, [source, ..]: [u64; 4]) -> Result<u64, Trap> {
    exactly(cpu, |env| {
        let lo = single(env, source);
        pair(lo, single(env, above(source)))
    })
}

/// Two singles to doubles.
pub(super) fn singles_to_doubles(cpu: &mut Cpu<X86_64>, [to, source, ..]: [u64; 4]) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let result: Vector = exactly(cpu, |env| {
        let lo = fp::convert::<F32, F64>(env, source as u32);
        [lo, fp::convert::<F32, F64>(env, above(source) as u32)]
    })?;
    write(cpu, slot, result);
    Ok(0)
}

/// Two doubles to singles in the low half of a register, the high half becoming 0.
pub(super) fn doubles_to_singles(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let result = exactly(cpu, |env| {
        let lo = fp::convert::<F64, F32>(env, lo);
        pair(lo, fp::convert::<F64, F32>(env, hi))
    })?;
    write(cpu, slot, [result, 0]);
    Ok(0)
}

/// CVTSS2SD.
pub(super) fn single_to_double(cpu: &mut Cpu<X86_64>, [_, source, ..]: [u64; 4]) -> Result<u64, Trap> {
    exactly(cpu, |env| fp::convert::<F32, F64>(env, source as u32))
}

/// CVTSD2SS.
pub(super) fn double_to_single(cpu: &mut Cpu<X86_64>, [a, source, ..]: [u64; 4]) -> Result<u64, Trap> {
    let result = exactly(cpu, |env| fp::convert::<F64, F32>(env, source))?;
    Ok(F32::with_low(a, result))
}

/// CVTSI2SS of 32 bits.
pub(super) fn integer_to_single(cpu: &mut Cpu<X86_64>, [a, integer, ..]: [u64; 4]) -> Result<u64, Trap> {
    let result = exactly(cpu, |env| single(env, integer))?;
    Ok(F32::with_low(a, result))
}

/// CVTSI2SS of 64 bits.
pub(super) fn wide_integer_to_single(cpu: &mut Cpu<X86_64>, [a, integer, ..]: [u64; 4]) -> Result<u64, Trap> {
    let result = exactly(cpu, |env| fp::from_int::<F32, i64>(env, integer as i64))?;
    Ok(F32::with_low(a, result))
}

/// CVTSI2SD of 32 bits.
#[inline(always)]
pub(super) fn integer_to_double(_: &mut Cpu<X86_64>, [_, integer, ..]: [u64; 4]) -> Result<u64, Trap> {
    Ok(f64::from(integer as i32).to_bits())
}

/// CVTSI2SD of 64 bits.
pub(super) fn wide_integer_to_double(cpu: &mut Cpu<X86_64>, [_, integer, ..]: [u64; 4]) -> Result<u64, Trap> {
    exactly(cpu, |env| fp::from_int::<F64, i64>(env, integer as i64))
}

/// To a 32-bit integer.
pub(super) fn to_integer<F: Lane, const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [source, ..]: [u64; 4],
) -> Result<u64, Trap> {
    exactly(cpu, |env| u64::from(narrow::<F, TRUNCATE>(env, F::low(source))))
}

/// To a 64-bit integer.
pub(super) fn to_wide_integer<F: Lane, const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [source, ..]: [u64; 4],
) -> Result<u64, Trap> {
    exactly(cpu, |env| {
        let direction = direction::<TRUNCATE>(env);
        fp::to_int::<F, i64>(env, direction, F::low(source)).unwrap_or(i64::MIN) as u64
    })
}

/// One element of ROUNDPS and its kin. Of the immediate, bit 2 asks for MXCSR's direction instead of that in bits 0 and
/// 1, and bit 3 silences inexact (SDM 2B, table 4-21).
fn round<F: Lane>(env: &mut Env, immediate: u64, a: F::Bits) -> F::Bits {
    let direction = if immediate & 4 != 0 { env.rounding } else { rounding(immediate) };
    fp::round_to_integral::<F>(env, direction, immediate & 8 == 0, a)
}

/// ROUNDPS, ROUNDPD.
pub(super) fn packed_round<F: Lane>(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let (slot, immediate) = destination(to);
    let result = exactly(cpu, |env| build::<F>(|i| round::<F>(env, immediate, F::at([lo, hi], i))))?;
    write(cpu, slot, result);
    Ok(0)
}

/// ROUNDSS, ROUNDSD.
pub(super) fn scalar_round<F: Lane>(
    cpu: &mut Cpu<X86_64>,
    [a, source, immediate, _]: [u64; 4],
) -> Result<u64, Trap> {
    let result = exactly(cpu, |env| round::<F>(env, immediate, F::low(source)))?;
    Ok(F::with_low(a, result))
}
