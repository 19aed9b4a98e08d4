//! Remainders (IEEE 754-2019 §5.3.1), in steps: x87 finds one of numbers whose exponents are far apart by several
//! instructions.

use super::env::Env;
use super::format::{Format, Kind, Parts};
use super::round::round_pack;

/// How the quotient is rounded to an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotient {
    /// Toward zero (C's `fmod`).
    Truncated,
    /// To the nearest, ties to even (IEEE's `remainder`).
    Nearest,
}

/// A remainder, or a step toward it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remainder<B> {
    /// The number.
    pub bits: B,
    /// Low bits of the quotient's magnitude; 0 unless `complete`.
    pub quotient: u64,
    /// This is the remainder; otherwise it is congruent to it, and smaller than the dividend.
    pub complete: bool,
}

/// The remainder of `a / b`, always exact. Where the exponents differ by 64 or more it is a step that lowers the
/// difference, by a multiple of `b` times a power of two.
pub fn partial_remainder<F: Format>(
    env: &mut Env,
    rounding: Quotient,
    a: F::Bits,
    b: F::Bits,
) -> Remainder<F::Bits> {
    let bits = a;
    let (a, b) = (env.unpack::<F>(a), env.unpack::<F>(b));
    let whole = |bits| Remainder { bits, quotient: 0, complete: true };
    if a.is_nan() || b.is_nan() {
        return whole(env.propagate::<F>(&[a, b]));
    }
    if a.kind == Kind::Infinity || b.kind == Kind::Zero {
        return whole(env.invalid::<F>());
    }
    env.note_subnormal(a.subnormal | b.subnormal);
    if a.kind == Kind::Zero {
        return whole(bits);
    }
    if b.kind == Kind::Infinity {
        return whole(pack::<F>(env, a.sign, a.exponent, u128::from(a.significand)));
    }
    let distance = a.exponent - b.exponent;
    if distance >= 64 {
        // As many bits of the quotient as leave the distance a multiple of 32, plus 32.
        let step = (distance & 31) | 32;
        let rest = (u128::from(a.significand) << step) % u128::from(b.significand);
        let bits = pack::<F>(env, a.sign, b.exponent + distance - step, rest);
        return Remainder { bits, quotient: 0, complete: false };
    }
    let (quotient, flip, exponent, rest) = divide(rounding, &a, &b, distance);
    let bits = pack::<F>(env, a.sign ^ flip, exponent, rest);
    Remainder { bits, quotient, complete: true }
}

/// Quotient, whether the remainder has the other sign than the dividend, its exponent and significand.
fn divide(rounding: Quotient, a: &Parts, b: &Parts, distance: i32) -> (u64, bool, i32, u128) {
    let (dividend, divisor) = (u128::from(a.significand), u128::from(b.significand));
    if distance < 0 {
        // |a| < |b|. In units of the dividend's last place the divisor is at least twice its significand.
        if rounding == Quotient::Nearest && distance == -1 && dividend > divisor {
            return (1, true, a.exponent, 2 * divisor - dividend);
        }
        return (0, false, a.exponent, dividend);
    }
    let dividend = dividend << distance;
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    let twice = 2 * rest;
    let up = twice > divisor || twice == divisor && quotient & 1 == 1;
    if rounding == Quotient::Nearest && up {
        return (quotient as u64 + 1, rest != 0, b.exponent, divisor - rest);
    }
    (quotient as u64, false, b.exponent, rest)
}

/// `significand / 2^63 x 2^exponent`, which the format can hold; a zero has the sign, too.
fn pack<F: Format>(env: &mut Env, sign: bool, exponent: i32, significand: u128) -> F::Bits {
    if significand == 0 {
        return F::zero(sign);
    }
    let shift = (significand as u64).leading_zeros();
    round_pack::<F>(env, sign, exponent - shift as i32, (significand as u64) << shift, 0)
}
