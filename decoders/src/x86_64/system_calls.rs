//! Fast system calls: SYSCALL and SYSRET, SYSENTER and SYSEXIT (SDM 2B; 3A 5.8.7 and 5.8.8). Segments are not read from
//! tables but set to what an operating system is expected to have there.

use super::control::EFER_SCE;
use super::descriptor::{self, is_canonical};
use super::flags::{self, rflags, set_rflags};
use super::guest::X86_64;
use super::regs::{R11, RCX, RDX, RSP};
use super::segment::{Segment, SegmentRegister};
use super::{debug, interrupt, mode, trap};
use c2w_engine::addr::{Gva, Width};
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::Slot;
use c2w_engine::guest::Trap;

/// Flags that SYSRET takes from R11: all but RF and VM.
const SYSRET_FLAGS: u64 = 0x3c_7fd7;

fn get(cpu: &Cpu<X86_64>, slot: Slot) -> u64 {
    cpu.slots[usize::from(slot.0)]
}

fn set(cpu: &mut Cpu<X86_64>, slot: Slot, value: u64) {
    cpu.slots[usize::from(slot.0)] = value;
}

/// Changes to flat segments at privilege level `cpl`, by their selectors.
fn enter(cpu: &mut Cpu<X86_64>, cpl: u8, code: u16, stack: u16, long: bool) {
    let code = if long { Segment::code_64(code, cpl) } else { Segment::code_32(code, cpl) };
    descriptor::set(cpu, SegmentRegister::Cs, code, 0);
    descriptor::set(cpu, SegmentRegister::Ss, Segment::data(stack, cpl), 0);
    cpu.guest.cpl = cpl;
    mode::refresh(cpu);
}

/// SYSCALL in 64-bit mode; `next` is the address behind it.
pub fn syscall(cpu: &mut Cpu<X86_64>, next: u64) -> Result<Gva, Trap> {
    if cpu.guest.efer & EFER_SCE == 0 {
        return Err(trap::plain(trap::UNDEFINED));
    }
    let old = rflags(cpu);
    let new = old & !cpu.guest.msrs.fmask;
    set(cpu, RCX, next);
    set(cpu, R11, old);
    set_rflags(cpu, new);
    let selector = (cpu.guest.msrs.star >> 32) as u16 & !3;
    enter(cpu, 0, selector, selector.wrapping_add(8), true);
    if (old | new) & flags::TF != 0 {
        debug::step_as_after(cpu);
    }
    Ok(Gva(cpu.guest.msrs.lstar))
}

/// SYSRET from 64-bit mode to code of size `w`.
pub fn sysret(cpu: &mut Cpu<X86_64>, w: Width) -> Result<Gva, Trap> {
    if cpu.guest.efer & EFER_SCE == 0 {
        return Err(trap::plain(trap::UNDEFINED));
    }
    let target = get(cpu, RCX);
    if cpu.guest.cpl != 0 || w == Width::W64 && !is_canonical(target) {
        return Err(trap::protection(0));
    }
    let old = rflags(cpu);
    let new = get(cpu, R11) & SYSRET_FLAGS;
    set_rflags(cpu, new);
    let base = (cpu.guest.msrs.star >> 48) as u16;
    let long = w == Width::W64;
    let code = if long { base.wrapping_add(16) } else { base };
    enter(cpu, 3, code | 3, base.wrapping_add(8) | 3, long);
    if (old | new) & flags::TF != 0 {
        debug::step_as_after(cpu);
    }
    interrupt::enabled(cpu);
    Ok(Gva(target & w.mask()))
}

/// SYSENTER.
pub fn sysenter(cpu: &mut Cpu<X86_64>) -> Result<Gva, Trap> {
    let msrs = &cpu.guest.msrs;
    let selector = msrs.sysenter_cs as u16 & !3;
    if selector == 0 {
        return Err(trap::protection(0));
    }
    let long = cpu.guest.is_long_mode();
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    let (target, stack) = (msrs.sysenter_eip & mask, msrs.sysenter_esp & mask);
    let old = rflags(cpu);
    set_rflags(cpu, old & !(flags::VM | flags::IF));
    set(cpu, RSP, stack);
    enter(cpu, 0, selector, selector.wrapping_add(8), long);
    Ok(Gva(target))
}

/// SYSEXIT to code of size `w`.
pub fn sysexit(cpu: &mut Cpu<X86_64>, w: Width) -> Result<Gva, Trap> {
    let selector = cpu.guest.msrs.sysenter_cs as u16 & !3;
    let (target, stack) = (get(cpu, RDX), get(cpu, RCX));
    let long = w == Width::W64;
    let canonical = is_canonical(target) && is_canonical(stack);
    if selector == 0 || cpu.guest.cpl != 0 || long && !canonical {
        return Err(trap::protection(0));
    }
    set(cpu, RSP, stack & w.mask());
    let code = selector.wrapping_add(if long { 32 } else { 16 });
    enter(cpu, 3, code | 3, code.wrapping_add(8) | 3, long);
    interrupt::enabled(cpu);
    Ok(Gva(target & w.mask()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86_64::mode::ModeBits;
    use crate::x86_64::testing::{self, CODE};
    use c2w_engine::machine::Machine;

    const LSTAR: u64 = CODE + 0x100;

    /// A machine with SYSCALL set up, at privilege level 0.
    fn machine(code: &[u8]) -> Machine<X86_64> {
        let mut cpu = testing::cpu();
        cpu.guest.msrs.star = 0x0023_0010_0000_0000;
        cpu.guest.msrs.lstar = LSTAR;
        cpu.guest.msrs.fmask = flags::IF | flags::DF;
        testing::machine(cpu, code)
    }

    #[test]
    fn sysret_goes_out_and_syscall_comes_back() {
        // sysretq; 16 bytes on: syscall
        let mut code = vec![0x48, 0x0f, 0x07];
        code.resize(16, 0x90);
        code.extend([0x0f, 0x05]);
        let mut machine = machine(&code);
        set(&mut machine.cpu, RCX, CODE + 16);
        set(&mut machine.cpu, R11, flags::IF | flags::DF | flags::CF | flags::RF);
        machine.run(1);
        let cpu = &mut machine.cpu;
        assert_eq!((cpu.pc, cpu.guest.cpl), (Gva(CODE + 16), 3));
        assert_eq!(cpu.guest.segment(SegmentRegister::Cs).selector, 0x33);
        assert_eq!(cpu.guest.segment(SegmentRegister::Ss).selector, 0x2b);
        assert_eq!(rflags(cpu), flags::IF | flags::DF | flags::CF | flags::FIXED);
        assert!(ModeBits::of(cpu.mode()).contains(ModeBits::USER));
        machine.run(1);
        let cpu = &mut machine.cpu;
        assert_eq!((cpu.pc, cpu.guest.cpl), (Gva(LSTAR), 0));
        assert_eq!(get(cpu, RCX), CODE + 18);
        assert_eq!(get(cpu, R11), flags::IF | flags::DF | flags::CF | flags::FIXED);
        assert_eq!(rflags(cpu), flags::CF | flags::FIXED);
        assert_eq!(cpu.guest.segment(SegmentRegister::Cs).selector, 0x10);
        assert_eq!(cpu.guest.segment(SegmentRegister::Ss).selector, 0x18);
    }

    #[test]
    fn sysret_to_32_bit_code_enters_compatibility_mode() {
        let mut machine = machine(&[0x0f, 0x07]);
        set(&mut machine.cpu, RCX, 0xffff_ffff_0000_9000);
        machine.run(1);
        let cpu = &machine.cpu;
        assert_eq!((cpu.pc, cpu.guest.cpl), (Gva(0x9000), 3));
        assert_eq!(cpu.guest.segment(SegmentRegister::Cs).selector, 0x23);
        assert!(ModeBits::of(cpu.mode()).contains(ModeBits::CODE_32 | ModeBits::USER));
    }

    #[test]
    fn sysenter_and_sysexit_use_the_segments_around_their_register() {
        let mut cpu = testing::cpu();
        cpu.guest.msrs.sysenter_cs = 0x10;
        cpu.guest.msrs.sysenter_eip = CODE + 2;
        cpu.guest.msrs.sysenter_esp = 0x5000;
        // sysenter; sysexit (with REX.W)
        let mut machine = testing::machine(cpu, &[0x0f, 0x34, 0x48, 0x0f, 0x35]);
        machine.run(1);
        assert_eq!((machine.cpu.pc, get(&machine.cpu, RSP)), (Gva(CODE + 2), 0x5000));
        set(&mut machine.cpu, RDX, 0x1234_5678_9abc);
        set(&mut machine.cpu, RCX, 0x7000);
        machine.run(1);
        let cpu = &machine.cpu;
        assert_eq!((cpu.pc, get(cpu, RSP), cpu.guest.cpl), (Gva(0x1234_5678_9abc), 0x7000, 3));
        assert_eq!(cpu.guest.segment(SegmentRegister::Cs).selector, 0x33);
        assert_eq!(cpu.guest.segment(SegmentRegister::Ss).selector, 0x3b);
    }

    #[test]
    fn what_is_not_canonical_is_refused_where_it_is_asked_for() {
        let mut cpu = testing::cpu();
        set(&mut cpu, RCX, 1 << 47);
        assert_eq!(sysret(&mut cpu, Width::W64), Err(trap::protection(0)));
        cpu.guest.msrs.sysenter_cs = 0x10;
        assert_eq!(sysexit(&mut cpu, Width::W64), Err(trap::protection(0)));
        assert_eq!(cpu.guest.cpl, 0);
        cpu.guest.efer = 0;
        assert_eq!(syscall(&mut cpu, 0), Err(trap::plain(trap::UNDEFINED)));
    }
}
