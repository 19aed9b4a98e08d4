//! Descriptors in the GDT and LDT, and loading segment registers from them with all checks (SDM 3A 3.4, 5).
//!
//! Tables are read and written as implicit supervisor accesses. A load that faults has changed no register; it may have
//! set the accessed bit of a descriptor.

use super::guest::X86_64;
use super::mode::{self, SUPERVISOR};
use super::segment::{Attributes, Segment, SegmentRegister};
use super::trap;
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// A segment selector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selector(pub u16);

impl Selector {
    /// Requested privilege level.
    pub const fn rpl(self) -> u8 {
        (self.0 & 3) as u8
    }

    /// One of the four null selectors.
    pub const fn is_null(self) -> bool {
        self.0 & !3 == 0
    }

    /// The descriptor is in the LDT.
    pub const fn is_local(self) -> bool {
        self.0 & 4 != 0
    }

    /// The selector as an error code names it (SDM 3A 6.13).
    pub const fn error(self) -> u16 {
        self.0 & !3
    }

    /// The same selector with another requested privilege level.
    pub const fn with_rpl(self, rpl: u8) -> Self {
        Self(self.0 & !3 | rpl as u16)
    }
}

/// A descriptor with where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Which one it is.
    pub selector: Selector,
    /// Linear address of its first byte.
    pub address: Gva,
    /// Its eight bytes.
    pub bits: u64,
}

impl Descriptor {
    /// Base address, 32 bits.
    pub const fn base(&self) -> u64 {
        self.bits >> 16 & 0xff_ffff | self.bits >> 32 & 0xff00_0000
    }

    /// Offset of the last byte, scaled.
    pub const fn limit(&self) -> u32 {
        let raw = (self.bits & 0xffff | self.bits >> 32 & 0xf_0000) as u32;
        if self.attributes().has_page_granularity() { raw << 12 | 0xfff } else { raw }
    }

    /// Access rights.
    pub const fn attributes(&self) -> Attributes {
        Attributes::of_descriptor((self.bits >> 32) as u32)
    }

    /// What a segment register holds after a load, the accessed bit included.
    pub const fn segment(&self) -> Segment {
        let attributes = Attributes(self.attributes().0 | ACCESSED as u16);
        Segment { selector: self.selector.0, limit: self.limit(), attributes }
    }
}

/// The accessed bit, in byte 5 of a descriptor.
const ACCESSED: u64 = 1;
/// Offset of the byte with the type.
const TYPE_OFFSET: u64 = 5;

/// The descriptor that a selector names; `None` if its table does not reach that far. The null selectors are not
/// special here.
pub fn read(cpu: &mut Cpu<X86_64>, selector: Selector) -> Result<Option<Descriptor>, Trap> {
    let guest = &cpu.guest;
    let (base, limit) = if !selector.is_local() {
        (guest.gdtr.base, u32::from(guest.gdtr.limit))
    } else if guest.ldtr.attributes.is_present() {
        (guest.ldtr.base, guest.ldtr.limit)
    } else {
        return Ok(None);
    };
    let offset = u32::from(selector.0 & !7);
    if offset + 7 > limit {
        return Ok(None);
    }
    let address = Gva(base).offset(u64::from(offset));
    let bits = cpu.load_in(address, Width::W64, SUPERVISOR)?;
    Ok(Some(Descriptor { selector, address, bits }))
}

/// The descriptor of a selector that may not be null: #GP(0) if it is, #GP(selector) if its table ends before it.
pub fn read_existing(cpu: &mut Cpu<X86_64>, selector: Selector) -> Result<Descriptor, Trap> {
    if selector.is_null() {
        return Err(trap::protection(0));
    }
    read(cpu, selector)?.ok_or(trap::protection(selector.error()))
}

/// Upper half of the base address of a 16-byte system descriptor: LDT and TSS in long mode. #GP(selector) if its table
/// ends before it or its second half is not one.
pub fn read_upper_base(cpu: &mut Cpu<X86_64>, descriptor: &Descriptor) -> Result<u64, Trap> {
    let fault = trap::protection(descriptor.selector.error());
    let next = Selector(descriptor.selector.0.checked_add(8).ok_or(fault)?);
    let upper = read(cpu, next)?.ok_or(fault)?.bits;
    // The type field of the second half is zero, so that it is no descriptor itself.
    if upper >> 40 & 0x1f != 0 { Err(fault) } else { Ok(upper << 32) }
}

/// Sets the accessed bit in memory if it is clear.
pub fn mark_accessed(cpu: &mut Cpu<X86_64>, descriptor: &Descriptor) -> Result<(), Trap> {
    let kind = descriptor.bits >> 40;
    if kind & ACCESSED == 0 {
        let at = descriptor.address.offset(TYPE_OFFSET);
        cpu.store_in(at, Width::W8, kind | ACCESSED, SUPERVISOR)?;
    }
    Ok(())
}

/// Writes a segment register and its base. Call [`mode::refresh`] afterwards, unless the vCPU is in 64-bit mode and
/// the register is not CS.
pub fn set(cpu: &mut Cpu<X86_64>, register: SegmentRegister, segment: Segment, base: u64) {
    cpu.guest.segments[register as usize] = segment;
    cpu.slots[usize::from(register.base_slot().0)] = base;
}

/// Makes a segment register hold a null selector, through which nothing can be accessed outside of 64-bit mode.
pub fn set_null(cpu: &mut Cpu<X86_64>, register: SegmentRegister, selector: Selector) {
    let segment = Segment { selector: selector.0, ..Segment::default() };
    set(cpu, register, segment, 0);
}

/// Loads ES, SS, DS, FS or GS: MOV, POP, LDS and its kin (SDM 2B MOV). After SS the caller holds interrupts off for an
/// instruction if the instruction does that ([`super::interrupt::hold_after_stack_load`]).
pub fn load(cpu: &mut Cpu<X86_64>, register: SegmentRegister, selector: Selector) -> Result<(), Trap> {
    let cpl = cpu.guest.cpl;
    let stack = register == SegmentRegister::Ss;
    if selector.is_null() {
        if stack && !(is_64_bit(cpu) && cpl < 3 && selector.rpl() == cpl) {
            return Err(trap::protection(0));
        }
        set_null(cpu, register, selector);
    } else if stack {
        let descriptor = read_stack(cpu, selector, cpl, trap::protection)?;
        mark_accessed(cpu, &descriptor)?;
        set(cpu, register, descriptor.segment(), descriptor.base());
    } else {
        let descriptor = read_existing(cpu, selector)?;
        let attributes = descriptor.attributes();
        let private = !attributes.is_conforming();
        let privileged = private && (selector.rpl() > attributes.dpl() || cpl > attributes.dpl());
        if !attributes.is_readable() || privileged {
            return Err(trap::protection(selector.error()));
        }
        if !attributes.is_present() {
            return Err(trap::not_present(selector.error()));
        }
        mark_accessed(cpu, &descriptor)?;
        set(cpu, register, descriptor.segment(), descriptor.base());
    }
    if !is_64_bit(cpu) {
        mode::refresh(cpu);
    }
    Ok(())
}

/// The descriptor of a stack segment for privilege level `cpl`, which is not null: `fault` (#GP, or #TS if the selector
/// comes from a TSS) if it is none, #SS if it is not present.
pub fn read_stack(
    cpu: &mut Cpu<X86_64>,
    selector: Selector,
    cpl: u8,
    fault: fn(u16) -> Trap,
) -> Result<Descriptor, Trap> {
    let descriptor = read(cpu, selector)?.ok_or(fault(selector.error()))?;
    let attributes = descriptor.attributes();
    if selector.rpl() != cpl || !attributes.is_writable() || attributes.dpl() != cpl {
        return Err(fault(selector.error()));
    }
    if !attributes.is_present() {
        return Err(trap::stack_fault(selector.error()));
    }
    Ok(descriptor)
}

/// How code is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// JMP or CALL to a code segment, not through a gate.
    Direct,
    /// RET or IRET, to the privilege level that the selector asks for.
    Return,
}

/// Checks that a descriptor is a code segment that `transfer` may enter (SDM 2A CALL, 2B JMP, RET). The privilege level
/// after it is the present one for [`Transfer::Direct`], and the selector's for [`Transfer::Return`].
pub fn check_code(cpu: &Cpu<X86_64>, descriptor: &Descriptor, transfer: Transfer) -> Result<(), Trap> {
    let (selector, attributes, cpl) = (descriptor.selector, descriptor.attributes(), cpu.guest.cpl);
    let (rpl, dpl) = (selector.rpl(), attributes.dpl());
    let allowed = match (transfer, attributes.is_conforming()) {
        (Transfer::Direct, true) => dpl <= cpl,
        (Transfer::Direct, false) => rpl <= cpl && dpl == cpl,
        (Transfer::Return, true) => rpl >= cpl && dpl <= rpl,
        (Transfer::Return, false) => rpl >= cpl && dpl == rpl,
    };
    if !attributes.is_code() || !allowed || has_two_sizes(cpu, attributes) {
        return Err(trap::protection(selector.error()));
    }
    if !attributes.is_present() {
        return Err(trap::not_present(selector.error()));
    }
    Ok(())
}

/// Whether a code segment claims to be 64-bit and 32-bit, which is not allowed in long mode.
pub fn has_two_sizes(cpu: &Cpu<X86_64>, attributes: Attributes) -> bool {
    cpu.guest.is_long_mode() && attributes.is_long() && attributes.is_big()
}

/// Loads CS from a checked descriptor, for privilege level `cpl`, and changes to that level. The caller has called
/// [`mark_accessed`] before it wrote any register, and sets the instruction pointer ([`linear_ip`]).
pub fn set_code(cpu: &mut Cpu<X86_64>, descriptor: &Descriptor, cpl: u8) {
    let segment = Segment { selector: descriptor.selector.with_rpl(cpl).0, ..descriptor.segment() };
    // 64-bit code has no base.
    let long = cpu.guest.is_long_mode() && segment.attributes.is_long();
    set(cpu, SegmentRegister::Cs, segment, if long { 0 } else { descriptor.base() });
    cpu.guest.cpl = cpl;
    mode::refresh(cpu);
}

/// Linear address of `offset` in a checked code segment: #GP(0) if it is past the limit or, in 64-bit code, not
/// canonical. In 32-bit and 16-bit code only the low 32 bits of `offset` count.
pub fn linear_ip(cpu: &Cpu<X86_64>, descriptor: &Descriptor, offset: u64) -> Result<Gva, Trap> {
    if cpu.guest.is_long_mode() && descriptor.attributes().is_long() {
        return if is_canonical(offset) { Ok(Gva(offset)) } else { Err(trap::protection(0)) };
    }
    let offset = offset & 0xffff_ffff;
    if offset > u64::from(descriptor.limit()) {
        return Err(trap::protection(0));
    }
    Ok(Gva(descriptor.base().wrapping_add(offset) & 0xffff_ffff))
}

/// After a return to an outer privilege level: empties the data segment registers that code there may not use (SDM 2B
/// RET).
pub fn drop_inaccessible(cpu: &mut Cpu<X86_64>) {
    use SegmentRegister::{Ds, Es, Fs, Gs};
    for register in [Es, Ds, Fs, Gs] {
        let attributes = cpu.guest.segment(register).attributes;
        let inaccessible = !attributes.is_conforming() && attributes.dpl() < cpu.guest.cpl;
        if attributes.is_present() && inaccessible {
            set_null(cpu, register, Selector(0));
        }
    }
    mode::refresh(cpu);
}

/// Whether the vCPU executes 64-bit code.
pub fn is_64_bit(cpu: &Cpu<X86_64>) -> bool {
    cpu.guest.is_long_mode() && cpu.guest.segment(SegmentRegister::Cs).attributes.is_long()
}

/// Whether bits 63 to 47 of an address are equal (SDM 1 3.3.7.1).
pub const fn is_canonical(address: u64) -> bool {
    ((address << 16) as i64 >> 16) as u64 == address
}
