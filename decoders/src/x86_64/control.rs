//! Control registers: CR0, CR2 to CR4, CR8, XCR0 and EFER, bit by bit (SDM 3A 2.5), and writes to them with their checks.

use super::guest::X86_64;
use super::segment::SegmentRegister;
use super::{mmu, mode, trap};
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Trap;

/// Protected mode.
pub const CR0_PE: u64 = 1 << 0;
/// FWAIT raises #NM, too, when TS is set.
pub const CR0_MP: u64 = 1 << 1;
/// No x87: its instructions raise #NM.
pub const CR0_EM: u64 = 1 << 2;
/// The floating-point state is of another task.
pub const CR0_TS: u64 = 1 << 3;
/// Extension type; always set.
pub const CR0_ET: u64 = 1 << 4;
/// x87 errors are exceptions.
pub const CR0_NE: u64 = 1 << 5;
/// Supervisor writes respect read-only pages.
pub const CR0_WP: u64 = 1 << 16;
/// Alignment checks are possible.
pub const CR0_AM: u64 = 1 << 18;
/// Paging.
pub const CR0_PG: u64 = 1 << 31;

/// RDTSC is privileged.
pub const CR4_TSD: u64 = 1 << 2;
/// Debug extensions: DR4 and DR5 do not exist.
pub const CR4_DE: u64 = 1 << 3;
/// 4 MiB pages without PAE.
pub const CR4_PSE: u64 = 1 << 4;
/// Physical address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// Global pages.
pub const CR4_PGE: u64 = 1 << 7;
/// RDPMC is not privileged.
pub const CR4_PCE: u64 = 1 << 8;
/// SSE exists.
pub const CR4_OSFXSR: u64 = 1 << 9;
/// Unmasked SIMD exceptions raise #XM.
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// SGDT, SIDT, SLDT, SMSW and STR are privileged.
pub const CR4_UMIP: u64 = 1 << 11;
/// RDFSBASE and its kin exist.
pub const CR4_FSGSBASE: u64 = 1 << 16;
/// Process-context identifiers.
pub const CR4_PCIDE: u64 = 1 << 17;
/// XSAVE and XCR0 exist.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// Supervisors may not execute user pages.
pub const CR4_SMEP: u64 = 1 << 20;
/// Supervisors may not access user pages unless RFLAGS.AC is set.
pub const CR4_SMAP: u64 = 1 << 21;

/// SYSCALL and SYSRET exist.
pub const EFER_SCE: u64 = 1 << 0;
/// Paging enters long mode.
pub const EFER_LME: u64 = 1 << 8;
/// Long mode is on.
pub const EFER_LMA: u64 = 1 << 10;
/// No-execute pages.
pub const EFER_NXE: u64 = 1 << 11;

/// Not write-through; means nothing without caches.
pub const CR0_NW: u64 = 1 << 29;
/// Cache disable.
pub const CR0_CD: u64 = 1 << 30;
/// Bits of CR0 that can be changed; writes to others in the low half are lost.
pub const CR0_WRITABLE: u64 =
    CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
/// Bits of CR4 that exist.
pub const CR4_SUPPORTED: u64 = CR4_TSD
    | CR4_DE
    | CR4_PSE
    | CR4_PAE
    | CR4_PGE
    | CR4_PCE
    | CR4_OSFXSR
    | CR4_OSXMMEXCPT
    | CR4_UMIP
    | CR4_FSGSBASE
    | CR4_PCIDE
    | CR4_OSXSAVE
    | CR4_SMEP
    | CR4_SMAP;
/// Bits of EFER that software can change.
pub const EFER_WRITABLE: u64 = EFER_SCE | EFER_LME | EFER_NXE;
/// Components of XCR0: x87 and SSE.
pub const XCR0_SUPPORTED: u64 = 0b11;
/// The process-context identifier in CR3.
const CR3_PCID: u64 = 0xfff;

fn fault_if(condition: bool) -> Result<(), Trap> {
    if condition { Err(trap::protection(0)) } else { Ok(()) }
}

/// MOV from a control register at CPL 0.
pub fn read(cpu: &mut Cpu<X86_64>, number: u8) -> Result<u64, Trap> {
    Ok(match number {
        0 => cpu.guest.cr0,
        2 => cpu.guest.cr2,
        3 => cpu.guest.cr3,
        4 => cpu.guest.cr4,
        8 => u64::from(cpu.board.task_priority()),
        _ => return Err(trap::plain(trap::UNDEFINED)),
    })
}

/// MOV to a control register at CPL 0; `value` is zero-extended outside of 64-bit mode. It ends a block.
pub fn write(cpu: &mut Cpu<X86_64>, number: u8, value: u64) -> Result<(), Trap> {
    match number {
        0 => write_cr0(cpu, value),
        2 => {
            cpu.guest.cr2 = value;
            Ok(())
        }
        3 => mmu::write_cr3(cpu, value),
        4 => write_cr4(cpu, value),
        8 => {
            fault_if(value > 15)?;
            cpu.with_board(|board, env| board.set_task_priority(value as u8, env));
            cpu.recheck_interrupts();
            Ok(())
        }
        _ => Err(trap::plain(trap::UNDEFINED)),
    }
}

/// Writes CR0 (SDM 2B MOV, 3A 2.5 and 10.8.5). There is no real mode: clearing PE is #GP.
pub fn write_cr0(cpu: &mut Cpu<X86_64>, value: u64) -> Result<(), Trap> {
    fault_if(value >> 32 != 0)?;
    let value = value & CR0_WRITABLE | CR0_ET;
    fault_if(value & CR0_PE == 0)?;
    fault_if(value & CR0_NW != 0 && value & CR0_CD == 0)?;
    let (old, cr4) = (cpu.guest.cr0, cpu.guest.cr4);
    let changed = old ^ value;
    let mut efer = cpu.guest.efer;
    if changed & CR0_PG != 0 {
        let code = cpu.guest.segment(SegmentRegister::Cs).attributes;
        if value & CR0_PG == 0 {
            fault_if(cr4 & CR4_PCIDE != 0)?;
            fault_if(cpu.guest.is_long_mode() && code.is_long())?;
            efer &= !EFER_LMA;
        } else if efer & EFER_LME != 0 {
            // Types 1 and 3 are 16-bit TSSs.
            let tss_16 = matches!(cpu.guest.tr.attributes.kind(), 1 | 3);
            fault_if(cr4 & CR4_PAE == 0 || code.is_long() || tss_16)?;
            efer |= EFER_LMA;
        } else if cr4 & CR4_PAE != 0 {
            cpu.guest.pdptes = mmu::read_pdptes(cpu, cpu.guest.cr3)?;
        }
    }
    cpu.guest.cr0 = value;
    cpu.guest.efer = efer;
    if changed & (CR0_PG | CR0_WP) != 0 {
        mmu::control_changed(cpu, old, cr4);
    }
    mode::refresh(cpu);
    Ok(())
}

/// Writes CR4.
pub fn write_cr4(cpu: &mut Cpu<X86_64>, value: u64) -> Result<(), Trap> {
    fault_if(value & !CR4_SUPPORTED != 0)?;
    let (cr0, old) = (cpu.guest.cr0, cpu.guest.cr4);
    let changed = old ^ value;
    let long = cpu.guest.is_long_mode();
    fault_if(long && value & CR4_PAE == 0)?;
    if changed & value & CR4_PCIDE != 0 {
        fault_if(!long || cpu.guest.cr3 & CR3_PCID != 0)?;
    }
    // SDM 3A 5.4.1: these changes make PAE paging read its four entries again.
    let reads = changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) != 0;
    if reads && !long && cr0 & CR0_PG != 0 && value & CR4_PAE != 0 {
        cpu.guest.pdptes = mmu::read_pdptes(cpu, cpu.guest.cr3)?;
    }
    cpu.guest.cr4 = value;
    mmu::control_changed(cpu, cr0, old);
    mode::refresh(cpu);
    Ok(())
}

/// Writes EFER; LMA is what paging makes it.
pub fn write_efer(cpu: &mut Cpu<X86_64>, value: u64) -> Result<(), Trap> {
    let old = cpu.guest.efer;
    fault_if(value & !(EFER_WRITABLE | EFER_LMA) != 0)?;
    fault_if((value ^ old) & EFER_LME != 0 && cpu.guest.cr0 & CR0_PG != 0)?;
    cpu.guest.efer = value & EFER_WRITABLE | old & EFER_LMA;
    if (value ^ old) & EFER_NXE != 0 {
        mmu::flush(cpu);
    }
    mode::refresh(cpu);
    Ok(())
}

/// XGETBV.
pub fn read_extended(cpu: &Cpu<X86_64>, index: u32) -> Result<u64, Trap> {
    fault_if(index != 0)?;
    Ok(cpu.guest.xcr0)
}

/// XSETBV at CPL 0.
pub fn write_extended(cpu: &mut Cpu<X86_64>, index: u32, value: u64) -> Result<(), Trap> {
    // x87 cannot be left out.
    fault_if(index != 0 || value & 1 == 0 || value & !XCR0_SUPPORTED != 0)?;
    cpu.guest.xcr0 = value;
    mode::refresh(cpu);
    Ok(())
}

/// LMSW: the low four bits of CR0, of which PE cannot be cleared.
pub fn load_machine_status(cpu: &mut Cpu<X86_64>, value: u16) -> Result<(), Trap> {
    const WRITABLE: u64 = CR0_MP | CR0_EM | CR0_TS;
    let value = u64::from(value) & WRITABLE;
    write_cr0(cpu, cpu.guest.cr0 & !WRITABLE | value)
}

#[cfg(test)]
mod tests;
