//! Helpers of system instructions.

use super::{REGISTERS, helpers};
use crate::x86_64::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

helpers! { super::FIRST_SYSTEM;
    /// (): waits for an interrupt.
    Hlt = "hlt", REGISTERS, hlt;
}

fn hlt(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    cpu.wait();
    Ok(0)
}
