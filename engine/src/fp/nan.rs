//! NaN results: which one, and when it is an invalid operation (IEEE 754-2019 §6.2, §7.2).

use super::env::{Env, Flags, NanRule};
use super::format::{Format, Kind, Parts};

impl Env {
    /// Raises invalid and delivers the NaN of an operation that has none among its operands.
    #[cold]
    pub(super) fn invalid<F: Format>(&mut self) -> F::Bits {
        self.raise(Flags::INVALID);
        self.default_nan::<F>()
    }

    /// The NaN that stands for "no result".
    pub(super) fn default_nan<F: Format>(&self) -> F::Bits {
        F::nan(self.nan != NanRule::Canonical, 0)
    }

    /// The result of an operation with at least one NaN among its operands.
    #[cold]
    pub(super) fn propagate<F: Format>(&mut self, operands: &[Parts]) -> F::Bits {
        if operands.iter().any(|operand| operand.kind == Kind::Unsupported) {
            return self.invalid::<F>();
        }
        if operands.iter().any(Parts::is_signaling) {
            self.raise(Flags::INVALID);
        }
        let mut nans = operands.iter().filter(|operand| operand.is_nan());
        let chosen = match self.nan {
            NanRule::Canonical => None,
            NanRule::FirstOperand => nans.next(),
            NanRule::LargerSignificand => nans.max_by_key(|nan| (nan.significand, !nan.sign)),
        };
        match chosen {
            Some(nan) => F::nan(nan.sign, nan.significand),
            None => self.default_nan::<F>(),
        }
    }
}
