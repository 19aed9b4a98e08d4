//! Stores of ST(0) (SDM 1 8.3.2). Memory is written before anything else: it may fault.

use super::decimal;
use super::form::{Operands, Source};
use super::memory;
use super::unit::{C1, INDEFINITE, Unit};
use crate::x86_64::guest::X86_64;
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{self, Env, F32, F64, F80, Flags, Format, Rounding};
use c2w_engine::guest::Trap;

/// The operation's number of FISTTP: integers are rounded toward zero.
pub const TRUNCATING: u8 = 1;
/// The operation's number of FSTP in its form D9 D8+i, which sees no stack underflow.
pub const UNCHECKED: u8 = 2;

/// The integer that a number rounds to, or the indefinite one of the width.
fn integer(env: &mut Env, bits: u32, value: u128) -> u64 {
    let before = env.flags;
    let rounding = env.rounding;
    let indefinite = 1u64 << (bits - 1);
    let rounded = match bits {
        16 => fp::to_int::<F80, i16>(env, rounding, value).map(|value| value as u64),
        32 => fp::to_int::<F80, i32>(env, rounding, value).map(|value| value as u64),
        _ => fp::to_int::<F80, i64>(env, rounding, value).map(|value| value as u64),
    };
    rounded.unwrap_or_else(|_| {
        env.flags = before | Flags::INVALID;
        indefinite
    })
}

/// Converts to a narrower format. Subnormal operands are not reported.
fn narrow<F: Format>(env: &mut Env, value: u128) -> F::Bits {
    let result = fp::convert::<F80, F>(env, value);
    env.flags -= Flags::DENORMAL_OPERAND;
    result
}

/// What memory gets for a value.
fn convert(env: &mut Env, to: Source, value: u128) -> u128 {
    match to {
        Source::Single => u128::from(narrow::<F32>(env, value)),
        Source::Double => u128::from(narrow::<F64>(env, value)),
        Source::Int16 => u128::from(integer(env, 16, value)),
        Source::Int32 => u128::from(integer(env, 32, value)),
        Source::Int64 => u128::from(integer(env, 64, value)),
        Source::Decimal => decimal::encode(env, value),
        Source::Extended | Source::Stack => value,
    }
}

/// (operands, address): FST, FIST, FISTTP, FBSTP and those that pop, with memory.
pub fn store(cpu: &mut Cpu<X86_64>, [operands, at, ..]: [u64; 4]) -> Result<u64, Trap> {
    let operands = Operands::of(operands);
    let unit = Unit::of(cpu);
    let empty = unit.is_empty(0);
    let value = unit.read(0).unwrap_or(INDEFINITE);
    let mut env = unit.extended();
    if operands.operation == TRUNCATING {
        env.rounding = Rounding::TowardZero;
    }
    let image = convert(&mut env, operands.source, value);
    // Also an overflow or underflow that is not masked stores nothing (SDM 1 8.5.4, 8.5.5).
    let raised = env.flags & (Flags::OVERFLOW | Flags::UNDERFLOW) & env.trapped;
    let invalid_is_masked = unit.control() & 1 != 0;
    let delivers =
        if empty || env.flags.contains(Flags::INVALID) { invalid_is_masked } else { raised.is_empty() };
    // Memory must be writable even where nothing is stored.
    let len_bytes = operands.source.len_bytes();
    memory::check_write(cpu, Gva(at), len_bytes)?;
    if delivers {
        memory::write_checked(cpu, Gva(at), &image.to_le_bytes()[..len_bytes as usize])?;
    }
    let mut unit = Unit::of(cpu);
    if empty {
        unit.stack_fault(false);
    } else {
        if !raised.is_empty() {
            env.flags -= Flags::INEXACT;
        }
        unit.raise(&env);
    }
    if delivers {
        unit.pop(operands.pops);
    }
    Ok(0)
}

/// (operands): FST and FSTP to ST(index).
pub fn store_register(cpu: &mut Cpu<X86_64>, [operands, ..]: [u64; 4]) -> Result<u64, Trap> {
    let operands = Operands::of(operands);
    let mut unit = Unit::of(cpu);
    let value = match unit.read(0) {
        None if operands.operation == UNCHECKED => {
            unit.set_conditions(C1, 0);
            unit.pop(operands.pops);
            return Ok(0);
        }
        None if !unit.stack_fault(false) => return Ok(0),
        None => INDEFINITE,
        Some(value) => {
            unit.raise(&Env::default());
            value
        }
    };
    unit.write(operands.index, value);
    unit.pop(operands.pops);
    Ok(0)
}
