//! Floating-point arithmetic of guests: bit patterns in, bit pattern and exception flags out, exactly
//! as IEEE 754-2019 says, in every rounding direction.
//!
//! Nothing here knows an instruction set. What the standard leaves open (which NaN is delivered,
//! whether subnormal numbers are flushed) is said by [`Env`]; integer overflow and the encodings of
//! rounding directions and flags are the guest's business.
//!
//! The arithmetic named here uses the host's where that gives the same bits and the same flags
//! ([`fast`]); [`soft`] holds the integer-only operations that define it. Comparisons and conversions
//! are as quick on integers. A format is an
//! implementation of [`Format`]; everything else is written once for all of them.
//!
//! ```
//! use c2w_engine::fp::{self, Env, F64, Flags, Rounding};
//! let mut env = Env::canonical(Rounding::Up, Flags::empty());
//! let third = fp::div::<F64>(&mut env, 1.0f64.to_bits(), 3.0f64.to_bits());
//! assert_eq!((third, env.flags), (0x3fd5_5555_5555_5556, Flags::INEXACT));
//! ```

mod add;
mod compare;
mod convert;
mod div;
pub mod elementary;
mod env;
mod f80;
pub mod fast;
mod fma;
mod format;
pub mod host_convert;
mod host_fma;
mod mul;
mod nan;
mod remainder;
mod round;
mod scale;
mod sqrt;
#[cfg(test)]
mod tests;

pub use compare::{
    Class, Extremum, Order, classify, compare_quiet, compare_signaling, extremum, extremum_number,
    extremum_or_second,
};
pub use convert::{Integer, OutOfRange, convert, from_int, round_to_integral, to_int, to_int_modular};
pub use env::{Env, Flags, NanRule, Precision, Rounding};
pub use f80::F80;
pub use fast::{Host, add, div, fma, mul, sqrt, sub};
pub use fma::Negate;
pub use format::{F16, F32, F64, Format, Kind, Parts};
pub use remainder::{Quotient, Remainder, partial_remainder};
pub use scale::{logb, scale, significand};

/// The operations of [`fast`] on integers alone: slower, and the definition.
pub mod soft {
    pub use super::add::{add, sub};
    pub use super::div::div;
    pub use super::fma::fma;
    pub use super::mul::mul;
    pub use super::sqrt::sqrt;
}
