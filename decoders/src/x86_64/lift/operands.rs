//! Words that x86_64's meanings add to those of [`Emit`]: operands of every form are read and written alike.
//!
//! A value of width `w` is in the low `w` bits; what is above them is never looked at.

use super::Done;
use crate::x86_64::helpers::integer::Helper;
use crate::x86_64::insn::{Insn, Memory, Operand, SegmentCheck};
use crate::x86_64::regs;
use c2w_engine::addr::Width::{self, W8, W32, W64};
use c2w_engine::emit::{Emit, Slot};

/// Where an operand is, with its address computed: read and write it as often as needed.
#[derive(Clone, Copy)]
pub(super) enum Place<V> {
    /// The low bits of a register.
    Register { slot: Slot, w: Width },
    /// Bits 8 to 15 of a register.
    HighByte(Slot),
    /// Memory.
    Memory { w: Width, addr: V },
    /// A constant; it cannot be written.
    Constant(i64),
}

/// Additional words, for every builder.
pub(super) trait X86Emit: Emit {
    /// The offset that a memory operand names, before the segment's base is added.
    #[inline(always)]
    fn effective(&mut self, m: &Memory) -> Self::Val {
        let mut sum = self.imm(m.displacement as u64);
        if m.rip_relative {
            let pc = self.pc();
            sum = self.add(W64, pc, sum);
        }
        if m.base != regs::NONE {
            let base = self.get(m.base);
            sum = self.add(W64, base, sum);
        }
        if m.index != regs::NONE {
            let index = self.get(m.index);
            let scale = self.imm(u64::from(m.scale));
            let scaled = self.shl(W64, index, scale);
            sum = self.add(W64, sum, scaled);
        }
        if m.address_width == W64 { sum } else { self.zext(m.address_width, sum) }
    }

    /// The linear address of a memory operand, checked where segments are.
    #[inline(always)]
    fn address(&mut self, m: &Memory) -> Result<Self::Val, Self::Stop> {
        let offset = self.effective(m);
        self.linear(m, offset)
    }

    /// The linear address of an offset in the segment of a memory operand.
    #[inline(always)]
    fn linear(&mut self, m: &Memory, offset: Self::Val) -> Result<Self::Val, Self::Stop> {
        if m.segment == regs::NONE {
            return Ok(offset);
        }
        if !m.check.is_none() {
            return self.checked_linear(m.segment, m.check, offset);
        }
        let base = self.get(m.segment);
        let sum = self.add(W64, base, offset);
        Ok(if m.linear_32 { self.zext(W32, sum) } else { sum })
    }

    /// The linear address of an offset in the segment with this base, outside of 64-bit mode: #GP(0) or #SS(0) if the
    /// segment does not allow the access.
    #[inline(always)]
    fn checked_linear(
        &mut self,
        segment: Slot,
        check: SegmentCheck,
        offset: Self::Val,
    ) -> Result<Self::Val, Self::Stop> {
        let (register, check) = (self.imm(u64::from(segment.0 - regs::ES_BASE.0)), self.imm(check.number()));
        self.helper(Helper::Linear.id(), &[register, check, offset])
    }

    /// Where operand `index` is.
    #[inline(always)]
    fn place(&mut self, i: &Insn, index: usize) -> Result<Place<Self::Val>, Self::Stop> {
        Ok(match i.operands[index] {
            Operand::Register { slot, w } => Place::Register { slot, w },
            Operand::HighByte(slot) => Place::HighByte(slot),
            Operand::Memory(w) => Place::Memory { w, addr: self.address(&i.memory)? },
            _ => Place::Constant(i.imm),
        })
    }

    /// Reads a place.
    #[inline(always)]
    fn read(&mut self, place: Place<Self::Val>) -> Result<Self::Val, Self::Stop> {
        match place {
            Place::Register { slot, .. } => Ok(self.get(slot)),
            Place::HighByte(slot) => {
                let value = self.get(slot);
                let eight = self.imm(8);
                Ok(self.shr(W64, value, eight))
            }
            Place::Memory { w, addr } => self.load(w, addr),
            Place::Constant(number) => Ok(self.imm(number as u64)),
        }
    }

    /// Reads a place that is written afterwards.
    #[inline(always)]
    fn read_to_modify(&mut self, place: Place<Self::Val>) -> Result<Self::Val, Self::Stop> {
        match place {
            Place::Memory { w, addr } => self.load_to_modify(w, addr),
            place => self.read(place),
        }
    }

    /// Reads operand `index`.
    #[inline(always)]
    fn operand(&mut self, i: &Insn, index: usize) -> Result<Self::Val, Self::Stop> {
        let place = self.place(i, index)?;
        self.read(place)
    }

    /// Writes a place. Nothing else may have been written before if it is memory.
    #[inline(always)]
    fn write(&mut self, place: Place<Self::Val>, value: Self::Val) -> Done<Self> {
        match place {
            Place::Register { slot, w } => self.set_gpr(slot, w, value),
            Place::HighByte(slot) => {
                let (byte, eight) = (self.zext(W8, value), self.imm(8));
                let new = self.shl(W64, byte, eight);
                self.merge(slot, 0xff00, new);
            }
            Place::Memory { w, addr } => self.store(w, addr, value)?,
            Place::Constant(_) => unreachable!("no instruction writes to an immediate"),
        }
        Ok(())
    }

    /// Writes the low bits of a general register: 32 bits clear those above, 8 and 16 keep them (SDM 1 3.4.1.1).
    #[inline(always)]
    fn set_gpr(&mut self, slot: Slot, w: Width, value: Self::Val) {
        match w {
            W64 => self.set(slot, value),
            W32 => {
                let value = self.zext(W32, value);
                self.set(slot, value);
            }
            w => {
                let new = self.zext(w, value);
                self.merge(slot, w.mask(), new);
            }
        }
    }

    /// Replaces the bits `mask` of a register.
    #[inline(always)]
    fn merge(&mut self, slot: Slot, mask: u64, new: Self::Val) {
        let (old, others) = (self.get(slot), self.imm(!mask));
        let kept = self.and(W64, old, others);
        let value = self.or(W64, kept, new);
        self.set(slot, value);
    }
}

impl<E: Emit> X86Emit for E {}
