//! Meanings of the moves to, from and between MMX and vector registers (SDM 1 9.4.1, 10.4.1.1, 11.4.1.1).

use crate::x86_64::helpers::vector::Helper;
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::lift::vector_operands::{Alignment, Pair, VectorEmit, high};
use c2w_engine::addr::Width::{self, W64};
use c2w_engine::emit::Emit;

use crate::x86_64::decode::vector::MoveOp as Op;

/// The meaning of a move.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    match op {
        Op::Aligned => all(e, i, Alignment::Always),
        Op::Unaligned => all(e, i, Alignment::Never),
        Op::Low => low(e, i),
        Op::Movss | Op::Movsd => merge(e, i),
        Op::Movlps => low_half(e, i),
        Op::Movhps => high_half(e, i),
        Op::Movhlps => {
            let (to, from) = (e.slot_of(i, 0), e.slot_of(i, 1));
            let value = e.get(high(from));
            e.set(to, value);
            Ok(())
        }
        Op::Movlhps => {
            let (to, from) = (e.slot_of(i, 0), e.slot_of(i, 1));
            let value = e.get(from);
            e.set(high(to), value);
            Ok(())
        }
        Op::Movq2dq => {
            e.check_mmx()?;
            let (lo, hi) = (e.scalar(i, 1)?, e.imm(0));
            let to = e.slot_of(i, 0);
            e.enter_mmx();
            e.set_vector(i, to, Pair { lo, hi });
            Ok(())
        }
        Op::Movdq2q => {
            e.check_mmx()?;
            let value = e.scalar(i, 1)?;
            let to = e.slot_of(i, 0);
            e.enter_mmx();
            e.set_mmx(to, value);
            Ok(())
        }
        Op::Maskmov => masked(e, i),
    }
}

/// MOVAPS, MOVUPS and their like.
#[inline(always)]
fn all<E: Emit>(e: &mut E, i: &Insn, alignment: Alignment) -> Done<E> {
    let value = e.vector(i, 1, alignment)?;
    e.write_vector(i, 0, value, alignment)
}

/// Width of an operand of MOVD, MOVQ, MOVSS or MOVSD.
#[inline(always)]
fn width(operand: Operand) -> Width {
    match operand {
        Operand::Register { w, .. } | Operand::Memory(w) => w,
        _ => W64,
    }
}

/// MOVD and MOVQ: registers become the value, zero-extended.
#[inline(always)]
fn low<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let mmx = matches!(i.operands[0], Operand::Mmx(_)) || matches!(i.operands[1], Operand::Mmx(_));
    if mmx {
        e.check_mmx()?;
    }
    let value = e.scalar(i, 1)?;
    match i.operands[0] {
        Operand::Vector(to) => {
            let lo = e.zext(width(i.operands[1]), value);
            let hi = e.imm(0);
            e.set_vector(i, to, Pair { lo, hi });
        }
        Operand::Mmx(to) => {
            let value = e.zext(width(i.operands[1]), value);
            e.enter_mmx();
            e.set_mmx(to, value);
        }
        _ => {
            let to = e.place(i, 0)?;
            if !mmx {
                return e.write(to, value);
            }
            // A store comes before the writes to registers.
            e.write(to, value)?;
            e.enter_mmx();
        }
    }
    Ok(())
}

/// MOVSS and MOVSD: between registers the low bits alone, from memory zero-extended.
#[inline(always)]
fn merge<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (Operand::Vector(to), Operand::Vector(from)) = (i.operands[0], i.operands[1]) else {
        return low(e, i);
    };
    let value = e.get(from);
    e.set_low(to, i.w, value);
    Ok(())
}

/// MOVLPS and MOVLPD.
#[inline(always)]
fn low_half<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.scalar(i, 1)?;
    match i.operands[0] {
        Operand::Vector(to) => {
            e.set(to, value);
            Ok(())
        }
        _ => {
            let to = e.place(i, 0)?;
            e.write(to, value)
        }
    }
}

/// MOVHPS and MOVHPD.
#[inline(always)]
fn high_half<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    match (i.operands[0], i.operands[1]) {
        (Operand::Vector(to), _) => {
            let value = e.scalar(i, 1)?;
            e.set(high(to), value);
            Ok(())
        }
        _ => {
            let from = e.slot_of(i, 1);
            let value = e.get(high(from));
            let to = e.place(i, 0)?;
            e.write(to, value)
        }
    }
}

/// MASKMOVQ and MASKMOVDQU.
#[inline(always)]
fn masked<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let mmx = matches!(i.operands[1], Operand::Mmx(_));
    if mmx {
        e.check_mmx()?;
    }
    let addr = e.address(&i.memory)?;
    let (data, mask) = (e.slot_of(i, 1), e.slot_of(i, 2));
    let slots = e.imm(u64::from(data.0) | u64::from(mask.0) << 8);
    let len_bytes = e.imm(if mmx { 8 } else { 16 });
    e.helper(Helper::MaskedMove.id(), &[addr, slots, len_bytes])?;
    if mmx {
        e.enter_mmx();
    }
    Ok(())
}
