//! Multiplication (IEEE 754-2019 §5.4.1).

use super::env::Env;
use super::format::{Format, Kind};
use super::round::round_pack;

/// `a x b`.
pub fn mul<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
    let (a, b) = (env.unpack::<F>(a), env.unpack::<F>(b));
    if a.is_nan() || b.is_nan() {
        return env.propagate::<F>(&[a, b]);
    }
    let sign = a.sign ^ b.sign;
    if a.kind == Kind::Finite && b.kind == Kind::Finite {
        env.note_subnormal(a.subnormal | b.subnormal);
        let (exponent, product) = multiply((a.exponent, a.significand), (b.exponent, b.significand));
        return round_pack::<F>(env, sign, exponent, (product >> 64) as u64, product as u64);
    }
    match (a.kind, b.kind) {
        (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity) => env.invalid::<F>(),
        (Kind::Infinity, _) | (_, Kind::Infinity) => {
            env.note_subnormal(a.subnormal | b.subnormal);
            F::infinity(sign)
        }
        _ => {
            env.note_subnormal(a.subnormal | b.subnormal);
            F::zero(sign)
        }
    }
}

/// The exact product of two normalised numbers, with its leading bit at bit 127.
#[inline(always)]
pub(super) fn multiply(a: (i32, u64), b: (i32, u64)) -> (i32, u128) {
    let product = u128::from(a.1) * u128::from(b.1);
    let exponent = a.0 + b.0;
    if product >> 127 != 0 { (exponent + 1, product) } else { (exponent, product << 1) }
}
