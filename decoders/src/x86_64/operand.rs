//! Which segment an instruction used for an access that faulted, found out afterwards from its bytes: code that does not
//! fault need not keep it.

use super::guest::X86_64;
use super::regs;
use super::segment::SegmentRegister;
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use iced_x86::{Decoder, DecoderOptions, Instruction, OpKind, Register};

/// Longest instruction (SDM 2A 2.3.11).
const MAX_BYTES: usize = 15;
/// No instruction accesses more memory at one place.
const MAX_OPERAND_BYTES: u64 = 4096;

/// Whether the instruction at `cpu.pc`, which is 64-bit code, accesses `gva` through the stack segment: by a memory
/// operand with RSP or RBP as base, or because it pushes or pops.
pub(super) fn is_on_stack(cpu: &mut Cpu<X86_64>, gva: Gva) -> bool {
    let mut bytes = [0; MAX_BYTES];
    let pc = cpu.pc;
    let len = fetch(cpu, pc, &mut bytes);
    let insn = Decoder::with_ip(64, &bytes[..len], pc.0, DecoderOptions::NONE).decode();
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
    let slot = match register {
        Register::FS => SegmentRegister::Fs.base_slot(),
        Register::GS => SegmentRegister::Gs.base_slot(),
        register if register.is_gpr() => regs::gpr(register.full_register().number() as u8),
        // The other segments have no base in 64-bit code.
        _ => return 0,
    };
    cpu.slots[usize::from(slot.0)]
}
