//! MASKMOVQ and MASKMOVDQU (SDM 2B).

use crate::x86_64::guest::X86_64;
use c2w_engine::addr::{Gva, Width::W8};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// Stores the bytes whose mask byte is negative. All of the operand must be writable, whatever the mask: processors may
/// choose so, and do.
pub fn masked_move(cpu: &mut Cpu<X86_64>, [address, slots, len_bytes, _]: [u64; 4]) -> Result<u64, Trap> {
    let byte = |cpu: &Cpu<X86_64>, first: u64, n: u64| {
        // The halves of a vector are neighbours.
        cpu.slots[((first & 0xff) + n / 8) as usize & 0xff] >> (8 * (n % 8))
    };
    let place = |n| Gva(address.wrapping_add(n));
    cpu.load_to_modify(place(0), W8)?;
    cpu.check_crossing_write(place(0), len_bytes)?;
    for n in 0..len_bytes {
        if byte(cpu, slots >> 8, n) & 0x80 != 0 {
            let value = byte(cpu, slots, n);
            cpu.store(place(n), W8, value)?;
        }
    }
    Ok(0)
}
