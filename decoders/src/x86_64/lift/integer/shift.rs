//! Meanings of the shifts (SDM 2B, SAL/SAR/SHL/SHR).

use crate::x86_64::flags::{self, Kind};
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use c2w_engine::addr::Width::{W16, W64};
use c2w_engine::emit::{Cond, Emit};

/// Which shift.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Direction {
    /// SHL.
    Left,
    /// SHR.
    Right,
    /// SAR.
    RightSigned,
}

/// SHL, SHR, SAR. The count is taken modulo 32, or 64 for 64-bit operands; a count of 0 leaves the flags alone.
#[inline(always)]
pub(super) fn shift<E: Emit>(e: &mut E, i: &Insn, direction: Direction) -> Done<E> {
    let most = if i.w == W64 { 63 } else { 31 };
    let to = e.place(i, 0)?;
    let a = e.read_to_modify(to)?;
    let (given, mask) = (e.operand(i, 1)?, e.imm(most));
    let count = e.and(W64, given, mask);
    // Counts up to 31 exceed narrow operands: the shift is carried out on 64 bits.
    let (kind, result) = match direction {
        Direction::Left => (Kind::Shl, e.shl(W64, a, count)),
        Direction::Right => {
            let wide = e.zext(i.w, a);
            (Kind::Shr, e.shr(W64, wide, count))
        }
        Direction::RightSigned => {
            let wide = e.sext(i.w, a);
            (Kind::Sar, e.sar(W64, wide, count))
        }
    };
    e.write(to, result)?;
    shift_flags(e, i, 1, kind, a, count, result);
    Ok(())
}

/// The flags of a shift whose count is operand `index`.
#[inline(always)]
fn shift_flags<E: Emit>(
    e: &mut E,
    i: &Insn,
    index: usize,
    kind: Kind,
    a: E::Val,
    count: E::Val,
    result: E::Val,
) {
    let most = if i.w == W64 { 63 } else { 31 };
    if i.operands[index] != Operand::Immediate {
        let zero = e.imm(0);
        let shifts = e.compare(Cond::Ne, W64, count, zero);
        flags::produce_if(e, shifts, kind, i.w, a, count, result);
    } else if i.imm as u64 & most != 0 {
        flags::produce(e, kind, i.w, a, count, result);
    }
}

/// SHLD, SHRD: shifts in the bits of the second operand. Of 16 bits, shifts by more than 16 are undefined; then the
/// first operand follows again.
#[inline(always)]
pub(super) fn double<E: Emit>(e: &mut E, i: &Insn, direction: Direction) -> Done<E> {
    let to = e.place(i, 0)?;
    let a = e.read_to_modify(to)?;
    let (b, given) = (e.operand(i, 1)?, e.operand(i, 2)?);
    let mask = e.imm(if i.w == W64 { 63 } else { 31 });
    let count = e.and(W64, given, mask);
    let left = direction == Direction::Left;
    let result = if i.w == W64 {
        // In two steps, so that a shift by 0 shifts nothing in.
        let (one, rest) = (e.imm(1), e.sub(W64, mask, count));
        let (kept, coming) = if left {
            let half = e.shr(W64, b, one);
            (e.shl(W64, a, count), e.shr(W64, half, rest))
        } else {
            let half = e.shl(W64, b, one);
            (e.shr(W64, a, count), e.shl(W64, half, rest))
        };
        e.or(W64, kept, coming)
    } else {
        let (first, second) = (e.zext(i.w, a), e.zext(i.w, b));
        let half = e.imm(32);
        // Up to 64 bits in the order in which they are shifted out; a left shift takes the upper end, at bit 32.
        let (upper, lower) = match (i.w, left) {
            (W16, _) => {
                let bits = e.imm(16);
                let second = e.shl(W64, second, bits);
                (first, e.or(W64, second, first))
            }
            (_, true) => (first, second),
            (_, false) => (second, first),
        };
        let upper = e.shl(W64, upper, half);
        let all = e.or(W64, upper, lower);
        if left {
            let shifted = e.shl(W64, all, count);
            e.shr(W64, shifted, half)
        } else {
            e.shr(W64, all, count)
        }
    };
    e.write(to, result)?;
    let kind = if left { Kind::Shl } else { Kind::Shr };
    shift_flags(e, i, 2, kind, a, count, result);
    Ok(())
}
