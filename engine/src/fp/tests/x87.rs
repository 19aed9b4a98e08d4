//! The extended format against the host processor's x87 unit, in its four rounding directions and
//! three precisions.

use super::super::*;
use super::ROUNDS;
use super::generate::{Random, operand, partner};
use std::arch::asm;

/// The control word's RC, indexed by `Rounding as usize`.
const ROUNDING_CONTROL: [u16; 4] = [0, 3, 1, 2];

fn environments() -> impl Iterator<Item = (Env, u16)> {
    let precisions = [(Precision::Single, 0), (Precision::Double, 2), (Precision::Extended, 3)];
    super::ROUNDINGS[..4].iter().flat_map(move |&rounding| {
        precisions.into_iter().map(move |(precision, control)| {
            let env = Env { rounding, precision, nan: NanRule::LargerSignificand, ..Env::default() };
            (env, 0x3f | control << 8 | ROUNDING_CONTROL[rounding as usize] << 10)
        })
    })
}

/// The flags in the status word's order.
fn status_flags(flags: Flags) -> u16 {
    let order = [
        Flags::INVALID,
        Flags::DENORMAL_OPERAND,
        Flags::DIVIDE_BY_ZERO,
        Flags::OVERFLOW,
        Flags::UNDERFLOW,
        Flags::INEXACT,
    ];
    order.iter().enumerate().map(|(bit, &flag)| u16::from(flags.contains(flag)) << bit).sum()
}

/// Loads `a` and `b` (then `b` is on top), runs the instructions, stores the top by `$store`.
macro_rules! on_x87 {
    ($control:ident, $a:ident, $b:ident, $text:literal, $store:literal) => {{
        let mut result: u128 = 0;
        let mut status: u16 = 0;
        // SAFETY: the unit is initialised before and after; only the named memory is touched.
        unsafe {
            asm!(
                "fninit",
                "fldcw [{control}]",
                "fld tbyte ptr [{a}]",
                "fld tbyte ptr [{b}]",
                $text,
                $store,
                "fnstsw word ptr [{status}]",
                "fninit",
                control = in(reg) &$control,
                a = in(reg) &$a,
                b = in(reg) &$b,
                result = in(reg) &mut result,
                status = in(reg) &mut status,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
                options(nostack),
            );
        }
        (result, status & 0x3f)
    }};
}

macro_rules! operation {
    ($name:ident, $text:literal, $store:literal, $operation:expr) => {
        #[test]
        fn $name() {
            let mut random = Random(900);
            for (env, control) in environments() {
                for _ in 0..ROUNDS / 8 {
                    let a: u128 = operand::<F80>(&mut random);
                    let b: u128 = partner::<F80>(&mut random, a);
                    let (expected, flags) = on_x87!(control, a, b, $text, $store);
                    let mut soft = env;
                    let result: u128 = $operation(&mut soft, a, b).into();
                    assert_eq!(
                        (result, status_flags(soft.flags)),
                        (expected, flags),
                        "{a:x} {b:x} {env:?}: {result:x} instead of {expected:x}"
                    );
                }
            }
        }
    };
}

operation!(fadd, "faddp", "fstp tbyte ptr [{result}]", soft::add::<F80>);
operation!(fsub, "fsubp st(1), st", "fstp tbyte ptr [{result}]", soft::sub::<F80>);
operation!(fmul, "fmulp", "fstp tbyte ptr [{result}]", soft::mul::<F80>);
operation!(fdiv, "fdivp st(1), st", "fstp tbyte ptr [{result}]", soft::div::<F80>);
operation!(fsqrt, "fsqrt", "fstp tbyte ptr [{result}]", |env, _, b| soft::sqrt::<F80>(env, b));
operation!(frndint, "frndint", "fstp tbyte ptr [{result}]", |env: &mut Env, _, b| {
    // Unlike SSE's counterpart it reports subnormal operands.
    env.flags.set(Flags::DENORMAL_OPERAND, F80::unpack(b).subnormal);
    let rounding = env.rounding;
    round_to_integral::<F80>(env, rounding, true, b)
});
operation!(fst_single, "", "fstp dword ptr [{result}]", |env, _, b| store::<F32>(env, b));
operation!(fst_double, "", "fstp qword ptr [{result}]", |env, _, b| store::<F64>(env, b));

/// Unlike SSE's conversions, stores report no subnormal operand.
fn store<F: Format>(env: &mut Env, a: u128) -> F::Bits {
    let result = convert::<F80, F>(env, a);
    env.flags -= Flags::DENORMAL_OPERAND;
    result
}
