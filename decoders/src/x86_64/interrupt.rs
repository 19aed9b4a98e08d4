//! Which interrupt or debug trap comes before the next instruction, and what ends HLT.

use super::guest::X86_64;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// Number of the pin for maskable interrupts among the vCPU's.
pub const INTR: u32 = 0;
/// Number of the pin for non-maskable interrupts.
pub const NMI: u32 = 1;

/// What to deliver now.
pub fn pending(_cpu: &mut Cpu<X86_64>) -> Option<Trap> {
    None
}

/// Whether HLT ends.
pub fn wakes(cpu: &Cpu<X86_64>) -> bool {
    cpu.irq.levels() != 0
}

/// Whether a device could end HLT.
pub fn devices_can_wake(_cpu: &Cpu<X86_64>) -> bool {
    true
}

/// Brings timers of the vCPU up to `now_ns`: it has none, the local APIC is on the board.
pub fn tick(_cpu: &mut Cpu<X86_64>, _now_ns: u64) {}

/// Guest time of the vCPU's own next timer event.
pub fn deadline_ns(_cpu: &Cpu<X86_64>) -> Option<u64> {
    None
}
