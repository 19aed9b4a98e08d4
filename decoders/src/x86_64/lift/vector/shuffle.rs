//! Meanings of what moves lanes to other places (SDM 1 10.4.4, 11.4.1.3, 12.10). Places that an immediate names are known
//! when code is decoded; only PSHUFB and the variable blends look at run time.

use super::lanes::{fill, signs};
use super::{Operands, finish, operands};
use crate::x86_64::decode::vector::ShuffleOp as Op;
use crate::x86_64::helpers::vector::Helper;
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::vector_operands::{Alignment, Pair, VectorEmit};
use crate::x86_64::regs;
use c2w_engine::addr::Width::{self, W8, W32, W64};
use c2w_engine::emit::Emit;

/// The meaning of such an instruction.
#[inline(never)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    if matches!(op, Op::Movddup | Op::Insertps | Op::Pslldq | Op::Psrldq) {
        return odd(e, i, op);
    }
    let x = operands(e, i)?;
    let imm = i.imm as u8;
    let value = match op {
        Op::Pshufb => pick(e, x)?,
        Op::Pshufd => dwords(e, x.b, x.b, imm),
        Op::Pshufw => Pair { lo: words(e, x.b.lo, imm), hi: x.b.lo },
        Op::Pshuflw => Pair { lo: words(e, x.b.lo, imm), hi: x.b.hi },
        Op::Pshufhw => Pair { lo: x.b.lo, hi: words(e, x.b.hi, imm) },
        Op::Shufps => dwords(e, x.a, x.b, imm),
        Op::Shufpd => Pair {
            lo: if imm & 1 == 0 { x.a.lo } else { x.a.hi },
            hi: if imm & 2 == 0 { x.b.lo } else { x.b.hi },
        },
        Op::Movshdup => dwords(e, x.b, x.b, 0b11_11_01_01),
        Op::Movsldup => dwords(e, x.b, x.b, 0b10_10_00_00),
        Op::Palignr => align(e, x, imm),
        Op::Punpcklbw => interleave(e, x, Helper::Interleave8, false)?,
        Op::Punpckhbw => interleave(e, x, Helper::Interleave8, true)?,
        Op::Punpcklwd => interleave(e, x, Helper::Interleave16, false)?,
        Op::Punpckhwd => interleave(e, x, Helper::Interleave16, true)?,
        Op::Punpckldq => interleave_dwords(e, x, false),
        Op::Punpckhdq => interleave_dwords(e, x, true),
        Op::Punpcklqdq => Pair { lo: x.a.lo, hi: x.b.lo },
        Op::Punpckhqdq => Pair { lo: x.a.hi, hi: x.b.hi },
        Op::Blendps => blend_known(e, x, imm, 32),
        Op::Blendpd => blend_known(e, x, imm, 64),
        Op::Pblendw => blend_known(e, x, imm, 16),
        Op::Pblendvb => blend(e, x, W8),
        Op::Blendvps => blend(e, x, W32),
        Op::Blendvpd => blend(e, x, W64),
        Op::Movddup | Op::Insertps | Op::Pslldq | Op::Psrldq => x.b,
    };
    finish(e, i, x.to, x.mmx, value);
    Ok(())
}

/// Those whose operands are not two vectors.
#[inline(always)]
fn odd<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    let to = e.slot_of(i, 0);
    let value = match op {
        Op::Movddup => {
            let lo = e.scalar(i, 1)?;
            Pair { lo, hi: lo }
        }
        Op::Insertps => insertps(e, i)?,
        _ => {
            let (value, zero) = (e.get_vector(to), e.imm(0));
            let (zeros, count) = (Pair { lo: zero, hi: zero }, (i.imm as u8).min(16));
            if op == Op::Pslldq {
                window(e, value, zeros, 16 - count)
            } else {
                window(e, zeros, value, count)
            }
        }
    };
    e.set_vector(i, to, value);
    Ok(())
}

/// Lane `number` of 32 bits, zero-extended.
#[inline(always)]
pub(super) fn dword<E: Emit>(e: &mut E, from: Pair<E::Val>, number: u8) -> E::Val {
    let half = if number & 2 == 0 { from.lo } else { from.hi };
    let by = e.imm(u64::from(number & 1) * 32);
    let lane = e.shr(W64, half, by);
    e.zext(W32, lane)
}

/// Two lanes of 32 bits, of which the first is zero-extended.
#[inline(always)]
fn join<E: Emit>(e: &mut E, first: E::Val, second: E::Val) -> E::Val {
    let by = e.imm(32);
    let upper = e.shl(W64, second, by);
    e.or(W64, upper, first)
}

/// Two lanes of `a`, then two of `b`, that the two-bit fields of `places` name.
#[inline(always)]
fn dwords<E: Emit>(e: &mut E, a: Pair<E::Val>, b: Pair<E::Val>, places: u8) -> Pair<E::Val> {
    let (first, second) = (dword(e, a, places & 3), dword(e, a, places >> 2 & 3));
    let (third, fourth) = (dword(e, b, places >> 4 & 3), dword(e, b, places >> 6));
    Pair { lo: join(e, first, second), hi: join(e, third, fourth) }
}

/// The four 16-bit lanes that the two-bit fields of `places` name.
#[inline(always)]
fn words<E: Emit>(e: &mut E, from: E::Val, places: u8) -> E::Val {
    let mask = e.imm(0xffff);
    let mut value = e.imm(0);
    for lane in 0..4 {
        let (by, place) = (e.imm(u64::from(places >> (2 * lane) & 3) * 16), e.imm(16 * lane));
        let word = e.shr(W64, from, by);
        let word = e.and(W64, word, mask);
        let word = e.shl(W64, word, place);
        value = e.or(W64, value, word);
    }
    value
}

/// PSHUFB.
#[inline(always)]
fn pick<E: Emit>(e: &mut E, x: Operands<E::Val>) -> Result<Pair<E::Val>, E::Stop> {
    // Of an MMX register there is only one half.
    let high = if x.mmx { x.a.lo } else { x.a.hi };
    let lo = e.helper(Helper::Pick.id(), &[x.a.lo, high, x.b.lo])?;
    let hi = if x.mmx { lo } else { e.helper(Helper::Pick.id(), &[x.a.lo, high, x.b.hi])? };
    Ok(Pair { lo, hi })
}

/// PALIGNR: the first operand is above the second.
#[inline(always)]
fn align<E: Emit>(e: &mut E, x: Operands<E::Val>, count: u8) -> Pair<E::Val> {
    if x.mmx {
        let zero = e.imm(0);
        let lo = funnel(e, [x.b.lo, x.a.lo, zero], count);
        return Pair { lo, hi: lo };
    }
    window(e, x.a, x.b, count)
}

/// The 16 bytes from byte `count` of `high:low` on; beyond are zeros.
#[inline(always)]
fn window<E: Emit>(e: &mut E, high: Pair<E::Val>, low: Pair<E::Val>, count: u8) -> Pair<E::Val> {
    let zero = e.imm(0);
    let lo = if count < 16 {
        funnel(e, [low.lo, low.hi, high.lo], count)
    } else {
        funnel(e, [high.lo, high.hi, zero], count - 16)
    };
    let hi = if count < 8 {
        funnel(e, [low.hi, high.lo, high.hi], count)
    } else {
        funnel(e, [high.lo, high.hi, zero], count - 8)
    };
    Pair { lo, hi }
}

/// The 8 bytes from byte `count` of 24 on; beyond are zeros.
#[inline(always)]
fn funnel<E: Emit>(e: &mut E, [first, second, third]: [E::Val; 3], count: u8) -> E::Val {
    let (low, high) = match count {
        0..8 => (first, second),
        8..16 => (second, third),
        16..24 => (third, e.imm(0)),
        _ => return e.imm(0),
    };
    let bits = u64::from(count % 8 * 8);
    if bits == 0 {
        return low;
    }
    let (right, left) = (e.imm(bits), e.imm(64 - bits));
    let (low, high) = (e.shr(W64, low, right), e.shl(W64, high, left));
    e.or(W64, low, high)
}

/// PUNPCK of bytes and 16-bit lanes, from the low or the high halves of the operands.
#[inline(always)]
fn interleave<E: Emit>(
    e: &mut E,
    x: Operands<E::Val>,
    helper: Helper,
    high: bool,
) -> Result<Pair<E::Val>, E::Stop> {
    let above = |e: &mut E, value| {
        let by = e.imm(32);
        e.shr(W64, value, by)
    };
    let (a, b) = if high && !x.mmx { (x.a.hi, x.b.hi) } else { (x.a.lo, x.b.lo) };
    let (above_a, above_b) = (above(e, a), above(e, b));
    if x.mmx {
        let (a, b) = if high { (above_a, above_b) } else { (a, b) };
        let lo = e.helper(helper.id(), &[a, b])?;
        return Ok(Pair { lo, hi: lo });
    }
    let lo = e.helper(helper.id(), &[a, b])?;
    let hi = e.helper(helper.id(), &[above_a, above_b])?;
    Ok(Pair { lo, hi })
}

/// PUNPCK of 32-bit lanes.
#[inline(always)]
fn interleave_dwords<E: Emit>(e: &mut E, x: Operands<E::Val>, high: bool) -> Pair<E::Val> {
    // Of an MMX register the lanes are 0 and 1.
    let first = if high && !x.mmx { 2 } else { 0 };
    let lanes = |e: &mut E, number| {
        let (a, b) = (dword(e, x.a, number), dword(e, x.b, number));
        join(e, a, b)
    };
    if x.mmx {
        let lo = lanes(e, u8::from(high));
        return Pair { lo, hi: lo };
    }
    Pair { lo: lanes(e, first), hi: lanes(e, first + 1) }
}

/// A blend by an immediate with a bit for each lane: lanes of the second operand where it is set.
#[inline(always)]
fn blend_known<E: Emit>(e: &mut E, x: Operands<E::Val>, bits: u8, lane_bits: u32) -> Pair<E::Val> {
    let per_half = 64 / lane_bits;
    let mask = |first: u32| {
        let selected = (0..per_half).filter(|lane| u32::from(bits) >> (first + lane) & 1 != 0);
        selected.fold(0, |mask, lane| mask | (u64::MAX >> (64 - lane_bits)) << (lane * lane_bits))
    };
    let (lo, hi) = (e.imm(mask(0)), e.imm(mask(per_half)));
    Pair { lo: mix(e, lo, x.a.lo, x.b.lo), hi: mix(e, hi, x.a.hi, x.b.hi) }
}

/// A blend by the signs of the lanes of XMM0.
#[inline(always)]
fn blend<E: Emit>(e: &mut E, x: Operands<E::Val>, w: Width) -> Pair<E::Val> {
    let selector = e.get_vector(regs::vector(0));
    let mask = |e: &mut E, half| {
        let signs = e.imm(signs(w));
        let half = e.and(W64, half, signs);
        fill(e, w, half)
    };
    let (lo, hi) = (mask(e, selector.lo), mask(e, selector.hi));
    Pair { lo: mix(e, lo, x.a.lo, x.b.lo), hi: mix(e, hi, x.a.hi, x.b.hi) }
}

/// The bits of `b` where the mask is set, else those of `a`.
#[inline(always)]
fn mix<E: Emit>(e: &mut E, mask: E::Val, a: E::Val, b: E::Val) -> E::Val {
    let differ = e.xor(W64, a, b);
    let taken = e.and(W64, differ, mask);
    e.xor(W64, a, taken)
}

/// INSERTPS: a lane of a register or 32 bits of memory go to one lane, then lanes become zero (SDM 2A).
#[inline(always)]
fn insertps<E: Emit>(e: &mut E, i: &Insn) -> Result<Pair<E::Val>, E::Stop> {
    let imm = i.imm as u8;
    let lane = match i.operands[1] {
        Operand::Vector(_) => {
            let from = e.vector(i, 1, Alignment::Legacy)?;
            dword(e, from, imm >> 6)
        }
        _ => e.scalar(i, 1)?,
    };
    let to = e.slot_of(i, 0);
    let old = e.get_vector(to);
    let half = |e: &mut E, old, number: u8| {
        // What of this half is kept, and where in it the lane goes.
        let in_half = |lane: u8| if lane / 2 == number { 0xffff_ffffu64 << (32 * (lane % 2)) } else { 0 };
        let place = imm >> 4 & 3;
        let cleared = (0..4).filter(|lane| imm >> lane & 1 != 0).map(in_half).fold(0, |all, lane| all | lane);
        let inserted = in_half(place) & !cleared;
        let kept = e.imm(!cleared & !inserted);
        let kept = e.and(W64, old, kept);
        if inserted == 0 {
            return kept;
        }
        let by = e.imm(u64::from(place % 2) * 32);
        let new = e.shl(W64, lane, by);
        e.or(W64, kept, new)
    };
    let lo = half(e, old.lo, 0);
    let hi = half(e, old.hi, 1);
    Ok(Pair { lo, hi })
}
