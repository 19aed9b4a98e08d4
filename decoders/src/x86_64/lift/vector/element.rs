//! Meanings of what moves one lane from or to a general register or memory, and of what widens lanes (SDM 1 12.10).

use crate::x86_64::decode::vector::{ElementOp, ExtendOp};
use crate::x86_64::helpers::vector::Helper;
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::lift::vector_operands::{Pair, VectorEmit};
use c2w_engine::addr::Width::{self, W8, W16, W32, W64};
use c2w_engine::emit::{Emit, Slot};

/// PINSR and PEXTR, EXTRACTPS.
#[inline(never)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: ElementOp) -> Done<E> {
    match op {
        ElementOp::Pinsrb => insert(e, i, W8),
        ElementOp::Pinsrw => insert(e, i, W16),
        ElementOp::Pinsrd => insert(e, i, W32),
        ElementOp::Pinsrq => insert(e, i, W64),
        ElementOp::Pextrb => extract(e, i, W8),
        ElementOp::Pextrw => extract(e, i, W16),
        ElementOp::Pextrd => extract(e, i, W32),
        ElementOp::Pextrq => extract(e, i, W64),
    }
}

/// The slot that holds the lane of width `w` which the immediate names, and its first bit there.
#[inline(always)]
fn lane(i: &Insn, first: Slot, mmx: bool, w: Width) -> (Slot, u32) {
    let per_half = 64 / w.bits();
    let number = i.imm as u8 as u32 % if mmx { per_half } else { 2 * per_half };
    (Slot(first.0 + (number / per_half) as u8), number % per_half * w.bits())
}

#[inline(always)]
fn insert<E: Emit>(e: &mut E, i: &Insn, w: Width) -> Done<E> {
    let mmx = matches!(i.operands[0], Operand::Mmx(_));
    if mmx {
        e.check_mmx()?;
    }
    let value = e.operand(i, 1)?;
    let register = e.slot_of(i, 0);
    let (slot, first_bit) = lane(i, register, mmx, w);
    let (new, by) = (e.zext(w, value), e.imm(first_bit.into()));
    let new = e.shl(W64, new, by);
    let (old, others) = (e.get(slot), e.imm(!(w.mask() << first_bit)));
    let kept = e.and(W64, old, others);
    let value = e.or(W64, kept, new);
    if mmx {
        e.enter_mmx();
        e.set_mmx(slot, value)
    } else {
        e.set(slot, value)
    }
    Ok(())
}

/// The lane, zero-extended in general registers.
#[inline(always)]
fn extract<E: Emit>(e: &mut E, i: &Insn, w: Width) -> Done<E> {
    let mmx = matches!(i.operands[1], Operand::Mmx(_));
    if mmx {
        e.check_mmx()?;
    }
    let register = e.slot_of(i, 1);
    let (slot, first_bit) = lane(i, register, mmx, w);
    let (half, by) = (e.get(slot), e.imm(first_bit.into()));
    let value = e.shr(W64, half, by);
    let value = e.zext(w, value);
    let to = e.place(i, 0)?;
    e.write(to, value)?;
    if mmx {
        e.enter_mmx();
    }
    Ok(())
}

/// PMOVSX and PMOVZX.
#[inline(never)]
pub(super) fn extend<E: Emit>(e: &mut E, i: &Insn, op: ExtendOp) -> Done<E> {
    let value = e.scalar(i, 1)?;
    use ExtendOp as Op;
    let (from, to, signed) = match op {
        Op::Pmovsxbw => (W8, W16, true),
        Op::Pmovsxbd => (W8, W32, true),
        Op::Pmovsxbq => (W8, W64, true),
        Op::Pmovsxwd => (W16, W32, true),
        Op::Pmovsxwq => (W16, W64, true),
        Op::Pmovsxdq => (W32, W64, true),
        Op::Pmovzxbw => (W8, W16, false),
        Op::Pmovzxbd => (W8, W32, false),
        Op::Pmovzxbq => (W8, W64, false),
        Op::Pmovzxwd => (W16, W32, false),
        Op::Pmovzxwq => (W16, W64, false),
        Op::Pmovzxdq => (W32, W64, false),
    };
    // Each half of the result is made from this many bits.
    let step = e.imm(u64::from(64 / to.bits() * from.bits()));
    let above = e.shr(W64, value, step);
    let lo = extended(e, from, to, signed, value)?;
    let hi = extended(e, from, to, signed, above)?;
    let register = e.slot_of(i, 0);
    e.set_vector(i, register, Pair { lo, hi });
    Ok(())
}

/// 64 bits of lanes of width `to` from the low lanes of width `from`.
#[inline(always)]
fn extended<E: Emit>(
    e: &mut E,
    from: Width,
    to: Width,
    signed: bool,
    value: E::Val,
) -> Result<E::Val, E::Stop> {
    let one = |e: &mut E, value| if signed { e.sext(from, value) } else { e.zext(from, value) };
    match to {
        W64 => Ok(one(e, value)),
        W32 => {
            let (second, half) = (e.imm(from.bits().into()), e.imm(32));
            let above = e.shr(W64, value, second);
            let (low, high) = (one(e, value), one(e, above));
            let (low, high) = (e.zext(W32, low), e.shl(W64, high, half));
            Ok(e.or(W64, low, high))
        }
        _ if signed => e.helper(Helper::SignExtend8.id(), &[value]),
        _ => {
            let zero = e.imm(0);
            e.helper(Helper::Interleave8.id(), &[value, zero])
        }
    }
}
