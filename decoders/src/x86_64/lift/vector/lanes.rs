//! Meanings of what computes lane by lane, and of what makes lanes from neighbouring lanes (SDM 1 9.4, 11.4.2, 12.6).

use super::{Operands, finish, operands};
use crate::x86_64::decode::vector::{GatherOp, LaneOp, SimpleOp};
use crate::x86_64::helpers::vector::{Helper, pure_ops};
use crate::x86_64::insn::Insn;
use crate::x86_64::lift::Done;
use crate::x86_64::lift::vector_operands::Pair;
use c2w_engine::addr::Width::{self, W8, W16, W32, W64};
use c2w_engine::emit::{Cond, Emit};
use c2w_engine::guest::HelperId;

/// The lowest bit of every lane.
const fn ones(w: Width) -> u64 {
    match w {
        W8 => 0x0101_0101_0101_0101,
        W16 => 0x0001_0001_0001_0001,
        W32 => 0x0000_0001_0000_0001,
        W64 => 1,
    }
}

/// The highest bit of every lane.
pub(super) const fn signs(w: Width) -> u64 {
    ones(w) << (w.bits() - 1)
}

/// Bitwise operations, sums, differences and tests for equality.
#[inline(always)]
pub(super) fn simple<E: Emit>(e: &mut E, i: &Insn, op: SimpleOp) -> Done<E> {
    let x = operands(e, i)?;
    let value = match op {
        SimpleOp::And => halves(e, x, |e, a, b| e.and(W64, a, b)),
        SimpleOp::Andn => halves(e, x, and_not),
        SimpleOp::Or => halves(e, x, |e, a, b| e.or(W64, a, b)),
        SimpleOp::Xor => halves(e, x, |e, a, b| e.xor(W64, a, b)),
        SimpleOp::Paddb => halves(e, x, |e, a, b| sum(e, W8, a, b)),
        SimpleOp::Paddw => halves(e, x, |e, a, b| sum(e, W16, a, b)),
        SimpleOp::Paddd => halves(e, x, |e, a, b| sum(e, W32, a, b)),
        SimpleOp::Paddq => halves(e, x, |e, a, b| e.add(W64, a, b)),
        SimpleOp::Psubb => halves(e, x, |e, a, b| difference(e, W8, a, b)),
        SimpleOp::Psubw => halves(e, x, |e, a, b| difference(e, W16, a, b)),
        SimpleOp::Psubd => halves(e, x, |e, a, b| difference(e, W32, a, b)),
        SimpleOp::Psubq => halves(e, x, |e, a, b| e.sub(W64, a, b)),
        SimpleOp::Pcmpeqb => halves(e, x, |e, a, b| equal(e, W8, a, b)),
        SimpleOp::Pcmpeqw => halves(e, x, |e, a, b| equal(e, W16, a, b)),
        SimpleOp::Pcmpeqd => halves(e, x, |e, a, b| equal(e, W32, a, b)),
        SimpleOp::Pcmpeqq => halves(e, x, |e, a, b| {
            let same = e.compare(Cond::Eq, W64, a, b);
            let zero = e.imm(0);
            e.sub(W64, zero, same)
        }),
    };
    finish(e, i, x.to, x.mmx, value);
    Ok(())
}

/// A function of both low halves, and of both high ones.
#[inline(always)]
pub(super) fn halves<E: Emit>(
    e: &mut E,
    x: Operands<E::Val>,
    mut f: impl FnMut(&mut E, E::Val, E::Val) -> E::Val,
) -> Pair<E::Val> {
    let lo = f(e, x.a.lo, x.b.lo);
    let hi = if x.mmx { lo } else { f(e, x.a.hi, x.b.hi) };
    Pair { lo, hi }
}

/// b without the bits of a.
#[inline(always)]
fn and_not<E: Emit>(e: &mut E, a: E::Val, b: E::Val) -> E::Val {
    let ones = e.imm(u64::MAX);
    let a = e.xor(W64, a, ones);
    e.and(W64, a, b)
}

/// The sums of lanes: those of all bits but the highest do not carry into other lanes, and the highest is added without.
#[inline(always)]
fn sum<E: Emit>(e: &mut E, w: Width, a: E::Val, b: E::Val) -> E::Val {
    let (signs, others) = (e.imm(signs(w)), e.imm(!signs(w)));
    let (low_a, low_b) = (e.and(W64, a, others), e.and(W64, b, others));
    let low = e.add(W64, low_a, low_b);
    let high = e.xor(W64, a, b);
    let high = e.and(W64, high, signs);
    e.xor(W64, low, high)
}

/// The differences of lanes: a highest bit set in the minuend keeps borrows in their lane.
#[inline(always)]
fn difference<E: Emit>(e: &mut E, w: Width, a: E::Val, b: E::Val) -> E::Val {
    let (signs, others) = (e.imm(signs(w)), e.imm(!signs(w)));
    let (low_a, low_b) = (e.or(W64, a, signs), e.and(W64, b, others));
    let low = e.sub(W64, low_a, low_b);
    // Set where the highest bits are equal.
    let high = e.xor(W64, a, b);
    let high = e.xor(W64, high, signs);
    let high = e.and(W64, high, signs);
    e.xor(W64, low, high)
}

/// Ones in the lanes that are equal.
#[inline(always)]
fn equal<E: Emit>(e: &mut E, w: Width, a: E::Val, b: E::Val) -> E::Val {
    let (all, signs, others) = (e.imm(u64::MAX), e.imm(signs(w)), e.imm(!signs(w)));
    let differ = e.xor(W64, a, b);
    // The highest bit of a lane becomes set if any other bit of it is.
    let low = e.and(W64, differ, others);
    let low = e.add(W64, low, others);
    let differ = e.or(W64, low, differ);
    let same = e.xor(W64, differ, all);
    let same = e.and(W64, same, signs);
    fill(e, w, same)
}

/// Ones in the lanes whose highest bit is set; no other bits are.
#[inline(always)]
pub(super) fn fill<E: Emit>(e: &mut E, w: Width, signs: E::Val) -> E::Val {
    let (last, mask) = (e.imm(u64::from(w.bits() - 1)), e.imm(w.mask()));
    let lowest = e.shr(W64, signs, last);
    e.mul(W64, lowest, mask)
}

/// Applies a helper to both low halves and to both high ones.
#[inline(always)]
pub(super) fn both<E: Emit>(
    e: &mut E,
    helper: HelperId,
    x: Operands<E::Val>,
) -> Result<Pair<E::Val>, E::Stop> {
    let lo = e.helper(helper, &[x.a.lo, x.b.lo])?;
    let hi = if x.mmx { lo } else { e.helper(helper, &[x.a.hi, x.b.hi])? };
    Ok(Pair { lo, hi })
}

/// Applies a helper to the halves of the first operand and to those of the second; to the operands if they are MMX.
#[inline(always)]
fn each<E: Emit>(e: &mut E, helper: HelperId, x: Operands<E::Val>) -> Result<Pair<E::Val>, E::Stop> {
    if x.mmx {
        let lo = e.helper(helper, &[x.a.lo, x.b.lo])?;
        return Ok(Pair { lo, hi: lo });
    }
    let lo = e.helper(helper, &[x.a.lo, x.a.hi])?;
    let hi = e.helper(helper, &[x.b.lo, x.b.hi])?;
    Ok(Pair { lo, hi })
}

macro_rules! meanings {
    (lanes { $($lane:ident $_t1:literal $_f1:path;)* } gathers { $($gather:ident $_t2:literal $_f2:path;)* }) => {
        /// Operations by lane that have a helper.
        #[inline(never)]
        pub(super) fn lanes<E: Emit>(e: &mut E, i: &Insn, op: LaneOp) -> Done<E> {
            let x = operands(e, i)?;
            let value = match op {
                $(LaneOp::$lane => both(e, Helper::$lane.id(), x)?,)*
            };
            finish(e, i, x.to, x.mmx, value);
            Ok(())
        }

        /// Operations on neighbouring lanes.
        #[inline(never)]
        pub(super) fn gather<E: Emit>(e: &mut E, i: &Insn, op: GatherOp) -> Done<E> {
            let x = operands(e, i)?;
            let value = match op {
                $(GatherOp::$gather => each(e, Helper::$gather.id(), x)?,)*
            };
            finish(e, i, x.to, x.mmx, value);
            Ok(())
        }
    };
}
pure_ops!(meanings);
