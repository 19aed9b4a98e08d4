//! Pending interrupts: what `mip` and `sip` read as, from the vCPU's pins, software's bits and the timer comparator
//! (Priv. 3.1.9, 4.1.3; Sstc).

use super::guest::Riscv64;
use c2w_engine::cpu::Cpu;

/// Supervisor software interrupt.
pub const SSI: u32 = 1;
/// Machine software interrupt: a pin.
pub const MSI: u32 = 3;
/// Supervisor timer interrupt.
pub const STI: u32 = 5;
/// Machine timer interrupt: a pin.
pub const MTI: u32 = 7;
/// Supervisor external interrupt: a pin, together with a bit that software writes.
pub const SEI: u32 = 9;
/// Machine external interrupt: a pin.
pub const MEI: u32 = 11;

/// Which interrupt comes first when several are pending for the same privilege.
pub const ORDER: [u32; 6] = [MEI, MSI, MTI, SEI, SSI, STI];

/// Interrupts for S-mode: those `mideleg` may delegate and M-mode software may set.
pub const SUPERVISOR: u64 = 1 << SSI | 1 << STI | 1 << SEI;
/// All interrupts that exist: the writable bits of `mie`.
pub const ALL: u64 = SUPERVISOR | 1 << MSI | 1 << MTI | 1 << MEI;
/// The pins of [`Cpu::irq`]; their numbers there are those in `mip`.
const PINS: u64 = 1 << MSI | 1 << MTI | 1 << SEI | 1 << MEI;

/// The pending interrupts, as `mip` reads.
pub fn pending(cpu: &Cpu<Riscv64>) -> u64 {
    cpu.irq.levels() & PINS | software(cpu)
}

/// The pending interrupts without the pins: what a read-modify-write of `mip` starts from (Priv. 3.1.9).
pub fn software(cpu: &Cpu<Riscv64>) -> u64 {
    let state = &cpu.guest.state;
    if state.has_stimecmp() {
        state.mip & !(1 << STI) | u64::from(cpu.guest.timer_pending) << STI
    } else {
        state.mip
    }
}

/// Writes the bits of `mip` in `mask` that M-mode may write.
pub fn write(cpu: &mut Cpu<Riscv64>, value: u64, mask: u64) {
    let state = &mut cpu.guest.state;
    let mut writable = mask & SUPERVISOR;
    if state.has_stimecmp() {
        writable &= !(1 << STI);
    }
    state.mip = state.mip & !writable | value & writable;
    cpu.recheck_interrupts();
}

/// Brings the supervisor timer's pending bit up to `now_ns`.
pub fn tick(cpu: &mut Cpu<Riscv64>, now_ns: u64) {
    let pending = cpu.board.mtime(now_ns) >= cpu.guest.state.stimecmp;
    if pending != cpu.guest.timer_pending {
        cpu.guest.timer_pending = pending;
        cpu.recheck_interrupts();
    }
}

/// Guest time at which the supervisor timer becomes pending, if it is enabled and not pending yet.
pub fn deadline_ns(cpu: &Cpu<Riscv64>) -> Option<u64> {
    let state = &cpu.guest.state;
    let armed = state.has_stimecmp() && !cpu.guest.timer_pending && state.stimecmp != u64::MAX;
    armed.then(|| cpu.board.mtime_to_ns(state.stimecmp)).flatten()
}
