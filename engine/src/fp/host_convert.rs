//! Conversions by the host's arithmetic, under the rules of [`super::fast`]: rounding to nearest even (or truncation,
//! where a function says so), operands that are zero or normal, nothing raised but inexact. `None` otherwise.

use super::env::{Env, Rounding};
use super::fast::{double, note_inexact, single};
use super::format::{F32, F64, Format};

/// A format that the host converts to and from integers.
pub trait HostInteger: Format {
    /// The integer, truncated, if it fits in 63 bits and a sign. In every direction.
    fn try_truncate(env: &mut Env, a: Self::Bits) -> Option<i64>;
    /// The number nearest to an integer.
    fn from_integer(env: &mut Env, integer: i64) -> Self::Bits;
    /// The integer that a number of moderate size is rounded to, as a number of the same format. In every direction
    /// but to nearest with ties away from zero. Inexact is raised only where `report_inexact`.
    fn try_integral(
        env: &mut Env,
        rounding: Rounding,
        report_inexact: bool,
        a: Self::Bits,
    ) -> Option<Self::Bits>;

    /// The nearest integer to a number of moderate size.
    #[inline(always)]
    fn try_nearest(env: &mut Env, a: Self::Bits) -> Option<i64> {
        let integral = Self::try_integral(env, Rounding::NearestEven, true, a)?;
        Self::try_truncate(env, integral)
    }
}

/// Numbers of at least this magnitude have no digits behind the point once this is added to them.
const NO_FRACTION: f64 = (1u64 << 52) as f64;

/// Single to double. In every direction.
#[inline(always)]
pub fn try_widen(a: u32) -> Option<u64> {
    single::is_normal_or_zero(a).then(|| f64::from(f32::from_bits(a)).to_bits())
}

/// Double to single.
#[inline(always)]
pub fn try_narrow(env: &mut Env, a: u64) -> Option<u32> {
    let number = f64::from_bits(a);
    let narrow = number as f32;
    if !(double::is_normal_or_zero(a) && (single::is_above_least(narrow.to_bits()) || number == 0.0)) {
        return None;
    }
    note_inexact(env, || f64::from(narrow) != number);
    Some(narrow.to_bits())
}

/// Whether an integer has more digits than `precision`, trailing zeros not counted.
#[inline(always)]
fn is_wider(integer: i64, precision: u32) -> bool {
    let magnitude = integer.unsigned_abs();
    magnitude.leading_zeros() + magnitude.trailing_zeros() < 64 - precision
}

impl HostInteger for F64 {
    #[inline(always)]
    fn try_truncate(env: &mut Env, a: u64) -> Option<i64> {
        let number = f64::from_bits(a);
        // 2^63: what is not below is out of range, NaNs included. (-2^63 is not worth a comparison of its own.)
        if !(double::is_normal_or_zero(a) && number.abs() < 9_223_372_036_854_775_808.0) {
            return None;
        }
        let integer = number as i64;
        note_inexact(env, || integer as f64 != number);
        Some(integer)
    }

    #[inline(always)]
    fn from_integer(env: &mut Env, integer: i64) -> u64 {
        note_inexact(env, || is_wider(integer, Self::PRECISION));
        (integer as f64).to_bits()
    }

    #[inline(always)]
    fn try_integral(env: &mut Env, rounding: Rounding, report_inexact: bool, a: u64) -> Option<u64> {
        let number = f64::from_bits(a);
        if !(double::is_normal_or_zero(a) && number.abs() < NO_FRACTION) {
            return None;
        }
        // The sum is rounded to an integer, to nearest even; the difference is exact.
        let nearest = (number.abs() + NO_FRACTION - NO_FRACTION).copysign(number);
        let step = match rounding {
            Rounding::NearestEven => 0.0,
            Rounding::Down if nearest > number => -1.0,
            Rounding::Up if nearest < number => 1.0,
            Rounding::TowardZero if nearest.abs() > number.abs() => -1.0f64.copysign(number),
            Rounding::NearestAway => return None,
            _ => 0.0,
        };
        if report_inexact {
            note_inexact(env, || nearest != number);
        }
        Some((nearest + step).copysign(number).to_bits())
    }
}

impl HostInteger for F32 {
    #[inline(always)]
    fn try_truncate(env: &mut Env, a: u32) -> Option<i64> {
        F64::try_truncate(env, try_widen(a)?)
    }

    #[inline(always)]
    fn from_integer(env: &mut Env, integer: i64) -> u32 {
        note_inexact(env, || is_wider(integer, Self::PRECISION));
        (integer as f32).to_bits()
    }

    #[inline(always)]
    fn try_integral(env: &mut Env, rounding: Rounding, report_inexact: bool, a: u32) -> Option<u32> {
        let wide = F64::try_integral(env, rounding, report_inexact, try_widen(a)?)?;
        // At most 24 digits, or the power of two behind them.
        Some((f64::from_bits(wide) as f32).to_bits())
    }
}
