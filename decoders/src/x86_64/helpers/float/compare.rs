//! Comparisons: masks and flags.

use super::lanes::{Lane, build, destination, read, try_build, write};
use super::mxcsr::{exactly, quickly};
use crate::x86_64::flags::{CF, PF, ZF};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{Env, Order, compare_quiet, compare_signaling};
use c2w_engine::guest::Trap;

/// A predicate of CMPPS and its kin: for which orders it holds.
#[derive(Clone, Copy)]
struct Predicate(u8);

const LESS: u8 = 1;
const EQUAL: u8 = 2;
const GREATER: u8 = 4;
const UNORDERED: u8 = 8;

impl Predicate {
    /// The predicate of an immediate, of which three bits count (SDM 2A, table 3-1).
    #[inline(always)]
    fn of(immediate: u64) -> Self {
        // EQ, LT, LE, UNORD and their negations.
        const HOLDS: [u8; 4] = [EQUAL, LESS, LESS | EQUAL, UNORDERED];
        const ALL: u8 = LESS | EQUAL | GREATER | UNORDERED;
        let holds = HOLDS[(immediate & 3) as usize];
        Self(if immediate & 4 != 0 { holds ^ ALL } else { holds })
    }

    /// Whether quiet NaNs are invalid: for LT, LE and their negations.
    fn is_signaling(self) -> bool {
        self.0 & LESS != (self.0 & GREATER) / GREATER
    }

    /// The answer for numbers that are zero or normal.
    #[inline(always)]
    fn quick<F: Lane>(self, a: F::Bits, b: F::Bits) -> Option<F::Bits> {
        let (less, greater) = (F::try_less(a, b)?, F::try_less(b, a)?);
        let order = if less {
            LESS
        } else if greater {
            GREATER
        } else {
            EQUAL
        };
        Some(answer::<F>(self.0 & order != 0))
    }

    /// The answer.
    fn exact<F: Lane>(self, env: &mut Env, a: F::Bits, b: F::Bits) -> F::Bits {
        let order = match order::<F>(env, self.is_signaling(), a, b) {
            Order::Less => LESS,
            Order::Equal => EQUAL,
            Order::Greater => GREATER,
            Order::Unordered => UNORDERED,
        };
        answer::<F>(self.0 & order != 0)
    }
}

/// Ones for yes, zeros for no.
#[inline(always)]
fn answer<F: Lane>(holds: bool) -> F::Bits {
    if holds { F::ONES } else { F::Bits::default() }
}

fn order<F: Lane>(env: &mut Env, signaling: bool, a: F::Bits, b: F::Bits) -> Order {
    if signaling { compare_signaling::<F>(env, a, b) } else { compare_quiet::<F>(env, a, b) }
}

/// CMPPS, CMPPD.
pub(super) fn packed_mask<F: Lane>(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let (slot, immediate) = destination(to);
    let (a, b) = (read(cpu, slot), [lo, hi]);
    let predicate = Predicate::of(immediate);
    let result = match quickly(cpu, |_| try_build::<F>(|i| predicate.quick::<F>(F::at(a, i), F::at(b, i)))) {
        Some(result) => result,
        None => exactly(cpu, |env| build::<F>(|i| predicate.exact::<F>(env, F::at(a, i), F::at(b, i))))?,
    };
    write(cpu, slot, result);
    Ok(0)
}

/// CMPSS, CMPSD.
pub(super) fn scalar_mask<F: Lane>(
    cpu: &mut Cpu<X86_64>,
    [a, b, immediate, _]: [u64; 4],
) -> Result<u64, Trap> {
    let predicate = Predicate::of(immediate);
    let (x, y) = (F::low(a), F::low(b));
    let result = match quickly(cpu, |_| predicate.quick::<F>(x, y)) {
        Some(result) => result,
        None => exactly(cpu, |env| predicate.exact::<F>(env, x, y))?,
    };
    Ok(F::with_low(a, result))
}

/// COMISS and its kin: the arithmetic flags.
#[inline(always)]
pub(super) fn flags<F: Lane, const SIGNALING: bool>(
    cpu: &mut Cpu<X86_64>,
    [a, b, ..]: [u64; 4],
) -> Result<u64, Trap> {
    let (x, y) = (F::low(a), F::low(b));
    let quick = quickly(cpu, |_| {
        Some(if F::try_less(x, y)? {
            CF
        } else if F::try_less(y, x)? {
            0
        } else {
            ZF
        })
    });
    match quick {
        Some(flags) => Ok(flags),
        None => exact_flags::<F, SIGNALING>(cpu, x, y),
    }
}

#[cold]
#[inline(never)]
fn exact_flags<F: Lane, const SIGNALING: bool>(
    cpu: &mut Cpu<X86_64>,
    a: F::Bits,
    b: F::Bits,
) -> Result<u64, Trap> {
    Ok(match exactly(cpu, |env| order::<F>(env, SIGNALING, a, b))? {
        Order::Less => CF,
        Order::Equal => ZF,
        Order::Greater => 0,
        Order::Unordered => ZF | PF | CF,
    })
}
