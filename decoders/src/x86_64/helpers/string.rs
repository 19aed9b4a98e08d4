//! Repeated string instructions: as many elements at a time as lie in one page of plain RAM, or one.
//!
//! RCX, RSI and RDI move on with what has been done, so that a fault in between leaves a state from which the
//! instruction goes on. After about a page's worth of elements the helper ends, and the instruction starts again
//! unless it is done: interrupts come in between.

use super::address;
use crate::x86_64::debug;
use crate::x86_64::flags::{self, DF, Kind};
use crate::x86_64::guest::X86_64;
use crate::x86_64::insn::SegmentCheck;
use crate::x86_64::regs::{self, RAX, RCX, RDI, RFLAGS, RSI};
use crate::x86_64::segment::SegmentRegister;
use c2w_engine::addr::Width::{self, W16, W32};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::with_words;
use c2w_engine::emit::{Cond, Emit, Slot};
use c2w_engine::guest::Trap;
use c2w_engine::ir::eval;
use c2w_engine::mem::tlb::Access;

/// Which instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum What {
    /// MOVS.
    Move = 0,
    /// CMPS.
    Compare,
    /// STOS.
    Fill,
    /// LODS.
    Load,
    /// SCAS.
    Scan,
}

impl What {
    const ALL: [Self; 5] = [Self::Move, Self::Compare, Self::Fill, Self::Load, Self::Scan];

    /// There is an operand at RSI.
    const fn has_source(self) -> bool {
        matches!(self, Self::Move | Self::Compare | Self::Load)
    }

    /// There is an operand at RDI.
    const fn has_destination(self) -> bool {
        !matches!(self, Self::Load)
    }

    /// The operand at RDI is written.
    const fn writes(self) -> bool {
        matches!(self, Self::Move | Self::Fill)
    }

    /// Repetition ends when ZF says so.
    const fn compares(self) -> bool {
        matches!(self, Self::Compare | Self::Scan)
    }
}

/// A repeated instruction: the helper's argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeat {
    /// Which.
    pub what: What,
    /// Size of an element.
    pub w: Width,
    /// Width of RCX, RSI and RDI.
    pub address_width: Width,
    /// REPNE; only comparisons ask.
    pub while_not_equal: bool,
    /// Base of the source's segment, or [`regs::NONE`].
    pub source: Slot,
    /// The source's segment is checked; for instructions without a source the destination's.
    pub source_checked: bool,
    /// ES is checked.
    pub destination_checked: bool,
    /// Linear addresses are 32-bit.
    pub linear_32: bool,
}

impl Repeat {
    /// As the helper's argument.
    pub const fn number(self) -> u64 {
        self.what as u64
            | (self.w as u64) << 4
            | (self.address_width as u64) << 6
            | (self.while_not_equal as u64) << 8
            | (self.source_checked as u64) << 9
            | (self.destination_checked as u64) << 10
            | (self.linear_32 as u64) << 11
            | (self.source.0 as u64) << 16
    }

    /// From the helper's argument.
    fn from_number(number: u64) -> Self {
        let bit = |at: u32| number >> at & 1 != 0;
        Self {
            what: What::ALL[(number & 15) as usize % What::ALL.len()],
            w: Width::ALL[(number >> 4 & 3) as usize],
            address_width: Width::ALL[(number >> 6 & 3) as usize],
            while_not_equal: bit(8),
            source_checked: bit(9),
            destination_checked: bit(10),
            linear_32: bit(11),
            source: Slot((number >> 16) as u8),
        }
    }
}

/// Bytes after which the instruction lets interrupts in.
const BUDGET_BYTES: u64 = PAGE_BYTES;

/// ([`Repeat`]): 1 if the instruction is to be started again.
pub fn repeat(cpu: &mut Cpu<X86_64>, [number, ..]: [u64; 4]) -> Result<u64, Trap> {
    let insn = Repeat::from_number(number);
    let rflags = cpu.slots[usize::from(RFLAGS.0)];
    let (down, stepping) = (rflags & DF != 0, cpu.guest.needs_stepping(rflags));
    let mut budget = if stepping { 1 } else { BUDGET_BYTES >> insn.w as u8 };
    loop {
        let left = counter(cpu, insn);
        if left == 0 {
            return Ok(0);
        }
        if budget == 0 {
            debug::set_resume(cpu);
            return Ok(1);
        }
        let most = left.min(budget);
        let (count, ended) = match several(cpu, insn, most, down) {
            Some(done) => done,
            None => (1, one(cpu, insn)?),
        };
        advance(cpu, insn, count, down);
        if ended {
            return Ok(0);
        }
        budget -= count;
    }
}

/// What RCX counts.
fn counter(cpu: &Cpu<X86_64>, insn: Repeat) -> u64 {
    cpu.slots[usize::from(RCX.0)] & insn.address_width.mask()
}

/// Offset of the next element that an index register names.
fn index(cpu: &Cpu<X86_64>, insn: Repeat, slot: Slot) -> u64 {
    cpu.slots[usize::from(slot.0)] & insn.address_width.mask()
}

/// Writes the low bits of an index or counter as any instruction does.
fn set(cpu: &mut Cpu<X86_64>, w: Width, slot: Slot, value: u64) {
    let register = &mut cpu.slots[usize::from(slot.0)];
    *register = match w {
        W16 => *register & !W16.mask() | value & W16.mask(),
        w => value & w.mask(),
    };
}

/// Moves the registers on by `count` elements.
fn advance(cpu: &mut Cpu<X86_64>, insn: Repeat, count: u64, down: bool) {
    let bytes = count * insn.w.bytes();
    let bytes = if down { bytes.wrapping_neg() } else { bytes };
    let w = insn.address_width;
    set(cpu, w, RCX, counter(cpu, insn).wrapping_sub(count));
    if insn.what.has_source() {
        set(cpu, w, RSI, index(cpu, insn, RSI).wrapping_add(bytes));
    }
    if insn.what.has_destination() {
        set(cpu, w, RDI, index(cpu, insn, RDI).wrapping_add(bytes));
    }
}

/// The linear address of an offset in the source's segment (`slot` is RSI) or in ES.
fn linear(cpu: &Cpu<X86_64>, insn: Repeat, slot: Slot, offset: u64) -> Result<Gva, Trap> {
    let source = slot == RSI;
    let checked = if source { insn.source_checked } else { insn.destination_checked };
    if checked {
        let number = insn.source.0.wrapping_sub(regs::ES_BASE.0);
        let register = match SegmentRegister::from_number(number) {
            Some(register) if source => register,
            _ => SegmentRegister::Es,
        };
        let check = SegmentCheck::new(insn.w.bytes(), !source && insn.what.writes());
        return address::linear(cpu, register, check, offset).map(Gva);
    }
    if !source || insn.source == regs::NONE {
        return Ok(Gva(offset));
    }
    let sum = cpu.slots[usize::from(insn.source.0)].wrapping_add(offset);
    Ok(Gva(if insn.linear_32 { sum & W32.mask() } else { sum }))
}

/// One element, wherever it is; whether the repetition ends with it.
fn one(cpu: &mut Cpu<X86_64>, insn: Repeat) -> Result<bool, Trap> {
    let (from, to) = (index(cpu, insn, RSI), index(cpu, insn, RDI));
    let accumulator = cpu.slots[usize::from(RAX.0)];
    let a = if insn.what.has_source() {
        let from = linear(cpu, insn, RSI, from)?;
        cpu.load(from, insn.w)?
    } else {
        accumulator & insn.w.mask()
    };
    match insn.what {
        What::Load => {
            let kept = if insn.w == W32 { 0 } else { accumulator & !insn.w.mask() };
            cpu.slots[usize::from(RAX.0)] = kept | a;
            Ok(false)
        }
        What::Move | What::Fill => {
            let to = linear(cpu, insn, RDI, to)?;
            cpu.store(to, insn.w, a)?;
            Ok(false)
        }
        What::Compare | What::Scan => {
            let to = linear(cpu, insn, RDI, to)?;
            let b = cpu.load(to, insn.w)?;
            Ok(compare(cpu, insn, a, b))
        }
    }
}

/// Sets the flags of a comparison; whether the repetition ends with it.
fn compare(cpu: &mut Cpu<X86_64>, insn: Repeat, a: u64, b: u64) -> bool {
    with_words(cpu, |e| {
        let difference = e.sub(insn.w, a, b);
        flags::produce(e, Kind::Cmp, insn.w, a, b, difference);
    });
    eval::compare(Cond::Eq, insn.w, a, b) == insn.while_not_equal
}

/// Part of the repetition in one page of RAM for each operand.
struct Run {
    /// Elements.
    count: u64,
    /// Physical address of the lowest byte of the source, if there is one.
    from: Gpa,
    /// The same of the destination.
    to: Gpa,
}

/// Up to `most` elements at once: how many, and whether the repetition ends with the last of them. `None` if the next
/// one is not plain RAM that the TLB knows, crosses pages, or must be checked by itself.
fn several(cpu: &mut Cpu<X86_64>, insn: Repeat, most: u64, down: bool) -> Option<(u64, bool)> {
    let special = insn.source_checked || insn.destination_checked || insn.what == What::Load;
    if special || down && insn.what.compares() {
        return None;
    }
    let mut run = Run { count: most, from: Gpa(0), to: Gpa(0) };
    if insn.what.has_source() {
        run.from = place(cpu, insn, RSI, down, &mut run.count)?;
    }
    if insn.what.has_destination() {
        run.to = place(cpu, insn, RDI, down, &mut run.count)?;
    }
    if down && run.count < most {
        // With fewer elements both start higher.
        let mut count = run.count;
        if insn.what.has_source() {
            run.from = place(cpu, insn, RSI, down, &mut count)?;
        }
        run.to = place(cpu, insn, RDI, down, &mut count)?;
    }
    match insn.what {
        What::Move => copy(cpu, insn, &mut run, down)?,
        What::Fill => fill(cpu, insn, &run)?,
        _ => return search(cpu, insn, &run),
    }
    Some((run.count, false))
}

/// Physical address of the lowest byte of the next elements; `count` is reduced to those that lie in its page.
fn place(cpu: &mut Cpu<X86_64>, insn: Repeat, slot: Slot, down: bool, count: &mut u64) -> Option<Gpa> {
    let offset = index(cpu, insn, slot);
    let gva = linear(cpu, insn, slot, offset).ok()?;
    let bytes = insn.w.bytes();
    // Offsets wrap at the address size, which need not be where a page ends.
    let (before, behind) = (offset.min(gva.page_offset()), insn.address_width.mask() - offset);
    let behind = behind.min(gva.bytes_to_page_end() - 1);
    if behind < bytes - 1 {
        return None;
    }
    let fitting = if down { (before >> insn.w as u8) + 1 } else { (behind + 1) >> insn.w as u8 };
    *count = fitting.min(*count);
    let access = if slot == RDI && insn.what.writes() { Access::Write } else { Access::Read };
    let context = cpu.data_context();
    let host = cpu.tlb.lookup(context, gva.page_start(), Width::W8, access)?;
    let page = cpu.ram.gpa_of_host(host);
    let lowest = if down { gva.page_offset() - (*count - 1) * bytes } else { gva.page_offset() };
    Some(page.offset(lowest))
}

/// Copies as one element after the other would be.
fn copy(cpu: &mut Cpu<X86_64>, insn: Repeat, run: &mut Run, down: bool) -> Option<()> {
    let bytes = insn.w.bytes();
    let len_bytes = run.count * bytes;
    // Whether a copied element is read again: then the copy is not that of the whole.
    let ahead = if down { run.from.0.wrapping_sub(run.to.0) } else { run.to.0.wrapping_sub(run.from.0) };
    if ahead == 0 || ahead >= len_bytes {
        return cpu.ram.copy(run.from, run.to, len_bytes).ok();
    }
    if down {
        // Rare: one element.
        let from = run.from.offset(len_bytes - bytes);
        let to = run.to.offset(len_bytes - bytes);
        run.count = 1;
        return cpu.ram.copy(from, to, bytes).ok();
    }
    let ahead = ahead as usize;
    let both = cpu.ram.slice_mut(run.from, ahead as u64 + len_bytes).ok()?;
    for at in (0..len_bytes as usize).step_by(bytes as usize) {
        both.copy_within(at..at + bytes as usize, at + ahead);
    }
    Some(())
}

/// Fills with the accumulator.
fn fill(cpu: &mut Cpu<X86_64>, insn: Repeat, run: &Run) -> Option<()> {
    let value = cpu.slots[usize::from(RAX.0)].to_le_bytes();
    let bytes = insn.w.bytes() as usize;
    let to = cpu.ram.slice_mut(run.to, run.count * bytes as u64).ok()?;
    if value[..bytes].iter().all(|&byte| byte == value[0]) {
        to.fill(value[0]);
    } else {
        for element in to.chunks_exact_mut(bytes) {
            element.copy_from_slice(&value[..bytes]);
        }
    }
    Some(())
}

/// Compares until the repetition ends: how many elements, and whether it does.
fn search(cpu: &mut Cpu<X86_64>, insn: Repeat, run: &Run) -> Option<(u64, bool)> {
    let bytes = insn.w.bytes() as usize;
    let len_bytes = run.count * bytes as u64;
    let accumulator = cpu.slots[usize::from(RAX.0)].to_le_bytes();
    let to = cpu.ram.slice(run.to, len_bytes).ok()?;
    let ends = |equal: bool| equal == insn.while_not_equal;
    let at = if insn.what == What::Compare {
        let from = cpu.ram.slice(run.from, len_bytes).ok()?;
        let mut pairs = from.chunks_exact(bytes).zip(to.chunks_exact(bytes));
        pairs.position(|(a, b)| ends(a == b))
    } else if bytes == 1 {
        to.iter().position(|&byte| ends(byte == accumulator[0]))
    } else {
        to.chunks_exact(bytes).position(|element| ends(element == &accumulator[..bytes]))
    };
    let count = at.map_or(run.count, |at| at as u64 + 1);
    let number = |element: &[u8]| {
        let mut all = [0; 8];
        all[..bytes].copy_from_slice(element);
        u64::from_le_bytes(all)
    };
    let last = (count as usize - 1) * bytes..count as usize * bytes;
    let b = number(&to[last.clone()]);
    let a = match insn.what {
        What::Compare => number(&cpu.ram.slice(run.from, len_bytes).ok()?[last]),
        _ => number(&accumulator[..bytes]),
    };
    let ended = compare(cpu, insn, a, b);
    Some((count, ended))
}

#[cfg(test)]
mod tests;
