//! Addition and subtraction (IEEE 754-2019 §5.4.1), exact on every operand and rounding direction.

use super::env::{Env, Rounding};
use super::format::{Format, Kind, Parts};
use super::round::{round_pack, shift_right_jam};

/// `a + b`.
pub fn add<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
    sum::<F>(env, a, b, false)
}

/// `a - b`.
pub fn sub<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
    sum::<F>(env, a, b, true)
}

/// The sign of an exact zero sum of two numbers of opposite signs (IEEE 754-2019 §6.3).
#[inline]
pub(super) fn sign_of_cancelled(env: &Env) -> bool {
    env.rounding == Rounding::Down
}

#[inline]
fn sum<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits, negate: bool) -> F::Bits {
    let (a, mut b) = (env.unpack::<F>(a), env.unpack::<F>(b));
    if a.is_nan() || b.is_nan() {
        return env.propagate::<F>(&[a, b]);
    }
    b.sign ^= negate;
    if a.kind == Kind::Finite && b.kind == Kind::Finite {
        env.note_subnormal(a.subnormal | b.subnormal);
        return sum_finite::<F>(env, a, b);
    }
    sum_special::<F>(env, a, b)
}

fn sum_special<F: Format>(env: &mut Env, a: Parts, b: Parts) -> F::Bits {
    match (a.kind, b.kind) {
        (Kind::Infinity, Kind::Infinity) if a.sign != b.sign => return env.invalid::<F>(),
        (Kind::Zero, Kind::Zero) => {
            return F::zero(if a.sign == b.sign { a.sign } else { sign_of_cancelled(env) });
        }
        _ => {}
    }
    env.note_subnormal(a.subnormal | b.subnormal);
    let rank = |parts: &Parts| (parts.exponent, parts.significand);
    let larger = if rank(&a) >= rank(&b) { a } else { b };
    match larger.kind {
        Kind::Infinity => F::infinity(larger.sign),
        // The other operand is zero; the number itself may still have to be flushed or shortened.
        _ => round_pack::<F>(env, larger.sign, larger.exponent, larger.significand, 0),
    }
}

#[inline]
fn sum_finite<F: Format>(env: &mut Env, a: Parts, b: Parts) -> F::Bits {
    let swap = (a.exponent, a.significand) < (b.exponent, b.significand);
    let (large, small) = if swap { (b, a) } else { (a, b) };
    let distance = large.exponent.abs_diff(small.exponent);
    let (high, low) = shift_right_jam(small.significand, 0, distance);
    if large.sign == small.sign {
        let (sum, carry) = large.significand.overflowing_add(high);
        if carry {
            let (sum, rest) = shift_right_jam(sum, low, 1);
            return round_pack::<F>(env, large.sign, large.exponent + 1, sum | 1 << 63, rest);
        }
        return round_pack::<F>(env, large.sign, large.exponent, sum, low);
    }
    // Bits that were jammed together lie 64 places or more below the leading bit, where at most one
    // place is cancelled: they remain below everything that rounding looks at.
    let (rest, borrow) = 0u64.overflowing_sub(low);
    let mut difference = large.significand - high - u64::from(borrow);
    let (mut exponent, mut rest) = (large.exponent, rest);
    if difference == 0 {
        if rest == 0 {
            return F::zero(sign_of_cancelled(env));
        }
        (difference, rest) = (rest, 0);
        exponent -= 64;
    }
    let shift = difference.leading_zeros();
    if shift != 0 {
        difference = (difference << shift) | (rest >> (64 - shift));
        rest <<= shift;
        exponent -= shift as i32;
    }
    round_pack::<F>(env, large.sign, exponent, difference, rest)
}
