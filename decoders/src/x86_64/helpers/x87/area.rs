//! The legacy area of 512 bytes that FXSAVE and XSAVE share (SDM 1 10.5.1), and FXSAVE and FXRSTOR themselves.
//!
//! What the manuals leave to the processor is as on those that the conformance tests run on: instruction pointer, data
//! pointer and opcode are saved as zero unless an unmasked x87 exception waits.

use super::environment::control_word;
use super::memory::{put, u16_at, u32_at, u64_at, write};
use super::unit::{ERROR_SUMMARY, Unit};
use crate::x86_64::guest::X86_64;
use crate::x86_64::helpers::float::mxcsr::BITS as MXCSR_BITS;
use crate::x86_64::{mode, regs, trap};
use bitflags::bitflags;
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::tlb::Access;

bitflags! {
    /// Which form of a saving or restoring instruction it is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Form: u64 {
        /// REX.W: instruction and data pointer have 64 bits.
        const WIDE_POINTERS = 1 << 0;
        /// 64-bit code: there are sixteen vector registers, otherwise eight.
        const SIXTEEN = 1 << 1;
        /// XSAVEOPT: components in their initial state are not written.
        const OPTIMIZED = 1 << 2;
        /// XSAVEC: the compacted format.
        const COMPACTED = 1 << 3;
    }
}

impl Form {
    /// Vector registers that are saved.
    pub(super) fn vectors(self) -> u8 {
        if self.contains(Self::SIXTEEN) { 16 } else { 8 }
    }
}

/// Bytes of the area.
pub(super) const AREA: usize = 512;
/// Offset of MXCSR, with its mask behind it.
pub(super) const MXCSR: usize = 24;
/// Offset of the x87 registers.
pub(super) const REGISTERS: usize = 32;
/// Offset of the vector registers.
pub(super) const VECTORS: usize = 160;

/// The default of the SIMD control and status register.
pub(super) const MXCSR_INIT: u64 = 0x1f80;

/// Writes the x87 part: the first 24 bytes and the registers.
pub(super) fn put_x87(unit: &Unit<'_>, form: Form, to: &mut [u8]) {
    put(to, 0, unit.control().to_le_bytes());
    put(to, 2, unit.status().to_le_bytes());
    put(to, 4, [unit.tags(), 0]);
    let waits = unit.status() & ERROR_SUMMARY != 0;
    let (opcode, instruction, data) = if waits { unit.pointers() } else { (0, 0, 0) };
    let pointers = if form.contains(Form::WIDE_POINTERS) { u64::MAX } else { u64::from(u32::MAX) };
    put(to, 6, opcode.to_le_bytes());
    put(to, 8, (instruction & pointers).to_le_bytes());
    put(to, 16, (data & pointers).to_le_bytes());
    for index in 0..8 {
        let value = unit.register(unit.number(index)).to_le_bytes();
        put(to, REGISTERS + 16 * usize::from(index), value);
    }
}

/// Reads the x87 part.
pub(super) fn load_x87(unit: &mut Unit<'_>, form: Form, from: &[u8]) {
    unit.set_words(control_word(u16_at(from, 0)), u16_at(from, 2));
    unit.set_tags(from[4]);
    let pointer = |offset| {
        if form.contains(Form::WIDE_POINTERS) {
            u64_at(from, offset)
        } else {
            u64::from(u32_at(from, offset))
        }
    };
    unit.set_pointers((u16_at(from, 6), pointer(8), pointer(16)));
    for index in 0..8 {
        let at = REGISTERS + 16 * usize::from(index);
        let value = u128::from(u64_at(from, at)) | u128::from(u16_at(from, at + 8)) << 64;
        let number = unit.number(index);
        unit.set_register(number, value);
    }
}

/// Writes MXCSR and its mask.
pub(super) fn put_mxcsr(cpu: &Cpu<X86_64>, to: &mut [u8]) {
    put(to, MXCSR, (cpu.slots[usize::from(regs::MXCSR.0)] as u32).to_le_bytes());
    put(to, MXCSR + 4, (MXCSR_BITS as u32).to_le_bytes());
}

/// MXCSR in an area; #GP for reserved bits.
pub(super) fn mxcsr_in(from: &[u8]) -> Result<u64, Trap> {
    let value = u64::from(u32_at(from, MXCSR));
    if value & !MXCSR_BITS != 0 { Err(trap::protection(0)) } else { Ok(value) }
}

/// Writes the low halves of the vector registers.
pub(super) fn put_vectors(cpu: &Cpu<X86_64>, form: Form, to: &mut [u8]) {
    for number in 0..form.vectors() {
        let slot = usize::from(regs::vector(number).0);
        let at = VECTORS + 16 * usize::from(number);
        put(to, at, cpu.slots[slot].to_le_bytes());
        put(to, at + 8, cpu.slots[slot + 1].to_le_bytes());
    }
}

/// Reads the low halves of the vector registers.
pub(super) fn load_vectors(cpu: &mut Cpu<X86_64>, form: Form, from: &[u8]) {
    for number in 0..form.vectors() {
        let slot = usize::from(regs::vector(number).0);
        let at = VECTORS + 16 * usize::from(number);
        cpu.slots[slot] = u64_at(from, at);
        cpu.slots[slot + 1] = u64_at(from, at + 8);
    }
}

/// #GP unless an area starts at a multiple of its alignment.
pub(super) fn check_alignment(at: u64, alignment: u64) -> Result<(), Trap> {
    if at & (alignment - 1) != 0 { Err(trap::protection(0)) } else { Ok(()) }
}

/// FXSAVE. Bytes behind the last vector register stay as they are.
pub(super) fn fxsave(cpu: &mut Cpu<X86_64>, [at, form, ..]: [u64; 4]) -> Result<u64, Trap> {
    let form = Form::from_bits_truncate(form);
    check_alignment(at, 16)?;
    let mut image = [0; AREA];
    put_x87(&Unit::of(cpu), form, &mut image);
    put_mxcsr(cpu, &mut image);
    put_vectors(cpu, form, &mut image);
    let len_bytes = VECTORS + 16 * usize::from(form.vectors());
    check_end(cpu, at, Access::Write)?;
    write(cpu, Gva(at), &image[..len_bytes])?;
    Ok(0)
}

/// The end of an area is accessed first.
fn check_end(cpu: &mut Cpu<X86_64>, at: u64, access: Access) -> Result<(), Trap> {
    let gva = Gva(at);
    if gva.bytes_to_page_end() < AREA as u64 {
        cpu.translate(gva.offset(gva.bytes_to_page_end()), access, cpu.data_context())?;
    }
    Ok(())
}

/// FXRSTOR.
pub(super) fn fxrstor(cpu: &mut Cpu<X86_64>, [at, form, ..]: [u64; 4]) -> Result<u64, Trap> {
    let form = Form::from_bits_truncate(form);
    check_alignment(at, 16)?;
    let mut image = [0; AREA];
    check_end(cpu, at, Access::Read)?;
    cpu.read_bytes(Gva(at), &mut image)?;
    let mxcsr = mxcsr_in(&image)?;
    load_x87(&mut Unit::of(cpu), form, &image);
    load_vectors(cpu, form, &image);
    cpu.slots[usize::from(regs::MXCSR.0)] = mxcsr;
    mode::refresh(cpu);
    Ok(0)
}
