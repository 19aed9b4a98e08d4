//! The fast path against the exact one: the same bits and the same flags, whatever was raised before.

use super::super::host_convert::HostInteger;
use super::super::*;
use super::ROUNDS;
use super::generate::{Encoding, Random, operand, partner, triple};

/// Environments that the host path may be taken in, and some in which it may not.
fn environment(random: &mut Random) -> Env {
    Env {
        rounding: super::ROUNDINGS[random.below(15).saturating_sub(10) as usize],
        flags: if random.below(2) == 0 {
            Flags::empty()
        } else {
            Flags::from_bits_retain(random.below(64) as u8)
        },
        nan: if random.below(2) == 0 { NanRule::Canonical } else { NanRule::FirstOperand },
        flush_inputs: random.below(4) == 0,
        flush_results: random.below(4) == 0,
        precision: Precision::Extended,
        trapped: Flags::from_bits_retain(random.below(64) as u8) & (Flags::OVERFLOW | Flags::UNDERFLOW),
        rounded_up: false,
    }
}

fn agree<R: PartialEq + std::fmt::Debug>(
    env: Env,
    operands: &dyn std::fmt::Debug,
    fast: impl Fn(&mut Env) -> R,
    exact: impl Fn(&mut Env) -> R,
) {
    let (mut fast_env, mut exact_env) = (env, env);
    let (fast, exact) = (fast(&mut fast_env), exact(&mut exact_env));
    // The host does not tell which way it rounded.
    exact_env.rounded_up = fast_env.rounded_up;
    assert_eq!((fast, fast_env), (exact, exact_env), "{operands:x?} {env:?}");
}

fn operations_agree<F: Host + Encoding>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS * 10 {
        let a = operand::<F>(&mut random);
        let b = partner::<F>(&mut random, a);
        let env = environment(&mut random);
        let ab = (a, b);
        agree(env, &ab, |env| add::<F>(env, a, b), |env| soft::add::<F>(env, a, b));
        agree(env, &ab, |env| sub::<F>(env, a, b), |env| soft::sub::<F>(env, a, b));
        agree(env, &ab, |env| mul::<F>(env, a, b), |env| soft::mul::<F>(env, a, b));
        agree(env, &ab, |env| div::<F>(env, a, b), |env| soft::div::<F>(env, a, b));
        agree(env, &ab, |env| sqrt::<F>(env, a), |env| soft::sqrt::<F>(env, a));
    }
}

fn conversions_agree<F: HostInteger + Encoding>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS * 10 {
        let env = Env { rounding: Rounding::NearestEven, ..environment(&mut random) };
        let a = operand::<F>(&mut random);
        let mut fast_env = env;
        if let Some(integer) = F::try_truncate(&mut fast_env, a) {
            let fast = |env: &mut Env| {
                *env = fast_env;
                Ok(integer)
            };
            agree(env, &a, fast, |env| to_int::<F, i64>(env, Rounding::TowardZero, a));
        }
        let mut fast_env = env;
        if let Some(integer) = F::try_nearest(&mut fast_env, a) {
            let fast = |env: &mut Env| {
                *env = fast_env;
                Ok(integer)
            };
            agree(env, &a, fast, |env| to_int::<F, i64>(env, Rounding::NearestEven, a));
        }
        let (rounding, report) = (super::ROUNDINGS[random.below(5) as usize], random.below(2) == 0);
        let mut fast_env = env;
        if let Some(integral) = F::try_integral(&mut fast_env, rounding, report, a) {
            let fast = |env: &mut Env| {
                *env = fast_env;
                integral
            };
            agree(env, &(a, rounding), fast, |env| round_to_integral::<F>(env, rounding, report, a));
        }
        let integer = (random.next() >> random.below(64)).wrapping_sub(random.below(2)) as i64;
        let exact = |env: &mut Env| from_int::<F, i64>(env, integer);
        agree(env, &integer, |env| F::from_integer(env, integer), exact);
    }
}

#[test]
fn conversions_to_and_from_integers_agree() {
    conversions_agree::<F32>(66);
    conversions_agree::<F64>(67);
}

#[test]
fn conversions_between_formats_agree() {
    let mut random = Random(68);
    for _ in 0..ROUNDS * 10 {
        let env = Env { rounding: Rounding::NearestEven, ..environment(&mut random) };
        let (a, b) = (operand::<F32>(&mut random), operand::<F64>(&mut random));
        if let Some(wide) = host_convert::try_widen(a) {
            agree(env, &a, |_| wide, |env| convert::<F32, F64>(env, a));
        }
        let mut fast_env = env;
        if let Some(narrow) = host_convert::try_narrow(&mut fast_env, b) {
            let fast = |env: &mut Env| {
                *env = fast_env;
                narrow
            };
            agree(env, &b, fast, |env| convert::<F64, F32>(env, b));
        }
    }
}

fn fused_agrees<F: Host + Encoding>(seed: u64) {
    let mut random = Random(seed);
    for _ in 0..ROUNDS * 10 {
        let [a, b, c] = triple::<F>(&mut random);
        let negate = Negate { product: random.below(2) == 0, addend: random.below(2) == 0 };
        let env = environment(&mut random);
        agree(
            env,
            &(a, b, c),
            |env| fma::<F>(env, a, b, c, negate),
            |env| soft::fma::<F>(env, a, b, c, negate),
        );
    }
}

/// What hosts without the instruction compute, on any host.
#[test]
fn emulated_fused_multiply_add_is_exact() {
    let mut random = Random(65);
    for _ in 0..ROUNDS * 10 {
        let triple = triple::<F64>(&mut random);
        let [a, b, c] = triple.map(|bits| {
            // Exponents within 2^±400, differences kept where they were small.
            let exponent = ((bits >> 52 & 0x7ff) as i64 - 1023).rem_euclid(400) as u64 + 823;
            bits & !(0x7ff << 52) | exponent << 52
        });
        let (high, low) =
            super::super::host_fma::emulated(f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
        let exact = soft::fma::<F64>(&mut Env::default(), a, b, c, Negate::default());
        assert_eq!((high + low).to_bits(), exact, "{a:x} {b:x} {c:x}");
    }
}

#[test]
fn single_paths_agree() {
    operations_agree::<F32>(60);
}

#[test]
fn double_paths_agree() {
    operations_agree::<F64>(61);
}

#[test]
fn fused_single_paths_agree() {
    fused_agrees::<F32>(62);
}

#[test]
fn fused_double_paths_agree() {
    fused_agrees::<F64>(63);
}

/// Quotients and roots that come out exact are rare among random operands.
#[test]
fn exact_quotients_and_roots_agree() {
    let mut random = Random(64);
    for _ in 0..ROUNDS {
        let shift = 11 + random.below(53);
        let (x, y) = ((random.next() >> shift) as f64, (random.next() >> (75 - shift).min(63)) as f64);
        for (dividend, divisor) in [(x * y, y), (x * y, x), (x, y)] {
            let (a, b) = (dividend.to_bits(), divisor.to_bits());
            agree(Env::default(), &(a, b), |env| div::<F64>(env, a, b), |env| soft::div::<F64>(env, a, b));
            let (a, b) = ((dividend as f32).to_bits(), (divisor as f32).to_bits());
            agree(Env::default(), &(a, b), |env| div::<F32>(env, a, b), |env| soft::div::<F32>(env, a, b));
        }
        let root = (random.next() >> (37 + random.below(27))) as f64;
        for square in [root * root, 2.0 * root * root, root * root + 1.0] {
            let a = square.to_bits();
            agree(Env::default(), &a, |env| sqrt::<F64>(env, a), |env| soft::sqrt::<F64>(env, a));
            let a = (square as f32).to_bits();
            agree(Env::default(), &a, |env| sqrt::<F32>(env, a), |env| soft::sqrt::<F32>(env, a));
        }
    }
}
