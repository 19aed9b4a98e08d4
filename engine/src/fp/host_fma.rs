//! Fused multiply-add of doubles by the host: one instruction where the processor has it, otherwise
//! additions and multiplications that amount to it.
//!
//! Without the instruction `f64::mul_add` is a library routine slower than the exact path here, so
//! callers ask [`available`] first. This is the one file under `fp` that knows the host's architecture.

/// Whether [`fma`] is one instruction. The answer is cached by the standard library.
#[cfg(all(target_arch = "x86_64", not(target_feature = "fma")))]
#[inline(always)]
pub(super) fn available() -> bool {
    std::arch::is_x86_feature_detected!("fma")
}

/// Whether [`fma`] is one instruction.
#[cfg(not(all(target_arch = "x86_64", not(target_feature = "fma"))))]
#[inline(always)]
pub(super) const fn available() -> bool {
    cfg!(any(target_feature = "fma", target_arch = "aarch64", target_arch = "riscv64"))
}

/// `a x b + c` rounded once, to nearest. Correct on every host, fast where [`available`].
#[cfg(all(target_arch = "x86_64", not(target_feature = "fma")))]
#[inline(always)]
pub(super) fn fma(a: f64, b: f64, c: f64) -> f64 {
    #[target_feature(enable = "fma")]
    fn instruction(a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
    if !available() {
        return a.mul_add(b, c);
    }
    // SAFETY: the processor has the instruction, as has just been asked.
    unsafe { instruction(a, b, c) }
}

/// `a x b + c` rounded once, to nearest. Correct on every host, fast where [`available`].
#[cfg(not(all(target_arch = "x86_64", not(target_feature = "fma"))))]
#[inline(always)]
pub(super) fn fma(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

/// The sum of two numbers and exactly what the rounded sum lacks (Knuth's TwoSum).
#[inline(always)]
pub(super) fn two_sum(x: f64, y: f64) -> (f64, f64) {
    let sum = x + y;
    let part = sum - x;
    (sum, (x - (sum - part)) + (y - part))
}

/// `sum + error` rounded to odd: of the two neighbours, the one with its last bit set. Rounding that
/// once more, to fewer digits, gives what rounding the exact number would have given.
#[inline(always)]
pub(super) fn round_to_odd((sum, error): (f64, f64)) -> f64 {
    if error == 0.0 || sum.to_bits() & 1 != 0 {
        return sum;
    }
    let away_from_zero = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away_from_zero { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

/// The product of two numbers and exactly what the rounded product lacks (Dekker, with Veltkamp's
/// splitting into halves of 26 digits).
#[inline(always)]
fn two_product(x: f64, y: f64) -> (f64, f64) {
    let split = |number: f64| {
        let scaled = 134_217_729.0 * number; // 2^27 + 1
        let high = scaled - (scaled - number);
        (high, number - high)
    };
    let ((x_high, x_low), (y_high, y_low)) = (split(x), split(y));
    let product = x * y;
    let error = ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low;
    (product, error)
}

/// Two numbers whose sum rounds, to nearest, to what `a x b + c` rounds to, and is exact where that
/// is. For factors within `2^±450`: their product is exact as two numbers then, and no sum overflows
/// that does not in the result.
///
/// S. Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using
/// rounding to odd", IEEE Transactions on Computers 57 (2008).
#[inline(always)]
pub(super) fn emulated(a: f64, b: f64, c: f64) -> (f64, f64) {
    let (product, product_error) = two_product(a, b);
    let (low, low_error) = two_sum(c, product_error);
    let (high, high_error) = two_sum(product, low);
    (high, round_to_odd(two_sum(low_error, high_error)))
}
