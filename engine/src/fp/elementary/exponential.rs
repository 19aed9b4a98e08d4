//! Powers of two and binary logarithms.

use super::wide::{ONE, Wide, multiply_high};
use super::{Side, encode_zero, round};
use crate::fp::env::{Env, Flags};
use crate::fp::f80::F80;
use crate::fp::format::{Format, Kind, Parts};

/// The natural logarithm of 2.
const LN_2: Wide = Wide { sign: false, exponent: -1, significand: 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af };

/// The binary logarithm of e.
const LOG2_E: Wide =
    Wide { sign: false, exponent: 0, significand: 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89 };

/// `2^a - 1`; `None` if the magnitude of `a` is a number above 1.
pub fn exp2_minus_1(env: &mut Env, a: u128) -> Option<u128> {
    let parts = env.unpack::<F80>(a);
    match parts.kind {
        Kind::Zero => Some(encode_zero(parts.sign)),
        Kind::Infinity if parts.sign => Some(F80::finite(true, 0, 1 << 63)),
        Kind::Infinity => Some(F80::infinity(false)),
        Kind::Finite if (parts.exponent, parts.significand) > (0, 1 << 63) => None,
        Kind::Finite => {
            env.note_subnormal(parts.subnormal);
            if parts.exponent == 0 {
                // 1 and -1/2.
                env.raise(Flags::INEXACT);
                env.rounded_up = false;
                return Some(F80::finite(parts.sign, if parts.sign { -1 } else { 0 }, 1 << 63));
            }
            Some(round(env, exp_minus_1(Wide::of(&parts).mul(LN_2)), Side::On))
        }
        _ => Some(env.propagate::<F80>(&[parts])),
    }
}

/// `e^z - 1` for a magnitude below 0.7: `z (1 + z/2 (1 + z/3 (...)))`.
fn exp_minus_1(z: Wide) -> Wide {
    let magnitude = z.fraction();
    let sum = (2..=36).rev().fold(ONE, |sum, n: u128| {
        let term = multiply_high(sum, magnitude) / n;
        if z.sign { ONE - term } else { ONE + term }
    });
    z.mul(Wide::new(false, 0, sum))
}

/// The binary logarithm of `(1 + s) / (1 - s)`, for a magnitude of at most 0.18: `2 log2(e) (s + s^3/3 + s^5/5 + ...)`.
fn log2_of_ratio(s: Wide) -> Wide {
    let square = s.mul(s).fraction();
    let odd = (0..=27).rev().map(|n: u128| 2 * n + 1);
    let sum = odd.fold(0, |sum, n| ONE / n + multiply_high(sum, square));
    s.mul(Wide::new(false, 0, sum)).mul(LOG2_E).scaled(1)
}

/// The binary logarithm of a positive number.
fn log2(x: Wide) -> Wide {
    /// The square root of 2, below 1 by its exponent.
    const ROOT: u128 = 0xb504_f333_f9de_6484_597d_89b3_754a_be9f;
    let up = x.significand > ROOT;
    let power = if up { x.exponent + 1 } else { x.exponent };
    let mantissa = x.scaled(-power);
    let one = Wide::integer(1);
    let fraction = log2_of_ratio(mantissa.sub(one).div(mantissa.add(one)));
    Wide::integer(power).add(fraction)
}

/// What a logarithm is.
enum Logarithm {
    Number(Wide),
    Zero(bool),
    /// Of zero: minus infinity, as a division by zero.
    Pole,
    Infinity,
}

/// `y` times a logarithm, with the rules of multiplication for zeros and infinities.
fn product(env: &mut Env, y: &Parts, logarithm: Logarithm, subnormal: bool) -> u128 {
    let (sign, size) = match &logarithm {
        Logarithm::Number(value) => (value.sign, Kind::Finite),
        Logarithm::Zero(sign) => (*sign, Kind::Zero),
        Logarithm::Pole => (true, Kind::Infinity),
        Logarithm::Infinity => (false, Kind::Infinity),
    };
    let sign = sign ^ y.sign;
    match (y.kind, size) {
        (Kind::Zero, Kind::Infinity) | (Kind::Infinity, Kind::Zero) => return env.invalid::<F80>(),
        (Kind::Finite, Kind::Infinity) if matches!(logarithm, Logarithm::Pole) => {
            env.raise(Flags::DIVIDE_BY_ZERO);
            return F80::infinity(sign);
        }
        _ => env.note_subnormal(y.subnormal | subnormal),
    }
    match logarithm {
        _ if y.kind == Kind::Infinity => F80::infinity(sign),
        Logarithm::Pole | Logarithm::Infinity => F80::infinity(sign),
        Logarithm::Number(value) if y.kind == Kind::Finite => round(env, Wide::of(y).mul(value), Side::On),
        _ => encode_zero(sign),
    }
}

/// `y log2(x)`.
pub fn y_log2_x(env: &mut Env, y: u128, x: u128) -> u128 {
    let (y, x) = (env.unpack::<F80>(y), env.unpack::<F80>(x));
    if y.is_nan() || x.is_nan() {
        return env.propagate::<F80>(&[y, x]);
    }
    let logarithm = match x.kind {
        Kind::Zero => Logarithm::Pole,
        _ if x.sign => return env.invalid::<F80>(),
        Kind::Infinity => Logarithm::Infinity,
        _ if (x.exponent, x.significand) == (0, 1 << 63) => Logarithm::Zero(false),
        _ => Logarithm::Number(log2(Wide::of(&x))),
    };
    product(env, &y, logarithm, x.subnormal)
}

/// `y log2(x + 1)`; `None` if `x` is a number that is -1 or less and `y` another number. An infinite `y` is multiplied
/// as by a negative number then.
pub fn y_log2_x_plus_1(env: &mut Env, y: u128, x: u128) -> Option<u128> {
    let (y, x) = (env.unpack::<F80>(y), env.unpack::<F80>(x));
    if y.is_nan() || x.is_nan() {
        return Some(env.propagate::<F80>(&[y, x]));
    }
    let logarithm = match x.kind {
        Kind::Zero => Logarithm::Zero(x.sign),
        Kind::Infinity if x.sign => return Some(env.invalid::<F80>()),
        Kind::Infinity => Logarithm::Infinity,
        _ if x.sign && x.exponent >= 0 && y.kind == Kind::Finite => {
            env.note_subnormal(y.subnormal);
            return None;
        }
        _ if x.sign && x.exponent >= 0 => Logarithm::Number(Wide::integer(-1)),
        _ => {
            let (x, one) = (Wide::of(&x), Wide::integer(1));
            // Near zero the sum would lose digits that the quotient keeps.
            let near = x.exponent < -2;
            Logarithm::Number(if near {
                log2_of_ratio(x.div(x.add(one.scaled(1))))
            } else {
                log2(x.add(one))
            })
        }
    };
    Some(product(env, &y, logarithm, x.subnormal))
}
