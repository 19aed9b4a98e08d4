//! Operations on ST(0), some with ST(1), that have no other operands (SDM 1 8.3.5, 8.3.7 to 8.3.9).

use super::form::Operands;
use super::unit::{C0, C1, C2, C3, INDEFINITE, Unit};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{self, Env, F80, Flags, Format, Kind, Quotient, Rounding, elementary};
use c2w_engine::guest::Trap;

const SIGN: u128 = 1 << 79;

/// (): FCHS.
pub fn change_sign(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    one(&mut unit, Env::default(), |_, value| value ^ SIGN);
    Ok(0)
}

/// (): FABS.
pub fn absolute(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    one(&mut unit, Env::default(), |_, value| value & !SIGN);
    Ok(0)
}

/// (): FSQRT.
pub fn square_root(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    let env = unit.controlled();
    one(&mut unit, env, fp::soft::sqrt::<F80>);
    Ok(0)
}

/// (): FRNDINT. Unlike SSE's counterpart it reports subnormal operands.
pub fn round(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    let env = unit.extended();
    one(&mut unit, env, |env, value| {
        if F80::unpack(value).subnormal {
            env.raise(Flags::DENORMAL_OPERAND);
        }
        fp::round_to_integral::<F80>(env, env.rounding, true, value)
    });
    Ok(0)
}

/// Replaces ST(0) by a function of it.
fn one(unit: &mut Unit<'_>, mut env: Env, function: impl FnOnce(&mut Env, u128) -> u128) {
    let Some(value) = unit.read(0) else {
        if unit.stack_fault(false) {
            unit.write(0, INDEFINITE);
        }
        return;
    };
    let result = function(&mut env, value);
    if unit.raise(&env) {
        unit.write(0, result);
    }
}

/// Replaces ST(0) by a function of it and ST(1). Whether that happened.
fn two(unit: &mut Unit<'_>, mut env: Env, function: impl FnOnce(&mut Env, u128, u128) -> u128) -> bool {
    let (Some(top), Some(second)) = (unit.read(0), unit.read(1)) else {
        if unit.stack_fault(false) {
            unit.write(0, INDEFINITE);
        }
        return false;
    };
    let result = function(&mut env, top, second);
    let done = unit.raise(&env);
    if done {
        unit.write(0, result);
    }
    done
}

/// Replaces ST(0) by the first result and pushes the second.
fn one_to_two(unit: &mut Unit<'_>, mut env: Env, function: impl FnOnce(&mut Env, u128) -> (u128, u128)) {
    let faulty = match unit.read(0) {
        None => Some(false),
        Some(_) if !unit.has_room() => Some(true),
        Some(_) => None,
    };
    if let Some(overflow) = faulty {
        if unit.stack_fault(overflow) {
            unit.write(0, INDEFINITE);
            unit.push(INDEFINITE);
        }
        return;
    }
    let value = unit.register(unit.top());
    let (first, second) = function(&mut env, value);
    if unit.raise(&env) {
        unit.write(0, first);
        unit.push(second);
    }
}

/// (): FXTRACT: the exponent, and on top of it the significand.
pub fn extract(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    let env = unit.extended();
    one_to_two(&mut unit, env, |env, value| {
        (fp::logb::<F80>(env, value), fp::significand::<F80>(env, value))
    });
    Ok(0)
}

/// (operands): FPREM, and FPREM1 if the operation's number is not 0.
pub fn remainder(cpu: &mut Cpu<X86_64>, [operands, ..]: [u64; 4]) -> Result<u64, Trap> {
    let nearest = Operands::of(operands).operation != 0;
    let rounding = if nearest { Quotient::Nearest } else { Quotient::Truncated };
    let mut unit = Unit::of(cpu);
    let env = unit.extended();
    let mut conditions = None;
    let done = two(&mut unit, env, |env, dividend, divisor| {
        let found = fp::partial_remainder::<F80>(env, rounding, dividend, divisor);
        let bit = |number: u32, condition| if found.quotient >> number & 1 != 0 { condition } else { 0 };
        let quotient = bit(2, C0) | bit(1, C3) | bit(0, C1);
        if !is_nan(F80::unpack(found.bits).kind) {
            conditions = Some(quotient | if found.complete { 0 } else { C2 });
        }
        found.bits
    });
    match conditions {
        Some(conditions) if done => unit.set_conditions(C0 | C1 | C2 | C3, conditions),
        // Without a quotient the bits for it stay.
        _ => unit.set_conditions(C2, 0),
    }
    Ok(0)
}

fn is_nan(kind: Kind) -> bool {
    matches!(kind, Kind::QuietNan | Kind::SignalingNan | Kind::Unsupported)
}

/// ST(0) scaled by the power of two that ST(1) truncates to (SDM 2A, FSCALE).
fn scaled(env: &mut Env, value: u128, power: u128) -> u128 {
    let (a, b) = (F80::unpack(value), F80::unpack(power));
    if is_nan(a.kind) || is_nan(b.kind) {
        // Any operation of two operands chooses among NaNs.
        return fp::soft::add::<F80>(env, value, power);
    }
    if b.kind == Kind::Infinity {
        let invalid = if b.sign { Kind::Infinity } else { Kind::Zero };
        if a.kind == invalid {
            env.raise(Flags::INVALID);
            return INDEFINITE;
        }
        let subnormal = if a.subnormal { Flags::DENORMAL_OPERAND } else { Flags::empty() };
        env.raise(subnormal);
        return if b.sign { F80::zero(a.sign) } else { F80::infinity(a.sign) };
    }
    if b.subnormal {
        env.raise(Flags::DENORMAL_OPERAND);
    }
    let mut quiet = Env::default();
    let far = if b.sign { -0x10000 } else { 0x10000 };
    let power = fp::to_int::<F80, i32>(&mut quiet, Rounding::TowardZero, power).unwrap_or(far);
    fp::scale::<F80>(env, value, power.clamp(-0x10000, 0x10000))
}

/// (): FSCALE.
pub fn scale(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    let env = unit.extended();
    two(&mut unit, env, scaled);
    Ok(0)
}

/// C2 tells of an angle that is out of range; everything stays as it is then. A full stack comes first where there are
/// two results.
fn in_range(unit: &mut Unit<'_>, results: u8) -> bool {
    let fits = results == 1 || unit.has_room();
    let beyond = fits
        && unit.read(0).is_some_and(|value| {
            let parts = F80::unpack(value);
            parts.kind == Kind::Finite && parts.exponent >= 63
        });
    unit.set_conditions(C1 | C2, if beyond { C2 } else { 0 });
    !beyond
}

/// (): FSIN.
pub fn sine(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    if in_range(&mut unit, 1) {
        let env = unit.extended();
        one(&mut unit, env, |env, value| elementary::sine(env, value).unwrap_or(value));
    }
    Ok(0)
}

/// (): FCOS.
pub fn cosine(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    if in_range(&mut unit, 1) {
        let env = unit.extended();
        one(&mut unit, env, |env, value| elementary::cosine(env, value).unwrap_or(value));
    }
    Ok(0)
}

/// (): FSINCOS: the cosine is on top.
pub fn sine_and_cosine(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    if in_range(&mut unit, 2) {
        let env = unit.extended();
        one_to_two(&mut unit, env, |env, value| {
            elementary::sine_and_cosine(env, value).unwrap_or((value, value))
        });
    }
    Ok(0)
}

/// (): FPTAN: a one on top of the tangent.
pub fn tangent(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    if in_range(&mut unit, 2) {
        let env = unit.extended();
        one_to_two(&mut unit, env, |env, value| {
            let tangent = elementary::tangent(env, value).unwrap_or(value);
            // There is no number above a NaN.
            let above =
                if is_nan(F80::unpack(tangent).kind) { tangent } else { F80::finite(false, 0, 1 << 63) };
            (tangent, above)
        });
    }
    Ok(0)
}

/// (): F2XM1. Above 1 in magnitude, where nothing is defined, the number stays.
pub fn exponential(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    let env = unit.extended();
    one(&mut unit, env, |env, value| {
        elementary::exp2_minus_1(env, value).unwrap_or_else(|| undefined(env, value))
    });
    Ok(0)
}

/// The result where nothing is defined.
fn undefined(env: &mut Env, value: u128) -> u128 {
    env.raise(Flags::INEXACT);
    value
}

/// Replaces ST(1) by a function of it and ST(0), and pops.
fn two_to_one(unit: &mut Unit<'_>, function: impl FnOnce(&mut Env, u128, u128) -> u128) {
    let (Some(top), Some(second)) = (unit.read(0), unit.read(1)) else {
        if unit.stack_fault(false) {
            unit.write(1, INDEFINITE);
            unit.pop(1);
        }
        return;
    };
    let mut env = unit.extended();
    let result = function(&mut env, second, top);
    if unit.raise(&env) {
        unit.write(1, result);
        unit.pop(1);
    }
}

/// (): FPATAN.
pub fn arctangent(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    two_to_one(&mut Unit::of(cpu), elementary::arctangent);
    Ok(0)
}

/// (): FYL2X.
pub fn logarithm(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    two_to_one(&mut Unit::of(cpu), elementary::y_log2_x);
    Ok(0)
}

/// (): FYL2XP1.
pub fn logarithm_plus_1(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    two_to_one(&mut Unit::of(cpu), |env, y, x| {
        elementary::y_log2_x_plus_1(env, y, x).unwrap_or_else(|| undefined(env, x))
    });
    Ok(0)
}
