//! Helpers of x87 instructions.

use super::{REGISTERS, helpers};
use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::{X87_CONTROL, X87_DP, X87_IP, X87_OPCODE, X87_STATUS, X87_TAGS};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

helpers! { super::FIRST_X87;
    /// (): the x87 state after FNINIT.
    Init = "x87_init", REGISTERS, init;
}

/// The state after FNINIT (SDM 1 8.1.5).
fn init(cpu: &mut Cpu<X86_64>, _: [u64; 4]) -> Result<u64, Trap> {
    for slot in [X87_STATUS, X87_TAGS, X87_OPCODE, X87_IP, X87_DP] {
        cpu.slots[usize::from(slot.0)] = 0;
    }
    cpu.slots[usize::from(X87_CONTROL.0)] = 0x37f;
    Ok(0)
}
