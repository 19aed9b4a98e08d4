//! Elements of vectors, and operations on them one by one: quickly where the host's arithmetic does the same, exactly
//! where it may not.

use super::mxcsr::{exactly, quickly};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::fast::Host;
use c2w_engine::fp::host_convert::HostInteger;
use c2w_engine::fp::{Env, F32, F64};
use c2w_engine::guest::Trap;

/// A register's low 128 bits.
pub(super) type Vector = [u64; 2];

/// A format of elements.
pub(super) trait Lane: Host<Bits: Default> + HostInteger {
    /// Elements in a vector.
    const COUNT: usize;
    /// All bits set: the answer yes of a comparison.
    const ONES: Self::Bits;
    /// The low element of a word.
    fn low(word: u64) -> Self::Bits;
    /// The word with another low element.
    fn with_low(word: u64, bits: Self::Bits) -> u64;
    /// Element `index`.
    fn at(vector: Vector, index: usize) -> Self::Bits;
    /// Puts element `index` into a vector that has zero there.
    fn put(vector: &mut Vector, index: usize, bits: Self::Bits);
}

impl Lane for F32 {
    const COUNT: usize = 4;
    const ONES: u32 = u32::MAX;

    #[inline(always)]
    fn low(word: u64) -> u32 {
        word as u32
    }

    #[inline(always)]
    fn with_low(word: u64, bits: u32) -> u64 {
        word >> 32 << 32 | u64::from(bits)
    }

    #[inline(always)]
    fn at(vector: Vector, index: usize) -> u32 {
        (vector[index / 2] >> (32 * (index % 2))) as u32
    }

    #[inline(always)]
    fn put(vector: &mut Vector, index: usize, bits: u32) {
        vector[index / 2] |= u64::from(bits) << (32 * (index % 2));
    }
}

impl Lane for F64 {
    const COUNT: usize = 2;
    const ONES: u64 = u64::MAX;

    #[inline(always)]
    fn low(word: u64) -> u64 {
        word
    }

    #[inline(always)]
    fn with_low(_word: u64, bits: u64) -> u64 {
        bits
    }

    #[inline(always)]
    fn at(vector: Vector, index: usize) -> u64 {
        vector[index]
    }

    #[inline(always)]
    fn put(vector: &mut Vector, index: usize, bits: u64) {
        vector[index] = bits;
    }
}

/// An operation on two elements, or on the second of them.
pub(super) trait Operation<F: Lane> {
    /// The result, if the host's arithmetic gives it and nothing but inexact is raised in rounding to nearest.
    fn quick(env: &mut Env, a: F::Bits, b: F::Bits) -> Option<F::Bits>;
    /// The result.
    fn exact(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits;
}

/// The destination and immediate in a helper's first argument.
#[inline(always)]
pub(super) fn destination(argument: u64) -> (u8, u64) {
    (argument as u8, argument >> 8)
}

/// Reads a vector register.
#[inline(always)]
pub(super) fn read(cpu: &Cpu<X86_64>, slot: u8) -> Vector {
    let slot = usize::from(slot);
    [cpu.slots[slot], cpu.slots[slot | 1]]
}

/// Writes a vector register.
#[inline(always)]
pub(super) fn write(cpu: &mut Cpu<X86_64>, slot: u8, value: Vector) {
    let slot = usize::from(slot);
    cpu.slots[slot] = value[0];
    cpu.slots[slot | 1] = value[1];
}

/// A vector of the elements that a function gives.
#[inline(always)]
pub(super) fn build<F: Lane>(mut element: impl FnMut(usize) -> F::Bits) -> Vector {
    let mut vector = [0; 2];
    for index in 0..F::COUNT {
        F::put(&mut vector, index, element(index));
    }
    vector
}

/// The same, if it gives all of them.
#[inline(always)]
pub(super) fn try_build<F: Lane>(mut element: impl FnMut(usize) -> Option<F::Bits>) -> Option<Vector> {
    let mut vector = [0; 2];
    for index in 0..F::COUNT {
        F::put(&mut vector, index, element(index)?);
    }
    Some(vector)
}

/// An operation on all elements of two vectors; the result is written to `slot`.
#[inline(always)]
pub(super) fn vectors<O: Operation<F>, F: Lane>(
    cpu: &mut Cpu<X86_64>,
    slot: u8,
    a: Vector,
    b: Vector,
) -> Result<u64, Trap> {
    let quick = quickly(cpu, |env| try_build::<F>(|i| O::quick(env, F::at(a, i), F::at(b, i))));
    let result = match quick {
        Some(result) => result,
        None => exact_vectors::<O, F>(cpu, a, b)?,
    };
    write(cpu, slot, result);
    Ok(0)
}

#[cold]
#[inline(never)]
fn exact_vectors<O: Operation<F>, F: Lane>(
    cpu: &mut Cpu<X86_64>,
    a: Vector,
    b: Vector,
) -> Result<Vector, Trap> {
    exactly(cpu, |env| build::<F>(|i| O::exact(env, F::at(a, i), F::at(b, i))))
}

/// The helper of a packed instruction.
pub(super) fn packed<O: Operation<F>, F: Lane>(
    cpu: &mut Cpu<X86_64>,
    [to, lo, hi, _]: [u64; 4],
) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let a = read(cpu, slot);
    vectors::<O, F>(cpu, slot, a, [lo, hi])
}

/// The helper of a scalar instruction.
#[inline(always)]
pub(super) fn scalar<O: Operation<F>, F: Lane>(
    cpu: &mut Cpu<X86_64>,
    [a, b, ..]: [u64; 4],
) -> Result<u64, Trap> {
    match quickly(cpu, |env| O::quick(env, F::low(a), F::low(b))) {
        Some(result) => Ok(F::with_low(a, result)),
        None => exact_scalar::<O, F>(cpu, a, b),
    }
}

#[cold]
#[inline(never)]
fn exact_scalar<O: Operation<F>, F: Lane>(cpu: &mut Cpu<X86_64>, a: u64, b: u64) -> Result<u64, Trap> {
    let result = exactly(cpu, |env| O::exact(env, F::low(a), F::low(b)))?;
    Ok(F::with_low(a, result))
}
