//! Conversion between formats (IEEE 754-2019 §5.4.2) and to and from integers (§5.4.1, §5.8),
//! rounding to an integer in the same format (§5.9).

use super::env::{Env, Flags, Rounding};
use super::format::{Format, Kind, Parts};
use super::round::{round_pack, rounds_up};

/// Converts a number of format `F` to format `G`.
pub fn convert<F: Format, G: Format>(env: &mut Env, a: F::Bits) -> G::Bits {
    let a = env.unpack::<F>(a);
    match a.kind {
        Kind::Finite => {
            env.note_subnormal(a.subnormal);
            round_pack::<G>(env, a.sign, a.exponent, a.significand, 0)
        }
        Kind::Zero => G::zero(a.sign),
        Kind::Infinity => G::infinity(a.sign),
        _ => env.propagate::<G>(&[a]),
    }
}

/// An integer type that numbers are converted to and from.
pub trait Integer: Copy {
    /// Sign and magnitude.
    fn split(self) -> (bool, u64);
    /// The integer of this sign and magnitude.
    ///
    /// # Errors
    /// The type cannot represent it.
    fn join(sign: bool, magnitude: u64) -> Result<Self, OutOfRange>;
}

/// Why a number has no integer value. Invalid has been raised; what is delivered is the
/// architecture's business (RISC-V: the nearest integer, the largest for a NaN; x86: one
/// "indefinite" value for all).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// Below the smallest integer, or minus infinity.
    Low,
    /// Above the largest integer, or infinity.
    High,
    /// Not a number.
    Nan,
}

macro_rules! integer {
    ($($type:ident),*) => {$(
        impl Integer for $type {
            #[inline(always)]
            #[allow(unused_comparisons, reason = "also instantiated for unsigned types")]
            fn split(self) -> (bool, u64) {
                let sign = self < 0;
                // Sign extension and wrapping negation give the magnitude of the smallest integer too.
                let wide = self as u64;
                (sign, if sign { wide.wrapping_neg() } else { wide })
            }

            #[inline(always)]
            fn join(sign: bool, magnitude: u64) -> Result<Self, OutOfRange> {
                if sign {
                    let least = $type::MIN as u64;
                    if magnitude <= least.wrapping_neg() {
                        Ok(magnitude.wrapping_neg() as $type)
                    } else {
                        Err(OutOfRange::Low)
                    }
                } else if magnitude <= $type::MAX as u64 {
                    Ok(magnitude as $type)
                } else {
                    Err(OutOfRange::High)
                }
            }
        }
    )*};
}
integer!(i16, i32, u32, i64, u64);

/// Converts an integer to format `F`.
#[inline]
pub fn from_int<F: Format, T: Integer>(env: &mut Env, value: T) -> F::Bits {
    let (sign, magnitude) = value.split();
    if magnitude == 0 {
        return F::zero(false);
    }
    let shift = magnitude.leading_zeros();
    round_pack::<F>(env, sign, 63 - shift as i32, magnitude << shift, 0)
}

/// Converts a number to an integer, raising inexact where it was none
/// (IEEE 754-2019 §5.8, convertToIntegerExact...).
///
/// # Errors
/// The rounded number is not in the integer's range: invalid is raised, inexact is not.
#[inline]
pub fn to_int<F: Format, T: Integer>(env: &mut Env, rounding: Rounding, a: F::Bits) -> Result<T, OutOfRange> {
    let a = env.unpack::<F>(a);
    let result = match a.kind {
        Kind::Zero => return T::join(false, 0),
        Kind::Finite if a.exponent <= 63 => {
            let (magnitude, inexact) = integral(env, rounding, &a);
            let result = T::join(a.sign, magnitude);
            if inexact && result.is_ok() {
                env.raise(Flags::INEXACT);
            }
            result
        }
        Kind::Finite | Kind::Infinity if a.sign => Err(OutOfRange::Low),
        Kind::Finite | Kind::Infinity => Err(OutOfRange::High),
        _ => Err(OutOfRange::Nan),
    };
    if result.is_err() {
        env.raise(Flags::INVALID);
    }
    result
}

/// Truncates a number to an integer and delivers its low 32 bits in two's complement; 0 for
/// infinities and NaNs. The flags are those of [`to_int`] to `i32` (RISC-V Zfa, `fcvtmod.w.d`;
/// ECMAScript's ToInt32).
pub fn to_int_modular<F: Format>(env: &mut Env, a: F::Bits) -> i32 {
    if let Ok(value) = to_int::<F, i32>(env, Rounding::TowardZero, a) {
        return value;
    }
    let a = env.unpack::<F>(a);
    let magnitude = match (a.kind, a.exponent) {
        (Kind::Finite, ..=63) => integral(env, Rounding::TowardZero, &a).0 as u32,
        // The integer is the significand with zeros behind it, up to 31 of them in the low 32 bits.
        (Kind::Finite, 64..=94) => (a.significand as u32) << (a.exponent - 63),
        _ => 0,
    };
    if a.sign { magnitude.wrapping_neg() as i32 } else { magnitude as i32 }
}

/// Rounds a number to an integer of the same format. Inexact is raised only where `report_inexact`
/// (RISC-V Zfa: `froundnx`, not `fround`; SSE4.1: `imm8` bit 3 clear). Subnormal operands are not reported.
pub fn round_to_integral<F: Format>(
    env: &mut Env,
    rounding: Rounding,
    report_inexact: bool,
    a: F::Bits,
) -> F::Bits {
    let bits = a;
    let a = env.unpack::<F>(a);
    match a.kind {
        Kind::Zero => return F::zero(a.sign),
        Kind::Infinity => return bits,
        Kind::Finite => {}
        _ => return env.propagate::<F>(&[a]),
    }
    if a.exponent >= F::PRECISION as i32 - 1 {
        return bits;
    }
    let (magnitude, inexact) = integral(env, rounding, &a);
    if inexact && report_inexact {
        env.raise(Flags::INEXACT);
    }
    if magnitude == 0 {
        return F::zero(a.sign);
    }
    let shift = magnitude.leading_zeros();
    // The magnitude has at most PRECISION digits, or is a power of two.
    F::finite(a.sign, 63 - shift as i32, (magnitude << shift) >> (64 - F::PRECISION))
}

/// The magnitude of a finite number below 2^64 as an integer, and whether that took rounding.
#[inline]
fn integral(env: &mut Env, rounding: Rounding, a: &Parts) -> (u64, bool) {
    let (kept, rest) = match a.exponent {
        0..=62 => (a.significand >> (63 - a.exponent), a.significand << (a.exponent + 1)),
        63.. => (a.significand, 0),
        -1 => (0, a.significand),
        // Below one half: any fraction that small rounds alike.
        _ => (0, 1),
    };
    let up = rounds_up(rounding, a.sign, kept & 1 == 1, rest);
    env.rounded_up = up;
    (kept + u64::from(up), rest != 0)
}
