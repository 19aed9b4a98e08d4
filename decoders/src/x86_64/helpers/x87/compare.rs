//! Comparisons and FXAM (SDM 1 8.3.6).

use super::form::{Operands, Source};
use super::load::{self, Value};
use super::unit::{C0, C1, C2, C3, Unit};
use crate::x86_64::flags::{CF, PF, ZF};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{self, F80, Flags, Format, Kind, Order};
use c2w_engine::guest::Trap;

/// The comparisons, by what they do with quiet NaNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Comparison {
    /// FCOM and its kin: they are invalid.
    Ordered = 0,
    /// FUCOM and its kin: they are not.
    Unordered,
    /// FTST: as FCOM, with zero.
    Test,
}

/// A comparison as the status word and flags get it: also where an exception is not masked. Then nothing is popped.
struct Compared {
    order: Order,
    pops: u8,
}

fn compare(unit: &mut Unit<'_>, operands: Operands, low: u64, high: u64) -> Compared {
    let test = operands.operation == Comparison::Test as u8;
    let other = match operands.source {
        _ if test => Some(Value { bits: F80::zero(false), subnormal: false }),
        Source::Stack => unit.read(operands.index).map(|bits| Value { bits, subnormal: false }),
        source => Some(load::value(source, low, high)),
    };
    let (Some(top), Some(other)) = (unit.read(0), other) else {
        let pops = if unit.stack_fault(false) { operands.pops } else { 0 };
        return Compared { order: Order::Unordered, pops };
    };
    let mut env = unit.extended();
    let order = if operands.operation == Comparison::Unordered as u8 {
        fp::compare_quiet::<F80>(&mut env, top, other.bits)
    } else {
        fp::compare_signaling::<F80>(&mut env, top, other.bits)
    };
    if other.subnormal && order != Order::Unordered {
        env.raise(Flags::DENORMAL_OPERAND);
    }
    let pops = if unit.raise(&env) { operands.pops } else { 0 };
    Compared { order, pops }
}

/// (operands, value low, value high): the result goes to C3, C2 and C0.
pub fn compare_conditions(cpu: &mut Cpu<X86_64>, [operands, low, high, _]: [u64; 4]) -> Result<u64, Trap> {
    let operands = Operands::of(operands);
    let mut unit = Unit::of(cpu);
    let Compared { order, pops } = compare(&mut unit, operands, low, high);
    let conditions = match order {
        Order::Greater => 0,
        Order::Less => C0,
        Order::Equal => C3,
        Order::Unordered => C3 | C2 | C0,
    };
    unit.set_conditions(C3 | C2 | C0, conditions);
    unit.pop(pops);
    Ok(0)
}

/// (operands): FCOMI and its kin. The arithmetic flags.
pub fn compare_flags(cpu: &mut Cpu<X86_64>, [operands, ..]: [u64; 4]) -> Result<u64, Trap> {
    let operands = Operands::of(operands);
    let mut unit = Unit::of(cpu);
    let before = unit.status();
    let Compared { order, pops } = compare(&mut unit, operands, 0, 0);
    // Only stack faults clear C1 here.
    if !unit.is_empty(0) && !unit.is_empty(operands.index) {
        unit.set_conditions(C1, before);
    }
    unit.pop(pops);
    Ok(match order {
        Order::Greater => 0,
        Order::Less => CF,
        Order::Equal => ZF,
        Order::Unordered => ZF | PF | CF,
    })
}

/// (): FXAM.
pub fn examine(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    let mut unit = Unit::of(cpu);
    let bits = unit.register(unit.top());
    let parts = F80::unpack(bits);
    let class = match parts.kind {
        _ if unit.is_empty(0) => C3 | C0,
        Kind::Unsupported => 0,
        Kind::QuietNan | Kind::SignalingNan => C0,
        Kind::Finite if parts.subnormal => C3 | C2,
        Kind::Finite => C2,
        Kind::Infinity => C2 | C0,
        Kind::Zero => C3,
    };
    unit.set_conditions(C3 | C2 | C1 | C0, class | if parts.sign { C1 } else { 0 });
    Ok(0)
}
