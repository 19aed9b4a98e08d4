//! Proof of the arithmetic, from three sides: an exact reference on big integers (every operation and
//! rounding direction), the host processor where it is an x86 (every flag), and cases written out.
//! The fast path is compared with the exact one.

mod cases;
mod elementary;
mod generate;
#[cfg(target_arch = "x86_64")]
mod hardware;
mod paths;
mod reference;
#[cfg(target_arch = "x86_64")]
mod x87;

use super::Rounding;

/// Random cases of one operation in one configuration.
const ROUNDS: usize = if cfg!(debug_assertions) { 4_000 } else { 100_000 };

const ROUNDINGS: [Rounding; 5] =
    [Rounding::NearestEven, Rounding::TowardZero, Rounding::Down, Rounding::Up, Rounding::NearestAway];
