//! Meanings of the string instructions (SDM 1 7.3.9). Single ones are words; repeated ones go page by page in
//! [`crate::x86_64::helpers::string`], and start again until they are done.

use crate::x86_64::flags::{self, DF, Kind};
use crate::x86_64::helpers::integer::Helper;
use crate::x86_64::helpers::string::{Repeat, What};
use crate::x86_64::insn::{Insn, InsnFlags, Memory, SegmentCheck};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::regs::{self, RAX, RDI, RFLAGS, RSI};
use c2w_engine::addr::Width::W64;
use c2w_engine::emit::{Emit, Slot};

/// Whether an instruction is repeated.
#[inline(always)]
fn repeats(i: &Insn) -> bool {
    i.flags.intersects(InsnFlags::REP.union(InsnFlags::REPNE))
}

/// A repeated instruction.
#[inline(never)]
fn repeat<E: Emit>(e: &mut E, i: &Insn, what: What) -> Done<E> {
    let repeat = Repeat {
        what,
        w: i.w,
        address_width: i.memory.address_width,
        while_not_equal: i.flags.contains(InsnFlags::REPNE),
        source: i.memory.segment,
        source_checked: !i.memory.check.is_none(),
        destination_checked: i.flags.contains(InsnFlags::SEGMENTED),
        linear_32: i.memory.linear_32,
    };
    let number = e.imm(repeat.number());
    let again = e.helper(Helper::Repeat.id(), &[number])?;
    e.branch_relative(again, 0);
    Ok(())
}

/// The operand at ES:RDI of an instruction that has another one at RSI.
#[inline(always)]
fn destination(i: &Insn, write: bool) -> Memory {
    let checked = i.flags.contains(InsnFlags::SEGMENTED);
    Memory {
        base: RDI,
        segment: if checked { regs::ES_BASE } else { regs::NONE },
        check: if checked { SegmentCheck::new(i.w.bytes(), write) } else { SegmentCheck::NONE },
        ..i.memory
    }
}

/// Moves index registers to the next element, up or down.
#[inline(always)]
fn advance<E: Emit>(e: &mut E, i: &Insn, slots: &[Slot]) {
    let (flags, mask) = (e.get(RFLAGS), e.imm(DF));
    let down = e.and(W64, flags, mask);
    let (plus, minus) = (e.imm(i.w.bytes()), e.imm(i.w.bytes().wrapping_neg()));
    let step = e.select(down, minus, plus);
    for &slot in slots {
        let index = e.get(slot);
        let next = e.add(i.memory.address_width, index, step);
        e.set_gpr(slot, i.memory.address_width, next);
    }
}

/// MOVS.
#[inline(always)]
pub(super) fn movs<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    if repeats(i) {
        return repeat(e, i, What::Move);
    }
    let from = e.address(&i.memory)?;
    let value = e.load(i.w, from)?;
    let to = e.address(&destination(i, true))?;
    e.store(i.w, to, value)?;
    advance(e, i, &[RSI, RDI]);
    Ok(())
}

/// CMPS: the flags of source minus destination.
#[inline(always)]
pub(super) fn cmps<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    if repeats(i) {
        return repeat(e, i, What::Compare);
    }
    let from = e.address(&i.memory)?;
    let a = e.load(i.w, from)?;
    let to = e.address(&destination(i, false))?;
    let b = e.load(i.w, to)?;
    advance(e, i, &[RSI, RDI]);
    let difference = e.sub(i.w, a, b);
    flags::produce(e, Kind::Cmp, i.w, a, b, difference);
    Ok(())
}

/// STOS.
#[inline(always)]
pub(super) fn stos<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    if repeats(i) {
        return repeat(e, i, What::Fill);
    }
    let (to, value) = (e.address(&i.memory)?, e.get(RAX));
    e.store(i.w, to, value)?;
    advance(e, i, &[RDI]);
    Ok(())
}

/// LODS.
#[inline(always)]
pub(super) fn lods<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    if repeats(i) {
        return repeat(e, i, What::Load);
    }
    let from = e.address(&i.memory)?;
    let value = e.load(i.w, from)?;
    e.set_gpr(RAX, i.w, value);
    advance(e, i, &[RSI]);
    Ok(())
}

/// SCAS: the flags of the accumulator minus the element.
#[inline(always)]
pub(super) fn scas<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    if repeats(i) {
        return repeat(e, i, What::Scan);
    }
    let (to, a) = (e.address(&i.memory)?, e.get(RAX));
    let b = e.load(i.w, to)?;
    advance(e, i, &[RDI]);
    let difference = e.sub(i.w, a, b);
    flags::produce(e, Kind::Cmp, i.w, a, b, difference);
    Ok(())
}
