//! Meanings of the rotations (SDM 2B, RCL/RCR/ROL/ROR). They change CF and OF only, and nothing if the count is 0.

use crate::x86_64::flags::{self, CF, Kind, OF};
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use c2w_engine::addr::Width::W64;
use c2w_engine::emit::{Binary, Cond, Emit};

/// Which way.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Direction {
    /// ROL, RCL.
    Left,
    /// ROR, RCR.
    Right,
}

/// The count, 0 to 31 or, for 64-bit operands, 63.
#[inline(always)]
fn count<E: Emit>(e: &mut E, i: &Insn) -> Result<E::Val, E::Stop> {
    let (given, mask) = (e.operand(i, 1)?, e.imm(if i.w == W64 { 63 } else { 31 }));
    Ok(e.and(W64, given, mask))
}

/// Bit `number` of a value.
#[inline(always)]
fn bit<E: Emit>(e: &mut E, value: E::Val, number: u32) -> E::Val {
    let (number, one) = (e.imm(u64::from(number)), e.imm(1));
    let shifted = e.shr(W64, value, number);
    e.and(W64, shifted, one)
}

/// ROL, ROR.
#[inline(always)]
pub(super) fn rotate<E: Emit>(e: &mut E, i: &Insn, direction: Direction) -> Done<E> {
    let to = e.place(i, 0)?;
    let a = e.read_to_modify(to)?;
    let count = count(e, i)?;
    let result = match direction {
        Direction::Left => e.rotl(i.w, a, count),
        Direction::Right => e.rotr(i.w, a, count),
    };
    let top = bit(e, result, i.w.bits() - 1);
    // The bit that came around last, and whether a rotation by 1 changed the sign.
    let (carry, other) = match direction {
        Direction::Left => {
            let last = bit(e, result, 0);
            (last, last)
        }
        Direction::Right => (top, bit(e, result, i.w.bits() - 2)),
    };
    e.write(to, result)?;
    let overflow = e.xor(W64, top, other);
    finish(e, i, count, carry, overflow)
}

/// RCL, RCR: rotations of the operand with CF as one more bit.
#[inline(never)]
pub(super) fn through_carry<E: Emit>(e: &mut E, i: &Insn, direction: Direction) -> Done<E> {
    let to = e.place(i, 0)?;
    let a = e.read_to_modify(to)?;
    let a = e.zext(i.w, a);
    let given = count(e, i)?;
    let carry_in = flags::carry(e)?;
    let (result, carry) = if i.w == W64 {
        rotate_65(e, a, carry_in, given, direction)
    } else {
        // Up to 33 bits fit one value.
        let bits = u64::from(i.w.bits()) + 1;
        let (all, place) = (e.imm(bits), e.imm(bits - 1));
        let top = e.shl(W64, carry_in, place);
        let value = e.or(W64, top, a);
        let by = e.binary(Binary::RemU, W64, given, all);
        let rest = e.sub(W64, all, by);
        let (left, right) = match direction {
            Direction::Left => (by, rest),
            Direction::Right => (rest, by),
        };
        let (left, right) = (e.shl(W64, value, left), e.shr(W64, value, right));
        let rotated = e.or(W64, left, right);
        (rotated, bit(e, rotated, i.w.bits()))
    };
    let top = bit(e, result, i.w.bits() - 1);
    let other = match direction {
        Direction::Left => carry,
        Direction::Right => bit(e, result, i.w.bits() - 2),
    };
    e.write(to, result)?;
    let overflow = e.xor(W64, top, other);
    finish(e, i, given, carry, overflow)
}

/// 64 bits and a carry rotated by up to 63: the bits and the carry.
#[inline(always)]
fn rotate_65<E: Emit>(
    e: &mut E,
    a: E::Val,
    carry_in: E::Val,
    count: E::Val,
    direction: Direction,
) -> (E::Val, E::Val) {
    let (zero, one, all) = (e.imm(0), e.imm(1), e.imm(64));
    let (less, rest) = (e.sub(W64, count, one), e.sub(W64, all, count));
    // Shift counts are modulo 64: what comes around is shifted in two steps, so that none is shifted out whole.
    let (rotated, carry) = match direction {
        Direction::Left => {
            let (kept, carry_place, half) =
                (e.shl(W64, a, count), e.shl(W64, carry_in, less), e.shr(W64, a, one));
            let around = e.shr(W64, half, rest);
            let with_carry = e.or(W64, kept, carry_place);
            (e.or(W64, with_carry, around), e.shr(W64, a, rest))
        }
        Direction::Right => {
            let (kept, carry_place, half) =
                (e.shr(W64, a, count), e.shl(W64, carry_in, rest), e.shl(W64, a, one));
            let around = e.shl(W64, half, rest);
            let with_carry = e.or(W64, kept, carry_place);
            (e.or(W64, with_carry, around), e.shr(W64, a, less))
        }
    };
    let carry = e.and(W64, carry, one);
    let rotates = e.compare(Cond::Ne, W64, count, zero);
    (e.select(rotates, rotated, a), e.select(rotates, carry, carry_in))
}

/// Writes CF and OF if the count is not 0.
#[inline(always)]
fn finish<E: Emit>(e: &mut E, i: &Insn, count: E::Val, carry: E::Val, overflow: E::Val) -> Done<E> {
    let most = if i.w == W64 { 63 } else { 31 };
    let by_immediate = i.operands[1] == Operand::Immediate;
    if by_immediate && i.imm as u64 & most == 0 {
        return Ok(());
    }
    let place = e.imm(u64::from(OF.trailing_zeros()));
    let overflow = e.shl(W64, overflow, place);
    let both = e.or(W64, carry, overflow);
    if by_immediate {
        return flags::replace(e, CF | OF, both);
    }
    let new = flags::replaced(e, CF | OF, both)?;
    let zero = e.imm(0);
    let rotates = e.compare(Cond::Ne, W64, count, zero);
    flags::produce_if(e, rotates, Kind::Flags, W64, new, zero, zero);
    Ok(())
}
