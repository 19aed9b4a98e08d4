//! Meanings of what takes results from vectors to general registers and flags.

use super::operands;
use crate::x86_64::decode::vector::{StringOp, TestOp as Op};
use crate::x86_64::flags::{self, Kind};
use crate::x86_64::helpers::vector::{Helper, strings};
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::lift::vector_operands::{Alignment, VectorEmit};
use c2w_engine::addr::Width::{W8, W64};
use c2w_engine::emit::{Cond, Emit, Slot};

/// The meaning of such an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    match op {
        Op::Pmovmskb => byte_signs(e, i),
        Op::Movmskps => signs(e, i, 32),
        Op::Movmskpd => signs(e, i, 64),
        Op::Ptest => ptest(e, i),
    }
}

/// PMOVMSKB.
#[inline(always)]
fn byte_signs<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let mmx = matches!(i.operands[1], Operand::Mmx(_));
    if mmx {
        e.check_mmx()?;
    }
    let from = e.slot_of(i, 1);
    let mut value = half_byte_signs(e, from);
    if mmx {
        e.enter_mmx();
    } else {
        let high = half_byte_signs(e, Slot(from.0 + 1));
        let eight = e.imm(8);
        let high = e.shl(W64, high, eight);
        value = e.or(W64, value, high);
    }
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// The signs of the bytes of a slot: the product brings bit 8 `n` + 7 to bit 56 + `n`, and nothing else there.
#[inline(always)]
fn half_byte_signs<E: Emit>(e: &mut E, slot: Slot) -> E::Val {
    let (value, signs) = (e.get(slot), e.imm(super::lanes::signs(W8)));
    let (places, last) = (e.imm(0x0002_0408_1020_4081), e.imm(56));
    let signs = e.and(W64, value, signs);
    let gathered = e.mul(W64, signs, places);
    e.shr(W64, gathered, last)
}

/// MOVMSKPS and MOVMSKPD.
#[inline(always)]
fn signs<E: Emit>(e: &mut E, i: &Insn, lane_bits: u64) -> Done<E> {
    let from = e.slot_of(i, 1);
    let mut value = e.imm(0);
    for lane in 0..128 / lane_bits {
        let half = e.get(Slot(from.0 + (lane * lane_bits / 64) as u8));
        let (sign, place, one) = (e.imm(((lane + 1) * lane_bits - 1) % 64), e.imm(lane), e.imm(1));
        let bit = e.shr(W64, half, sign);
        let bit = e.and(W64, bit, one);
        let bit = e.shl(W64, bit, place);
        value = e.or(W64, value, bit);
    }
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// PTEST: ZF if no bit is in both operands, CF if every bit of the second is in the first.
#[inline(always)]
fn ptest<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let x = operands(e, i)?;
    let (common_lo, common_hi) = (e.and(W64, x.a.lo, x.b.lo), e.and(W64, x.a.hi, x.b.hi));
    let common = e.or(W64, common_lo, common_hi);
    // What is in the second operand alone.
    let (rest_lo, rest_hi) = (e.xor(W64, common_lo, x.b.lo), e.xor(W64, common_hi, x.b.hi));
    let rest = e.or(W64, rest_lo, rest_hi);
    let zero = e.imm(0);
    let (zf, cf) = (e.compare(Cond::Eq, W64, common, zero), e.compare(Cond::Eq, W64, rest, zero));
    let place = e.imm(flags::ZF.trailing_zeros().into());
    let zf = e.shl(W64, zf, place);
    let all = e.or(W64, zf, cf);
    flags::produce(e, Kind::Flags, W64, all, zero, zero);
    Ok(())
}

/// PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM.
#[inline(never)]
pub(super) fn strings<E: Emit>(e: &mut E, i: &Insn, op: StringOp) -> Done<E> {
    let (a, b) = (e.slot_of(i, 0), e.vector(i, 1, Alignment::Never)?);
    let explicit = matches!(op, StringOp::Pcmpestri | StringOp::Pcmpestrm);
    let mask = matches!(op, StringOp::Pcmpestrm | StringOp::Pcmpistrm);
    let mut what = u64::from(a.0) | u64::from(i.imm as u8) << 8;
    for (set, flag) in [(explicit, strings::EXPLICIT), (i.w == W64, strings::WIDE), (mask, strings::MASK)] {
        what |= if set { flag } else { 0 };
    }
    let (what, zero) = (e.imm(what), e.imm(0));
    let all = e.helper(Helper::CompareStrings.id(), &[what, b.lo, b.hi])?;
    flags::produce(e, Kind::Flags, W64, all, zero, zero);
    Ok(())
}
