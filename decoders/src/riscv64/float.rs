//! The engine's operations on single floating-point numbers: which of the helpers each one is. They round as `frm` says,
//! which is a mode that the engine has: other code has none of them.

use super::float_env;
use super::fp_helpers::{FpFormat, FpOp, call_op};
use super::guest::Riscv64;
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::{Slot, VectorExtract, VectorInsert, VectorOp};

/// The number of truncation.
pub const TRUNCATING: u64 = 1;

macro_rules! operations {
    (arithmetic: $($two_s:ident $two_d:ident $two:ident)*; fused: $($fused_s:ident $fused_d:ident $fused:ident)*;
     root: $root_s:ident $root_d:ident $root:ident;) => {
        /// The arithmetic that an operation of the engine is.
        fn helper(op: VectorOp) -> Option<(FpOp, FpFormat)> {
            Some(match op {
                $(VectorOp::$two_s => (FpOp::$two, FpFormat::S), VectorOp::$two_d => (FpOp::$two, FpFormat::D),)*
                $(VectorOp::$fused_s => (FpOp::$fused, FpFormat::S), VectorOp::$fused_d => (FpOp::$fused, FpFormat::D),)*
                VectorOp::$root_s => (FpOp::$root, FpFormat::S),
                VectorOp::$root_d => (FpOp::$root, FpFormat::D),
                VectorOp::FcvtSD => (FpOp::FromD, FpFormat::S),
                VectorOp::FcvtDS => (FpOp::FromS, FpFormat::D),
                _ => return None,
            })
        }

        /// The operation of the engine that arithmetic of a format is, if it has one.
        pub fn word(op: FpOp, format: FpFormat) -> Option<VectorOp> {
            Some(match (op, format) {
                $((FpOp::$two, FpFormat::S) => VectorOp::$two_s, (FpOp::$two, FpFormat::D) => VectorOp::$two_d,)*
                $((FpOp::$fused, FpFormat::S) => VectorOp::$fused_s, (FpOp::$fused, FpFormat::D) => VectorOp::$fused_d,)*
                (FpOp::$root, FpFormat::S) => VectorOp::$root_s,
                (FpOp::$root, FpFormat::D) => VectorOp::$root_d,
                (FpOp::FromD, FpFormat::S) => VectorOp::FcvtSD,
                (FpOp::FromS, FpFormat::D) => VectorOp::FcvtDS,
                _ => return None,
            })
        }
    };
}
operations! {
    arithmetic: FaddS FaddD Add FsubS FsubD Sub FmulS FmulD Mul FdivS FdivD Div FminS FminD Min FmaxS FmaxD Max;
    fused: FmaddS FmaddD Madd FmsubS FmsubD Msub FnmsubS FnmsubD Nmsub FnmaddS FnmaddD Nmadd;
    root: FsqrtS FsqrtD Sqrt;
}

/// The operation of the engine that a conversion from an integer of 64 bits is, if it has one.
pub const fn inserting(op: FpOp, format: FpFormat) -> Option<VectorInsert> {
    Some(match (op, format) {
        (FpOp::FromL, FpFormat::S) => VectorInsert::FcvtSL,
        (FpOp::FromL, FpFormat::D) => VectorInsert::FcvtDL,
        (FpOp::FromLu, FpFormat::S) => VectorInsert::FcvtSLu,
        (FpOp::FromLu, FpFormat::D) => VectorInsert::FcvtDLu,
        _ => return None,
    })
}

macro_rules! extracting {
    ($($word:ident = $op:ident $format:ident $truncates:literal;)*) => {
        /// The operation of the engine that an operation with an integer as its result is, if it has one. `truncates` says
        /// that it truncates whatever `frm` is; comparisons do not round.
        pub const fn extracting(op: FpOp, format: FpFormat, truncates: bool) -> Option<VectorExtract> {
            Some(match (op, format, truncates) {
                $((FpOp::$op, FpFormat::$format, $truncates) => VectorExtract::$word,)*
                _ => return None,
            })
        }

        fn extracted(op: VectorExtract) -> Option<(FpOp, FpFormat, bool)> {
            Some(match op {
                $(VectorExtract::$word => (FpOp::$op, FpFormat::$format, $truncates),)*
                _ => return None,
            })
        }
    };
}
extracting! {
    FeqS = Eq S false;
    FeqD = Eq D false;
    FltS = Lt S false;
    FltD = Lt D false;
    FleS = Le S false;
    FleD = Le D false;
    FcvtWS = ToW S false;
    FcvtWD = ToW D false;
    FcvtLS = ToL S false;
    FcvtLD = ToL D false;
    FtruncWS = ToW S true;
    FtruncWD = ToW D true;
    FtruncLS = ToL S true;
    FtruncLD = ToL D true;
    FtruncWuS = ToWu S true;
    FtruncWuD = ToWu D true;
    FtruncLuS = ToLu S true;
    FtruncLuD = ToLu D true;
}

fn register(cpu: &Cpu<Riscv64>, slot: Slot) -> u64 {
    cpu.slots[usize::from(slot.0)]
}

/// Runs an operation whose result is a number in a register.
///
/// # Panics
/// If it is one that this guest's code does not have, as the other two.
pub fn run(cpu: &mut Cpu<Riscv64>, op: VectorOp, imm: u8, to: Slot, a: Slot, b: Slot) {
    let Some((helper, format)) = helper(op) else { panic!("this guest does not say {}", op.name()) };
    let mode = u64::from(float_env::rounding_mode(cpu));
    let (first, second, third) = (register(cpu, a), register(cpu, b), register(cpu, Slot(imm)));
    let args = match helper {
        FpOp::Sqrt | FpOp::FromD | FpOp::FromS => [second, mode, 0, 0],
        _ if op.names_third_pair() => [first, second, third, mode],
        _ => [first, second, mode, 0],
    };
    let result = call_op(cpu, helper, format, args);
    cpu.set_vector(to, [result, 0]);
}

/// Runs a conversion from an integer.
pub fn insert(cpu: &mut Cpu<Riscv64>, op: VectorInsert, to: Slot, value: u64) {
    let (helper, format) = match op {
        VectorInsert::FcvtSL => (FpOp::FromL, FpFormat::S),
        VectorInsert::FcvtDL => (FpOp::FromL, FpFormat::D),
        VectorInsert::FcvtSLu => (FpOp::FromLu, FpFormat::S),
        VectorInsert::FcvtDLu => (FpOp::FromLu, FpFormat::D),
        op => panic!("this guest does not say {}", op.name()),
    };
    let mode = u64::from(float_env::rounding_mode(cpu));
    let result = call_op(cpu, helper, format, [value, mode, 0, 0]);
    cpu.set_vector(to, [result, 0]);
}

/// Runs an operation whose result is an integer.
pub fn extract(cpu: &mut Cpu<Riscv64>, op: VectorExtract, a: Slot, b: Slot) -> u64 {
    let Some((helper, format, truncates)) = extracted(op) else {
        panic!("this guest does not say {}", op.name())
    };
    let (first, second) = (register(cpu, a), register(cpu, b));
    let mode = if truncates { TRUNCATING } else { float_env::rounding_mode(cpu).into() };
    match helper {
        FpOp::Eq | FpOp::Lt | FpOp::Le => call_op(cpu, helper, format, [first, second, 0, 0]),
        // Helpers extend the sign, which is the business of the instruction here.
        FpOp::ToW | FpOp::ToWu => call_op(cpu, helper, format, [second, mode, 0, 0]) & 0xffff_ffff,
        _ => call_op(cpu, helper, format, [second, mode, 0, 0]),
    }
}
