//! Sine, cosine, tangent and arctangent.
//!
//! Arguments are reduced by the multiples of half of x87's pi, which has 66 bits (SDM volume 1, 8.3.8): exactly, so
//! results are those of the exact functions of an angle measured with that pi. It is larger than the true one by less
//! than 2^-66; that shows where results are close to zero, on every processor that has these instructions. Results of
//! the arctangent are multiples of the true pi, rounded.

use super::wide::{ONE, Wide, multiply_high};
use super::{Side, encode_zero, round};
use crate::fp::env::Env;
use crate::fp::f80::F80;
use crate::fp::format::{Format, Kind, Parts};

/// Half of x87's pi, in units of 2^-67.
const HALF_PI: u128 = 0xc_90fd_aa22_168c_234c;

/// The true pi.
const PI: Wide = Wide { sign: false, exponent: 1, significand: 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1 };

/// Arctangents of the multiples of 1/8 up to 1.
const ARCTANGENTS: [(i32, u128); 9] = [
    (0, 0),
    (-4, 0xfead_d4d5_617b_6e32_c897_989f_3e88_8ef8),
    (-3, 0xfadb_afc9_6406_eb15_6dc7_9ef5_f7a2_17e6),
    (-2, 0xb7b0_ca0f_26f7_8473_8aa3_2122_dcfe_4483),
    (-2, 0xed63_382b_0dda_7b45_6fe4_45ec_bc3a_8d03),
    (-1, 0x8f00_5d5e_f7f5_9f9b_5c83_5e16_65c4_3748),
    (-1, 0xa4bc_7d19_34f7_0924_19a8_7f2a_457d_ac9f),
    (-1, 0xb805_3e2b_c231_9e73_cb2d_a552_10a4_443d),
    (-1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
];

/// An angle: `quadrant` right angles and `rest`, which is at most half of one. Both are of the magnitude.
struct Angle {
    quadrant: u32,
    rest: Wide,
}

/// Reduces a magnitude below 2^63.
fn reduce(a: &Parts) -> Angle {
    if a.exponent < -1 {
        return Angle { quadrant: 0, rest: Wide::of(a).with_sign(false) };
    }
    // In units of 2^-67 the number is an integer: its significand shifted left.
    let (mut quadrant, mut rest) = (0u32, u128::from(a.significand));
    for _ in 0..a.exponent + 4 {
        rest <<= 1;
        quadrant <<= 1;
        if rest >= HALF_PI {
            rest -= HALF_PI;
            quadrant |= 1;
        }
    }
    let beyond = 2 * rest > HALF_PI;
    if beyond {
        rest = HALF_PI - rest;
        quadrant = quadrant.wrapping_add(1);
    }
    Angle { quadrant: quadrant & 3, rest: Wide::new(beyond, 127 - 67, rest) }
}

/// `1 - x / d1 (1 - x / d2 (...))`, for `x` in units of 2^-128 and divisors `(n + 1)(n + 2)` of every second `n` from
/// `first` on.
fn series(x: u128, first: u128) -> u128 {
    (0..18)
        .rev()
        .map(|term| first + 2 * term)
        .fold(ONE, |sum, n| ONE - multiply_high(sum, x) / ((n + 1) * (n + 2)))
}

/// Sine and cosine of a magnitude of at most half a right angle; the sine has its sign.
fn sine_of_rest(rest: Wide) -> Wide {
    let square = rest.mul(rest).fraction();
    rest.mul(Wide::new(false, 0, series(square, 1)))
}

fn cosine_of_rest(rest: Wide) -> Wide {
    let square = rest.mul(rest).fraction();
    Wide::new(false, 0, series(square, 0))
}

fn sine_of(angle: &Angle) -> Wide {
    let magnitude =
        if angle.quadrant & 1 == 0 { sine_of_rest(angle.rest) } else { cosine_of_rest(angle.rest) };
    if angle.quadrant & 2 == 0 { magnitude } else { magnitude.negated() }
}

fn cosine_of(angle: &Angle) -> Wide {
    sine_of(&Angle { quadrant: (angle.quadrant + 1) & 3, rest: angle.rest })
}

/// What is left to do with an argument.
enum Argument {
    Number(Parts),
    /// Of this sign.
    Zero(bool),
    /// Nothing: this is the result.
    Result(u128),
}

/// Looks at an argument; `None` if it is out of the domain.
fn argument(env: &mut Env, a: u128) -> Option<Argument> {
    let parts = env.unpack::<F80>(a);
    Some(match parts.kind {
        Kind::Finite if parts.exponent >= 63 => return None,
        Kind::Finite => {
            env.note_subnormal(parts.subnormal);
            Argument::Number(parts)
        }
        Kind::Zero => Argument::Zero(parts.sign),
        Kind::Infinity => Argument::Result(env.invalid::<F80>()),
        _ => Argument::Result(env.propagate::<F80>(&[parts])),
    })
}

fn one() -> u128 {
    F80::finite(false, 0, 1 << 63)
}

/// The sine of an angle; `None` from 2^63 on.
pub fn sine(env: &mut Env, a: u128) -> Option<u128> {
    Some(match argument(env, a)? {
        Argument::Zero(sign) => encode_zero(sign),
        Argument::Result(result) => result,
        Argument::Number(a) => {
            let value = sine_of(&reduce(&a));
            round(env, value.with_sign(value.sign ^ a.sign), Side::Below)
        }
    })
}

/// The cosine of an angle; `None` from 2^63 on.
pub fn cosine(env: &mut Env, a: u128) -> Option<u128> {
    Some(match argument(env, a)? {
        Argument::Zero(_) => one(),
        Argument::Result(result) => result,
        Argument::Number(a) => round(env, cosine_of(&reduce(&a)), Side::Below),
    })
}

/// Sine and cosine of an angle; `None` from 2^63 on.
pub fn sine_and_cosine(env: &mut Env, a: u128) -> Option<(u128, u128)> {
    Some((sine(env, a)?, cosine(env, a)?))
}

/// The tangent of an angle; `None` from 2^63 on.
pub fn tangent(env: &mut Env, a: u128) -> Option<u128> {
    Some(match argument(env, a)? {
        Argument::Zero(sign) => encode_zero(sign),
        Argument::Result(result) => result,
        Argument::Number(a) => {
            let angle = reduce(&a);
            let value = sine_of(&angle).div(cosine_of(&angle));
            round(env, value.with_sign(value.sign ^ a.sign), Side::Above)
        }
    })
}

/// The arctangent of a number from 0 to 1.
fn arctangent_of(t: Wide) -> Wide {
    // In sixteenths, then rounded to eighths.
    let sixteenths = if t.exponent == 0 { 16 } else { (t.fraction() >> 124) as usize };
    let nearest = sixteenths.div_ceil(2);
    let centre = Wide::integer(nearest as i32).scaled(-3);
    let u = t.sub(centre).div(Wide::integer(1).add(t.mul(centre)));
    let square = u.mul(u).fraction();
    let odd = (0..=16).rev().map(|n| 2 * n + 1);
    let sum = odd.fold(0, |sum, n| ONE / n - multiply_high(sum, square));
    let (exponent, significand) = ARCTANGENTS[nearest];
    Wide { sign: false, exponent, significand }.add(u.mul(Wide::new(false, 0, sum)))
}

/// The angle of the point `(x, y)`: atan2.
pub fn arctangent(env: &mut Env, y: u128, x: u128) -> u128 {
    let (y, x) = (env.unpack::<F80>(y), env.unpack::<F80>(x));
    if y.is_nan() || x.is_nan() {
        return env.propagate::<F80>(&[y, x]);
    }
    env.note_subnormal(y.subnormal | x.subnormal);
    let angle = |env: &mut Env, eighths: i32| {
        let value = PI.mul(Wide::integer(eighths)).scaled(-3);
        round(env, value.with_sign(y.sign), Side::On)
    };
    match (y.kind, x.kind) {
        (Kind::Infinity, Kind::Infinity) => angle(env, if x.sign { 6 } else { 2 }),
        (Kind::Infinity, _) => angle(env, 4),
        (Kind::Zero, _) | (_, Kind::Infinity) if x.sign => angle(env, 8),
        (Kind::Zero, _) | (_, Kind::Infinity) => encode_zero(y.sign),
        (_, Kind::Zero) => angle(env, 4),
        _ => {
            let value = angle_of(Wide::of(&y).with_sign(false), Wide::of(&x));
            round(env, value.with_sign(y.sign), Side::Below)
        }
    }
}

/// The angle of a point that is on no axis, with `y` positive.
fn angle_of(y: Wide, x: Wide) -> Wide {
    let width = x.with_sign(false);
    let steep = (y.exponent, y.significand) > (width.exponent, width.significand);
    let acute =
        if steep { PI.scaled(-1).sub(arctangent_of(width.div(y))) } else { arctangent_of(y.div(width)) };
    if x.sign { PI.sub(acute) } else { acute }
}
