//! Fused multiply-add (IEEE 754-2019 §5.4.1): one rounding of the exact `a x b + c`.

use super::add::sign_of_cancelled;
use super::env::{Env, Flags, NanRule};
use super::format::{Format, Kind, Parts};
use super::mul::multiply;
use super::round::round_pack;

/// Which operands of a fused multiply-add are negated.
///
/// Negating the result instead would differ where that is zero or is rounded in a direction, and
/// negating the operand's encoding would differ where NaNs are propagated with their sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negate {
    /// `-(a x b)`.
    pub product: bool,
    /// `- c`.
    pub addend: bool,
}

/// `±(a x b) ± c`, rounded once.
pub fn fma<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits, c: F::Bits, negate: Negate) -> F::Bits {
    const { assert!(2 * F::PRECISION <= 120, "products leave no room for guard bits") };
    let (a, b, mut c) = (env.unpack::<F>(a), env.unpack::<F>(b), env.unpack::<F>(c));
    let zero_times_infinity =
        matches!((a.kind, b.kind), (Kind::Zero, Kind::Infinity) | (Kind::Infinity, Kind::Zero));
    if a.is_nan() || b.is_nan() || c.is_nan() {
        // IEEE 754-2019 §7.2 c) leaves open whether 0 x inf + qNaN is invalid. RISC-V: it is
        // (Unpriv., "Single-Precision Floating-Point Computational Instructions"); x86: it is not
        // (SDM volume 1, 14.5).
        if zero_times_infinity && env.nan == NanRule::Canonical {
            env.raise(Flags::INVALID);
        }
        return env.propagate::<F>(&[a, b, c]);
    }
    let sign = a.sign ^ b.sign ^ negate.product;
    c.sign ^= negate.addend;
    let product_infinite = a.kind == Kind::Infinity || b.kind == Kind::Infinity;
    if zero_times_infinity || (product_infinite && c.kind == Kind::Infinity && sign != c.sign) {
        return env.invalid::<F>();
    }
    env.note_subnormal(a.subnormal | b.subnormal | c.subnormal);
    if product_infinite {
        return F::infinity(sign);
    }
    if c.kind == Kind::Infinity {
        return F::infinity(c.sign);
    }
    if a.kind == Kind::Zero || b.kind == Kind::Zero {
        return if c.kind != Kind::Zero {
            round_pack::<F>(env, c.sign, c.exponent, c.significand, 0)
        } else {
            F::zero(if sign == c.sign { sign } else { sign_of_cancelled(env) })
        };
    }
    let (exponent, product) = multiply((a.exponent, a.significand), (b.exponent, b.significand));
    if c.kind == Kind::Zero {
        return round_pack::<F>(env, sign, exponent, (product >> 64) as u64, product as u64);
    }
    add_wide::<F>(env, sign, exponent, product, c)
}

/// Adds `c` to a product with its leading bit at bit 127.
#[inline]
fn add_wide<F: Format>(env: &mut Env, sign: bool, exponent: i32, product: u128, c: Parts) -> F::Bits {
    let product = (exponent, product, sign);
    let addend = (c.exponent, u128::from(c.significand) << 64, c.sign);
    let (large, small) =
        if (product.0, product.1) >= (addend.0, addend.1) { (product, addend) } else { (addend, product) };
    let (mut exponent, large_bits, sign) = large;
    let small_bits = match exponent.abs_diff(small.0) {
        0 => small.1,
        distance @ 1..=127 => small.1 >> distance | u128::from(small.1 << (128 - distance) != 0),
        _ => 1,
    };
    let sum = if sign == small.2 {
        let (sum, carry) = large_bits.overflowing_add(small_bits);
        if carry {
            exponent += 1;
            sum >> 1 | sum & 1 | 1 << 127
        } else {
            sum
        }
    } else {
        // As in a plain sum: where bits were jammed, at most one place is cancelled.
        let difference = large_bits - small_bits;
        if difference == 0 {
            return F::zero(sign_of_cancelled(env));
        }
        let shift = difference.leading_zeros();
        exponent -= shift as i32;
        difference << shift
    };
    round_pack::<F>(env, sign, exponent, (sum >> 64) as u64, sum as u64)
}
