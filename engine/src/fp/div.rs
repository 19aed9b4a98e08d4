//! Division (IEEE 754-2019 §5.4.1).

use super::env::{Env, Flags};
use super::format::{Format, Kind};
use super::round::{rest_of, round_pack};

/// `a / b`.
pub fn div<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
    let (a, b) = (env.unpack::<F>(a), env.unpack::<F>(b));
    if a.is_nan() || b.is_nan() {
        return env.propagate::<F>(&[a, b]);
    }
    let sign = a.sign ^ b.sign;
    match (a.kind, b.kind) {
        (Kind::Infinity, Kind::Infinity) | (Kind::Zero, Kind::Zero) => return env.invalid::<F>(),
        (Kind::Finite, Kind::Zero) => {
            env.raise(Flags::DIVIDE_BY_ZERO);
            return F::infinity(sign);
        }
        _ => env.note_subnormal(a.subnormal | b.subnormal),
    }
    if a.kind == Kind::Infinity || b.kind == Kind::Zero {
        return F::infinity(sign);
    }
    if a.kind == Kind::Zero || b.kind == Kind::Infinity {
        return F::zero(sign);
    }
    let exponent = a.exponent - b.exponent;
    // The dividend is halved where the quotient would not fit, so that its leading bit is always bit 63.
    let (exponent, high, low) = if a.significand >= b.significand {
        (exponent, a.significand >> 1, a.significand << 63)
    } else {
        (exponent - 1, a.significand, 0)
    };
    let (quotient, remainder) = divide_wide(high, low, b.significand);
    let rest = rest_of(remainder == 0, remainder > b.significand - remainder);
    round_pack::<F>(env, sign, exponent, quotient, rest)
}

/// `(high:low) / divisor` with remainder, for `divisor` with its top bit set and `high < divisor`.
///
/// Knuth's algorithm D in base 2^32: hosts without a 128-bit division would take a library call.
fn divide_wide(high: u64, low: u64, divisor: u64) -> (u64, u64) {
    let (d1, d0) = (divisor >> 32, divisor & 0xffff_ffff);
    let digit = |high: u64, next: u64| -> (u64, u64) {
        let mut quotient = high / d1;
        let mut remainder = high - quotient * d1;
        while quotient * d0 > (remainder << 32 | next) {
            quotient -= 1;
            remainder += d1;
            if remainder >> 32 != 0 {
                break;
            }
        }
        let remainder = (high << 32 | next).wrapping_sub(quotient.wrapping_mul(divisor));
        (quotient, remainder)
    };
    let (q1, remainder) = digit(high, low >> 32);
    let (q0, remainder) = digit(remainder, low & 0xffff_ffff);
    (q1 << 32 | q0, remainder)
}
