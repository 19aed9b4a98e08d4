//! Loads onto the stack, and values that come from memory (SDM 1 8.3.2 to 8.3.4).

use super::decimal;
use super::form::{Operands, Source};
use super::unit::{C1, INDEFINITE, Unit};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{self, Env, F32, F64, F80, Flags, Format, Kind, Rounding};
use c2w_engine::guest::Trap;

/// A constant: exponent, significand rounded toward zero, and whether the nearest is the next one.
struct Constant(i32, u64, bool);

/// FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2; by these numbers.
const CONSTANTS: [Constant; 6] = [
    Constant(0, 1 << 63, false),
    Constant(1, 0xd49a_784b_cd1b_8afe, false),
    Constant(0, 0xb8aa_3b29_5c17_f0bb, true),
    Constant(1, 0xc90f_daa2_2168_c234, true),
    Constant(-2, 0x9a20_9a84_fbcf_f798, true),
    Constant(-1, 0xb172_17f7_d1cf_79ab, true),
];

/// A number of the extended format from outside of it.
pub struct Value {
    /// The number; a NaN as it was.
    pub bits: u128,
    /// It was subnormal in its own format, and no longer is.
    pub subnormal: bool,
}

/// Widens a number, and leaves NaNs signalling: operations on it are to see the original.
fn widen<F: Format>(bits: F::Bits) -> Value {
    let parts = F::unpack(bits);
    let bits = match parts.kind {
        Kind::Zero => F80::zero(parts.sign),
        Kind::Finite => F80::finite(parts.sign, parts.exponent, parts.significand),
        Kind::Infinity => F80::infinity(parts.sign),
        _ => u128::from(parts.sign) << 79 | 0x7fff << 64 | u128::from(parts.significand),
    };
    Value { bits, subnormal: parts.subnormal }
}

/// The value of what was loaded from memory.
pub fn value(source: Source, low: u64, high: u64) -> Value {
    let integer =
        |value: i64| Value { bits: fp::from_int::<F80, i64>(&mut Env::default(), value), subnormal: false };
    let wide = u128::from(high & 0xffff) << 64 | u128::from(low);
    match source {
        Source::Single => widen::<F32>(low as u32),
        Source::Double => widen::<F64>(low),
        Source::Int16 => integer(i64::from(low as i16)),
        Source::Int32 => integer(i64::from(low as i32)),
        Source::Int64 => integer(low as i64),
        Source::Decimal => Value { bits: decimal::decode(wide), subnormal: false },
        Source::Extended | Source::Stack => Value { bits: wide, subnormal: false },
    }
}

/// Pushes a value, or what a full stack makes of it.
fn push(cpu: &mut Cpu<X86_64>, value: u128, env: &Env) {
    let mut unit = Unit::of(cpu);
    if !unit.has_room() {
        if unit.stack_fault(true) {
            unit.push(INDEFINITE);
        }
    } else if unit.raise(env) || !env.flags.contains(Flags::INVALID) {
        // A subnormal operand is loaded even if that is not masked.
        unit.push(value);
    }
}

/// (operands, value low, value high): FLD, FILD, FBLD.
pub fn load(cpu: &mut Cpu<X86_64>, [operands, low, high, _]: [u64; 4]) -> Result<u64, Trap> {
    let operands = Operands::of(operands);
    let mut env = Unit::of(cpu).extended();
    let loaded = match operands.source {
        Source::Stack => {
            let mut unit = Unit::of(cpu);
            match unit.read(operands.index) {
                Some(value) => value,
                None => {
                    if unit.stack_fault(false) {
                        unit.push(INDEFINITE);
                    }
                    return Ok(0);
                }
            }
        }
        Source::Single => fp::convert::<F32, F80>(&mut env, low as u32),
        Source::Double => fp::convert::<F64, F80>(&mut env, low),
        source => value(source, low, high).bits,
    };
    push(cpu, loaded, &env);
    Ok(0)
}

/// (operands): FLD1 and its kin, by the operation's number; FLDZ is the one behind the last.
pub fn constant(cpu: &mut Cpu<X86_64>, [operands, ..]: [u64; 4]) -> Result<u64, Trap> {
    let unit = Unit::of(cpu);
    let value = match CONSTANTS.get(usize::from(Operands::of(operands).operation)) {
        None => F80::zero(false),
        Some(&Constant(exponent, significand, nearest_is_next)) => {
            let exact = significand == 1 << 63;
            let up = match unit.rounding() {
                Rounding::Up => !exact,
                Rounding::NearestEven => nearest_is_next,
                _ => false,
            };
            F80::finite(false, exponent, significand + u64::from(up))
        }
    };
    push(cpu, value, &Env::default());
    Ok(0)
}

/// (operands): FXCH. Empty registers become indefinite first.
pub fn exchange(cpu: &mut Cpu<X86_64>, [operands, ..]: [u64; 4]) -> Result<u64, Trap> {
    let index = Operands::of(operands).index;
    let mut unit = Unit::of(cpu);
    let (top, other) = (unit.read(0), unit.read(index));
    if (top.is_none() || other.is_none()) && !unit.stack_fault(false) {
        return Ok(0);
    }
    if top.is_some() && other.is_some() {
        unit.set_conditions(C1, 0);
    }
    unit.write(0, other.unwrap_or(INDEFINITE));
    unit.write(index, top.unwrap_or(INDEFINITE));
    Ok(0)
}

/// (operands, condition): FCMOVcc, for a condition that is not 0 if it holds.
pub fn move_if(cpu: &mut Cpu<X86_64>, [operands, condition, ..]: [u64; 4]) -> Result<u64, Trap> {
    let index = Operands::of(operands).index;
    let mut unit = Unit::of(cpu);
    match (unit.read(0), unit.read(index)) {
        (Some(_), Some(value)) => {
            if condition != 0 {
                unit.write(0, value);
            }
        }
        _ => {
            if unit.stack_fault(false) {
                unit.write(0, INDEFINITE);
            }
        }
    }
    Ok(0)
}

/// (operands): FFREE and FFREEP.
pub fn free(cpu: &mut Cpu<X86_64>, [operands, ..]: [u64; 4]) -> Result<u64, Trap> {
    let operands = Operands::of(operands);
    let mut unit = Unit::of(cpu);
    unit.set_conditions(C1, 0);
    unit.free(operands.index);
    unit.pop(operands.pops);
    Ok(0)
}

/// (operands): FINCSTP and FDECSTP turn the stack by the index.
pub fn turn(cpu: &mut Cpu<X86_64>, [operands, ..]: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    unit.set_conditions(C1, 0);
    unit.turn(Operands::of(operands).index);
    Ok(0)
}

/// Adds to an environment that an operand was subnormal before it was widened: in operations on numbers, and not where
/// zero divides (SDM 1 4.9.2).
pub fn note_subnormal(env: &mut Env, value: &Value, result: u128) {
    let is_number =
        !matches!(F80::unpack(result).kind, Kind::QuietNan | Kind::SignalingNan | Kind::Unsupported);
    if value.subnormal && is_number && !env.flags.contains(Flags::DIVIDE_BY_ZERO) {
        env.flags |= Flags::DENORMAL_OPERAND;
    }
}
