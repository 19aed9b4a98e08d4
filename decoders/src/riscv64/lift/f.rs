//! Meanings of the floating-point instructions: F, D, Zfh and Zfa (Unpriv. 20 to 24). Arithmetic is done by the
//! helpers of [`crate::riscv64::fp_helpers`]; moves, sign injection and memory accesses are plain operations.

use super::words::{Done, RvEmit};
use crate::riscv64::decode::{DYNAMIC_ROUNDING, Insn};
use crate::riscv64::fp_helpers::{FpFormat, FpOp};
use crate::riscv64::{regs, trap};
use c2w_engine::addr::Width::{self, W16, W32, W64};
use c2w_engine::emit::{Cond, Emit};
use c2w_engine::fp::{self, Env, F16, F32, F64, Flags, Rounding};

impl FpFormat {
    /// How much of a register a number takes.
    #[inline(always)]
    const fn width(self) -> Width {
        match self {
            FpFormat::H => W16,
            FpFormat::S => W32,
            FpFormat::D => W64,
        }
    }
}

/// The rounding mode of an instruction; a dynamic one that is reserved makes it illegal (Unpriv. 20.2).
#[inline(always)]
fn rounding<E: Emit>(e: &mut E, i: &Insn) -> Result<E::Val, E::Stop> {
    if i.aux != DYNAMIC_ROUNDING {
        return Ok(e.imm(u64::from(i.aux)));
    }
    let mode = e.get(regs::FRM);
    let first_reserved = e.imm(5);
    let reserved = e.compare(Cond::GeU, W64, mode, first_reserved);
    let raw = e.imm(u64::from(i.raw));
    e.trap_if(reserved, trap::ILLEGAL, raw)?;
    Ok(mode)
}

/// FLH, FLW, FLD.
#[inline(always)]
pub(super) fn load<E: Emit>(e: &mut E, i: &Insn, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let address = e.address(i);
    let value = e.load(format.width(), address)?;
    e.set_boxed(i.rd, format.width(), value);
    Ok(())
}

/// FSH, FSW, FSD: the low bits of the register, boxed or not.
#[inline(always)]
pub(super) fn store<E: Emit>(e: &mut E, i: &Insn, format: FpFormat) -> Done<E> {
    let address = e.address(i);
    let value = e.get(i.rs2);
    e.store(format.width(), address, value)
}

/// FADD, FSUB, FMUL, FDIV.
#[inline(always)]
pub(super) fn arithmetic<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let mode = rounding(e, i)?;
    let (a, b) = (e.get(i.rs1), e.get(i.rs2));
    let result = e.helper(op.id(format), &[a, b, mode])?;
    e.set(i.rd, result);
    Ok(())
}

/// FMADD, FMSUB, FNMSUB, FNMADD.
#[inline(always)]
pub(super) fn fused<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let mode = rounding(e, i)?;
    let (a, b, c) = (e.get(i.rs1), e.get(i.rs2), e.get(i.rs3));
    let result = e.helper(op.id(format), &[a, b, c, mode])?;
    e.set(i.rd, result);
    Ok(())
}

/// Rounding operations of one register: FSQRT, FROUND, FROUNDNX and every conversion, to, from and between formats.
#[inline(always)]
pub(super) fn rounded<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let mode = rounding(e, i)?;
    let a = e.x(i.rs1);
    let result = e.helper(op.id(format), &[a, mode])?;
    e.set(i.rd, result);
    Ok(())
}

/// Operations that do not round: FMIN, FMAX, FMINM, FMAXM, comparisons, FCLASS, FCVTMOD.W.D.
#[inline(always)]
pub(super) fn exact<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let (a, b) = (e.get(i.rs1), e.get(i.rs2));
    let result = e.helper(op.id(format), &[a, b])?;
    e.set(i.rd, result);
    Ok(())
}

/// Where sign injection takes the sign from.
#[derive(Clone, Copy)]
pub(super) enum Sign {
    /// The second operand.
    Second,
    /// The second operand, inverted.
    Inverted,
    /// Both operands, exclusively or-ed.
    Xor,
}

/// FSGNJ, FSGNJN, FSGNJX: the first operand with another sign.
#[inline(always)]
pub(super) fn sign_inject<E: Emit>(e: &mut E, i: &Insn, sign: Sign, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let w = format.width();
    let (a, b) = (e.unboxed(i.rs1, w), e.unboxed(i.rs2, w));
    let sign_bit = e.imm(1 << (w.bits() - 1));
    let b = if let Sign::Inverted = sign { e.xor(w, b, sign_bit) } else { b };
    let b = e.and(w, b, sign_bit);
    let result = if let Sign::Xor = sign {
        e.xor(w, a, b)
    } else {
        let others = e.imm((1 << (w.bits() - 1)) - 1);
        let a = e.and(w, a, others);
        e.or(w, a, b)
    };
    e.set_boxed(i.rd, w, result);
    Ok(())
}

/// FMV.X.H, FMV.X.W, FMV.X.D: the low bits of a floating-point register, sign-extended.
#[inline(always)]
pub(super) fn move_to_x<E: Emit>(e: &mut E, i: &Insn, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let value = e.get(i.rs1);
    e.set_x(i.rd, format.width(), value);
    Ok(())
}

/// FMV.H.X, FMV.W.X, FMV.D.X: the low bits of an integer register.
#[inline(always)]
pub(super) fn move_from_x<E: Emit>(e: &mut E, i: &Insn, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let value = e.x(i.rs1);
    e.set_boxed(i.rd, format.width(), value);
    Ok(())
}

/// FLI: a constant (Unpriv. 24.1).
#[inline(always)]
pub(super) fn load_constant<E: Emit>(e: &mut E, i: &Insn, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let value = e.imm(constant(format, i.imm as usize & 31));
    e.set_boxed(i.rd, format.width(), value);
    Ok(())
}

/// The constants of FLI. Number 1 is the smallest normal number of the format instead.
pub(in crate::riscv64) static CONSTANTS: [f64; 32] = [
    -1.0,
    0.0,
    1.0 / 65536.0,
    1.0 / 32768.0,
    1.0 / 256.0,
    1.0 / 128.0,
    0.0625,
    0.125,
    0.25,
    0.3125,
    0.375,
    0.4375,
    0.5,
    0.625,
    0.75,
    0.875,
    1.0,
    1.25,
    1.5,
    1.75,
    2.0,
    2.5,
    3.0,
    4.0,
    8.0,
    16.0,
    128.0,
    256.0,
    32768.0,
    65536.0,
    f64::INFINITY,
    f64::NAN,
];

/// Number of the constant that depends on the format.
pub(in crate::riscv64) const SMALLEST_NORMAL: usize = 1;

#[cold]
fn constant(format: FpFormat, index: usize) -> u64 {
    let mut env = Env::canonical(Rounding::NearestEven, Flags::empty());
    let value = CONSTANTS[index].to_bits();
    match (format, index) {
        (FpFormat::H, SMALLEST_NORMAL) => 1 << 10,
        (FpFormat::S, SMALLEST_NORMAL) => 1 << 23,
        (FpFormat::D, SMALLEST_NORMAL) => 1 << 52,
        (FpFormat::H, _) => u64::from(fp::convert::<F64, F16>(&mut env, value)),
        (FpFormat::S, _) => u64::from(fp::convert::<F64, F32>(&mut env, value)),
        (FpFormat::D, _) => fp::convert::<F64, F64>(&mut env, value),
    }
}
