//! Elementary functions of the extended format, with the domains, special cases and exceptions of x87 (SDM volume 1,
//! 8.3.7 to 8.3.9).
//!
//! They are computed with 128 significant bits ([`wide`]), of which fewer than ten are lost, and rounded once. The
//! exact results are irrational but for a few, so every result that is finite and not zero counts as inexact.

mod angle;
mod exponential;
mod wide;

pub use angle::{arctangent, cosine, sine, sine_and_cosine, tangent};
pub use exponential::{exp2_minus_1, y_log2_x, y_log2_x_plus_1};

use super::env::{Env, Flags};
use super::f80::F80;
use super::format::Format;
use super::round::round_pack;
use wide::Wide;

/// On which side of an approximation the exact result is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Nearer to zero.
    Below,
    /// Farther from zero.
    Above,
    /// The approximation is exact where its digits end early.
    On,
}

/// Rounds an approximation.
fn round(env: &mut Env, value: Wide, side: Side) -> u128 {
    let value = match side {
        Side::Below => value.just_below(),
        Side::Above => value.just_above(),
        Side::On => value,
    };
    if value.is_zero() {
        return encode_zero(value.sign);
    }
    env.raise(Flags::INEXACT);
    let (high, low) = ((value.significand >> 64) as u64, value.significand as u64);
    let result = round_pack::<F80>(env, value.sign, value.exponent, high, low);
    if result >> 64 & 0x7fff == 0 {
        env.raise(Flags::UNDERFLOW);
    }
    result
}

fn encode_zero(sign: bool) -> u128 {
    F80::zero(sign)
}
