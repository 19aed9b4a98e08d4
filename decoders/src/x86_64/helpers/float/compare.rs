//! Comparisons: masks and flags.

use super::lanes::{Lane, build, destination, read, write};
use super::mxcsr::{exactly, quickly};
use crate::x86_64::flags::{CF, PF, ZF};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{Env, Order, compare_quiet, compare_signaling};
use c2w_engine::guest::Trap;

/// A predicate of CMPPS and its kin (SDM 2A, table 3-1): what it holds for, and whether quiet NaNs are invalid.
#[derive(Clone, Copy)]
struct Predicate {
    less: bool,
    equal: bool,
    greater: bool,
    unordered: bool,
    signaling: bool,
}

impl Predicate {
    /// The predicate of an immediate, of which three bits count.
    fn of(immediate: u64) -> Self {
        let negated = immediate & 4 != 0;
        // EQ, LT, LE, UNORD; the others are their negations.
        let [less, equal, unordered] = match immediate & 3 {
            0 => [false, true, false],
            1 => [true, false, false],
            2 => [true, true, false],
            _ => [false, false, true],
        };
        Self {
            less: less != negated,
            equal: equal != negated,
            greater: negated,
            unordered: unordered != negated,
            signaling: matches!(immediate & 3, 1 | 2),
        }
    }

    fn holds<F: Lane>(self, env: &mut Env, a: F::Bits, b: F::Bits) -> bool {
        match order::<F>(env, self.signaling, a, b) {
            Order::Less => self.less,
            Order::Equal => self.equal,
            Order::Greater => self.greater,
            Order::Unordered => self.unordered,
        }
    }
}

fn order<F: Lane>(env: &mut Env, signaling: bool, a: F::Bits, b: F::Bits) -> Order {
    if signaling { compare_signaling::<F>(env, a, b) } else { compare_quiet::<F>(env, a, b) }
}

/// CMPPS, CMPPD.
pub(super) fn packed_mask<F: Lane>(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let (slot, immediate) = destination(to);
    let (a, b) = (read(cpu, slot), [lo, hi]);
    let predicate = Predicate::of(immediate);
    let result = exactly(cpu, |env| {
        build::<F>(|i| {
            if predicate.holds::<F>(env, F::at(a, i), F::at(b, i)) { F::ONES } else { F::Bits::default() }
        })
    })?;
    write(cpu, slot, result);
    Ok(0)
}

/// CMPSS, CMPSD.
pub(super) fn scalar_mask<F: Lane>(
    cpu: &mut Cpu<X86_64>,
    [a, b, immediate, _]: [u64; 4],
) -> Result<u64, Trap> {
    let predicate = Predicate::of(immediate);
    let holds = exactly(cpu, |env| predicate.holds::<F>(env, F::low(a), F::low(b)))?;
    Ok(F::with_low(a, if holds { F::ONES } else { F::Bits::default() }))
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
