//! Formats and their encodings: bit patterns to sign, exponent and significand, and back.
//!
//! Every operation works on [`Parts`], so a format is nothing but an implementation of [`Format`].

use std::fmt::Debug;

use super::env::{Env, Precision};

/// The most significant bit of a normalised significand.
pub(super) const TOP: u64 = 1 << 63;

/// The bit below the leading one, set in quiet NaNs (IEEE 754-2019 §6.2.1).
pub(super) const QUIET: u64 = 1 << 62;

/// What kind of datum a bit pattern encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Zero of either sign.
    Zero,
    /// A finite number other than zero.
    Finite,
    /// Infinity of either sign.
    Infinity,
    /// A NaN that operations propagate silently.
    QuietNan,
    /// A NaN that operations report as invalid.
    SignalingNan,
    /// An encoding without a meaning, found in the extended format only (SDM volume 1, table 8-3).
    Unsupported,
}

/// A datum taken apart. A finite number is `(-1)^sign x significand / 2^63 x 2^exponent`.
///
/// The significand of a finite number and of an infinity has its top bit set, subnormal numbers
/// included; a NaN's payload stands below the quiet bit, from the left, in every format.
/// Zeros and infinities have exponents outside every format, so that `(exponent, significand)`
/// orders magnitudes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// True for negative.
    pub sign: bool,
    /// What this is.
    pub kind: Kind,
    /// The encoding is a subnormal one (x86 calls it denormal).
    pub subnormal: bool,
    /// Power of two of the leading bit.
    pub exponent: i32,
    /// Binary fraction with its leading bit at bit 63.
    pub significand: u64,
}

impl Parts {
    /// A zero.
    #[inline]
    pub(super) const fn zero(sign: bool) -> Self {
        Self { sign, kind: Kind::Zero, subnormal: false, exponent: i32::MIN, significand: 0 }
    }

    /// A datum that is invalid to operate on.
    #[inline]
    pub(super) fn is_signaling(&self) -> bool {
        matches!(self.kind, Kind::SignalingNan | Kind::Unsupported)
    }

    /// A NaN, or an encoding that is treated like one.
    #[inline]
    pub(super) fn is_nan(&self) -> bool {
        matches!(self.kind, Kind::QuietNan | Kind::SignalingNan | Kind::Unsupported)
    }
}

/// A binary floating-point format (IEEE 754-2019 §3.3).
pub trait Format: Copy + Debug + 'static {
    /// Integer that holds an encoded datum.
    type Bits: Copy + Debug + Eq;
    /// Digits of the significand, the leading bit included (`p`).
    const PRECISION: u32;
    /// Largest exponent (`emax`); also the exponent bias.
    const EMAX: i32;
    /// Smallest exponent of a normal number (`emin`).
    const EMIN: i32 = 1 - Self::EMAX;

    /// Takes an encoding apart.
    fn unpack(bits: Self::Bits) -> Parts;
    /// Encodes a finite number: `significand` has at most `PRECISION` bits, weight `2^exponent` on
    /// bit `PRECISION - 1`; where that bit is clear, `exponent` is `EMIN`.
    fn finite(sign: bool, exponent: i32, significand: u64) -> Self::Bits;
    /// Encodes an infinity.
    fn infinity(sign: bool) -> Self::Bits;
    /// Encodes a quiet NaN with as much of the payload as fits. `significand` as in [`Parts`].
    fn nan(sign: bool, significand: u64) -> Self::Bits;

    /// Digits that results are rounded to.
    #[inline]
    fn digits(env: &Env) -> u32 {
        let _ = env;
        Self::PRECISION
    }

    /// Encodes a zero.
    #[inline]
    fn zero(sign: bool) -> Self::Bits {
        Self::finite(sign, Self::EMIN, 0)
    }
}

/// binary16, "half".
#[derive(Clone, Copy, Debug)]
pub enum F16 {}
/// binary32, "single".
#[derive(Clone, Copy, Debug)]
pub enum F32 {}
/// binary64, "double".
#[derive(Clone, Copy, Debug)]
pub enum F64 {}

/// Takes apart an interchange format's encoding (IEEE 754-2019 §3.4): sign, biased exponent,
/// significand without its leading bit.
#[inline(always)]
fn unpack_interchange<F: Format>(sign: bool, magnitude: u64) -> Parts {
    let fraction_bits = F::PRECISION - 1;
    let biased = (magnitude >> fraction_bits) as i32;
    let fraction = (magnitude << (63 - fraction_bits)) & !TOP;
    if biased > 0 && biased <= 2 * F::EMAX {
        let exponent = biased - F::EMAX;
        return Parts { sign, kind: Kind::Finite, subnormal: false, exponent, significand: fraction | TOP };
    }
    if biased != 0 {
        let kind = match fraction {
            0 => Kind::Infinity,
            payload if payload & QUIET != 0 => Kind::QuietNan,
            _ => Kind::SignalingNan,
        };
        return Parts { sign, kind, subnormal: false, exponent: i32::MAX, significand: fraction | TOP };
    }
    if fraction == 0 {
        return Parts::zero(sign);
    }
    let shift = fraction.leading_zeros();
    Parts {
        sign,
        kind: Kind::Finite,
        subnormal: true,
        exponent: F::EMIN - shift as i32,
        significand: fraction << shift,
    }
}

macro_rules! interchange_format {
    ($format:ident, $bits:ident, precision $precision:literal, emax $emax:literal) => {
        impl Format for $format {
            type Bits = $bits;
            const PRECISION: u32 = $precision;
            const EMAX: i32 = $emax;

            #[inline(always)]
            fn unpack(bits: $bits) -> Parts {
                let magnitude = bits & ($bits::MAX >> 1);
                unpack_interchange::<Self>(magnitude != bits, u64::from(magnitude))
            }

            #[inline(always)]
            fn finite(sign: bool, exponent: i32, significand: u64) -> $bits {
                // The leading bit adds the one by which biased exponents of normal numbers exceed
                // those of subnormal numbers.
                let exponent = ((exponent - Self::EMIN) as u64) << (Self::PRECISION - 1);
                ($bits::from(sign) << ($bits::BITS - 1)) | (exponent + significand) as $bits
            }

            #[inline(always)]
            fn infinity(sign: bool) -> $bits {
                Self::finite(sign, Self::EMAX + 1, 1 << (Self::PRECISION - 1))
            }

            #[inline(always)]
            fn nan(sign: bool, significand: u64) -> $bits {
                let significand = (significand | TOP | QUIET) >> (64 - Self::PRECISION);
                Self::finite(sign, Self::EMAX + 1, significand)
            }
        }
    };
}

interchange_format!(F16, u16, precision 11, emax 15);
interchange_format!(F32, u32, precision 24, emax 127);
interchange_format!(F64, u64, precision 53, emax 1023);

impl Precision {
    /// Digits of the significand.
    pub(super) const fn digits(self) -> u32 {
        match self {
            Self::Extended => 64,
            Self::Double => F64::PRECISION,
            Self::Single => F32::PRECISION,
        }
    }
}
