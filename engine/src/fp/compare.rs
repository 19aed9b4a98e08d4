//! Comparison (IEEE 754-2019 §5.11), minimum and maximum (§9.6, and x86's), classification (§5.7.2).

use super::env::{Env, Flags};
use super::format::{Format, Kind, Parts};

/// How two data relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first is less.
    Less,
    /// They are equal; zeros of either sign are.
    Equal,
    /// The first is greater.
    Greater,
    /// At least one is a NaN.
    Unordered,
}

/// Compares; only signalling NaNs are invalid (RISC-V `feq`; x86 `ucomis`).
#[inline]
pub fn compare_quiet<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits) -> Order {
    compare::<F>(env, a, b, false)
}

/// Compares; every NaN is invalid (RISC-V `flt`, `fle`; x86 `comis`).
#[inline]
pub fn compare_signaling<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits) -> Order {
    compare::<F>(env, a, b, true)
}

#[inline]
fn compare<F: Format>(env: &mut Env, a: F::Bits, b: F::Bits, signaling: bool) -> Order {
    let (a, b) = (env.unpack::<F>(a), env.unpack::<F>(b));
    if a.is_nan() || b.is_nan() {
        if signaling || a.is_signaling() || b.is_signaling() {
            env.raise(Flags::INVALID);
        }
        return Order::Unordered;
    }
    env.note_subnormal(a.subnormal | b.subnormal);
    order(&a, &b)
}

/// Orders two data that are not NaNs.
#[inline]
fn order(a: &Parts, b: &Parts) -> Order {
    if a.kind == Kind::Zero && b.kind == Kind::Zero {
        return Order::Equal;
    }
    if a.sign != b.sign {
        return if a.sign { Order::Less } else { Order::Greater };
    }
    let (a_rank, b_rank) = ((a.exponent, a.significand), (b.exponent, b.significand));
    match if a.sign { b_rank.cmp(&a_rank) } else { a_rank.cmp(&b_rank) } {
        std::cmp::Ordering::Less => Order::Less,
        std::cmp::Ordering::Equal => Order::Equal,
        std::cmp::Ordering::Greater => Order::Greater,
    }
}

/// Which of two data is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extremum {
    /// The lesser.
    Min,
    /// The greater.
    Max,
}

/// minimumNumber, maximumNumber (IEEE 754-2019 §9.6): a number wins over a NaN, -0 is less than +0.
/// RISC-V `fmin`, `fmax`.
#[inline]
pub fn extremum_number<F: Format>(env: &mut Env, which: Extremum, a: F::Bits, b: F::Bits) -> F::Bits {
    let (a_parts, b_parts) = (env.unpack::<F>(a), env.unpack::<F>(b));
    if a_parts.is_nan() != b_parts.is_nan() {
        if a_parts.is_signaling() || b_parts.is_signaling() {
            env.raise(Flags::INVALID);
        }
        return if a_parts.is_nan() { b } else { a };
    }
    extremum::<F>(env, which, a, b)
}

/// minimum, maximum (IEEE 754-2019 §9.6): a NaN wins over a number, -0 is less than +0.
/// RISC-V Zfa `fminm`, `fmaxm`.
#[inline]
pub fn extremum<F: Format>(env: &mut Env, which: Extremum, a: F::Bits, b: F::Bits) -> F::Bits {
    let (a_parts, b_parts) = (env.unpack::<F>(a), env.unpack::<F>(b));
    if a_parts.is_nan() || b_parts.is_nan() {
        return env.propagate::<F>(&[a_parts, b_parts]);
    }
    env.note_subnormal(a_parts.subnormal | b_parts.subnormal);
    let a_less = match order(&a_parts, &b_parts) {
        Order::Less => true,
        Order::Equal => a_parts.sign,
        _ => false,
    };
    if a_less == (which == Extremum::Min) { a } else { b }
}

/// x86's `mins` and `maxs`: `a` where it is strictly less (greater), `b` in every other case, NaNs and
/// equal zeros included. Every NaN is invalid. (SDM volume 2, MINSS.)
#[inline]
pub fn extremum_or_second<F: Format>(env: &mut Env, which: Extremum, a: F::Bits, b: F::Bits) -> F::Bits {
    let wanted = match which {
        Extremum::Min => Order::Less,
        Extremum::Max => Order::Greater,
    };
    let chosen = if compare_signaling::<F>(env, a, b) == wanted { a } else { b };
    let parts = env.unpack::<F>(chosen);
    if parts.kind == Kind::Zero { F::zero(parts.sign) } else { chosen }
}

/// The ten classes of data. The values are the bit numbers of RISC-V's `fclass` result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// Minus infinity.
    NegativeInfinity = 0,
    /// Less than zero, not subnormal.
    NegativeNormal = 1,
    /// Less than zero, subnormal.
    NegativeSubnormal = 2,
    /// -0.
    NegativeZero = 3,
    /// +0.
    PositiveZero = 4,
    /// Greater than zero, subnormal.
    PositiveSubnormal = 5,
    /// Greater than zero, not subnormal.
    PositiveNormal = 6,
    /// Infinity.
    PositiveInfinity = 7,
    /// A signalling NaN, or an encoding without a meaning.
    SignalingNan = 8,
    /// A quiet NaN.
    QuietNan = 9,
}

/// Classifies. No environment: nothing is raised, nothing flushed.
#[inline]
pub fn classify<F: Format>(a: F::Bits) -> Class {
    let a = F::unpack(a);
    match (a.kind, a.sign) {
        (Kind::Infinity, true) => Class::NegativeInfinity,
        (Kind::Finite, true) if a.subnormal => Class::NegativeSubnormal,
        (Kind::Finite, true) => Class::NegativeNormal,
        (Kind::Zero, true) => Class::NegativeZero,
        (Kind::Zero, false) => Class::PositiveZero,
        (Kind::Finite, false) if a.subnormal => Class::PositiveSubnormal,
        (Kind::Finite, false) => Class::PositiveNormal,
        (Kind::Infinity, false) => Class::PositiveInfinity,
        (Kind::SignalingNan | Kind::Unsupported, _) => Class::SignalingNan,
        (Kind::QuietNan, _) => Class::QuietNan,
    }
}
