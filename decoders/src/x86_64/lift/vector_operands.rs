//! Words for operands of instructions on MMX and vector registers, whatever those compute: registers and memory as
//! 64-bit halves, alignment, and what every MMX instruction does to the x87 state.
//!
//! Legacy SSE instructions ask for 16-byte operands in memory to be aligned (SDM 1 10.4.1.1, exceptions type 4); VEX
//! forms and the instructions for unaligned data do not.

use super::Done;
use super::operands::X86Emit;
use crate::x86_64::insn::{Insn, InsnFlags, Memory, Operand};
use crate::x86_64::regs::{self, VECTOR_SCRATCH};
use crate::x86_64::trap;
use c2w_engine::addr::Width::{W32, W64};
use c2w_engine::emit::{Emit, Slot, VectorInsert};

/// 128 bits: the halves of a vector, low one first.
#[derive(Clone, Copy)]
pub(super) struct Pair<V> {
    /// Bits 0 to 63.
    pub lo: V,
    /// Bits 64 to 127.
    pub hi: V,
}

/// Bytes of a vector.
const PAIR_BYTES: u16 = 16;

/// Exception summary: an unmasked x87 exception waits (SDM 1 8.1.3.3).
const X87_ES: u64 = 1 << 7;
/// Top of the x87 stack.
const X87_TOP: u64 = 7 << 11;

/// The slot with the high half of a vector register.
pub(super) const fn high(slot: Slot) -> Slot {
    Slot(slot.0 + 1)
}

/// The slot with the sign and exponent of an MMX register.
const fn mmx_exponent(slot: Slot) -> Slot {
    regs::x87_exponent(slot.0 - regs::x87_significand(0).0)
}

/// Whether memory must be aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alignment {
    /// To 16 bytes, if the instruction is not VEX-encoded.
    Legacy,
    /// To 16 bytes (MOVAPS and the like).
    Always,
    /// Not at all.
    Never,
}

/// Additional words, for every builder.
pub(super) trait VectorEmit: X86Emit {
    /// The slot of a register operand that is a vector, MMX or general register.
    #[inline(always)]
    fn slot_of(&mut self, i: &Insn, index: usize) -> Slot {
        match i.operands[index] {
            Operand::Vector(slot) | Operand::Mmx(slot) | Operand::Register { slot, .. } => slot,
            operand => unreachable!("{operand:?} is no register"),
        }
    }

    /// The address of the second half of a vector at `addr`.
    #[inline(always)]
    fn high_address(&mut self, m: &Memory, addr: Self::Val) -> Self::Val {
        let eight = self.imm(8);
        let sum = self.add(W64, addr, eight);
        if m.linear_32 { self.zext(W32, sum) } else { sum }
    }

    /// The address of a 16-byte operand: #GP(0) if it is misaligned and may not be.
    #[inline(always)]
    fn vector_address(&mut self, i: &Insn, alignment: Alignment) -> Result<Self::Val, Self::Stop> {
        let addr = self.address(&i.memory)?;
        let checked = match alignment {
            Alignment::Legacy => !i.flags.contains(InsnFlags::VEX),
            Alignment::Always => true,
            Alignment::Never => false,
        };
        if checked {
            let (low_bits, zero) = (self.imm(u64::from(PAIR_BYTES) - 1), self.imm(0));
            let misaligned = self.and(W64, addr, low_bits);
            self.trap_if(misaligned, trap::PROTECTION, zero)?;
        }
        Ok(addr)
    }

    /// Reads operand `index`: the low 64 bits of a vector or MMX register (of which an instruction on fewer uses fewer),
    /// or memory of up to 64 bits, zero-extended.
    #[inline(always)]
    fn scalar(&mut self, i: &Insn, index: usize) -> Result<Self::Val, Self::Stop> {
        match i.operands[index] {
            Operand::Vector(slot) | Operand::Mmx(slot) => Ok(self.get(slot)),
            _ => self.operand(i, index),
        }
    }

    /// The pair of slots that holds operand `index`: that of a vector register, or one that memory was read into,
    /// zero-extended. There is none of an immediate; then it is that of any register.
    #[inline(always)]
    fn vector_source(&mut self, i: &Insn, index: usize, alignment: Alignment) -> Result<Slot, Self::Stop> {
        match i.operands[index] {
            Operand::Vector(slot) => return Ok(slot),
            Operand::WideMemory(_) => self.load_vector(i, VECTOR_SCRATCH, alignment)?,
            Operand::Memory(w @ (W32 | W64)) => {
                let addr = self.address(&i.memory)?;
                self.vector_load(w.bytes() as u8, VECTOR_SCRATCH, addr)?;
            }
            Operand::Memory(w) => {
                let addr = self.address(&i.memory)?;
                let value = self.load(w, addr)?;
                self.vector_insert(VectorInsert::Movq, 0, VECTOR_SCRATCH, value);
            }
            _ => return Ok(self.slot_of(i, 0)),
        }
        Ok(VECTOR_SCRATCH)
    }

    /// Reads 16 bytes of memory into a pair of slots.
    #[inline(always)]
    fn load_vector(&mut self, i: &Insn, to: Slot, alignment: Alignment) -> Done<Self> {
        let addr = self.vector_address(i, alignment)?;
        if !i.memory.linear_32 {
            return self.vector_load(PAIR_BYTES as u8, to, addr);
        }
        // The second half may be at the other end of the address space.
        let lo = self.load(W64, addr)?;
        let above = self.high_address(&i.memory, addr);
        let hi = self.load(W64, above)?;
        self.set(to, lo);
        self.set(high(to), hi);
        Ok(())
    }

    /// Reads operand `index`: a vector register or 16 bytes of memory.
    #[inline(always)]
    fn vector_pair(
        &mut self,
        i: &Insn,
        index: usize,
        alignment: Alignment,
    ) -> Result<Pair<Self::Val>, Self::Stop> {
        if let Operand::Vector(slot) = i.operands[index] {
            return Ok(Pair { lo: self.get(slot), hi: self.get(high(slot)) });
        }
        let addr = self.vector_address(i, alignment)?;
        let lo = self.load(W64, addr)?;
        let above = self.high_address(&i.memory, addr);
        let hi = self.load(W64, above)?;
        Ok(Pair { lo, hi })
    }

    /// Writes a vector register to 16 bytes of memory.
    #[inline(always)]
    fn store_vector(&mut self, i: &Insn, from: Slot, alignment: Alignment) -> Done<Self> {
        let addr = self.vector_address(i, alignment)?;
        if !i.memory.linear_32 {
            return self.vector_store(PAIR_BYTES as u8, addr, from);
        }
        // What is aligned lies in one page.
        if alignment != Alignment::Always {
            self.check_crossing_write(addr, PAIR_BYTES)?;
        }
        let (lo, hi) = (self.get(from), self.get(high(from)));
        self.store(W64, addr, lo)?;
        let above = self.high_address(&i.memory, addr);
        self.store(W64, above, hi)
    }

    /// Writes the low 128 bits of a vector register; VEX forms clear those above.
    #[inline(always)]
    fn set_vector(&mut self, i: &Insn, slot: Slot, value: Pair<Self::Val>) {
        self.set(slot, value.lo);
        self.set(high(slot), value.hi);
        if i.flags.contains(InsnFlags::VEX) {
            self.clear_upper(slot);
        }
    }

    /// Clears what is above 128 bits of a vector register.
    #[inline(always)]
    fn clear_upper(&mut self, slot: Slot) {
        let zero = self.imm(0);
        self.set(Slot(slot.0 + 2), zero);
        self.set(Slot(slot.0 + 3), zero);
    }

    /// First word of every instruction with MMX registers: #MF if an x87 exception waits.
    #[inline(always)]
    fn check_mmx(&mut self) -> Done<Self> {
        let (status, summary, zero) = (self.get(regs::X87_STATUS), self.imm(X87_ES), self.imm(0));
        let waits = self.and(W64, status, summary);
        self.trap_if(waits, trap::X87_ERROR, zero)
    }

    /// What every instruction with MMX registers does to the x87 state, after all that may trap: the top of the stack is
    /// 0 and every register valid (SDM 3A 12.3).
    #[inline(always)]
    fn enter_mmx(&mut self) {
        self.set_mmx_tags(0xff);
    }

    /// The same with the tags that EMMS leaves.
    #[inline(always)]
    fn leave_mmx(&mut self) {
        self.set_mmx_tags(0);
    }

    /// The top of the stack is 0, and these registers are not empty.
    #[inline(always)]
    fn set_mmx_tags(&mut self, tags: u64) {
        let (status, others) = (self.get(regs::X87_STATUS), self.imm(!X87_TOP));
        let status = self.and(W64, status, others);
        self.set(regs::X87_STATUS, status);
        let tags = self.imm(tags);
        self.set(regs::X87_TAGS, tags);
    }

    /// Writes an MMX register: sign and exponent become ones. [`VectorEmit::enter_mmx`] is said besides.
    #[inline(always)]
    fn set_mmx(&mut self, slot: Slot, value: Self::Val) {
        self.set(slot, value);
        let ones = self.imm(0xffff);
        self.set(mmx_exponent(slot), ones);
    }
}

impl<E: Emit> VectorEmit for E {}
