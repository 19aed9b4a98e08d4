//! Checked addresses outside of 64-bit mode: limits and types of segments (SDM 3A 5.3 to 5.5).

use crate::x86_64::guest::X86_64;
use crate::x86_64::insn::SegmentCheck;
use crate::x86_64::segment::SegmentRegister;
use crate::x86_64::trap::{self, vector};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// The linear address of an offset in a segment, if the segment allows the access: else #GP(0), or #SS(0) for SS.
pub fn linear(
    cpu: &Cpu<X86_64>,
    register: SegmentRegister,
    check: SegmentCheck,
    offset: u64,
) -> Result<u64, Trap> {
    if allows(cpu, register, check.is_write(), offset, check.len_bytes()) {
        return Ok(base(cpu, register).wrapping_add(offset) & u64::from(u32::MAX));
    }
    let vector = if register == SegmentRegister::Ss { vector::SS } else { vector::GP };
    Err(trap::plain(trap::fault_with(vector, 0)))
}

/// Base address of a segment.
pub fn base(cpu: &Cpu<X86_64>, register: SegmentRegister) -> u64 {
    cpu.slots[usize::from(register.base_slot().0)]
}

/// Whether a segment allows an access to `len_bytes` bytes (at least one) from `offset`.
pub fn allows(
    cpu: &Cpu<X86_64>,
    register: SegmentRegister,
    write: bool,
    offset: u64,
    len_bytes: u64,
) -> bool {
    let segment = cpu.guest.segment(register);
    let attributes = segment.attributes;
    let by_type = if write { attributes.is_writable() } else { attributes.is_readable() };
    let limit = u64::from(segment.limit);
    let last = offset.saturating_add(len_bytes - 1);
    let inside = if attributes.is_expand_down() {
        offset > limit && last <= if attributes.is_big() { u64::from(u32::MAX) } else { u64::from(u16::MAX) }
    } else {
        last <= limit
    };
    attributes.is_present() && by_type && inside
}

#[cfg(test)]
mod tests;
