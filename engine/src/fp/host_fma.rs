//! The host's fused multiply-add, where the processor has one.
//!
//! Without one `f64::mul_add` is a library routine slower than the exact path here, so callers ask
//! [`available`] first. This is the one file under `fp` that knows the host's architecture.

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
