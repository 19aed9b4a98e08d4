//! The same operations by the host's own arithmetic wherever that is provably the same, bit for bit
//! and flag for flag; everything else goes to the exact path.
//!
//! The host rounds to nearest even. A `try_` function therefore is asked only in that direction, and
//! answers only for operands that are zero or normal (no NaN to choose, no subnormal operand to
//! report or flush) and results for which nothing but inexact can be raised. Whether the result is
//! inexact is found, while that flag is still clear, from an exact residual.

use super::env::{Env, Flags, Rounding};
use super::fma::Negate;
use super::format::{F16, F32, F64, Format};
use super::{host_fma, soft};

/// A format that the host may compute in. `None`: take the exact path.
pub trait Host: Format {
    /// `a + b`.
    #[inline(always)]
    fn try_add(_env: &mut Env, _a: Self::Bits, _b: Self::Bits) -> Option<Self::Bits> {
        None
    }
    /// `a - b`.
    #[inline(always)]
    fn try_sub(_env: &mut Env, _a: Self::Bits, _b: Self::Bits) -> Option<Self::Bits> {
        None
    }
    /// `a x b`.
    #[inline(always)]
    fn try_mul(_env: &mut Env, _a: Self::Bits, _b: Self::Bits) -> Option<Self::Bits> {
        None
    }
    /// `a / b`.
    #[inline(always)]
    fn try_div(_env: &mut Env, _a: Self::Bits, _b: Self::Bits) -> Option<Self::Bits> {
        None
    }
    /// Square root of `a`.
    #[inline(always)]
    fn try_sqrt(_env: &mut Env, _a: Self::Bits) -> Option<Self::Bits> {
        None
    }
    /// `a < b`. Nothing is raised.
    #[inline(always)]
    fn try_less(_a: Self::Bits, _b: Self::Bits) -> Option<bool> {
        None
    }
    /// `±(a x b) ± c`.
    #[inline(always)]
    fn try_fma(
        _env: &mut Env,
        _product: [Self::Bits; 2],
        _c: Self::Bits,
        _negate: Negate,
    ) -> Option<Self::Bits> {
        None
    }
}

impl Host for F16 {}

/// Raises inexact, unless it is raised already, where `inexact()` holds.
#[inline(always)]
pub(super) fn note_inexact(env: &mut Env, inexact: impl FnOnce() -> bool) {
    if !env.flags.contains(Flags::INEXACT) && inexact() {
        env.raise(Flags::INEXACT);
    }
}

/// Whether the sum of two finite numbers, rounded to the finite `sum`, was exact.
///
/// The difference of the rounded sum and the larger operand is exact (Dekker's Fast2Sum), so one of
/// the comparisons fails where an error was made; where none was made, both differences are exact.
macro_rules! sum_is_exact {
    ($x:expr, $y:expr, $sum:expr) => {
        $sum - $x == $y && $sum - $y == $x
    };
}

macro_rules! bit_tests {
    ($bits:ident, $float:ident) => {
        const SIGN: $bits = 1 << ($bits::BITS - 1);
        /// Encodings doubled, which drops the sign: of the smallest normal number and of infinity.
        const LEAST: $bits = $float::MIN_POSITIVE.to_bits() << 1;
        const INFINITY: $bits = $float::INFINITY.to_bits() << 1;

        #[inline(always)]
        fn is_normal(bits: $bits) -> bool {
            (bits << 1).wrapping_sub(LEAST) < INFINITY - LEAST
        }

        #[inline(always)]
        pub(in super::super) fn is_normal_or_zero(bits: $bits) -> bool {
            is_normal(bits) || bits << 1 == 0
        }

        /// Whether the product of two numbers is exact because at least one is zero and the other normal or zero.
        #[inline(always)]
        fn has_exact_zero(a: $bits, b: $bits) -> bool {
            is_normal_or_zero(a) && is_normal_or_zero(b) && (a << 1 == 0 || b << 1 == 0)
        }

        /// Normal, and not the smallest normal number, to which a tiny result may have been rounded.
        #[inline(always)]
        pub(in super::super) fn is_above_least(bits: $bits) -> bool {
            (bits << 1).wrapping_sub(LEAST + 1) < INFINITY - LEAST - 1
        }
    };
}

pub(super) mod single {
    use super::*;
    bit_tests!(u32, f32);

    impl Host for F32 {
        #[inline(always)]
        fn try_add(env: &mut Env, a: u32, b: u32) -> Option<u32> {
            let (x, y) = (f32::from_bits(a), f32::from_bits(b));
            let sum = x + y;
            if !(is_normal_or_zero(a) && is_normal_or_zero(b) && is_normal_or_zero(sum.to_bits())) {
                return None;
            }
            note_inexact(env, || !(sum_is_exact!(x, y, sum)));
            Some(sum.to_bits())
        }

        #[inline(always)]
        fn try_sub(env: &mut Env, a: u32, b: u32) -> Option<u32> {
            Self::try_add(env, a, b ^ SIGN)
        }

        #[inline(always)]
        fn try_less(a: u32, b: u32) -> Option<bool> {
            let less = f32::from_bits(a) < f32::from_bits(b);
            (is_normal_or_zero(a) && is_normal_or_zero(b)).then_some(less)
        }

        #[inline(always)]
        fn try_mul(env: &mut Env, a: u32, b: u32) -> Option<u32> {
            // 48 digits at most: the product of two singles is exact in double.
            let exact = f64::from(f32::from_bits(a)) * f64::from(f32::from_bits(b));
            let product = exact as f32;
            if !(is_normal(a) && is_normal(b) && is_above_least(product.to_bits())) {
                return has_exact_zero(a, b).then_some(product.to_bits());
            }
            note_inexact(env, || f64::from(product) != exact);
            Some(product.to_bits())
        }

        #[inline(always)]
        fn try_div(env: &mut Env, a: u32, b: u32) -> Option<u32> {
            let (x, y) = (f32::from_bits(a), f32::from_bits(b));
            let quotient = x / y;
            if !(is_normal(a) && is_normal(b) && is_above_least(quotient.to_bits())) {
                return None;
            }
            note_inexact(env, || f64::from(quotient) * f64::from(y) != f64::from(x));
            Some(quotient.to_bits())
        }

        #[inline(always)]
        fn try_sqrt(env: &mut Env, a: u32) -> Option<u32> {
            if !is_normal(a) || a & SIGN != 0 {
                return None;
            }
            let root = f32::from_bits(a).sqrt();
            note_inexact(env, || f64::from(root) * f64::from(root) != f64::from(f32::from_bits(a)));
            Some(root.to_bits())
        }

        /// The product is exact in double. The sum is rounded to odd there (last bit set where digits
        /// were lost), which makes the second rounding, to single, the only one that shows.
        #[inline(always)]
        fn try_fma(env: &mut Env, [a, b]: [u32; 2], c: u32, negate: Negate) -> Option<u32> {
            if !(is_normal_or_zero(a) && is_normal_or_zero(b) && is_normal_or_zero(c)) {
                return None;
            }
            let a = a ^ (u32::from(negate.product) << 31);
            let c = c ^ (u32::from(negate.addend) << 31);
            let product = f64::from(f32::from_bits(a)) * f64::from(f32::from_bits(b));
            let addend = f64::from(f32::from_bits(c));
            let (sum, error) = host_fma::two_sum(product, addend);
            let result = host_fma::round_to_odd((sum, error)) as f32;
            if !is_above_least(result.to_bits()) {
                return None;
            }
            note_inexact(env, || error != 0.0 || f64::from(result) != sum);
            Some(result.to_bits())
        }
    }
}

pub(super) mod double {
    use super::*;
    bit_tests!(u64, f64);

    const LEADING: u64 = 1 << 52;

    #[inline(always)]
    fn significand(bits: u64) -> u64 {
        bits & (LEADING - 1) | LEADING
    }

    #[inline(always)]
    fn biased_exponent(bits: u64) -> i64 {
        (bits >> 52 & 0x7ff) as i64
    }

    impl Host for F64 {
        #[inline(always)]
        fn try_add(env: &mut Env, a: u64, b: u64) -> Option<u64> {
            let (x, y) = (f64::from_bits(a), f64::from_bits(b));
            let sum = x + y;
            if !(is_normal_or_zero(a) && is_normal_or_zero(b) && is_normal_or_zero(sum.to_bits())) {
                return None;
            }
            note_inexact(env, || !(sum_is_exact!(x, y, sum)));
            Some(sum.to_bits())
        }

        #[inline(always)]
        fn try_sub(env: &mut Env, a: u64, b: u64) -> Option<u64> {
            Self::try_add(env, a, b ^ SIGN)
        }

        #[inline(always)]
        fn try_less(a: u64, b: u64) -> Option<bool> {
            let less = f64::from_bits(a) < f64::from_bits(b);
            (is_normal_or_zero(a) && is_normal_or_zero(b)).then_some(less)
        }

        /// Exact where the digits of the product's significand, 105 or 106 less the trailing zeros of
        /// both factors, are at most 53.
        #[inline(always)]
        fn try_mul(env: &mut Env, a: u64, b: u64) -> Option<u64> {
            let product = (f64::from_bits(a) * f64::from_bits(b)).to_bits();
            if !(is_normal(a) && is_normal(b) && is_above_least(product)) {
                return has_exact_zero(a, b).then_some(product);
            }
            note_inexact(env, || {
                let zeros = significand(a).trailing_zeros() + significand(b).trailing_zeros();
                let exponent = biased_exponent(a) + biased_exponent(b) - 1023;
                i64::from(zeros) < 52 + biased_exponent(product) - exponent
            });
            Some(product)
        }

        /// Exact where quotient x divisor is the dividend. The residual is less than the divisor's 53
        /// bits, so products modulo 2^64 tell.
        #[inline(always)]
        fn try_div(env: &mut Env, a: u64, b: u64) -> Option<u64> {
            let quotient = (f64::from_bits(a) / f64::from_bits(b)).to_bits();
            if !(is_normal(a) && is_normal(b) && is_above_least(quotient)) {
                return None;
            }
            note_inexact(env, || {
                let exponent = biased_exponent(a) - biased_exponent(b) + 1023;
                let shift = 52 + exponent - biased_exponent(quotient);
                significand(quotient).wrapping_mul(significand(b)) != significand(a) << shift
            });
            Some(quotient)
        }

        /// Exact where the root's square is the operand, again modulo 2^64.
        #[inline(always)]
        fn try_sqrt(env: &mut Env, a: u64) -> Option<u64> {
            if !is_normal(a) || a & SIGN != 0 {
                return None;
            }
            let root = f64::from_bits(a).sqrt().to_bits();
            note_inexact(env, || {
                let shift = 52 + ((biased_exponent(a) - 1023) & 1);
                significand(root).wrapping_mul(significand(root)) != significand(a) << shift
            });
            Some(root)
        }

        #[inline(always)]
        fn try_fma(env: &mut Env, [a, b]: [u64; 2], c: u64, negate: Negate) -> Option<u64> {
            if !(is_normal_or_zero(a) && is_normal_or_zero(b) && is_normal_or_zero(c)) {
                return None;
            }
            let x = f64::from_bits(a ^ (u64::from(negate.product) << 63));
            let y = f64::from_bits(b);
            let z = f64::from_bits(c ^ (u64::from(negate.addend) << 63));
            if env.flags.contains(Flags::INEXACT) && host_fma::available() {
                let result = host_fma::fma(x, y, z).to_bits();
                return is_above_least(result).then_some(result);
            }
            let moderate = |bits: u64| (biased_exponent(bits) - 1023).abs() <= 450;
            if !(moderate(a) && moderate(b)) {
                return None;
            }
            let (high, low) = host_fma::emulated(x, y, z);
            let result = high + low;
            if !is_above_least(result.to_bits()) {
                return None;
            }
            note_inexact(env, || !(sum_is_exact!(high, low, result)));
            Some(result.to_bits())
        }
    }
}

/// Leaves for the exact path. A copy of the environment is lent to it, so that the caller's may stay in
/// registers.
#[cold]
#[inline(never)]
fn leave<R>(mut env: Env, operation: impl FnOnce(&mut Env) -> R) -> (R, Flags) {
    let result = operation(&mut env);
    (result, env.flags)
}

#[inline(always)]
fn exactly<R>(env: &mut Env, operation: impl FnOnce(&mut Env) -> R) -> R {
    let (result, flags) = leave(*env, operation);
    env.flags = flags;
    result
}

/// Whether the host's rounding direction is the one asked for.
#[inline(always)]
fn as_host(env: &Env) -> bool {
    env.rounding == Rounding::NearestEven
}

/// `a + b`. (IEEE 754-2019 §5.4.1, as the next five)
#[inline]
pub fn add<F: Host>(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
    match as_host(env).then(|| F::try_add(env, a, b)).flatten() {
        Some(sum) => sum,
        None => exactly(env, |env| soft::add::<F>(env, a, b)),
    }
}

/// `a - b`.
#[inline]
pub fn sub<F: Host>(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
    match as_host(env).then(|| F::try_sub(env, a, b)).flatten() {
        Some(difference) => difference,
        None => exactly(env, |env| soft::sub::<F>(env, a, b)),
    }
}

/// `a x b`.
#[inline]
pub fn mul<F: Host>(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
    match as_host(env).then(|| F::try_mul(env, a, b)).flatten() {
        Some(product) => product,
        None => exactly(env, |env| soft::mul::<F>(env, a, b)),
    }
}

/// `a / b`.
#[inline]
pub fn div<F: Host>(env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
    match as_host(env).then(|| F::try_div(env, a, b)).flatten() {
        Some(quotient) => quotient,
        None => exactly(env, |env| soft::div::<F>(env, a, b)),
    }
}

/// The square root of `a`.
#[inline]
pub fn sqrt<F: Host>(env: &mut Env, a: F::Bits) -> F::Bits {
    match as_host(env).then(|| F::try_sqrt(env, a)).flatten() {
        Some(root) => root,
        None => exactly(env, |env| soft::sqrt::<F>(env, a)),
    }
}

/// `±(a x b) ± c`, rounded once.
#[inline]
pub fn fma<F: Host>(env: &mut Env, a: F::Bits, b: F::Bits, c: F::Bits, negate: Negate) -> F::Bits {
    match as_host(env).then(|| F::try_fma(env, [a, b], c, negate)).flatten() {
        Some(result) => result,
        None => exactly(env, |env| soft::fma::<F>(env, a, b, c, negate)),
    }
}
