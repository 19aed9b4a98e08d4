//! Meanings of what moves one lane from or to a general register or memory (SDM 1 12.10).

use crate::x86_64::decode::vector::ElementOp;
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::lift::vector_operands::VectorEmit;
use c2w_engine::addr::Width::{self, W8, W16, W32, W64};
use c2w_engine::emit::{Emit, Slot, VectorInsert};

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
    if !mmx {
        let op = match w {
            W8 => VectorInsert::Pinsrb,
            W16 => VectorInsert::Pinsrw,
            W32 => VectorInsert::Pinsrd,
            W64 => VectorInsert::Pinsrq,
        };
        e.vector_insert(op, i.imm as u8, register, value);
        return Ok(());
    }
    let (slot, first_bit) = lane(i, register, mmx, w);
    let (new, by) = (e.zext(w, value), e.imm(first_bit.into()));
    let new = e.shl(W64, new, by);
    let (old, others) = (e.get(slot), e.imm(!(w.mask() << first_bit)));
    let kept = e.and(W64, old, others);
    let value = e.or(W64, kept, new);
    e.enter_mmx();
    e.set_mmx(slot, value);
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
