//! Helpers of floating-point instructions on vector registers.
//!
//! One that computes a vector gets the first slot of the destination, with an immediate in bits 8 to 15, and the two
//! halves of the source: `(destination | immediate << 8, source low, source high)`. The destination is also the first
//! operand of what has two.

use super::{TRAPPING, helpers};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::MXCSR;
use crate::x86_64::trap;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

helpers! { super::FIRST_FLOAT;
    /// (value): writes MXCSR; #GP for reserved bits.
    LoadMxcsr = "load_mxcsr", TRAPPING, load_mxcsr;
}

/// Bits of MXCSR that exist (SDM 1 10.2.3).
pub const MXCSR_BITS: u64 = 0xffff;

fn load_mxcsr(cpu: &mut Cpu<X86_64>, [value, ..]: [u64; 4]) -> Result<u64, Trap> {
    let value = value & 0xffff_ffff;
    if value & !MXCSR_BITS != 0 {
        return Err(trap::protection(0));
    }
    cpu.slots[usize::from(MXCSR.0)] = value;
    Ok(0)
}
