//! Delivery of exceptions and interrupts through the IDT (SDM 3A 6).

use super::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;
use c2w_engine::mem::device::Request;

/// Enters the handler of a trap.
pub fn deliver(cpu: &mut Cpu<X86_64>, _trap: Trap) {
    cpu.request = Some(Request::Reset);
    cpu.recheck_interrupts();
}
