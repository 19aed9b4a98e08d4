//! Meanings of shifts by a count that is the same for all lanes: an immediate, or the low 64 bits of the second operand.

use super::lanes::{both, halves};
use super::{Operands, finish, first};
use crate::x86_64::decode::vector::ShiftOp as Op;
use crate::x86_64::helpers::vector::Helper;
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::vector_operands::{Alignment, Pair, VectorEmit};
use c2w_engine::addr::Width::{self, W16, W32, W64};
use c2w_engine::emit::Emit;

/// The meaning of a shift.
#[inline(never)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    let (first, mmx) = (first(i), matches!(i.operands[0], Operand::Mmx(_)));
    if mmx {
        e.check_mmx()?;
    }
    let immediate = i.operands[first + 1] == Operand::Immediate;
    let count = if immediate {
        e.imm(i.imm as u8 as u64)
    } else if mmx {
        e.scalar(i, first + 1)?
    } else {
        e.vector(i, first + 1, Alignment::Legacy)?.lo
    };
    let (to, from) = (e.slot_of(i, 0), e.slot_of(i, first));
    let value = if mmx {
        let lo = e.get(from);
        Pair { lo, hi: lo }
    } else {
        e.get_vector(from)
    };
    let known = if immediate { logical(op) } else { None };
    let x = Operands { to, mmx, a: value, b: Pair { lo: count, hi: count } };
    let value = match (known, op) {
        (Some((left, w)), _) => halves(e, x, |e, value, _| by_constant(e, left, w, value, i.imm as u8)),
        (_, Op::Psllw) => both(e, Helper::Psllw.id(), x)?,
        (_, Op::Pslld) => both(e, Helper::Pslld.id(), x)?,
        (_, Op::Psllq) => both(e, Helper::Psllq.id(), x)?,
        (_, Op::Psrlw) => both(e, Helper::Psrlw.id(), x)?,
        (_, Op::Psrld) => both(e, Helper::Psrld.id(), x)?,
        (_, Op::Psrlq) => both(e, Helper::Psrlq.id(), x)?,
        (_, Op::Psraw) => both(e, Helper::Psraw.id(), x)?,
        (_, Op::Psrad) => both(e, Helper::Psrad.id(), x)?,
    };
    finish(e, i, to, mmx, value);
    Ok(())
}

/// Whether a logical shift goes left, and the width of its lanes.
#[inline(always)]
fn logical(op: Op) -> Option<(bool, Width)> {
    Some(match op {
        Op::Psllw => (true, W16),
        Op::Pslld => (true, W32),
        Op::Psllq => (true, W64),
        Op::Psrlw => (false, W16),
        Op::Psrld => (false, W32),
        Op::Psrlq => (false, W64),
        Op::Psraw | Op::Psrad => return None,
    })
}

/// A logical shift of every lane.
#[inline(always)]
fn by_constant<E: Emit>(e: &mut E, left: bool, w: Width, value: E::Val, count: u8) -> E::Val {
    if u32::from(count) >= w.bits() {
        return e.imm(0);
    }
    // What stays of each lane, repeated.
    let lane = if left { w.mask() << count & w.mask() } else { w.mask() >> count };
    let lanes = lane * (u64::MAX / w.mask());
    let (by, kept) = (e.imm(count.into()), e.imm(lanes));
    let shifted = if left { e.shl(W64, value, by) } else { e.shr(W64, value, by) };
    if w == W64 { shifted } else { e.and(W64, shifted, kept) }
}
