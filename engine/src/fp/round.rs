//! Rounding an exact result to a format: the one place that decides inexact, overflow and underflow.

use super::env::{Env, Flags, Rounding};
use super::format::{Format, TOP};

/// Half a unit in the last place, of what [`rounds_up`] is asked about.
const HALF: u64 = 1 << 63;

/// Whether a magnitude goes up to its next neighbour, `rest` being the fraction that would be cut off:
/// its bits from the left, anything further to the right or-ed into bit 0.
#[inline]
pub(super) fn rounds_up(rounding: Rounding, sign: bool, odd: bool, rest: u64) -> bool {
    match rounding {
        Rounding::NearestEven => rest > HALF || (rest == HALF && odd),
        Rounding::TowardZero => false,
        Rounding::Down => sign && rest != 0,
        Rounding::Up => !sign && rest != 0,
        Rounding::NearestAway => rest >= HALF,
    }
}

/// A fraction as [`rounds_up`] wants it. Quotients and roots of numbers as wide as the result are
/// never exactly half.
#[inline]
pub(super) fn rest_of(zero: bool, above_half: bool) -> u64 {
    if above_half { HALF | 1 } else { u64::from(!zero) }
}

/// Shifts the binary number `high.low` right; what falls out is or-ed into the last bit.
#[inline]
pub(super) fn shift_right_jam(high: u64, low: u64, count: u32) -> (u64, u64) {
    match count {
        0 => (high, low),
        1..=63 => {
            let out = low << (64 - count) != 0;
            (high >> count, (high << (64 - count)) | (low >> count) | u64::from(out))
        }
        64 => (0, high | u64::from(low != 0)),
        65..=127 => {
            let out = low != 0 || high << (128 - count) != 0;
            (0, (high >> (count - 64)) | u64::from(out))
        }
        _ => (0, u64::from(high | low != 0)),
    }
}

/// Cuts the binary number `significand.rest` behind its first `digits` bits.
#[inline(always)]
fn cut(digits: u32, significand: u64, rest: u64) -> (u64, u64) {
    if digits == 64 {
        (significand, rest)
    } else {
        (significand >> (64 - digits), (significand << digits) | u64::from(rest != 0))
    }
}

/// Rounds and encodes `significand.rest / 2^63 x 2^exponent`, the top bit of `significand` being set,
/// and raises what follows from it (IEEE 754-2019 §7.4 to §7.6, tininess detected after rounding).
#[inline]
pub(super) fn round_pack<F: Format>(
    env: &mut Env,
    sign: bool,
    exponent: i32,
    significand: u64,
    rest: u64,
) -> F::Bits {
    debug_assert!(significand & TOP != 0);
    if exponent < F::EMIN {
        return pack_tiny::<F>(env, sign, exponent, significand, rest);
    }
    let digits = F::digits(env);
    let (kept, cut_off) = cut(digits, significand, rest);
    let up = rounds_up(env.rounding, sign, kept & 1 == 1, cut_off);
    if cut_off != 0 {
        env.raise(Flags::INEXACT);
    }
    env.rounded_up = up;
    let (kept, exponent) = step(digits, kept, exponent, up);
    if exponent > F::EMAX {
        return overflow::<F>(env, sign, exponent, kept, digits);
    }
    F::finite(sign, exponent, kept << (F::PRECISION - digits))
}

/// What is delivered to a handler of overflow or underflow: a result of `digits` bits beyond the bounds of exponents,
/// divided or multiplied by a power of two about three halves of the range (IEEE 754-1985 §7.3, §7.4). `None` if not
/// even that brings it back, as happens in conversions from wider formats.
fn wrapped<F: Format>(sign: bool, exponent: i32, kept: u64, digits: u32) -> Option<F::Bits> {
    let bias = 3 * ((F::EMAX + 1) / 2);
    let exponent = if exponent > F::EMAX { exponent - bias } else { exponent + bias };
    let fits = (F::EMIN..=F::EMAX).contains(&exponent);
    fits.then(|| F::finite(sign, exponent, kept << (F::PRECISION - digits)))
}

/// Adds `up` to a significand of `digits` bits and keeps it in that width.
#[inline(always)]
fn step(digits: u32, kept: u64, exponent: i32, up: bool) -> (u64, i32) {
    if up && kept == u64::MAX >> (64 - digits) {
        (1 << (digits - 1), exponent + 1)
    } else {
        (kept + u64::from(up), exponent)
    }
}

/// The result below the normal range. It is tiny unless rounding, as if the exponent had no lower
/// bound, brings it up to the smallest normal number.
#[cold]
fn pack_tiny<F: Format>(env: &mut Env, sign: bool, exponent: i32, significand: u64, rest: u64) -> F::Bits {
    let digits = F::digits(env);
    let (kept, cut_off) = cut(digits, significand, rest);
    let up = rounds_up(env.rounding, sign, kept & 1 == 1, cut_off);
    let (unbounded, unbounded_exponent) = step(digits, kept, exponent, up);
    let tiny = unbounded_exponent < F::EMIN;
    env.rounded_up = up;
    if tiny && env.trapped.contains(Flags::UNDERFLOW) {
        env.raise(if cut_off != 0 { Flags::UNDERFLOW | Flags::INEXACT } else { Flags::UNDERFLOW });
        return wrapped::<F>(sign, unbounded_exponent, unbounded, digits).unwrap_or(F::zero(sign));
    }
    if tiny && env.flush_results {
        env.raise(Flags::UNDERFLOW | Flags::INEXACT);
        return F::zero(sign);
    }
    let (significand, rest) = shift_right_jam(significand, rest, F::EMIN.abs_diff(exponent));
    let (kept, cut_off) = cut(digits, significand, rest);
    let up = rounds_up(env.rounding, sign, kept & 1 == 1, cut_off);
    if cut_off != 0 {
        env.raise(if tiny { Flags::INEXACT | Flags::UNDERFLOW } else { Flags::INEXACT });
    }
    env.rounded_up = up;
    F::finite(sign, F::EMIN, (kept + u64::from(up)) << (F::PRECISION - digits))
}

/// Infinity, or the largest finite number where the direction points away from infinity
/// (IEEE 754-2019 §7.4). Inexact has been raised for digits that were cut off.
#[cold]
fn overflow<F: Format>(env: &mut Env, sign: bool, exponent: i32, kept: u64, digits: u32) -> F::Bits {
    env.raise(Flags::OVERFLOW);
    if env.trapped.contains(Flags::OVERFLOW) {
        return wrapped::<F>(sign, exponent, kept, digits).unwrap_or(F::infinity(sign));
    }
    env.raise(Flags::INEXACT);
    let to_infinity = match env.rounding {
        Rounding::NearestEven | Rounding::NearestAway => true,
        Rounding::TowardZero => false,
        Rounding::Down => sign,
        Rounding::Up => !sign,
    };
    env.rounded_up = to_infinity;
    if to_infinity {
        F::infinity(sign)
    } else {
        let largest = u64::MAX >> (64 - digits);
        F::finite(sign, F::EMAX, largest << (F::PRECISION - digits))
    }
}
