//! What an instruction accesses in memory, found out from its bytes when it matters: which segment an access that faulted
//! used, whether it would have gone on to addresses that are not canonical, whether it is aligned. Code that does none of
//! this need not keep it.

use super::guest::X86_64;
use super::mode::ModeBits;
use super::regs;
use super::segment::SegmentRegister;
use c2w_engine::addr::{Gva, PAGE_BYTES, Width};
use c2w_engine::cpu::Cpu;
use iced_x86::{Decoder, DecoderOptions, Instruction, InstructionInfoFactory, MemorySize, OpKind, Register};

/// Longest instruction (SDM 2A 2.3.11).
const MAX_BYTES: usize = 15;
/// No instruction accesses more memory at one place.
const MAX_OPERAND_BYTES: u64 = 4096;

/// Whether the instruction at `cpu.pc`, which is 64-bit code, accesses `gva` through the stack segment: by a memory
/// operand with RSP or RBP as base, or because it pushes or pops.
pub(super) fn is_on_stack(cpu: &mut Cpu<X86_64>, gva: Gva) -> bool {
    let insn = current(cpu);
    for index in 0..insn.op_count() {
        let address = insn.virtual_address(index, 0, |register, _, _| Some(value(cpu, register)));
        let inside = address.is_some_and(|address| gva.0.wrapping_sub(address) < MAX_OPERAND_BYTES);
        // A bit string reaches further than its operand; an instruction that has no stack to access has only the operand.
        if is_memory(&insn, index) && (inside || !insn.is_stack_instruction()) {
            return insn.op_kind(index) == OpKind::Memory && is_relative_to_stack(&insn);
        }
    }
    insn.is_stack_instruction()
}

/// First address above the lower half of those that are canonical.
const LOWER_END: u64 = 1 << 47;

/// Whether an access of the instruction at `cpu.pc`, which a page fault at `gva` ended, would have gone on behind the lower
/// half of the canonical addresses: the processor looks at all of them before it translates one.
pub(super) fn leaves_lower_half(cpu: &mut Cpu<X86_64>, gva: Gva) -> bool {
    if !(LOWER_END - PAGE_BYTES..LOWER_END).contains(&gva.0) || gva == cpu.pc || code_width(cpu) != Width::W64
    {
        return false;
    }
    let (start, kind) = accessed(cpu, gva);
    let (start, len_bytes) = match kind.size() as u64 {
        16 => (start.0, 16),
        // The significand, then the rest.
        10 => (gva.0, 8),
        len_bytes @ 0..=8 => (gva.0, len_bytes),
        // Areas are accessed in parts.
        _ => return false,
    };
    start + len_bytes > LOWER_END
}

/// Whether the instruction at `cpu.pc` accesses something at `gva` that is not aligned as it should be, `len_bytes` of which
/// are in this page (SDM 3A table 6-7).
pub(super) fn is_misaligned(cpu: &mut Cpu<X86_64>, gva: Gva, len_bytes: u64) -> bool {
    let (start, kind) = accessed(cpu, gva);
    let alignment = match kind {
        MemorySize::Unknown => len_bytes.next_power_of_two(),
        MemorySize::SegPtr16
        | MemorySize::FpuEnv14
        | MemorySize::FpuState94
        | MemorySize::Bound16_WordWord => 2,
        MemorySize::SegPtr32
        | MemorySize::Fword6
        | MemorySize::Fword10
        | MemorySize::FpuEnv28
        | MemorySize::FpuState108
        | MemorySize::Bound32_DwordDword => 4,
        MemorySize::SegPtr64 | MemorySize::Float80 | MemorySize::Bcd => 8,
        // The others are numbers and vectors, and areas with rules of their own, some of no known size.
        kind => match kind.size() as u64 {
            size @ 1..=16 => size,
            _ => 1,
        },
    };
    !start.0.is_multiple_of(alignment)
}

/// What is accessed at `gva`: where it starts, and its kind, [`MemorySize::Unknown`] if that is not known.
fn accessed(cpu: &mut Cpu<X86_64>, gva: Gva) -> (Gva, MemorySize) {
    let insn = current(cpu);
    let mask = if code_width(cpu) == Width::W64 { u64::MAX } else { Width::W32.mask() };
    for used in InstructionInfoFactory::new().info(&insn).used_memory() {
        let address = used.virtual_address(0, |register, _, _| Some(value(cpu, register)));
        let Some(address) = address.map(|address| address & mask) else { continue };
        if gva.0.wrapping_sub(address) < used.memory_size().size() as u64 {
            return (Gva(address), used.memory_size());
        }
    }
    // Elements of strings, and bits beyond an operand, are as large as that.
    (gva, insn.memory_size())
}

/// Width of the present code.
fn code_width(cpu: &Cpu<X86_64>) -> Width {
    ModeBits::of(cpu.mode()).code_width()
}

/// The instruction at `cpu.pc`, as far as it can be read.
fn current(cpu: &mut Cpu<X86_64>) -> Instruction {
    let mut bytes = [0; MAX_BYTES];
    let pc = cpu.pc;
    let len = fetch(cpu, pc, &mut bytes);
    Decoder::with_ip(code_width(cpu).bits(), &bytes[..len], pc.0, DecoderOptions::NONE).decode()
}

/// Whether a memory operand in 64-bit code is in the stack segment: prefixes of other segments than FS and GS count for
/// nothing there (SDM 1 3.4.2.1).
fn is_relative_to_stack(insn: &Instruction) -> bool {
    let base = insn.memory_base().full_register();
    let overridden = matches!(insn.segment_prefix(), Register::FS | Register::GS);
    !overridden && matches!(base, Register::RSP | Register::RBP)
}

fn is_memory(insn: &Instruction, index: u32) -> bool {
    use OpKind::*;
    matches!(
        insn.op_kind(index),
        Memory
            | MemorySegSI
            | MemorySegESI
            | MemorySegRSI
            | MemorySegDI
            | MemorySegEDI
            | MemorySegRDI
            | MemoryESDI
            | MemoryESEDI
            | MemoryESRDI
    )
}

/// Reads code at `pc`; gives how many bytes there are.
fn fetch(cpu: &mut Cpu<X86_64>, pc: Gva, to: &mut [u8]) -> usize {
    let mut done = 0;
    while done < to.len() {
        let at = pc.offset(done as u64);
        let len = (at.bytes_to_page_end() as usize).min(to.len() - done);
        let Ok(page) = cpu.fetch_page(at) else { break };
        let Ok(bytes) = cpu.ram.slice(page.start().offset(at.page_offset()), len as u64) else { break };
        to[done..done + len].copy_from_slice(bytes);
        done += len;
    }
    done
}

/// Value of a general register, base of a segment register.
fn value(cpu: &Cpu<X86_64>, register: Register) -> u64 {
    let number = register.full_register().number() as u8;
    // The other segments have no base in 64-bit code.
    let has_base = matches!(register, Register::FS | Register::GS) || code_width(cpu) != Width::W64;
    let slot = match SegmentRegister::from_number(number) {
        _ if register.is_gpr() => regs::gpr(number),
        Some(segment) if register.is_segment_register() && has_base => segment.base_slot(),
        _ => return 0,
    };
    cpu.slots[usize::from(slot.0)]
}

#[cfg(test)]
mod tests;
