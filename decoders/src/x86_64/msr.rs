//! Model-specific registers (SDM 4): RDMSR, WRMSR and the time-stamp counter. What is not here raises #GP.

use super::control;
use super::cpuid::{self, TSC_HZ};
use super::descriptor::is_canonical;
use super::guest::X86_64;
use super::regs::{self, FS_BASE, GS_BASE};
use super::state::Msrs;
use super::trap;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

// One step of the counter is one nanosecond: `tsc` and the local APIC's deadlines rely on it.
const _: () = assert!(TSC_HZ == 1_000_000_000);

const TSC: u32 = 0x10;
const PLATFORM_ID: u32 = 0x17;
const APIC_BASE: u32 = 0x1b;
const TSC_ADJUST: u32 = 0x3b;
const SPEC_CTRL: u32 = 0x48;
const PRED_CMD: u32 = 0x49;
const BIOS_UPDATE_SIGNATURE: u32 = 0x8b;
const ARCH_CAPABILITIES: u32 = 0x10a;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const MISC_ENABLE: u32 = 0x1a0;
const DEBUGCTL: u32 = 0x1d9;
const PAT: u32 = 0x277;
const TSC_DEADLINE: u32 = 0x6e0;
const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const CSTAR: u32 = 0xc000_0083;
const FMASK: u32 = 0xc000_0084;
const FS_BASE_MSR: u32 = 0xc000_0100;
const GS_BASE_MSR: u32 = 0xc000_0101;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
const TSC_AUX: u32 = 0xc000_0103;

/// IA32_PAT after reset.
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// IA32_MISC_ENABLE after reset: fast strings; neither branch trace storage nor precise event sampling.
const MISC_ENABLE_RESET: u64 = 1 << 0 | 1 << 11 | 1 << 12;
/// Bits of IA32_MISC_ENABLE that may be changed, without consequence: fast strings, thermal control.
const MISC_ENABLE_WRITABLE: u64 = 1 << 0 | 1 << 3;
/// Bits of IA32_SPEC_CTRL that may be set: IBRS and STIBP.
const SPEC_CTRL_WRITABLE: u64 = 0b11;
/// Bit of IA32_PRED_CMD: a barrier, of which nothing is left.
const PRED_CMD_WRITABLE: u64 = 1;

impl Default for Msrs {
    /// The registers after reset.
    fn default() -> Self {
        Self {
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            tsc_aux: 0,
            pat: PAT_RESET,
            misc_enable: MISC_ENABLE_RESET,
            spec_ctrl: 0,
            tsc_adjust: 0,
        }
    }
}

/// Time-stamp counter.
pub fn tsc(cpu: &Cpu<X86_64>) -> u64 {
    cpu.now_ns().wrapping_add(cpu.guest.msrs.tsc_adjust)
}

fn is_lapic(index: u32) -> bool {
    matches!(index, APIC_BASE | TSC_DEADLINE | X2APIC_FIRST..=X2APIC_LAST)
}

/// RDMSR.
///
/// # Errors
/// #GP for a register that does not exist or cannot be read.
pub fn read(cpu: &mut Cpu<X86_64>, index: u32) -> Result<u64, Trap> {
    if is_lapic(index) {
        let value = cpu.with_board(|board, env| board.lapic_msr_read(index, env));
        return value.ok_or(trap::protection(0));
    }
    let msrs = &cpu.guest.msrs;
    Ok(match index {
        TSC => tsc(cpu),
        // No platform of its own, and microcode was never updated.
        PLATFORM_ID | BIOS_UPDATE_SIGNATURE => 0,
        TSC_ADJUST => msrs.tsc_adjust,
        SPEC_CTRL => msrs.spec_ctrl,
        ARCH_CAPABILITIES => cpuid::ARCH_CAPABILITIES,
        SYSENTER_CS => msrs.sysenter_cs,
        SYSENTER_ESP => msrs.sysenter_esp,
        SYSENTER_EIP => msrs.sysenter_eip,
        MISC_ENABLE => msrs.misc_enable,
        DEBUGCTL => 0,
        PAT => msrs.pat,
        EFER => cpu.guest.efer,
        STAR => msrs.star,
        LSTAR => msrs.lstar,
        CSTAR => msrs.cstar,
        FMASK => msrs.fmask,
        FS_BASE_MSR => cpu.slots[usize::from(FS_BASE.0)],
        GS_BASE_MSR => cpu.slots[usize::from(GS_BASE.0)],
        KERNEL_GS_BASE => cpu.slots[usize::from(regs::KERNEL_GS_BASE.0)],
        TSC_AUX => msrs.tsc_aux,
        _ => return Err(trap::protection(0)),
    })
}

/// WRMSR.
///
/// # Errors
/// #GP for a register that does not exist or cannot be written, reserved bits, and addresses that are not canonical.
pub fn write(cpu: &mut Cpu<X86_64>, index: u32, value: u64) -> Result<(), Trap> {
    if is_lapic(index) {
        let done = cpu.with_board(|board, env| board.lapic_msr_write(index, value, env));
        cpu.recheck_interrupts();
        return done.ok_or(trap::protection(0));
    }
    let allowed = match index {
        TSC | TSC_ADJUST | STAR | SYSENTER_CS | EFER | BIOS_UPDATE_SIGNATURE => true,
        SPEC_CTRL => value & !SPEC_CTRL_WRITABLE == 0,
        PRED_CMD => value & !PRED_CMD_WRITABLE == 0,
        SYSENTER_ESP | SYSENTER_EIP | LSTAR | CSTAR | FS_BASE_MSR | GS_BASE_MSR | KERNEL_GS_BASE => {
            is_canonical(value)
        }
        FMASK | TSC_AUX => value >> 32 == 0,
        MISC_ENABLE => (value ^ cpu.guest.msrs.misc_enable) & !MISC_ENABLE_WRITABLE == 0,
        // Neither branch records nor stepping by branches.
        DEBUGCTL => value == 0,
        PAT => value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7)),
        _ => false,
    };
    if !allowed {
        return Err(trap::protection(0));
    }
    let now_ns = cpu.now_ns();
    let msrs = &mut cpu.guest.msrs;
    match index {
        TSC => set_tsc_adjust(cpu, value.wrapping_sub(now_ns)),
        TSC_ADJUST => set_tsc_adjust(cpu, value),
        SPEC_CTRL => msrs.spec_ctrl = value,
        SYSENTER_CS => msrs.sysenter_cs = value & 0xffff_ffff,
        SYSENTER_ESP => msrs.sysenter_esp = value,
        SYSENTER_EIP => msrs.sysenter_eip = value,
        MISC_ENABLE => msrs.misc_enable = value,
        PAT => msrs.pat = value,
        EFER => return control::write_efer(cpu, value),
        STAR => msrs.star = value,
        LSTAR => msrs.lstar = value,
        CSTAR => msrs.cstar = value,
        FMASK => msrs.fmask = value,
        FS_BASE_MSR => cpu.slots[usize::from(FS_BASE.0)] = value,
        GS_BASE_MSR => cpu.slots[usize::from(GS_BASE.0)] = value,
        KERNEL_GS_BASE => cpu.slots[usize::from(regs::KERNEL_GS_BASE.0)] = value,
        TSC_AUX => msrs.tsc_aux = value,
        _ => {}
    }
    Ok(())
}

/// Writing the counter and writing its offset are the same (SDM 3B 18.17.3).
fn set_tsc_adjust(cpu: &mut Cpu<X86_64>, adjust: u64) {
    cpu.guest.msrs.tsc_adjust = adjust;
    cpu.with_board(|board, env| board.set_tsc_adjust(adjust, env));
    cpu.recheck_interrupts();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86_64::control::{EFER_LME, EFER_SCE};
    use crate::x86_64::testing::cpu;

    const GP: Trap = trap::protection(0);

    #[test]
    fn what_is_written_is_read() {
        let canonical = 0xffff_8000_1234_5678;
        let cases = [
            (SPEC_CTRL, 1),
            (SYSENTER_CS, 0x10),
            (SYSENTER_ESP, canonical),
            (SYSENTER_EIP, canonical),
            (PAT, 0x0405_0607_0001_0406),
            (STAR, u64::MAX),
            (LSTAR, canonical),
            (CSTAR, canonical),
            (FMASK, 0x4_7700),
            (FS_BASE_MSR, canonical),
            (GS_BASE_MSR, canonical),
            (KERNEL_GS_BASE, canonical),
            (TSC_AUX, 5),
            (TSC_ADJUST, u64::MAX - 5),
            (MISC_ENABLE, MISC_ENABLE_RESET & !1),
        ];
        let mut cpu = cpu();
        for (index, value) in cases {
            assert_eq!(write(&mut cpu, index, value), Ok(()), "{index:#x}");
            assert_eq!(read(&mut cpu, index), Ok(value), "{index:#x}");
        }
    }

    #[test]
    fn what_is_refused() {
        let crooked = 1 << 47;
        let cases = [
            (0, 0),
            (ARCH_CAPABILITIES, 0),
            (SPEC_CTRL, 4),
            (PRED_CMD, 2),
            (SYSENTER_ESP, crooked),
            (SYSENTER_EIP, crooked),
            (LSTAR, crooked),
            (CSTAR, crooked),
            (FS_BASE_MSR, crooked),
            (GS_BASE_MSR, crooked),
            (KERNEL_GS_BASE, crooked),
            (FMASK, 1 << 32),
            (TSC_AUX, 1 << 32),
            (PAT, 2),
            (PAT, 8 << 56),
            (MISC_ENABLE, 1 << 34),
            (DEBUGCTL, 2),
            (EFER, 1 << 12),
            (0x2ff, 0),
            (u32::MAX, 0),
        ];
        let mut cpu = cpu();
        for (index, value) in cases {
            assert_eq!(write(&mut cpu, index, value), Err(GP), "{index:#x} {value:#x}");
        }
        for index in [0, PRED_CMD, 0x2ff, 0xda0, u32::MAX] {
            assert_eq!(read(&mut cpu, index), Err(GP), "{index:#x}");
        }
    }

    #[test]
    fn the_counter_and_its_offset_are_one() {
        let mut cpu = cpu();
        cpu.retired = 100;
        let now_ns = cpu.now_ns();
        write(&mut cpu, TSC, 1 << 40).expect("it can be written");
        assert_eq!(read(&mut cpu, TSC), Ok(1 << 40));
        assert_eq!(read(&mut cpu, TSC_ADJUST), Ok((1 << 40) - now_ns));
        write(&mut cpu, TSC_ADJUST, 0).expect("it can be written");
        assert_eq!(read(&mut cpu, TSC), Ok(now_ns));
    }

    #[test]
    fn efer_is_checked_like_a_control_register() {
        let mut cpu = cpu();
        write(&mut cpu, EFER, EFER_LME).expect("paging is off");
        assert_eq!(cpu.guest.efer & EFER_SCE, 0);
    }
}
