//! A stack on which far transfers, interrupts and returns push and pop. Registers do not change until
//! [`Stack::write_back`], so that a fault half-way leaves them as they were.

use super::descriptor::{Descriptor, is_64_bit, is_canonical};
use super::guest::X86_64;
use super::mode::{SUPERVISOR, USER};
use super::segment::{Segment, SegmentRegister};
use super::{regs, trap};
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// A stack segment with a pointer into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The stack pointer.
    pub pointer: u64,
    /// Width of the stack pointer; [`Width::W64`] means a flat stack without checks other than canonical addresses.
    width: Width,
    segment: Segment,
    base: u64,
    /// TLB context of accesses.
    context: usize,
    /// Error code of its #SS.
    error: u16,
}

impl Stack {
    /// The present stack.
    pub fn current(cpu: &Cpu<X86_64>) -> Self {
        let segment = *cpu.guest.segment(SegmentRegister::Ss);
        let pointer = cpu.slots[usize::from(regs::RSP.0)];
        let base = cpu.slots[usize::from(regs::SS_BASE.0)];
        let width = if is_64_bit(cpu) { Width::W64 } else { width_of(&segment) };
        Self { pointer, width, segment, base, context: cpu.data_context(), error: 0 }
    }

    /// The stack of 64-bit code at privilege level `cpl`.
    pub fn flat(pointer: u64, cpl: u8) -> Self {
        let context = context(cpl);
        Self { pointer, width: Width::W64, segment: Segment::default(), base: 0, context, error: 0 }
    }

    /// A stack in another segment, for 32-bit and 16-bit code at privilege level `cpl`. Its #SS names the segment.
    pub fn in_segment(descriptor: &Descriptor, pointer: u64, cpl: u8) -> Self {
        let segment = descriptor.segment();
        Self {
            pointer,
            width: width_of(&segment),
            segment,
            base: descriptor.base(),
            context: context(cpl),
            error: descriptor.selector.error(),
        }
    }

    /// The same stack for 64-bit code: a return from a smaller size pops the way it was entered.
    pub fn is_flat(&self) -> bool {
        self.width == Width::W64
    }

    /// Pushes the low bits of `value`.
    pub fn push(&mut self, cpu: &mut Cpu<X86_64>, w: Width, value: u64) -> Result<(), Trap> {
        let pointer = self.moved(w.bytes().wrapping_neg());
        let gva = self.linear(pointer, w)?;
        cpu.store_in(gva, w, value, self.context)?;
        self.pointer = pointer;
        Ok(())
    }

    /// Pops a value, zero-extended.
    pub fn pop(&mut self, cpu: &mut Cpu<X86_64>, w: Width) -> Result<u64, Trap> {
        let gva = self.linear(self.pointer, w)?;
        let value = cpu.load_in(gva, w, self.context)?;
        self.pointer = self.moved(w.bytes());
        Ok(value)
    }

    /// Pops and drops `len_bytes`.
    pub fn release(&mut self, len_bytes: u64) {
        self.pointer = self.moved(len_bytes);
    }

    /// Makes the stack pointer register that of this stack: all of it in 64-bit code and on 32-bit stacks, the low 16
    /// bits on 16-bit stacks.
    pub fn write_back(&self, cpu: &mut Cpu<X86_64>) {
        cpu.slots[usize::from(regs::RSP.0)] = self.pointer;
    }

    /// The stack pointer after adding `bytes`: only the bits that it has change.
    fn moved(&self, bytes: u64) -> u64 {
        let mask = self.width.mask();
        let moved = self.pointer.wrapping_add(bytes) & mask;
        // A write of 32 bits clears the upper half.
        if self.width == Width::W16 { self.pointer & !mask | moved } else { moved }
    }

    /// Linear address of `w` at an offset in the segment.
    fn linear(&self, pointer: u64, w: Width) -> Result<Gva, Trap> {
        let fault = trap::stack_fault(self.error);
        if self.is_flat() {
            let last = pointer.wrapping_add(w.bytes() - 1);
            return if is_canonical(pointer) && is_canonical(last) { Ok(Gva(pointer)) } else { Err(fault) };
        }
        let offset = (pointer & self.width.mask()) as u32;
        if !self.segment.contains(offset, w.bytes() as u32) {
            return Err(fault);
        }
        Ok(Gva(self.base.wrapping_add(u64::from(offset)) & 0xffff_ffff))
    }
}

fn width_of(segment: &Segment) -> Width {
    if segment.attributes.is_big() { Width::W32 } else { Width::W16 }
}

fn context(cpl: u8) -> usize {
    if cpl == 3 { USER } else { SUPERVISOR }
}
