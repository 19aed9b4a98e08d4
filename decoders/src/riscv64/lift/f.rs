//! Meanings of the floating-point instructions: F, D, Zfh and Zfa (Unpriv. 20 to 24).
//!
//! What rounds in the dynamic mode, or does not round, is an operation of the engine where it has one
//! ([`crate::riscv64::float`]); all other arithmetic is done by the helpers of [`crate::riscv64::fp_helpers`], which is also
//! what the interpreter calls at once. Moves, sign injection and memory accesses are plain operations.

use super::words::{Done, RvEmit};
use crate::riscv64::decode::Insn;
use crate::riscv64::float::{self, TRUNCATING};
use crate::riscv64::fp_helpers::{FpFormat, FpOp};
use c2w_engine::addr::Width::{self, W16, W32, W64};
use c2w_engine::emit::{Emit, VectorOp};
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

/// Has a helper compute.
#[inline(always)]
fn computed<E: Emit>(e: &mut E, op: FpOp, format: FpFormat, args: &[E::Val]) -> Result<E::Val, E::Stop> {
    e.helper(op.id(format), args)
}

/// FLH, FLW, FLD.
#[inline(always)]
pub(super) fn load<E: Emit>(e: &mut E, i: &Insn, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let address = e.address(i);
    match format {
        FpFormat::D if E::RECORDS => e.vector_load(8, i.rd, address)?,
        FpFormat::S if E::RECORDS => {
            e.vector_load(4, i.rd, address)?;
            e.vector(VectorOp::Box32, 0, i.rd, i.rd, i.rd);
        }
        _ => {
            let value = e.load(format.width(), address)?;
            e.set_boxed(i.rd, format.width(), value);
        }
    }
    Ok(())
}

/// FSH, FSW, FSD: the low bits of the register, boxed or not.
#[inline(always)]
pub(super) fn store<E: Emit>(e: &mut E, i: &Insn, format: FpFormat) -> Done<E> {
    let address = e.address(i);
    if E::RECORDS && format != FpFormat::H {
        return e.vector_store(format.width().bytes() as u8, address, i.rs2);
    }
    let value = e.get(i.rs2);
    e.store(format.width(), address, value)
}

/// FADD, FSUB, FMUL, FDIV.
#[inline(always)]
pub(super) fn arithmetic<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    if E::RECORDS
        && i.rounds_as_usual()
        && let Some(word) = float::word(op, format)
    {
        e.vector(word, 0, i.rd, i.rs1, i.rs2);
        return Ok(());
    }
    let mode = e.imm(i.rounding());
    let (a, b) = (e.get(i.rs1), e.get(i.rs2));
    let result = computed(e, op, format, &[a, b, mode])?;
    e.set_f(i.rd, result);
    Ok(())
}

/// FMADD, FMSUB, FNMSUB, FNMADD.
#[inline(always)]
pub(super) fn fused<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    if E::RECORDS
        && i.rounds_as_usual()
        && let Some(word) = float::word(op, format)
    {
        e.vector(word, i.rs3.0, i.rd, i.rs1, i.rs2);
        return Ok(());
    }
    let mode = e.imm(i.rounding());
    let (a, b, c) = (e.get(i.rs1), e.get(i.rs2), e.get(i.rs3));
    let result = computed(e, op, format, &[a, b, c, mode])?;
    e.set_f(i.rd, result);
    Ok(())
}

/// Operations of one register that give a floating-point number: FSQRT, FROUND, FROUNDNX, conversions between formats.
#[inline(always)]
pub(super) fn rounded<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    // A double holds every single.
    let is_exact = op == FpOp::FromS && format == FpFormat::D;
    if E::RECORDS
        && (i.rounds_as_usual() || is_exact)
        && let Some(word) = float::word(op, format)
    {
        e.vector(word, 0, i.rd, i.rs1, i.rs1);
        return Ok(());
    }
    let mode = e.imm(i.rounding());
    let a = e.get(i.rs1);
    let result = computed(e, op, format, &[a, mode])?;
    e.set_f(i.rd, result);
    Ok(())
}

/// Conversions from integers.
#[inline(always)]
pub(super) fn from_integer<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let a = e.x(i.rs1);
    let is_narrow = matches!(op, FpOp::FromW | FpOp::FromWu);
    // A double holds every integer of 32 bits.
    let is_exact = is_narrow && format == FpFormat::D;
    let wide = if is_narrow { FpOp::FromL } else { op };
    if E::RECORDS
        && (i.rounds_as_usual() || is_exact)
        && let Some(word) = float::inserting(wide, format)
    {
        let a = match op {
            FpOp::FromW => e.sext(W32, a),
            FpOp::FromWu => e.zext(W32, a),
            _ => a,
        };
        e.vector_insert(word, 0, i.rd, a);
        return Ok(());
    }
    let mode = e.imm(i.rounding());
    let result = computed(e, op, format, &[a, mode])?;
    e.set_f(i.rd, result);
    Ok(())
}

/// Conversions to integers.
#[inline(always)]
pub(super) fn to_integer<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    let truncates = i.rounding() == TRUNCATING;
    if E::RECORDS
        && (i.rounds_as_usual() || truncates)
        && let Some(word) = float::extracting(op, format, truncates)
    {
        let result = e.vector_extract(word, i.rs1, i.rs1);
        // 32-bit results are sign-extended, unsigned ones too.
        let w = if matches!(op, FpOp::ToW | FpOp::ToWu) { W32 } else { W64 };
        e.set_x(i.rd, w, result);
        return Ok(());
    }
    let mode = e.imm(i.rounding());
    let a = e.get(i.rs1);
    let result = computed(e, op, format, &[a, mode])?;
    e.set(i.rd, result);
    Ok(())
}

/// FMIN, FMAX, FMINM, FMAXM.
#[inline(always)]
pub(super) fn extremum<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    if E::RECORDS
        && let Some(word) = float::word(op, format)
    {
        e.vector(word, 0, i.rd, i.rs1, i.rs2);
        return Ok(());
    }
    let (a, b) = (e.get(i.rs1), e.get(i.rs2));
    let result = computed(e, op, format, &[a, b])?;
    e.set_f(i.rd, result);
    Ok(())
}

/// Operations that do not round and give an integer: comparisons, FCLASS, FCVTMOD.W.D.
#[inline(always)]
pub(super) fn exact<E: Emit>(e: &mut E, i: &Insn, op: FpOp, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    if E::RECORDS
        && let Some(word) = float::extracting(op, format, false)
    {
        let result = e.vector_extract(word, i.rs1, i.rs2);
        e.set(i.rd, result);
        return Ok(());
    }
    let (a, b) = (e.get(i.rs1), e.get(i.rs2));
    let result = computed(e, op, format, &[a, b])?;
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

impl Sign {
    /// The operation of the engine on two operands that are the same: a move, FNEG, FABS.
    const fn of_one(self, format: FpFormat) -> Option<VectorOp> {
        Some(match (self, format) {
            (_, FpFormat::H) => return None,
            (Sign::Second, FpFormat::S) => VectorOp::FmoveS,
            (Sign::Second, FpFormat::D) => VectorOp::Copy,
            (Sign::Inverted, FpFormat::S) => VectorOp::FnegS,
            (Sign::Inverted, FpFormat::D) => VectorOp::FnegD,
            (Sign::Xor, FpFormat::S) => VectorOp::FabsS,
            (Sign::Xor, FpFormat::D) => VectorOp::FabsD,
        })
    }
}

/// FSGNJ, FSGNJN, FSGNJX: the first operand with another sign.
#[inline(always)]
pub(super) fn sign_inject<E: Emit>(e: &mut E, i: &Insn, sign: Sign, format: FpFormat) -> Done<E> {
    e.begin_fp(i)?;
    if E::RECORDS
        && i.rs1 == i.rs2
        && let Some(word) = sign.of_one(format)
    {
        e.vector(word, 0, i.rd, i.rs1, i.rs1);
        return Ok(());
    }
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
