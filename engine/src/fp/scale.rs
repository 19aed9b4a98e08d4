//! Scaling by powers of two and taking numbers apart (IEEE 754-2019 §5.3.3).

use super::convert::from_int;
use super::env::{Env, Flags};
use super::format::{Format, Kind};
use super::round::round_pack;

/// `a x 2^power` (scaleB).
pub fn scale<F: Format>(env: &mut Env, a: F::Bits, power: i32) -> F::Bits {
    let parts = env.unpack::<F>(a);
    match parts.kind {
        Kind::Finite => {
            env.note_subnormal(parts.subnormal);
            let exponent = parts.exponent.saturating_add(power);
            // Exponents this far out all round alike, and nothing overflows on the way.
            let limit = 16 * F::EMAX;
            let result =
                round_pack::<F>(env, parts.sign, exponent.clamp(-limit, limit), parts.significand, 0);
            let kind = F::unpack(result).kind;
            if kind != Kind::Finite {
                // Out of the range, even that for a trap handler.
                env.raise(Flags::INEXACT);
                env.rounded_up = kind == Kind::Infinity;
            }
            result
        }
        Kind::Zero => F::zero(parts.sign),
        Kind::Infinity => F::infinity(parts.sign),
        _ => env.propagate::<F>(&[parts]),
    }
}

/// The exponent of `a` as a number (logB): minus infinity, with division by zero, for zeros.
pub fn logb<F: Format>(env: &mut Env, a: F::Bits) -> F::Bits {
    let parts = env.unpack::<F>(a);
    match parts.kind {
        Kind::Finite => {
            env.note_subnormal(parts.subnormal);
            from_int::<F, i32>(env, parts.exponent)
        }
        Kind::Zero => {
            env.raise(Flags::DIVIDE_BY_ZERO);
            F::infinity(true)
        }
        Kind::Infinity => F::infinity(false),
        _ => env.propagate::<F>(&[parts]),
    }
}

/// `a` scaled to an exponent of zero; zeros and infinities as they are.
pub fn significand<F: Format>(env: &mut Env, a: F::Bits) -> F::Bits {
    let parts = env.unpack::<F>(a);
    match parts.kind {
        Kind::Finite => {
            env.note_subnormal(parts.subnormal);
            round_pack::<F>(env, parts.sign, 0, parts.significand, 0)
        }
        Kind::Zero | Kind::Infinity => a,
        _ => env.propagate::<F>(&[parts]),
    }
}
