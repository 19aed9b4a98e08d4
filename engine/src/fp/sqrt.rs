//! Square root (IEEE 754-2019 §5.4.1).

use super::env::Env;
use super::format::{Format, Kind};
use super::round::{rest_of, round_pack};

/// The square root of `a`.
pub fn sqrt<F: Format>(env: &mut Env, a: F::Bits) -> F::Bits {
    let a = env.unpack::<F>(a);
    match a.kind {
        Kind::Zero => return F::zero(a.sign),
        Kind::Finite | Kind::Infinity if a.sign => return env.invalid::<F>(),
        Kind::Infinity => return F::infinity(false),
        Kind::Finite => {}
        _ => return env.propagate::<F>(&[a]),
    }
    env.note_subnormal(a.subnormal);
    // Radicand in [1, 4), scaled so that the integer root has its leading bit at bit 63.
    let radicand = u128::from(a.significand) << (63 + (a.exponent & 1));
    let root = radicand.isqrt();
    let remainder = radicand - root * root;
    // (root + 1/2)^2 = root^2 + root + 1/4
    let rest = rest_of(remainder == 0, remainder > root);
    round_pack::<F>(env, false, a.exponent >> 1, root as u64, rest)
}
