//! MASKMOVQ and MASKMOVDQU (SDM 2B).

use crate::x86_64::guest::X86_64;
use c2w_engine::addr::{Gva, Width::W8};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// Stores the bytes whose mask byte is negative. Memory that no byte goes to is not accessed.
pub fn masked_move(cpu: &mut Cpu<X86_64>, [address, slots, len_bytes, _]: [u64; 4]) -> Result<u64, Trap> {
    let byte = |cpu: &Cpu<X86_64>, first: u64, n: u64| {
        // The halves of a vector are neighbours.
        cpu.slots[((first & 0xff) + n / 8) as usize & 0xff] >> (8 * (n % 8))
    };
    let place = |n| Gva(address.wrapping_add(n));
    let selected: u64 = (0..len_bytes.min(16)).map(|n| (byte(cpu, slots >> 8, n) >> 7 & 1) << n).sum();
    let places = || (0..16).filter(|n| selected >> n & 1 != 0);
    for n in places() {
        cpu.load_to_modify(place(n), W8)?;
    }
    for n in places() {
        let value = byte(cpu, slots, n);
        cpu.store(place(n), W8, value)?;
    }
    Ok(0)
}
