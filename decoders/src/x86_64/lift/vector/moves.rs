//! Meanings of the moves to, from and between MMX and vector registers (SDM 1 9.4.1, 10.4.1.1, 11.4.1.1).

use crate::x86_64::helpers::vector::Helper;
use crate::x86_64::insn::{Insn, InsnFlags, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::lift::vector_operands::{Alignment, Pair, VectorEmit, high};
use c2w_engine::addr::Width::{self, W64};
use c2w_engine::emit::{Emit, VectorInsert, VectorOp};

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
        Op::Movhlps => within(e, i, VectorOp::Movhlps),
        Op::Movlhps => within(e, i, VectorOp::Punpcklqdq),
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

/// An operation on the destination and a source in a register or memory.
#[inline(always)]
fn within<E: Emit>(e: &mut E, i: &Insn, op: VectorOp) -> Done<E> {
    let from = e.vector_source(i, 1, Alignment::Never)?;
    let to = e.slot_of(i, 0);
    e.vector(op, 0, to, to, from);
    Ok(())
}

/// MOVAPS, MOVUPS and their like.
#[inline(always)]
fn all<E: Emit>(e: &mut E, i: &Insn, alignment: Alignment) -> Done<E> {
    match (i.operands[0], i.operands[1]) {
        (Operand::Vector(to), Operand::Vector(from)) => e.vector(VectorOp::Copy, 0, to, to, from),
        (Operand::Vector(to), _) => e.load_vector(i, to, alignment)?,
        (_, _) => {
            let from = e.slot_of(i, 1);
            return e.store_vector(i, from, alignment);
        }
    }
    if let Operand::Vector(to) = i.operands[0]
        && i.flags.contains(InsnFlags::VEX)
    {
        e.clear_upper(to);
    }
    Ok(())
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
    match (i.operands[0], i.operands[1]) {
        (Operand::Vector(to), Operand::Vector(from)) => {
            e.vector(VectorOp::Movq, 0, to, to, from);
            return Ok(());
        }
        (Operand::Vector(to), Operand::Memory(w)) => {
            let addr = e.address(&i.memory)?;
            return e.vector_load(w.bytes() as u8, to, addr);
        }
        (Operand::Vector(to), Operand::Register { w, .. }) => {
            let value = e.scalar(i, 1)?;
            let op = if w == W64 { VectorInsert::Movq } else { VectorInsert::Movd };
            e.vector_insert(op, 0, to, value);
            return Ok(());
        }
        (Operand::Memory(w), Operand::Vector(from)) => {
            let addr = e.address(&i.memory)?;
            return e.vector_store(w.bytes() as u8, addr, from);
        }
        _ => {}
    }
    if mmx {
        e.check_mmx()?;
    }
    let value = e.scalar(i, 1)?;
    match i.operands[0] {
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
    let (Operand::Vector(_), Operand::Vector(_)) = (i.operands[0], i.operands[1]) else {
        return low(e, i);
    };
    within(e, i, if i.w == W64 { VectorOp::Movsd } else { VectorOp::Movss })
}

/// MOVLPS and MOVLPD.
#[inline(always)]
fn low_half<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    match i.operands[0] {
        Operand::Vector(_) => within(e, i, VectorOp::Movsd),
        _ => low(e, i),
    }
}

/// MOVHPS and MOVHPD.
#[inline(always)]
fn high_half<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    match (i.operands[0], i.operands[1]) {
        (Operand::Vector(_), _) => within(e, i, VectorOp::Punpcklqdq),
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
