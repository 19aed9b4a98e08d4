//! The exact path against the host processor's SSE unit: results, NaN payloads and all six flags, in
//! its four rounding directions, with and without its two ways of flushing subnormal numbers.

use super::super::*;
use super::ROUNDS;
use super::generate::{Encoding, Random, operand, partner, triple};
use std::arch::asm;

/// `MXCSR.RC`, indexed by `Rounding as usize`.
const ROUNDING_CONTROL: [u32; 4] = [0, 3, 1, 2];

/// Environments: every direction, DAZ and FTZ.
fn environments() -> impl Iterator<Item = (Env, u32)> {
    super::ROUNDINGS[..4].iter().flat_map(|&rounding| {
        (0..4).map(move |flush| {
            let env = Env {
                rounding,
                nan: NanRule::FirstOperand,
                flush_inputs: flush & 1 != 0,
                flush_results: flush & 2 != 0,
                ..Env::default()
            };
            // All exceptions masked, none raised.
            let mxcsr = 0x1f80
                | ROUNDING_CONTROL[rounding as usize] << 13
                | u32::from(env.flush_inputs) << 6
                | u32::from(env.flush_results) << 15;
            (env, mxcsr)
        })
    })
}

/// The flags in MXCSR's order.
fn mxcsr_flags(flags: Flags) -> u32 {
    let order = [
        Flags::INVALID,
        Flags::DENORMAL_OPERAND,
        Flags::DIVIDE_BY_ZERO,
        Flags::OVERFLOW,
        Flags::UNDERFLOW,
        Flags::INEXACT,
    ];
    order.iter().enumerate().map(|(bit, &flag)| u32::from(flags.contains(flag)) << bit).sum()
}

/// Runs one instruction under `mxcsr`; delivers the flags it raised.
macro_rules! under {
    ($mxcsr:ident, $text:expr, $($operands:tt)*) => {{
        let mut status: u32 = $mxcsr;
        let mut saved: u32 = 0;
        // SAFETY: MXCSR is put back; the instructions touch the named operands and flags only.
        unsafe {
            asm!(
                "stmxcsr [{saved}]",
                "ldmxcsr [{status}]",
                $text,
                "stmxcsr [{status}]",
                "ldmxcsr [{saved}]",
                saved = in(reg) &mut saved,
                status = in(reg) &mut status,
                $($operands)*,
                options(nostack),
            );
        }
        status & 0x3f
    }};
}

macro_rules! two_operands {
    ($name:ident, $format:ident, $float:ident, $insn:literal, $operation:expr) => {
        #[test]
        fn $name() {
            let mut random = Random(100);
            for (env, mxcsr) in environments() {
                for _ in 0..ROUNDS / 8 {
                    let a = operand::<$format>(&mut random);
                    let b = partner::<$format>(&mut random, a);
                    let (mut x, y) = ($float::from_bits(a), $float::from_bits(b));
                    let flags = under!(mxcsr, concat!($insn, " {x}, {y}"),
                        x = inout(xmm_reg) x, y = in(xmm_reg) y);
                    let mut soft = env;
                    let result = $operation(&mut soft, a, b);
                    assert_eq!(
                        (result, mxcsr_flags(soft.flags)),
                        (x.to_bits(), flags),
                        "{a:x} {b:x} {env:?}: {result:x} instead of {:x}", x.to_bits()
                    );
                }
            }
        }
    };
}

two_operands!(addss, F32, f32, "addss", soft::add::<F32>);
two_operands!(addsd, F64, f64, "addsd", soft::add::<F64>);
two_operands!(subss, F32, f32, "subss", soft::sub::<F32>);
two_operands!(subsd, F64, f64, "subsd", soft::sub::<F64>);
two_operands!(mulss, F32, f32, "mulss", soft::mul::<F32>);
two_operands!(mulsd, F64, f64, "mulsd", soft::mul::<F64>);
two_operands!(divss, F32, f32, "divss", soft::div::<F32>);
two_operands!(divsd, F64, f64, "divsd", soft::div::<F64>);
two_operands!(sqrtss, F32, f32, "sqrtss", |env, _, b| soft::sqrt::<F32>(env, b));
two_operands!(sqrtsd, F64, f64, "sqrtsd", |env, _, b| soft::sqrt::<F64>(env, b));
two_operands!(minss, F32, f32, "minss", |env, a, b| extremum_or_second::<F32>(env, Extremum::Min, a, b));
two_operands!(minsd, F64, f64, "minsd", |env, a, b| extremum_or_second::<F64>(env, Extremum::Min, a, b));
two_operands!(maxss, F32, f32, "maxss", |env, a, b| extremum_or_second::<F32>(env, Extremum::Max, a, b));
two_operands!(maxsd, F64, f64, "maxsd", |env, a, b| extremum_or_second::<F64>(env, Extremum::Max, a, b));

/// Comparisons answer in ZF, PF and CF.
macro_rules! comparison {
    ($name:ident, $format:ident, $float:ident, $insn:literal, $operation:expr) => {
        #[test]
        fn $name() {
            let mut random = Random(200);
            for (env, mxcsr) in environments() {
                for _ in 0..ROUNDS / 8 {
                    let a = operand::<$format>(&mut random);
                    let b = partner::<$format>(&mut random, a);
                    let (x, y) = ($float::from_bits(a), $float::from_bits(b));
                    let (mut zero, mut parity, mut carry) = (0u8, 0u8, 0u8);
                    let flags = under!(mxcsr,
                        concat!($insn, " {x}, {y}\nsetz {zero}\nsetp {parity}\nsetc {carry}"),
                        x = in(xmm_reg) x, y = in(xmm_reg) y,
                        zero = inout(reg_byte) zero, parity = inout(reg_byte) parity,
                        carry = inout(reg_byte) carry);
                    let mut soft = env;
                    let expected = match (zero, parity, carry) {
                        (1, 1, 1) => Order::Unordered,
                        (1, 0, 0) => Order::Equal,
                        (0, 0, 1) => Order::Less,
                        _ => Order::Greater,
                    };
                    let order = $operation(&mut soft, a, b);
                    assert_eq!((order, mxcsr_flags(soft.flags)), (expected, flags), "{a:x} {b:x} {env:?}");
                }
            }
        }
    };
}

comparison!(ucomiss, F32, f32, "ucomiss", compare_quiet::<F32>);
comparison!(ucomisd, F64, f64, "ucomisd", compare_quiet::<F64>);
comparison!(comiss, F32, f32, "comiss", compare_signaling::<F32>);
comparison!(comisd, F64, f64, "comisd", compare_signaling::<F64>);

/// Conversions to integers: out of range is x86's "integer indefinite".
macro_rules! to_integer {
    ($name:ident, $format:ident, $float:ident, $insn:literal, $width:literal, $integer:ident, $rounding:expr) => {
        #[test]
        fn $name() {
            let mut random = Random(300);
            for (env, mxcsr) in environments() {
                for _ in 0..ROUNDS / 8 {
                    let a = operand::<$format>(&mut random);
                    let x = $float::from_bits(a);
                    let mut expected: $integer = 0;
                    let flags = under!(mxcsr, concat!($insn, " {result:", $width, "}, {x}"),
                        x = in(xmm_reg) x, result = inout(reg) expected);
                    let mut soft = env;
                    let rounding: fn(Env) -> Rounding = $rounding;
                    let result = to_int::<$format, $integer>(&mut soft, rounding(env), a);
                    let result = result.unwrap_or($integer::MIN);
                    assert_eq!((result, mxcsr_flags(soft.flags)), (expected, flags), "{a:x} {env:?}");
                }
            }
        }
    };
}

to_integer!(cvtss2si, F32, f32, "cvtss2si", "e", i32, |env| env.rounding);
to_integer!(cvtss2si_wide, F32, f32, "cvtss2si", "r", i64, |env| env.rounding);
to_integer!(cvtsd2si, F64, f64, "cvtsd2si", "e", i32, |env| env.rounding);
to_integer!(cvtsd2si_wide, F64, f64, "cvtsd2si", "r", i64, |env| env.rounding);
to_integer!(cvttss2si, F32, f32, "cvttss2si", "e", i32, |_| Rounding::TowardZero);
to_integer!(cvttsd2si_wide, F64, f64, "cvttsd2si", "r", i64, |_| Rounding::TowardZero);

macro_rules! from_integer {
    ($name:ident, $format:ident, $float:ident, $insn:literal, $width:literal, $integer:ident) => {
        #[test]
        fn $name() {
            let mut random = Random(400);
            for (env, mxcsr) in environments() {
                for _ in 0..ROUNDS / 8 {
                    let value = (random.next() >> random.below(64)).wrapping_sub(random.below(2)) as $integer;
                    let mut x: $float = 0.0;
                    let flags = under!(mxcsr, concat!($insn, " {x}, {value:", $width, "}"),
                        x = inout(xmm_reg) x, value = in(reg) value);
                    let mut soft = env;
                    let result = from_int::<$format, $integer>(&mut soft, value);
                    assert_eq!((result, mxcsr_flags(soft.flags)), (x.to_bits(), flags), "{value} {env:?}");
                }
            }
        }
    };
}

from_integer!(cvtsi2ss, F32, f32, "cvtsi2ss", "e", i32);
from_integer!(cvtsi2ss_wide, F32, f32, "cvtsi2ss", "r", i64);
from_integer!(cvtsi2sd, F64, f64, "cvtsi2sd", "e", i32);
from_integer!(cvtsi2sd_wide, F64, f64, "cvtsi2sd", "r", i64);

macro_rules! between_formats {
    ($name:ident, $from:ident, $from_float:ident, $to:ident, $to_float:ident, $insn:literal) => {
        #[test]
        fn $name() {
            let mut random = Random(500);
            for (env, mxcsr) in environments() {
                for _ in 0..ROUNDS / 8 {
                    let a = operand::<$from>(&mut random);
                    let x = $from_float::from_bits(a);
                    let mut y: $to_float = 0.0;
                    let flags = under!(mxcsr, concat!($insn, " {y}, {x}"),
                        x = in(xmm_reg) x, y = inout(xmm_reg) y);
                    let mut soft = env;
                    let result = convert::<$from, $to>(&mut soft, a);
                    assert_eq!((result, mxcsr_flags(soft.flags)), (y.to_bits(), flags), "{a:x} {env:?}");
                }
            }
        }
    };
}

between_formats!(cvtss2sd, F32, f32, F64, f64, "cvtss2sd");
between_formats!(cvtsd2ss, F64, f64, F32, f32, "cvtsd2ss");

/// `roundss`, `roundsd` with the direction in MXCSR. SSE4.1 is in every x86-64-v2 processor.
macro_rules! integral {
    ($name:ident, $format:ident, $float:ident, $insn:literal, $control:literal, $report:literal) => {
        #[test]
        fn $name() {
            if !std::arch::is_x86_feature_detected!("sse4.1") {
                return; // The reference covers this operation on processors without it.
            }
            let mut random = Random(600);
            for (env, mxcsr) in environments() {
                for _ in 0..ROUNDS / 8 {
                    let a = operand::<$format>(&mut random);
                    let x = $float::from_bits(a);
                    let mut y: $float = 0.0;
                    let flags = under!(mxcsr, concat!($insn, " {y}, {x}, ", $control),
                        x = in(xmm_reg) x, y = inout(xmm_reg) y);
                    let mut soft = env;
                    let result = round_to_integral::<$format>(&mut soft, env.rounding, $report, a);
                    assert_eq!((result, mxcsr_flags(soft.flags)), (y.to_bits(), flags), "{a:x} {env:?}");
                }
            }
        }
    };
}

integral!(roundss, F32, f32, "roundss", "4", true);
integral!(roundsd, F64, f64, "roundsd", "4", true);
integral!(roundsd_without_inexact, F64, f64, "roundsd", "12", false);

/// All four signs of FMA3. In NaN precedence the operands stand as the mnemonic's digits say: in the 213
/// forms the second register is the first factor.
macro_rules! fused {
    ($name:ident, $format:ident, $float:ident, $suffix:literal) => {
        #[test]
        fn $name() {
            if !std::arch::is_x86_feature_detected!("fma") {
                return; // The reference covers this operation on processors without it.
            }
            let mut random = Random(700);
            for (env, mxcsr) in environments() {
                for _ in 0..ROUNDS / 16 {
                    let [a, b, c] = triple::<$format>(&mut random);
                    fused!(@one env, mxcsr, a, b, c, $format, $float, "vfmadd", $suffix, false, false);
                    fused!(@one env, mxcsr, a, b, c, $format, $float, "vfmsub", $suffix, false, true);
                    fused!(@one env, mxcsr, a, b, c, $format, $float, "vfnmadd", $suffix, true, false);
                    fused!(@one env, mxcsr, a, b, c, $format, $float, "vfnmsub", $suffix, true, true);
                }
            }
        }
    };
    (@one $env:ident, $mxcsr:ident, $a:ident, $b:ident, $c:ident, $format:ident, $float:ident,
     $insn:literal, $suffix:literal, $product:literal, $addend:literal) => {{
        let mut x = $float::from_bits($b);
        let (y, z) = ($float::from_bits($a), $float::from_bits($c));
        let flags = under!($mxcsr, concat!($insn, "213", $suffix, " {x}, {y}, {z}"),
            x = inout(xmm_reg) x, y = in(xmm_reg) y, z = in(xmm_reg) z);
        let mut soft = $env;
        let negate = Negate { product: $product, addend: $addend };
        let result = soft::fma::<$format>(&mut soft, $a, $b, $c, negate);
        assert_eq!(
            (result, mxcsr_flags(soft.flags)),
            (x.to_bits(), flags),
            "{} {:x} {:x} {:x} {:?}: {result:x} instead of {:x}", $insn, $a, $b, $c, $env, x.to_bits()
        );
    }};
}

fused!(fma_single, F32, f32, "ss");
fused!(fma_double, F64, f64, "sd");

/// F16C reports no subnormal half, and flushes neither way where halves are concerned.
#[test]
fn half_conversions() {
    if !std::arch::is_x86_feature_detected!("f16c") {
        return; // The reference covers these operations on processors without them.
    }
    let mut random = Random(800);
    for (env, mxcsr) in environments() {
        for _ in 0..ROUNDS / 8 {
            let half = operand::<F16>(&mut random);
            let mut x = f32::from_bits(u32::from(half));
            let flags = under!(mxcsr, "vcvtph2ps {x}, {x}", x = inout(xmm_reg) x);
            let mut soft = Env { flush_inputs: false, ..env };
            let result = convert::<F16, F32>(&mut soft, half);
            let raised = soft.flags - Flags::DENORMAL_OPERAND;
            assert_eq!((result, mxcsr_flags(raised)), (x.to_bits(), flags), "{half:x} {env:?}");

            let single = match random.below(2) {
                0 => operand::<F32>(&mut random),
                // Within and around the range of halves.
                _ => operand::<F32>(&mut random) & 0x807f_ffff | (100 + random.below(46) as u32) << 23,
            };
            let mut x = f32::from_bits(single);
            let flags = under!(mxcsr, "vcvtps2ph {x}, {x}, 4", x = inout(xmm_reg) x);
            let mut soft = Env { flush_results: false, ..env };
            let result = convert::<F32, F16>(&mut soft, single);
            let expected = (x.to_bits() as u16, flags);
            assert_eq!((result, mxcsr_flags(soft.flags)), expected, "{single:x} {env:?}");
            assert_eq!(F16::to_wide(result), u128::from(result));
        }
    }
}
