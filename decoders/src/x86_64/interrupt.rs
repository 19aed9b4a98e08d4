//! Which interrupt or debug trap comes before the next instruction, and what ends HLT (SDM 3A 6.9).
//!
//! STI and MOV SS hold interrupts off for one instruction. STI at privilege level 0 leaves its shadow in a slot, and has
//! the run loop look only if an interrupt waits as far as that knows: whoever makes one wait has it look. Only if an interrupt is waiting then is the next block made
//! one instruction long; otherwise the boundary where they were held off is all that is remembered.

use super::guest::X86_64;
use super::trap::{self, Kind, vector};
use super::{debug, flags, mode, regs};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// Number of the pin for maskable interrupts among the vCPU's: a level. [`super::board::PcBoard::acknowledge`] gives
/// the vector and lowers it.
pub const INTR: u32 = 0;
/// Number of the pin for non-maskable interrupts. Who raises it sends one; the vCPU lowers it when it takes it.
pub const NMI: u32 = 1;

fn rflags(cpu: &Cpu<X86_64>) -> u64 {
    cpu.slots[usize::from(regs::RFLAGS.0)]
}

/// Whether interrupts are enabled that wait at a pin.
fn wanted(cpu: &Cpu<X86_64>, levels: u64) -> (bool, bool) {
    let nmi = levels & 1 << NMI != 0 && !cpu.guest.nmi_blocked;
    let intr = levels & 1 << INTR != 0 && rflags(cpu) & flags::IF != 0;
    (nmi, intr)
}

/// What to deliver now.
pub fn pending(cpu: &mut Cpu<X86_64>) -> Option<Trap> {
    let levels = cpu.irq.levels();
    cpu.slots[usize::from(regs::INTERRUPT_WAITS.0)] = 0;
    let debug = &cpu.guest.debug;
    let quiet = levels == 0 && debug.hits == 0 && debug.step_from.is_none();
    if quiet && !cpu.guest.needs_stepping(rflags(cpu)) {
        return None;
    }
    look(cpu, levels)
}

#[cold]
fn look(cpu: &mut Cpu<X86_64>, levels: u64) -> Option<Trap> {
    // From here on the shadow of an STI is at a number of instructions: its address may come again.
    let behind_sti = std::mem::replace(&mut cpu.slots[usize::from(regs::STI_SHADOW.0)], regs::NO_SHADOW);
    if behind_sti == cpu.pc.0 {
        (cpu.guest.shadow_at, cpu.guest.shadow_debug) = (Some(cpu.retired), false);
    }
    let shadow = cpu.guest.shadow_at == Some(cpu.retired);
    let found = if shadow && cpu.guest.shadow_debug { None } else { debug::take_traps(cpu) };
    let (nmi, intr) = wanted(cpu, levels);
    let held = shadow && (nmi || intr);
    let found = found.or_else(|| if held { None } else { take(cpu, nmi, intr) });
    if held != cpu.guest.step_once {
        cpu.guest.step_once = held;
        mode::refresh(cpu);
    }
    let found = found.or_else(|| debug::take_breakpoint(cpu));
    if found.is_none() {
        debug::begin_step(cpu);
    }
    if cpu.guest.needs_stepping(rflags(cpu)) {
        cpu.recheck_interrupts();
    }
    // If one is taken now there may be another behind it, and IF will be clear.
    let waits = cpu.irq.levels() & 1 << INTR != 0;
    cpu.slots[usize::from(regs::INTERRUPT_WAITS.0)] = waits.into();
    found
}

/// Accepts an interrupt.
fn take(cpu: &mut Cpu<X86_64>, nmi: bool, intr: bool) -> Option<Trap> {
    if nmi {
        cpu.irq.line(NMI).lower();
        return Some(trap::plain(trap::cause(Kind::Interrupt, vector::NMI)));
    }
    let vector = if intr { cpu.board.acknowledge() } else { None };
    vector.map(|vector| trap::plain(trap::cause(Kind::Interrupt, vector)))
}

/// IF or TF may have become set, or NMIs unblocked: POPF, IRET, SYSRET and their kin call this after
/// [`mode::refresh`].
pub fn enabled(cpu: &mut Cpu<X86_64>) {
    if cpu.irq.levels() != 0 || cpu.guest.needs_stepping(rflags(cpu)) {
        cpu.recheck_interrupts();
    }
}

/// STI: sets IF, and holds interrupts off for one more instruction if it was clear. The last instruction of a block.
pub fn enable(cpu: &mut Cpu<X86_64>) {
    let slot = &mut cpu.slots[usize::from(regs::RFLAGS.0)];
    if *slot & flags::IF == 0 {
        *slot |= flags::IF;
        cpu.guest.shadow_at = Some(cpu.retired);
        cpu.guest.shadow_debug = false;
        enabled(cpu);
    }
}

/// MOV SS and POP SS: holds interrupts and debug traps off for one more instruction. The last instruction of a block.
pub fn hold_after_stack_load(cpu: &mut Cpu<X86_64>) {
    cpu.guest.shadow_at = Some(cpu.retired);
    cpu.guest.shadow_debug = true;
}

/// IRET: non-maskable interrupts are no longer blocked.
pub fn unblock_nmi(cpu: &mut Cpu<X86_64>) {
    cpu.guest.nmi_blocked = false;
    enabled(cpu);
}

/// Whether HLT ends.
pub fn wakes(cpu: &Cpu<X86_64>) -> bool {
    let (nmi, intr) = wanted(cpu, cpu.irq.levels());
    let stepped = cpu.guest.debug.step_from.is_some_and(|from| cpu.retired > from);
    nmi || intr || stepped
}

/// Whether a device could end HLT.
pub fn devices_can_wake(cpu: &Cpu<X86_64>) -> bool {
    rflags(cpu) & flags::IF != 0
}

/// Brings timers of the vCPU up to `now_ns`: it has none, the local APIC is on the board.
pub fn tick(_cpu: &mut Cpu<X86_64>, _now_ns: u64) {}

/// Guest time of the vCPU's own next timer event.
pub fn deadline_ns(_cpu: &Cpu<X86_64>) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests;
