//! The floating-point environment of one operation: rounding direction, sticky exception flags,
//! and the choices that IEEE 754-2019 leaves to the architecture.

use serde::{Deserialize, Serialize};

use super::format::{Format, Parts};

/// Rounding-direction attribute (IEEE 754-2019 §4.3). The values are RISC-V's `frm` encodings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Rounding {
    /// roundTiesToEven (RNE).
    #[default]
    NearestEven = 0,
    /// roundTowardZero (RTZ).
    TowardZero = 1,
    /// roundTowardNegative (RDN).
    Down = 2,
    /// roundTowardPositive (RUP).
    Up = 3,
    /// roundTiesToAway (RMM).
    NearestAway = 4,
}

bitflags::bitflags! {
    /// Exceptions raised so far (IEEE 754-2019 §7), all of them handled in the default way.
    ///
    /// The low five bits are RISC-V's `fflags`; x86 permutes them into MXCSR or the x87 status word.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    pub struct Flags: u8 {
        /// The rounded result differs from the exact one.
        const INEXACT = 1 << 0;
        /// The result is tiny (judged after rounding) and inexact, or was flushed to zero. With
        /// [`Env::trapped`]: tiny.
        const UNDERFLOW = 1 << 1;
        /// The rounded result exceeds the largest finite number.
        const OVERFLOW = 1 << 2;
        /// A finite number other than zero was divided by zero.
        const DIVIDE_BY_ZERO = 1 << 3;
        /// No useful result: a signalling NaN, inf - inf, 0 x inf, an integer out of range, ...
        const INVALID = 1 << 4;
        /// An operand was subnormal. No IEEE exception: x86's `DE`. RISC-V masks it off.
        const DENORMAL_OPERAND = 1 << 5;
    }
}

/// Which NaN an operation delivers (IEEE 754-2019 §6.2.3 only recommends).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NanRule {
    /// Always the positive quiet NaN without payload (RISC-V Unpriv., "NaN Generation and Propagation").
    #[default]
    Canonical,
    /// The first NaN among the operands, made quiet; without one, the negative default NaN
    /// (SSE and AVX: SDM volume 1, table 4-7).
    FirstOperand,
    /// The NaN with the larger significand (so a quiet one before a signalling one), of equal ones the
    /// positive one, made quiet; without one, the negative default NaN (x87: SDM volume 1, table 4-7).
    LargerSignificand,
}

/// Precision that x87 results are rounded to (SDM volume 1, 8.1.5.2). Formats other than the
/// extended one have only their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// 64 significant bits.
    #[default]
    Extended,
    /// 53 significant bits, exponent range of the extended format.
    Double,
    /// 24 significant bits, exponent range of the extended format.
    Single,
}

/// What an operation reads besides its operands, and the flags it adds to.
///
/// Flags are sticky: an operation only ever sets them. A caller that needs the exceptions of one
/// operation alone passes an empty set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Env {
    /// Direction in which inexact results are rounded.
    pub rounding: Rounding,
    /// Exceptions raised so far.
    pub flags: Flags,
    /// Which NaN is delivered.
    pub nan: NanRule,
    /// Subnormal operands count as zeros of their sign, silently (x86 `MXCSR.DAZ`).
    pub flush_inputs: bool,
    /// Tiny results become zeros of their sign, with underflow and inexact (x86 `MXCSR.FTZ`).
    pub flush_results: bool,
    /// Width of the significand of results in the extended format (x87 precision control).
    pub precision: Precision,
    /// Of overflow and underflow those that somebody handles (unmasked, on x86): inexact then is said of
    /// the result rounded as if exponents had no bounds, a tiny one raises underflow even where it is
    /// exact and is not flushed, and what is delivered is that result with its exponent moved into the
    /// range (IEEE 754-1985 §7.3 and §7.4).
    pub trapped: Flags,
    /// Written by every rounding of [`super::soft`], to integers and between formats: the last one went away from
    /// zero (x87's `C1`).
    pub rounded_up: bool,
}

impl Env {
    /// The environment of RISC-V's F, D and Zfh: canonical NaNs, nothing flushed.
    #[must_use]
    #[inline]
    pub const fn canonical(rounding: Rounding, flags: Flags) -> Self {
        Self {
            rounding,
            flags,
            nan: NanRule::Canonical,
            flush_inputs: false,
            flush_results: false,
            precision: Precision::Extended,
            trapped: Flags::empty(),
            rounded_up: false,
        }
    }

    /// Adds `flags` to the flags raised so far.
    #[inline]
    pub fn raise(&mut self, flags: Flags) {
        self.flags |= flags;
    }

    /// Takes a number apart, seeing zeros where subnormal operands are flushed.
    #[inline]
    pub(super) fn unpack<F: Format>(&self, bits: F::Bits) -> Parts {
        let parts = F::unpack(bits);
        if self.flush_inputs && parts.subnormal { Parts::zero(parts.sign) } else { parts }
    }

    /// Reports subnormal operands. To be called once NaNs and invalid operations are ruled out,
    /// which take precedence (SDM volume 1, 4.9.2).
    #[inline]
    pub(super) fn note_subnormal(&mut self, subnormal: bool) {
        if subnormal {
            self.raise(Flags::DENORMAL_OPERAND);
        }
    }
}
