//! The four operations, with operands in registers and memory (SDM 1 8.3.3).

use super::form::{Operands, Source};
use super::load::{self, Value};
use super::unit::{INDEFINITE, Unit};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{Env, F80, soft};
use c2w_engine::guest::Trap;

/// The operations. The reversed ones have their operands exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Add = 0,
    Multiply,
    Subtract,
    SubtractReversed,
    Divide,
    DivideReversed,
}

const ADD: u8 = Arithmetic::Add as u8;
const MULTIPLY: u8 = Arithmetic::Multiply as u8;
const SUBTRACT: u8 = Arithmetic::Subtract as u8;
const SUBTRACT_REVERSED: u8 = Arithmetic::SubtractReversed as u8;
const DIVIDE: u8 = Arithmetic::Divide as u8;

fn compute(operation: u8, env: &mut Env, a: u128, b: u128) -> u128 {
    match operation {
        ADD => soft::add::<F80>(env, a, b),
        MULTIPLY => soft::mul::<F80>(env, a, b),
        SUBTRACT => soft::sub::<F80>(env, a, b),
        SUBTRACT_REVERSED => soft::sub::<F80>(env, b, a),
        DIVIDE => soft::div::<F80>(env, a, b),
        _ => soft::div::<F80>(env, b, a),
    }
}

/// (operands, value low, value high).
pub fn arithmetic(cpu: &mut Cpu<X86_64>, [operands, low, high, _]: [u64; 4]) -> Result<u64, Trap> {
    let operands = Operands::of(operands);
    let mut unit = Unit::of(cpu);
    let other = match operands.source {
        Source::Stack => unit.read(operands.index).map(|bits| Value { bits, subnormal: false }),
        source => Some(load::value(source, low, high)),
    };
    let to = if operands.into_index { operands.index } else { 0 };
    let (Some(top), Some(other)) = (unit.read(0), other) else {
        if unit.stack_fault(false) {
            unit.write(to, INDEFINITE);
            unit.pop(operands.pops);
        }
        return Ok(0);
    };
    let (a, b) = if operands.into_index { (other.bits, top) } else { (top, other.bits) };
    let mut env = unit.controlled();
    let result = compute(operands.operation, &mut env, a, b);
    load::note_subnormal(&mut env, &other, result);
    if unit.raise(&env) {
        unit.write(to, result);
        unit.pop(operands.pops);
    }
    Ok(0)
}
