//! Conversions between formats and to and from integers, and rounding to integers. What an integer cannot hold becomes
//! the "integer indefinite", its smallest value (SDM 1 4.8.3.7).

use super::lanes::{Lane, build, destination, try_build, write};
use super::mxcsr::{exactly, quickly, rounding};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::host_convert::{try_narrow, try_widen};
use c2w_engine::fp::{self, Env, F32, F64, Rounding};
use c2w_engine::guest::Trap;

/// Top of the x87 stack, in the status word.
const X87_TOP: u64 = 7 << 11;

/// Two 32-bit elements in a word.
#[inline(always)]
fn pair(lo: u32, hi: u32) -> u64 {
    u64::from(lo) | u64::from(hi) << 32
}

/// The high element of two.
#[inline(always)]
fn above(word: u64) -> u64 {
    word >> 32
}

/// The low half of a vector of which the high half is 0.
#[inline(always)]
fn low_half(cpu: &mut Cpu<X86_64>, slot: u8, value: u64) -> Result<u64, Trap> {
    write(cpu, slot, [value, 0]);
    Ok(0)
}

/// To integers.
struct ToInteger<const TRUNCATE: bool>;

impl<const TRUNCATE: bool> ToInteger<TRUNCATE> {
    #[inline(always)]
    fn quick_64<F: Lane>(env: &mut Env, a: F::Bits) -> Option<i64> {
        if TRUNCATE { F::try_truncate(env, a) } else { F::try_nearest(env, a) }
    }

    #[inline(always)]
    fn quick<F: Lane>(env: &mut Env, a: F::Bits) -> Option<u32> {
        Some(i32::try_from(Self::quick_64::<F>(env, a)?).ok()? as u32)
    }

    fn direction(env: &Env) -> Rounding {
        if TRUNCATE { Rounding::TowardZero } else { env.rounding }
    }

    fn exact_64<F: Lane>(env: &mut Env, a: F::Bits) -> i64 {
        let direction = Self::direction(env);
        fp::to_int::<F, i64>(env, direction, a).unwrap_or(i64::MIN)
    }

    fn exact<F: Lane>(env: &mut Env, a: F::Bits) -> u32 {
        let direction = Self::direction(env);
        fp::to_int::<F, i32>(env, direction, a).unwrap_or(i32::MIN) as u32
    }
}

/// CVTSS2SI and its kin: to a 32-bit integer.
pub(super) fn to_integer<F: Lane, const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [source, ..]: [u64; 4],
) -> Result<u64, Trap> {
    let a = F::low(source);
    let result = match quickly(cpu, |env| ToInteger::<TRUNCATE>::quick::<F>(env, a)) {
        Some(result) => result,
        None => exactly(cpu, |env| ToInteger::<TRUNCATE>::exact::<F>(env, a))?,
    };
    Ok(u64::from(result))
}

/// To a 64-bit integer.
pub(super) fn to_wide_integer<F: Lane, const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [source, ..]: [u64; 4],
) -> Result<u64, Trap> {
    let a = F::low(source);
    let result = match quickly(cpu, |env| ToInteger::<TRUNCATE>::quick_64::<F>(env, a)) {
        Some(result) => result,
        None => exactly(cpu, |env| ToInteger::<TRUNCATE>::exact_64::<F>(env, a))?,
    };
    Ok(result as u64)
}

/// Four singles to integers.
pub(super) fn singles_to_integers<const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [to, lo, hi, _]: [u64; 4],
) -> Result<u64, Trap> {
    let (slot, _) = destination(to);
    let at = |i| F32::at([lo, hi], i);
    let quick = quickly(cpu, |env| try_build::<F32>(|i| ToInteger::<TRUNCATE>::quick::<F32>(env, at(i))));
    let result = match quick {
        Some(result) => result,
        None => exactly(cpu, |env| build::<F32>(|i| ToInteger::<TRUNCATE>::exact::<F32>(env, at(i))))?,
    };
    write(cpu, slot, result);
    Ok(0)
}

/// What an instruction with an MMX register does to the x87 state (SDM 1 9.5.1). Processors do it before they look for
/// exceptions, and an instruction that is started again does it again.
fn enter_mmx(cpu: &mut Cpu<X86_64>) {
    cpu.slots[usize::from(regs::X87_STATUS.0)] &= !X87_TOP;
    cpu.slots[usize::from(regs::X87_TAGS.0)] = 0xff;
}

/// CVTPS2PI and CVTTPS2PI: two singles to integers.
pub(super) fn singles_to_mmx<const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [source, ..]: [u64; 4],
) -> Result<u64, Trap> {
    enter_mmx(cpu);
    exactly(cpu, |env| {
        let lo = ToInteger::<TRUNCATE>::exact::<F32>(env, source as u32);
        pair(lo, ToInteger::<TRUNCATE>::exact::<F32>(env, above(source) as u32))
    })
}

/// CVTPD2PI and CVTTPD2PI: two doubles to integers.
pub(super) fn doubles_to_mmx<const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    args: [u64; 4],
) -> Result<u64, Trap> {
    enter_mmx(cpu);
    doubles_to_pair::<TRUNCATE>(cpu, args)
}

/// Two doubles to integers.
fn doubles_to_pair<const TRUNCATE: bool>(cpu: &mut Cpu<X86_64>, [lo, hi, ..]: [u64; 4]) -> Result<u64, Trap> {
    let quick = quickly(cpu, |env| {
        let lo = ToInteger::<TRUNCATE>::quick::<F64>(env, lo)?;
        Some(pair(lo, ToInteger::<TRUNCATE>::quick::<F64>(env, hi)?))
    });
    match quick {
        Some(result) => Ok(result),
        None => exactly(cpu, |env| {
            let lo = ToInteger::<TRUNCATE>::exact::<F64>(env, lo);
            pair(lo, ToInteger::<TRUNCATE>::exact::<F64>(env, hi))
        }),
    }
}

/// Two doubles to integers in the low half of a register, the high half becoming 0.
pub(super) fn doubles_to_integers<const TRUNCATE: bool>(
    cpu: &mut Cpu<X86_64>,
    [to, lo, hi, _]: [u64; 4],
) -> Result<u64, Trap> {
    let result = doubles_to_pair::<TRUNCATE>(cpu, [lo, hi, 0, 0])?;
    low_half(cpu, destination(to).0, result)
}

/// Integers to the nearest numbers, or as MXCSR says.
#[inline(always)]
fn from_integers<F: Lane, R>(
    cpu: &mut Cpu<X86_64>,
    operation: impl Fn(&mut dyn FnMut(i64) -> F::Bits) -> R,
) -> Result<R, Trap> {
    match quickly(cpu, |env| Some(operation(&mut |integer| F::from_integer(env, integer)))) {
        Some(result) => Ok(result),
        None => exactly(cpu, |env| operation(&mut |integer| fp::from_int::<F, i64>(env, integer))),
    }
}

fn narrow(integer: u64) -> i64 {
    i64::from(integer as i32)
}

/// Four integers to singles.
pub(super) fn integers_to_singles(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let at = |i| narrow(u64::from(F32::at([lo, hi], i)));
    let result = from_integers::<F32, _>(cpu, |convert| build::<F32>(|i| convert(at(i))))?;
    write(cpu, destination(to).0, result);
    Ok(0)
}

/// CVTPI2PS of an MMX register.
pub(super) fn mmx_to_singles(cpu: &mut Cpu<X86_64>, args: [u64; 4]) -> Result<u64, Trap> {
    enter_mmx(cpu);
    pair_to_singles(cpu, args)
}

/// CVTPI2PS: two integers to singles.
pub(super) fn pair_to_singles(cpu: &mut Cpu<X86_64>, [source, ..]: [u64; 4]) -> Result<u64, Trap> {
    from_integers::<F32, _>(cpu, |convert| {
        let lo = convert(narrow(source));
        pair(lo, convert(narrow(above(source))))
    })
}

/// CVTSI2SS of 32 bits.
pub(super) fn integer_to_single(cpu: &mut Cpu<X86_64>, [a, integer, ..]: [u64; 4]) -> Result<u64, Trap> {
    let result = from_integers::<F32, _>(cpu, |convert| convert(narrow(integer)))?;
    Ok(F32::with_low(a, result))
}

/// CVTSI2SS of 64 bits.
pub(super) fn wide_integer_to_single(cpu: &mut Cpu<X86_64>, [a, integer, ..]: [u64; 4]) -> Result<u64, Trap> {
    let result = from_integers::<F32, _>(cpu, |convert| convert(integer as i64))?;
    Ok(F32::with_low(a, result))
}

/// CVTSI2SD of 32 bits.
#[inline(always)]
pub(super) fn integer_to_double(_: &mut Cpu<X86_64>, [_, integer, ..]: [u64; 4]) -> Result<u64, Trap> {
    Ok(f64::from(integer as i32).to_bits())
}

/// CVTSI2SD of 64 bits.
pub(super) fn wide_integer_to_double(cpu: &mut Cpu<X86_64>, [_, integer, ..]: [u64; 4]) -> Result<u64, Trap> {
    from_integers::<F64, _>(cpu, |convert| convert(integer as i64))
}

/// CVTSS2SD.
pub(super) fn single_to_double(cpu: &mut Cpu<X86_64>, [_, source, ..]: [u64; 4]) -> Result<u64, Trap> {
    match try_widen(source as u32) {
        Some(result) => Ok(result),
        None => exactly(cpu, |env| fp::convert::<F32, F64>(env, source as u32)),
    }
}

/// Two singles to doubles.
pub(super) fn singles_to_doubles(cpu: &mut Cpu<X86_64>, [to, source, ..]: [u64; 4]) -> Result<u64, Trap> {
    let singles = [source as u32, above(source) as u32];
    let result = match (try_widen(singles[0]), try_widen(singles[1])) {
        (Some(lo), Some(hi)) => [lo, hi],
        _ => exactly(cpu, |env| singles.map(|single| fp::convert::<F32, F64>(env, single)))?,
    };
    write(cpu, destination(to).0, result);
    Ok(0)
}

/// CVTSD2SS.
pub(super) fn double_to_single(cpu: &mut Cpu<X86_64>, [a, source, ..]: [u64; 4]) -> Result<u64, Trap> {
    let result = match quickly(cpu, |env| try_narrow(env, source)) {
        Some(result) => result,
        None => exactly(cpu, |env| fp::convert::<F64, F32>(env, source))?,
    };
    Ok(F32::with_low(a, result))
}

/// Two doubles to singles in the low half of a register, the high half becoming 0.
pub(super) fn doubles_to_singles(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let quick = quickly(cpu, |env| Some(pair(try_narrow(env, lo)?, try_narrow(env, hi)?)));
    let result = match quick {
        Some(result) => result,
        None => exactly(cpu, |env| {
            let lo = fp::convert::<F64, F32>(env, lo);
            pair(lo, fp::convert::<F64, F32>(env, hi))
        })?,
    };
    low_half(cpu, destination(to).0, result)
}

/// What the immediate of ROUNDPS and its kin says (SDM 2B, table 4-21).
#[derive(Clone, Copy)]
struct Rounds {
    /// The direction, unless it is MXCSR's.
    own: Option<Rounding>,
    report_inexact: bool,
}

impl Rounds {
    #[inline(always)]
    fn of(immediate: u64) -> Self {
        let own = (immediate & 4 == 0).then(|| rounding(immediate));
        Self { own, report_inexact: immediate & 8 == 0 }
    }

    #[inline(always)]
    fn quick<F: Lane>(self, env: &mut Env, a: F::Bits) -> Option<F::Bits> {
        F::try_integral(env, self.own.unwrap_or(env.rounding), self.report_inexact, a)
    }

    fn exact<F: Lane>(self, env: &mut Env, a: F::Bits) -> F::Bits {
        let direction = self.own.unwrap_or(env.rounding);
        fp::round_to_integral::<F>(env, direction, self.report_inexact, a)
    }
}

/// ROUNDPS, ROUNDPD.
pub(super) fn packed_round<F: Lane>(cpu: &mut Cpu<X86_64>, [to, lo, hi, _]: [u64; 4]) -> Result<u64, Trap> {
    let (slot, immediate) = destination(to);
    let rounds = Rounds::of(immediate);
    let at = |i| F::at([lo, hi], i);
    let result = match quickly(cpu, |env| try_build::<F>(|i| rounds.quick::<F>(env, at(i)))) {
        Some(result) => result,
        None => exactly(cpu, |env| build::<F>(|i| rounds.exact::<F>(env, at(i))))?,
    };
    write(cpu, slot, result);
    Ok(0)
}

/// ROUNDSS, ROUNDSD.
pub(super) fn scalar_round<F: Lane>(
    cpu: &mut Cpu<X86_64>,
    [a, source, immediate, _]: [u64; 4],
) -> Result<u64, Trap> {
    let rounds = Rounds::of(immediate);
    let result = match quickly(cpu, |env| rounds.quick::<F>(env, F::low(source))) {
        Some(result) => result,
        None => exactly(cpu, |env| rounds.exact::<F>(env, F::low(source)))?,
    };
    Ok(F::with_low(a, result))
}
