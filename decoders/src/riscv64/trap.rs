//! Exceptions and interrupts: their numbers, which of them is taken where, entry into handlers and return from them
//! (Priv. 3.1.8, 3.1.9, 3.3.2, 4.1.3).

use super::guest::Riscv64;
use super::irq;
use super::regs::Privilege;
use super::status;
use c2w_engine::addr::Gva;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::{Trap, TrapCause};
use c2w_engine::mem::tlb::Access;

/// An undefined or forbidden instruction; the value is its bits.
pub const ILLEGAL: TrapCause = TrapCause(2);
/// EBREAK; the value is its address.
pub const BREAKPOINT: TrapCause = TrapCause(3);
/// Misaligned LR.
pub const LOAD_MISALIGNED: TrapCause = TrapCause(4);
/// Misaligned SC or AMO.
pub const STORE_MISALIGNED: TrapCause = TrapCause(6);
/// A fetch from physical memory that does not answer or is protected.
pub const FETCH_FAULT: TrapCause = TrapCause(1);
/// A load from physical memory that does not answer or is protected.
pub const LOAD_FAULT: TrapCause = TrapCause(5);
/// A store to physical memory that does not answer or is protected.
pub const STORE_FAULT: TrapCause = TrapCause(7);
/// ECALL from U-mode.
pub const ECALL_U: TrapCause = TrapCause(8);
/// ECALL from S-mode.
pub const ECALL_S: TrapCause = TrapCause(9);
/// ECALL from M-mode.
pub const ECALL_M: TrapCause = TrapCause(11);
/// A fetch that the page tables forbid.
pub const FETCH_PAGE_FAULT: TrapCause = TrapCause(12);
/// A load that the page tables forbid.
pub const LOAD_PAGE_FAULT: TrapCause = TrapCause(13);
/// A store that the page tables forbid.
pub const STORE_PAGE_FAULT: TrapCause = TrapCause(15);
/// Set in the cause of interrupts; the other bits are the number in `mip`.
pub const INTERRUPT: u32 = 0x8000_0000;

/// The exceptions that `medeleg` may delegate: all that exist but ECALL from M-mode.
pub const DELEGABLE: u64 = 1 // instruction address misaligned cannot happen with C, but software delegates it
    | 1 << FETCH_FAULT.0
    | 1 << ILLEGAL.0
    | 1 << BREAKPOINT.0
    | 1 << LOAD_MISALIGNED.0
    | 1 << LOAD_FAULT.0
    | 1 << STORE_MISALIGNED.0
    | 1 << STORE_FAULT.0
    | 1 << ECALL_U.0
    | 1 << ECALL_S.0
    | 1 << FETCH_PAGE_FAULT.0
    | 1 << LOAD_PAGE_FAULT.0
    | 1 << STORE_PAGE_FAULT.0;

/// An illegal-instruction exception; `raw` is the instruction's bits.
pub const fn illegal(raw: u64) -> Trap {
    Trap::new(ILLEGAL, raw)
}

/// The cause of a page fault.
pub const fn page_fault(access: Access) -> TrapCause {
    match access {
        Access::Execute => FETCH_PAGE_FAULT,
        Access::Read => LOAD_PAGE_FAULT,
        Access::Write => STORE_PAGE_FAULT,
    }
}

/// The exception for physical memory that does not answer or is protected.
pub const fn access_fault(gva: Gva, access: Access) -> Trap {
    let cause = match access {
        Access::Execute => FETCH_FAULT,
        Access::Read => LOAD_FAULT,
        Access::Write => STORE_FAULT,
    };
    Trap::new(cause, gva.0)
}

/// Enters the handler of `trap`, or the built-in SBI if it is a call to it.
pub fn deliver(cpu: &mut Cpu<Riscv64>, trap: Trap) {
    let state = &mut cpu.guest.state;
    let from = state.privilege;
    if trap.cause == ECALL_S && state.builtin_sbi {
        super::sbi::call(cpu);
        return;
    }
    let is_interrupt = trap.cause.0 & INTERRUPT != 0;
    let number = trap.cause.0 & !INTERRUPT;
    let delegated = if is_interrupt { state.mideleg } else { state.medeleg };
    let to_supervisor = from != Privilege::Machine && delegated >> number & 1 != 0;
    let cause = u64::from(is_interrupt) << 63 | u64::from(number);
    let old = state.mstatus;
    let vector = if to_supervisor {
        state.sepc = cpu.pc.0;
        state.scause = cause;
        state.stval = trap.value;
        state.mstatus &= !(status::SIE | status::SPIE | status::SPP);
        state.mstatus |= if old & status::SIE != 0 { status::SPIE } else { 0 };
        state.mstatus |= if from == Privilege::Supervisor { status::SPP } else { 0 };
        state.privilege = Privilege::Supervisor;
        state.stvec
    } else {
        state.mepc = cpu.pc.0;
        state.mcause = cause;
        state.mtval = trap.value;
        state.mstatus &= !(status::MIE | status::MPIE | status::MPP);
        state.mstatus |= if old & status::MIE != 0 { status::MPIE } else { 0 };
        state.mstatus |= (from as u64) << status::MPP_SHIFT;
        state.privilege = Privilege::Machine;
        state.mtvec
    };
    // Vectored mode (1) spreads interrupts only (Priv. 3.1.7).
    let spread = if is_interrupt && vector & 3 == 1 { 4 * u64::from(number) } else { 0 };
    cpu.pc = Gva((vector & !3).wrapping_add(spread));
    cpu.reservation = None;
    super::guest::update_mode(cpu);
    cpu.recheck_interrupts();
}

/// MRET: gives the address to continue at.
pub fn mret(cpu: &mut Cpu<Riscv64>, raw: u64) -> Result<u64, Trap> {
    let state = &mut cpu.guest.state;
    if state.privilege != Privilege::Machine {
        return Err(illegal(raw));
    }
    let old = state.mstatus;
    let to = status::mpp(old);
    state.mstatus &= !(status::MIE | status::MPP);
    state.mstatus |= status::MPIE | if old & status::MPIE != 0 { status::MIE } else { 0 };
    if to != Privilege::Machine {
        state.mstatus &= !status::MPRV;
    }
    state.privilege = to;
    let target = state.mepc;
    returned(cpu);
    Ok(target)
}

/// SRET: gives the address to continue at.
pub fn sret(cpu: &mut Cpu<Riscv64>, raw: u64) -> Result<u64, Trap> {
    let state = &mut cpu.guest.state;
    let old = state.mstatus;
    let forbidden = match state.privilege {
        Privilege::User => true,
        Privilege::Supervisor => old & status::TSR != 0,
        Privilege::Machine => false,
    };
    if forbidden {
        return Err(illegal(raw));
    }
    state.mstatus &= !(status::SIE | status::SPP | status::MPRV);
    state.mstatus |= status::SPIE | if old & status::SPIE != 0 { status::SIE } else { 0 };
    state.privilege = if old & status::SPP != 0 { Privilege::Supervisor } else { Privilege::User };
    let target = state.sepc;
    returned(cpu);
    Ok(target)
}

fn returned(cpu: &mut Cpu<Riscv64>) {
    cpu.reservation = None;
    super::guest::update_mode(cpu);
    recheck(cpu);
}

/// Enable bits or the privilege changed: the run loop looks if there is an interrupt to take now.
pub fn recheck(cpu: &mut Cpu<Riscv64>) {
    if interrupt(cpu).is_some() {
        cpu.recheck_interrupts();
    }
}

/// The interrupt to take now: machine interrupts before supervisor ones, then by the fixed order of Priv. 3.1.9.
pub fn interrupt(cpu: &Cpu<Riscv64>) -> Option<Trap> {
    let state = &cpu.guest.state;
    let pending = irq::pending(cpu) & state.mie;
    if pending == 0 {
        return None;
    }
    let machine_enabled = state.privilege < Privilege::Machine || state.mstatus & status::MIE != 0;
    let supervisor_enabled = match state.privilege {
        Privilege::User => true,
        Privilege::Supervisor => state.mstatus & status::SIE != 0,
        Privilege::Machine => false,
    };
    let machine = if machine_enabled { pending & !state.mideleg } else { 0 };
    let supervisor = if supervisor_enabled { pending & state.mideleg } else { 0 };
    let taken = if machine != 0 { machine } else { supervisor };
    let number = irq::ORDER.into_iter().find(|&number| taken >> number & 1 != 0)?;
    Some(Trap::new(TrapCause(INTERRUPT | number), 0))
}

#[cfg(test)]
mod tests;
