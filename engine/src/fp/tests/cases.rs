//! Cases written out: what random operands rarely meet, and what the two guests' manuals promise.

use super::super::*;

const INFINITY: u64 = 0x7ff0_0000_0000_0000;
const MINUS_INFINITY: u64 = 0xfff0_0000_0000_0000;
const ZERO: u64 = 0;
const MINUS_ZERO: u64 = 1 << 63;
const ONE: u64 = 0x3ff0_0000_0000_0000;
const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
const INDEFINITE: u64 = 0xfff8_0000_0000_0000;
const QUIET: u64 = 0x7ff8_0000_0000_1234;
const SIGNALING: u64 = 0xfff0_0000_0000_5678;
const SIGNALING_QUIETED: u64 = 0xfff8_0000_0000_5678;
const SUBNORMAL: u64 = 1;

fn riscv() -> Env {
    Env::canonical(Rounding::NearestEven, Flags::empty())
}

fn sse() -> Env {
    Env { nan: NanRule::FirstOperand, ..Env::default() }
}

type Operation = fn(&mut Env, u64, u64) -> u64;

#[test]
fn nans_and_invalid_operations() {
    let none = Flags::empty();
    #[rustfmt::skip]
    let cases: &[(&str, Operation, u64, u64, u64, u64, Flags)] = &[
        // name          operation         a               b               RISC-V     SSE                flags
        ("inf - inf",    sub::<F64>,       INFINITY,       INFINITY,       CANONICAL, INDEFINITE,        Flags::INVALID),
        ("inf + -inf",   add::<F64>,       INFINITY,       MINUS_INFINITY, CANONICAL, INDEFINITE,        Flags::INVALID),
        ("0 * inf",      mul::<F64>,       ZERO,           INFINITY,       CANONICAL, INDEFINITE,        Flags::INVALID),
        ("0 / 0",        div::<F64>,       ZERO,           MINUS_ZERO,     CANONICAL, INDEFINITE,        Flags::INVALID),
        ("inf / inf",    div::<F64>,       INFINITY,       INFINITY,       CANONICAL, INDEFINITE,        Flags::INVALID),
        ("sqrt -1",      |e, a, _| sqrt::<F64>(e, a), ONE | MINUS_ZERO, ZERO, CANONICAL, INDEFINITE,     Flags::INVALID),
        ("qNaN + 1",     add::<F64>,       QUIET,          ONE,            CANONICAL, QUIET,             none),
        ("qNaN + sNaN",  add::<F64>,       QUIET,          SIGNALING,      CANONICAL, QUIET,             Flags::INVALID),
        ("sNaN * qNaN",  mul::<F64>,       SIGNALING,      QUIET,          CANONICAL, SIGNALING_QUIETED, Flags::INVALID),
        ("1 / sNaN",     div::<F64>,       ONE,            SIGNALING,      CANONICAL, SIGNALING_QUIETED, Flags::INVALID),
    ];
    for &(name, operation, a, b, for_riscv, for_sse, flags) in cases {
        for (mut env, expected) in [(riscv(), for_riscv), (sse(), for_sse)] {
            let result = operation(&mut env, a, b);
            assert_eq!((result, env.flags), (expected, flags), "{name} {:?}: {result:x}", env.nan);
        }
    }
}

#[test]
fn division_by_zero_is_not_invalid() {
    let mut env = riscv();
    assert_eq!(div::<F64>(&mut env, ONE, MINUS_ZERO), MINUS_INFINITY);
    assert_eq!(env.flags, Flags::DIVIDE_BY_ZERO);
    let mut env = riscv();
    assert_eq!(div::<F64>(&mut env, INFINITY, ZERO), INFINITY);
    assert_eq!(env.flags, Flags::empty());
}

#[test]
fn zero_times_infinity_plus_quiet_nan() {
    for (mut env, expected, flags) in [(riscv(), CANONICAL, Flags::INVALID), (sse(), QUIET, Flags::empty())] {
        let result = fma::<F64>(&mut env, ZERO, INFINITY, QUIET, Negate::default());
        assert_eq!((result, env.flags), (expected, flags), "{:?}", env.nan);
    }
}

#[test]
fn signs_of_zero_sums() {
    for rounding in super::ROUNDINGS {
        let cancelled = if rounding == Rounding::Down { MINUS_ZERO } else { ZERO };
        let mut env = Env { rounding, ..riscv() };
        assert_eq!(sub::<F64>(&mut env, ONE, ONE), cancelled);
        assert_eq!(add::<F64>(&mut env, ZERO, MINUS_ZERO), cancelled);
        assert_eq!(add::<F64>(&mut env, MINUS_ZERO, MINUS_ZERO), MINUS_ZERO);
        let exact = fma::<F64>(&mut env, ONE, ONE, ONE, Negate { product: true, addend: false });
        assert_eq!(exact, cancelled);
        assert_eq!(env.flags, Flags::empty());
    }
}

/// Below the smallest normal number before rounding, not after it: no underflow (both guests).
#[test]
fn tininess_is_detected_after_rounding() {
    let least = f64::MIN_POSITIVE.to_bits();
    #[rustfmt::skip]
    let cases = [
        // (1 - 2^-53) least: 53 digits hold it, so it is tiny; as a subnormal number it is a tie.
        (least, ONE - 1, Flags::UNDERFLOW | Flags::INEXACT),
        // (1 + 2^-52)/2 x (2 - 2^-51) least = (1 - 2^-104) least: 53 digits round it to the least.
        (0x3fe0_0000_0000_0001, 0x001f_ffff_ffff_fffe, Flags::INEXACT),
    ];
    for (a, b, flags) in cases {
        let mut env = riscv();
        assert_eq!((mul::<F64>(&mut env, a, b), env.flags), (least, flags), "{a:x} {b:x}");
    }
}

#[test]
fn minimum_and_maximum() {
    let none = Flags::empty();
    #[rustfmt::skip]
    let cases: &[(u64, u64, u64, u64, u64, Flags)] = &[
        // a          b           fmin        fminm      minsd      flags of the first two
        (ONE,         INFINITY,   ONE,        ONE,       ONE,        none),
        (ZERO,        MINUS_ZERO, MINUS_ZERO, MINUS_ZERO, MINUS_ZERO, none),
        (MINUS_ZERO,  ZERO,       MINUS_ZERO, MINUS_ZERO, ZERO,      none),
        (QUIET,       ONE,        ONE,        CANONICAL, ONE,        none),
        (ONE,         QUIET,      ONE,        CANONICAL, QUIET,      none),
        (SIGNALING,   ONE,        ONE,        CANONICAL, ONE,        Flags::INVALID),
        (ONE,         SIGNALING,  ONE,        CANONICAL, SIGNALING,  Flags::INVALID),
        (QUIET,       QUIET,      CANONICAL,  CANONICAL, QUIET,      none),
        (QUIET,       SIGNALING,  CANONICAL,  CANONICAL, SIGNALING,  Flags::INVALID),
    ];
    for &(a, b, number, plain, second, flags) in cases {
        let mut env = riscv();
        assert_eq!(extremum_number::<F64>(&mut env, Extremum::Min, a, b), number, "{a:x} {b:x}");
        assert_eq!(env.flags, flags, "{a:x} {b:x}");
        let mut env = riscv();
        assert_eq!(extremum::<F64>(&mut env, Extremum::Min, a, b), plain, "{a:x} {b:x}");
        assert_eq!(env.flags, flags, "{a:x} {b:x}");
        assert_eq!(extremum_or_second::<F64>(&mut sse(), Extremum::Min, a, b), second, "{a:x} {b:x}");
    }
    assert_eq!(extremum_number::<F64>(&mut riscv(), Extremum::Max, MINUS_ZERO, ZERO), ZERO);
    assert_eq!(extremum_number::<F64>(&mut riscv(), Extremum::Max, ONE, MINUS_INFINITY), ONE);
}

#[test]
fn comparisons_with_nans() {
    for (a, quiet) in [(QUIET, Flags::empty()), (SIGNALING, Flags::INVALID)] {
        let mut env = riscv();
        assert_eq!(compare_quiet::<F64>(&mut env, a, ONE), Order::Unordered);
        assert_eq!(env.flags, quiet);
        let mut env = riscv();
        assert_eq!(compare_signaling::<F64>(&mut env, ONE, a), Order::Unordered);
        assert_eq!(env.flags, Flags::INVALID);
    }
}

#[test]
fn classes() {
    let cases = [
        (MINUS_INFINITY, Class::NegativeInfinity),
        (ONE | MINUS_ZERO, Class::NegativeNormal),
        (SUBNORMAL | MINUS_ZERO, Class::NegativeSubnormal),
        (MINUS_ZERO, Class::NegativeZero),
        (ZERO, Class::PositiveZero),
        (SUBNORMAL, Class::PositiveSubnormal),
        (ONE, Class::PositiveNormal),
        (INFINITY, Class::PositiveInfinity),
        (SIGNALING, Class::SignalingNan),
        (QUIET, Class::QuietNan),
    ];
    for (bit, (bits, class)) in cases.into_iter().enumerate() {
        assert_eq!((classify::<F64>(bits), class as usize), (class, bit));
    }
}

#[test]
fn integers_out_of_range() {
    let cases = [
        (INFINITY, Err(OutOfRange::High)),
        (MINUS_INFINITY, Err(OutOfRange::Low)),
        (QUIET, Err(OutOfRange::Nan)),
        (2_147_483_647.5f64.to_bits(), Err(OutOfRange::High)),
        ((-2_147_483_648.5f64).to_bits(), Ok(i32::MIN)),
        ((-2_147_483_649.0f64).to_bits(), Err(OutOfRange::Low)),
    ];
    for (bits, expected) in cases {
        let mut env = riscv();
        let result = to_int::<F64, i32>(&mut env, Rounding::NearestEven, bits);
        let flags = if expected.is_ok() { Flags::INEXACT } else { Flags::INVALID };
        assert_eq!((result, env.flags), (expected, flags), "{bits:x}");
    }
    // -0.5 rounds to -0, which unsigned integers have; -1 they have not.
    let mut env = riscv();
    assert_eq!(to_int::<F64, u32>(&mut env, Rounding::TowardZero, (-0.5f64).to_bits()), Ok(0));
    assert_eq!(env.flags, Flags::INEXACT);
    assert_eq!(to_int::<F64, u32>(&mut env, Rounding::Down, (-0.5f64).to_bits()), Err(OutOfRange::Low));
}

#[test]
fn modular_integers_of_infinities_and_nans_are_zero() {
    for bits in [INFINITY, MINUS_INFINITY, QUIET, SIGNALING] {
        let mut env = riscv();
        assert_eq!((to_int_modular::<F64>(&mut env, bits), env.flags), (0, Flags::INVALID));
    }
}

/// (2^63 + 1) 2^31: the last place that reaches into the low 32 bits.
#[test]
fn modular_integers_of_large_numbers() {
    let mut env = riscv();
    assert_eq!(to_int_modular::<F80>(&mut env, 0x405d_8000_0000_0000_0001), i32::MIN);
    assert_eq!(to_int_modular::<F80>(&mut env, 0x405e_8000_0000_0000_0001), 0);
}

#[test]
fn nan_payloads_keep_their_top_digits_in_conversions() {
    let single = 0xffa0_0001u32;
    assert_eq!(convert::<F32, F64>(&mut sse(), single), 0xfffc_0000_2000_0000);
    assert_eq!(convert::<F64, F32>(&mut sse(), 0x7ff4_0000_2000_0001), 0x7fe0_0001);
    assert_eq!(convert::<F32, F64>(&mut riscv(), single), CANONICAL);
    assert_eq!(convert::<F32, F16>(&mut riscv(), single), 0x7e00);
}

#[test]
fn x87_encodings_without_a_meaning_are_invalid() {
    let one = 0x3fff_8000_0000_0000_0000u128;
    let indefinite = 0xffff_c000_0000_0000_0000u128;
    for bits in [0x3fff_4000_0000_0000_0000u128, 0x7fff_0000_0000_0000_0000, 0x7fff_4000_0000_0000_0000] {
        let mut env = Env { nan: NanRule::LargerSignificand, ..Env::default() };
        assert_eq!(add::<F80>(&mut env, bits, one), indefinite);
        assert_eq!(env.flags, Flags::INVALID);
    }
}

/// 1 - 2^-65 (1 + 2^-63): less than halfway below 1 only by a digit 128 places down.
#[test]
fn a_digit_far_below_breaks_a_tie() {
    let one = 0x3fff_8000_0000_0000_0000u128;
    let mut env = Env::default();
    let difference = sub::<F80>(&mut env, one, 0x3fbe_8000_0000_0000_0001);
    assert_eq!((difference, env.flags), (0x3ffe_ffff_ffff_ffff_ffff, Flags::INEXACT));
}

/// (2^53 - 3) 2^-52 plus a product of A 2^-52 + 2^-128, A even: the last digit breaks a tie after a carry.
#[test]
fn the_last_digit_of_a_product_breaks_a_tie() {
    let (a, b, c) = (0x3e7b_64da_0ff6_ac3d, 0x3ffd_bff2_bc66_4b15, 0x3fff_ffff_ffff_fffd);
    let mut env = riscv();
    let sum = soft::fma::<F64>(&mut env, a, b, c, Negate::default());
    assert_eq!((sum, env.flags), (0x4000_0000_1977_b75f, Flags::INEXACT));
}

#[test]
fn overflow_and_underflow_for_a_handler() {
    const MAX: u32 = 0x7f7f_ffff;
    const LEAST: u32 = 0x0080_0000;
    const HALF: u32 = 0x3f00_0000;
    const TWO: u32 = 0x4000_0000;
    let (overflow, underflow) = (Flags::OVERFLOW, Flags::UNDERFLOW);
    #[rustfmt::skip]
    let cases: &[(&str, u32, u32, Flags, u32, Flags)] = &[
        // The flags are those that processors leave in MXCSR; the exponents are moved by 192.
        ("digits fit, exponent does not", MAX,         TWO,         overflow,  0x1fff_ffff, overflow),
        ("neither fits",                  MAX,         MAX,         overflow,  0x5f7f_fffe, overflow | Flags::INEXACT),
        ("the default",                   MAX,         TWO,         underflow, 0x7f80_0000, overflow | Flags::INEXACT),
        ("exact and tiny",                LEAST,       HALF,        underflow, 0x6000_0000, underflow),
        ("exact but for the exponent",    LEAST + 1,   HALF,        underflow, 0x6000_0001, underflow),
        ("inexact and tiny",              LEAST + 1,   HALF + 1,    underflow, 0x6000_0002, underflow | Flags::INEXACT),
        ("the default",                   LEAST,       HALF,        overflow,  0x0040_0000, Flags::empty()),
        ("rounded up to a normal number", LEAST + 1,   HALF - 1,    underflow, 0x6000_0000, underflow | Flags::INEXACT),
    ];
    for &(name, a, b, trapped, result, flags) in cases {
        for flush_results in [false, true] {
            if flush_results && trapped != underflow {
                continue;
            }
            let mut env = Env { trapped, flush_results, ..sse() };
            assert_eq!((mul::<F32>(&mut env, a, b), env.flags), (result, flags), "{name}");
        }
    }
    // A double so small that not even the moved exponent is one of a single.
    let mut env = Env { trapped: underflow, ..sse() };
    assert_eq!((convert::<F64, F32>(&mut env, 0x0010_0000_0000_0000), env.flags), (0, underflow));
}
