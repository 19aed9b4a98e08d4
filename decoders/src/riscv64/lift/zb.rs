//! Meanings of the bit-manipulation instructions and of Zicond (Unpriv. 16 and 28). Those that are one operation of
//! the engine are lifted by [`super::i`].

use super::words::{Done, RvEmit};
use crate::riscv64::decode::Insn;
use c2w_engine::addr::Width::{self, W32, W64};
use c2w_engine::emit::{Binary, Cond, Emit, Unary};

/// SH1ADD, SH2ADD, SH3ADD: sum of a register and another one shifted left.
#[inline(always)]
pub(super) fn shift_add<E: Emit>(e: &mut E, i: &Insn, shift: u64) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let shift = e.imm(shift);
    let scaled = e.shl(W64, a, shift);
    let sum = e.add(W64, scaled, b);
    e.set(i.rd, sum);
    Ok(())
}

/// ADD.UW, SH1ADD.UW, ...: sum of a register and the low word of another one shifted left.
#[inline(always)]
pub(super) fn shift_add_word<E: Emit>(e: &mut E, i: &Insn, shift: u64) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let low = e.zext(W32, a);
    let shift = e.imm(shift);
    let scaled = e.shl(W64, low, shift);
    let sum = e.add(W64, scaled, b);
    e.set(i.rd, sum);
    Ok(())
}

/// SLLI.UW: the low word shifted left.
#[inline(always)]
pub(super) fn shift_word<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let a = e.x(i.rs1);
    let low = e.zext(W32, a);
    let shift = e.immediate(i);
    let result = e.shl(W64, low, shift);
    e.set(i.rd, result);
    Ok(())
}

/// ANDN, ORN, XNOR: an operation of a register and the complement of another one.
#[inline(always)]
pub(super) fn with_complement<E: Emit>(e: &mut E, i: &Insn, op: Binary) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let ones = e.imm(u64::MAX);
    let complement = e.xor(W64, b, ones);
    let result = e.binary(op, W64, a, complement);
    e.set(i.rd, result);
    Ok(())
}

/// MIN, MAX, MINU, MAXU: the first register if the condition holds, else the second.
#[inline(always)]
pub(super) fn choose<E: Emit>(e: &mut E, i: &Insn, cond: Cond) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let first = e.compare(cond, W64, a, b);
    let result = e.select(first, a, b);
    e.set(i.rd, result);
    Ok(())
}

/// CLZ, CTZW, REV8, ZEXT.H, ...: an operation of one register.
#[inline(always)]
pub(super) fn unary<E: Emit>(e: &mut E, i: &Insn, op: Unary, w: Width) -> Done<E> {
    let a = e.x(i.rs1);
    let result = e.unary(op, w, a);
    e.set(i.rd, result);
    Ok(())
}

/// ORC.B: every byte that is not zero becomes all ones.
#[inline(always)]
pub(super) fn orc_b<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    const LOW_SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let a = e.x(i.rs1);
    let low_seven = e.imm(LOW_SEVEN);
    // The top bit of each byte of `full` is set where a low bit of it was: no sum carries into the next byte.
    let low = e.and(W64, a, low_seven);
    let full = e.add(W64, low, low_seven);
    let any = e.or(W64, full, a);
    let top = e.imm(!LOW_SEVEN);
    let flags = e.and(W64, any, top);
    let seven = e.imm(7);
    let ones = e.shr(W64, flags, seven);
    let byte = e.imm(0xff);
    let result = e.mul(W64, ones, byte);
    e.set(i.rd, result);
    Ok(())
}

/// CLMULR: bits 126..63 of the carry-less product.
#[inline(always)]
pub(super) fn clmulr<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let high = e.binary(Binary::ClMulHigh, W64, a, b);
    let low = e.binary(Binary::ClMul, W64, a, b);
    let one = e.imm(1);
    let high = e.shl(W64, high, one);
    let last = e.imm(63);
    let low = e.shr(W64, low, last);
    let result = e.or(W64, high, low);
    e.set(i.rd, result);
    Ok(())
}

/// A single bit: the one a register names, or the one an immediate names.
#[derive(Clone, Copy)]
pub(super) enum Index {
    /// The second source register, modulo 64.
    Register,
    /// The immediate.
    Immediate,
}

#[inline(always)]
fn index<E: Emit>(e: &mut E, i: &Insn, index: Index) -> E::Val {
    match index {
        Index::Register => e.x(i.rs2),
        Index::Immediate => e.immediate(i),
    }
}

#[inline(always)]
fn single_bit<E: Emit>(e: &mut E, i: &Insn, from: Index) -> E::Val {
    let count = index(e, i, from);
    let one = e.imm(1);
    e.shl(W64, one, count)
}

/// BSET, BINV: an operation of a register and a single bit.
#[inline(always)]
pub(super) fn with_bit<E: Emit>(e: &mut E, i: &Insn, op: Binary, from: Index) -> Done<E> {
    let a = e.x(i.rs1);
    let bit = single_bit(e, i, from);
    let result = e.binary(op, W64, a, bit);
    e.set(i.rd, result);
    Ok(())
}

/// BCLR: a register with a single bit cleared.
#[inline(always)]
pub(super) fn clear_bit<E: Emit>(e: &mut E, i: &Insn, from: Index) -> Done<E> {
    let a = e.x(i.rs1);
    let bit = single_bit(e, i, from);
    let ones = e.imm(u64::MAX);
    let others = e.xor(W64, bit, ones);
    let result = e.and(W64, a, others);
    e.set(i.rd, result);
    Ok(())
}

/// BEXT: a single bit of a register.
#[inline(always)]
pub(super) fn extract_bit<E: Emit>(e: &mut E, i: &Insn, from: Index) -> Done<E> {
    let a = e.x(i.rs1);
    let count = index(e, i, from);
    let shifted = e.shr(W64, a, count);
    let one = e.imm(1);
    let result = e.and(W64, shifted, one);
    e.set(i.rd, result);
    Ok(())
}

/// CZERO.EQZ, CZERO.NEZ: zero if the second register compares so with zero, else the first.
#[inline(always)]
pub(super) fn zero_if<E: Emit>(e: &mut E, i: &Insn, cond: Cond) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let zero = e.imm(0);
    let clear = e.compare(cond, W64, b, zero);
    let result = e.select(clear, zero, a);
    e.set(i.rd, result);
    Ok(())
}
