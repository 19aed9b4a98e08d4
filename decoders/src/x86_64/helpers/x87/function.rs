//! Operations on ST(0), some with ST(1), that have no other operands (SDM 1 8.3.5, 8.3.7 to 8.3.9).

use super::form::Operands;
use super::unit::{C0, C1, C2, C3, INDEFINITE, Unit};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{self, Env, F80, Flags, Format, Kind, Quotient, Rounding};
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
