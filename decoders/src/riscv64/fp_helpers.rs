//! Floating-point helpers: arithmetic of [`c2w_engine::fp`] between floating-point registers, rounded as asked, with
//! the exceptions added to `fflags` (Unpriv. 20 to 24).
//!
//! Arguments and results are register contents: numbers narrower than a register are NaN-boxed. Where an operation
//! rounds, the rounding mode is the last argument; it is a valid one.
//!
//! No helper is inlined where it is called: the interpreter is one function with every meaning in it, which these
//! would slow down as a whole.

use super::float_env::{rounding, with_env};
use super::guest::Riscv64;
use super::helpers::FIRST_FP;
use c2w_engine::cpu::Cpu;
use c2w_engine::fp::{self, Env, Extremum, F16, F32, F64, Format, Host, Integer, Negate, Order, OutOfRange};
use c2w_engine::guest::{HelperEffects, HelperId, HelperInfo, Trap};
use c2w_engine::ir::vector::boxed::{BOX, unboxed};

/// A format of floating-point numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum FpFormat {
    /// binary16.
    H = 0,
    /// binary32.
    S = 1,
    /// binary64.
    D = 2,
}

/// A format as its registers hold it.
trait Boxed: Host {
    /// The number in a register: the canonical NaN if the NaN box is broken (Unpriv. 21.2).
    fn unbox(register: u64) -> Self::Bits;
    /// A register that holds the number.
    fn put(bits: Self::Bits) -> u64;
}

impl Boxed for F64 {
    #[inline(always)]
    fn unbox(register: u64) -> u64 {
        register
    }
    #[inline(always)]
    fn put(bits: u64) -> u64 {
        bits
    }
}

impl Boxed for F32 {
    #[inline(always)]
    fn unbox(register: u64) -> u32 {
        unboxed(register)
    }
    #[inline(always)]
    fn put(bits: u32) -> u64 {
        u64::from(bits) | BOX
    }
}

impl Boxed for F16 {
    #[inline(always)]
    fn unbox(register: u64) -> u16 {
        if register >> 16 == 0xffff_ffff_ffff { register as u16 } else { 0x7e00 }
    }
    #[inline(always)]
    fn put(bits: u16) -> u64 {
        u64::from(bits) | 0xffff_ffff_ffff_0000
    }
}

type Args = [u64; 4];

/// An operation of two numbers that rounds.
type Arithmetic<F> = fn(&mut Env, <F as Format>::Bits, <F as Format>::Bits) -> <F as Format>::Bits;

#[inline(always)]
fn arithmetic<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args, operation: Arithmetic<F>) -> u64 {
    F::put(with_env(cpu, args[2], |env| operation(env, F::unbox(args[0]), F::unbox(args[1]))))
}

#[inline(never)]
fn add<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    arithmetic::<F>(cpu, args, fp::add::<F>)
}

#[inline(never)]
fn sub<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    arithmetic::<F>(cpu, args, fp::sub::<F>)
}

#[inline(never)]
fn mul<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    arithmetic::<F>(cpu, args, fp::mul::<F>)
}

#[inline(never)]
fn div<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    arithmetic::<F>(cpu, args, fp::div::<F>)
}

#[inline(never)]
fn sqrt<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    F::put(with_env(cpu, args[1], |env| fp::sqrt::<F>(env, F::unbox(args[0]))))
}

#[inline(always)]
fn fused<F: Boxed>(cpu: &mut Cpu<Riscv64>, [a, b, c, mode]: Args, negate: Negate) -> u64 {
    let operation = |env: &mut Env| fp::fma::<F>(env, F::unbox(a), F::unbox(b), F::unbox(c), negate);
    F::put(with_env(cpu, mode, operation))
}

#[inline(never)]
fn madd<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    fused::<F>(cpu, args, Negate { product: false, addend: false })
}

#[inline(never)]
fn msub<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    fused::<F>(cpu, args, Negate { product: false, addend: true })
}

#[inline(never)]
fn nmsub<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    fused::<F>(cpu, args, Negate { product: true, addend: false })
}

#[inline(never)]
fn nmadd<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    fused::<F>(cpu, args, Negate { product: true, addend: true })
}

/// FMIN, FMAX, FMINM and FMAXM give one of their operands, or the canonical NaN.
type Choice<F> = fn(&mut Env, Extremum, <F as Format>::Bits, <F as Format>::Bits) -> <F as Format>::Bits;

#[inline(always)]
fn choice<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args, which: Extremum, operation: Choice<F>) -> u64 {
    F::put(with_env(cpu, 0, |env| operation(env, which, F::unbox(args[0]), F::unbox(args[1]))))
}

#[inline(never)]
fn min<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    choice::<F>(cpu, args, Extremum::Min, fp::extremum_number::<F>)
}

#[inline(never)]
fn max<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    choice::<F>(cpu, args, Extremum::Max, fp::extremum_number::<F>)
}

#[inline(never)]
fn minm<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    choice::<F>(cpu, args, Extremum::Min, fp::extremum::<F>)
}

#[inline(never)]
fn maxm<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    choice::<F>(cpu, args, Extremum::Max, fp::extremum::<F>)
}

/// Quiet comparisons are invalid for signalling NaNs only, the others for every NaN (Unpriv. 20.8 and 24.4).
#[inline(always)]
fn compared<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args, quiet: bool) -> Order {
    let (a, b) = (F::unbox(args[0]), F::unbox(args[1]));
    let operation = if quiet { fp::compare_quiet::<F> } else { fp::compare_signaling::<F> };
    with_env(cpu, 0, |env| operation(env, a, b))
}

#[inline(never)]
fn eq<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    u64::from(compared::<F>(cpu, args, true) == Order::Equal)
}

#[inline(never)]
fn lt<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    u64::from(compared::<F>(cpu, args, false) == Order::Less)
}

#[inline(never)]
fn le<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    u64::from(matches!(compared::<F>(cpu, args, false), Order::Less | Order::Equal))
}

#[inline(never)]
fn ltq<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    u64::from(compared::<F>(cpu, args, true) == Order::Less)
}

#[inline(never)]
fn leq<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    u64::from(matches!(compared::<F>(cpu, args, true), Order::Less | Order::Equal))
}

/// Classification: one bit of ten. Touches no flag.
#[inline(never)]
fn class<F: Boxed>(_: &mut Cpu<Riscv64>, args: Args) -> u64 {
    1 << fp::classify::<F>(F::unbox(args[0])) as u8
}

/// Conversion to an integer: out of range gives the nearest integer, a NaN the largest (Unpriv. 20.7).
#[inline(always)]
fn to_integer<F: Boxed, T: Integer>(cpu: &mut Cpu<Riscv64>, args: Args, least: T, greatest: T) -> T {
    let result = with_env(cpu, 0, |env| fp::to_int::<F, T>(env, rounding(args[1]), F::unbox(args[0])));
    match result {
        Ok(value) => value,
        Err(OutOfRange::Low) => least,
        Err(OutOfRange::High | OutOfRange::Nan) => greatest,
    }
}

#[inline(never)]
fn to_w<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    to_integer::<F, i32>(cpu, args, i32::MIN, i32::MAX) as u64
}

#[inline(never)]
fn to_wu<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    // 32-bit results are sign-extended, unsigned ones too.
    to_integer::<F, u32>(cpu, args, u32::MIN, u32::MAX) as i32 as u64
}

#[inline(never)]
fn to_l<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    to_integer::<F, i64>(cpu, args, i64::MIN, i64::MAX) as u64
}

#[inline(never)]
fn to_lu<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    to_integer::<F, u64>(cpu, args, u64::MIN, u64::MAX)
}

/// FCVTMOD.W.D: the integer part modulo 2^32 (Unpriv. 24.3).
#[inline(never)]
fn to_w_modular<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    with_env(cpu, 0, |env| fp::to_int_modular::<F>(env, F::unbox(args[0]))) as u64
}

#[inline(always)]
fn from_integer<F: Boxed, T: Integer>(cpu: &mut Cpu<Riscv64>, mode: u64, value: T) -> u64 {
    F::put(with_env(cpu, mode, |env| fp::from_int::<F, T>(env, value)))
}

#[inline(never)]
fn from_w<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    from_integer::<F, i32>(cpu, args[1], args[0] as i32)
}

#[inline(never)]
fn from_wu<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    from_integer::<F, u32>(cpu, args[1], args[0] as u32)
}

#[inline(never)]
fn from_l<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    from_integer::<F, i64>(cpu, args[1], args[0] as i64)
}

#[inline(never)]
fn from_lu<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    from_integer::<F, u64>(cpu, args[1], args[0])
}

#[inline(always)]
fn converted<F: Boxed, G: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    F::put(with_env(cpu, args[1], |env| fp::convert::<G, F>(env, G::unbox(args[0]))))
}

#[inline(never)]
fn from_h<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    converted::<F, F16>(cpu, args)
}

#[inline(never)]
fn from_s<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    converted::<F, F32>(cpu, args)
}

#[inline(never)]
fn from_d<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    converted::<F, F64>(cpu, args)
}

#[inline(always)]
fn rounded<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args, report_inexact: bool) -> u64 {
    let a = F::unbox(args[0]);
    let operation = |env: &mut Env| fp::round_to_integral::<F>(env, rounding(args[1]), report_inexact, a);
    F::put(with_env(cpu, args[1], operation))
}

#[inline(never)]
fn round<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    rounded::<F>(cpu, args, false)
}

#[inline(never)]
fn roundnx<F: Boxed>(cpu: &mut Cpu<Riscv64>, args: Args) -> u64 {
    rounded::<F>(cpu, args, true)
}

type Helper = fn(&mut Cpu<Riscv64>, Args) -> u64;

macro_rules! helpers {
    ($($op:ident = $function:ident;)*) => {
        /// An operation that the helpers carry out, in each format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        #[allow(missing_docs, reason = "the function each runs is named next to it")]
        pub enum FpOp { $($op,)* }

        const OPS: usize = [$(FpOp::$op,)*].len();

        /// Names and effects, for the numbers from [`FIRST_FP`] on.
        pub const INFO: [HelperInfo; 3 * OPS] = {
            /// They read and add to `fflags`.
            const EFFECTS: HelperEffects =
                HelperEffects { reads_state: true, writes_state: true, ..HelperEffects::PURE };
            const fn named(name: &'static str) -> HelperInfo {
                HelperInfo { name, effects: EFFECTS, function: None }
            }
            [$(
                named(concat!("f", stringify!($function), ".h")),
                named(concat!("f", stringify!($function), ".s")),
                named(concat!("f", stringify!($function), ".d")),
            )*]
        };

        const FUNCTIONS: [Helper; 3 * OPS] = [$($function::<F16>, $function::<F32>, $function::<F64>,)*];
    };
}

helpers! {
    Add = add;
    Sub = sub;
    Mul = mul;
    Div = div;
    Sqrt = sqrt;
    Madd = madd;
    Msub = msub;
    Nmsub = nmsub;
    Nmadd = nmadd;
    Min = min;
    Max = max;
    Minm = minm;
    Maxm = maxm;
    Eq = eq;
    Lt = lt;
    Le = le;
    Ltq = ltq;
    Leq = leq;
    Class = class;
    ToW = to_w;
    ToWu = to_wu;
    ToL = to_l;
    ToLu = to_lu;
    ToWModular = to_w_modular;
    FromW = from_w;
    FromWu = from_wu;
    FromL = from_l;
    FromLu = from_lu;
    FromH = from_h;
    FromS = from_s;
    FromD = from_d;
    Round = round;
    Roundnx = roundnx;
}

impl FpOp {
    /// Number of the helper for operands (of a conversion: the floating-point side, or the result) of `format`.
    #[inline(always)]
    pub const fn id(self, format: FpFormat) -> HelperId {
        HelperId(FIRST_FP + 3 * self as u16 + format as u16)
    }
}

/// Runs the helper of an operation.
#[inline(always)]
pub fn call_op(cpu: &mut Cpu<Riscv64>, op: FpOp, format: FpFormat, args: [u64; 4]) -> u64 {
    FUNCTIONS[3 * op as usize + format as usize](cpu, args)
}

/// Runs the floating-point helper with number [`FIRST_FP`] plus `index`. None of them traps.
///
/// # Panics
/// If there is none.
#[inline(always)]
pub fn call(cpu: &mut Cpu<Riscv64>, index: u16, args: [u64; 4]) -> Result<u64, Trap> {
    Ok(FUNCTIONS[usize::from(index)](cpu, args))
}
