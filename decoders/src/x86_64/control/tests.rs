//! Writes to control registers as tables: which are refused, and how long mode is entered and left.

use super::*;
use crate::x86_64::segment::{Attributes, Segment};
use crate::x86_64::state::State;
use crate::x86_64::testing::cpu_with;

const GP: Result<(), Trap> = Err(trap::protection(0));
const BASE: u64 = CR0_PE | CR0_ET | CR0_NE;

/// 32-bit protected mode without paging.
fn protected() -> Cpu<X86_64> {
    let mut state = State::flat_64(0);
    state.segments[SegmentRegister::Cs as usize] = Segment::code_32(0x10, 0);
    state.efer = 0;
    state.cr4 = 0;
    state.cr0 = BASE;
    cpu_with(state)
}

/// Compatibility mode with paging, whose tables are nowhere.
fn compatibility() -> Cpu<X86_64> {
    let mut cpu = protected();
    write_cr4(&mut cpu, CR4_PAE).expect("PAE exists");
    write_efer(&mut cpu, EFER_LME | EFER_NXE).expect("paging is off");
    write_cr0(&mut cpu, BASE | CR0_PG).expect("everything is set up");
    assert_eq!(cpu.guest.efer, EFER_LME | EFER_LMA | EFER_NXE);
    cpu
}

#[test]
fn cr0() {
    let cases = [
        (BASE, Ok(())),
        (BASE | CR0_WP | CR0_AM | CR0_TS | CR0_EM | CR0_MP, Ok(())),
        (BASE | CR0_CD | CR0_NW, Ok(())),
        (BASE | CR0_NW, GP),
        (BASE & !CR0_PE, GP),
        (BASE & !CR0_PE | CR0_PG, GP),
        (BASE | 1 << 32, GP),
    ];
    for (value, expected) in cases {
        let mut cpu = protected();
        assert_eq!(write_cr0(&mut cpu, value), expected, "{value:#x}");
        assert_eq!(cpu.guest.cr0, if expected.is_ok() { value } else { BASE });
    }
    // Bits that do not exist are lost, ET stays.
    let mut cpu = protected();
    assert_eq!(write_cr0(&mut cpu, CR0_PE | 0x0f00), Ok(()));
    assert_eq!(cpu.guest.cr0, CR0_PE | CR0_ET);
}

#[test]
fn long_mode_asks_for_pae_a_large_tss_and_other_code() {
    let paging = BASE | CR0_PG;
    let mut cpu = protected();
    write_efer(&mut cpu, EFER_LME).expect("paging is off");
    assert_eq!(write_cr0(&mut cpu, paging), GP);
    write_cr4(&mut cpu, CR4_PAE).expect("PAE exists");
    cpu.guest.tr.attributes = Attributes(0x83);
    assert_eq!(write_cr0(&mut cpu, paging), GP);
    cpu.guest.tr.attributes = Attributes(0x8b);
    cpu.guest.segments[SegmentRegister::Cs as usize] = Segment::code_64(0x10, 0);
    assert_eq!(write_cr0(&mut cpu, paging), GP);
    cpu.guest.segments[SegmentRegister::Cs as usize] = Segment::code_32(0x10, 0);
    assert_eq!(write_cr0(&mut cpu, paging), Ok(()));
    assert!(cpu.guest.is_long_mode());
}

#[test]
fn long_mode_is_left_by_compatibility_code_only() {
    let mut cpu = compatibility();
    assert_eq!(write_efer(&mut cpu, 0), GP);
    assert_eq!(write_cr4(&mut cpu, 0), GP);
    cpu.guest.segments[SegmentRegister::Cs as usize] = Segment::code_64(0x10, 0);
    assert_eq!(write_cr0(&mut cpu, BASE), GP);
    cpu.guest.segments[SegmentRegister::Cs as usize] = Segment::code_32(0x10, 0);
    assert_eq!(write_cr0(&mut cpu, BASE), Ok(()));
    assert_eq!(cpu.guest.efer, EFER_LME | EFER_NXE);
}

#[test]
fn process_context_identifiers_ask_for_long_mode_and_start_at_zero() {
    assert_eq!(write_cr4(&mut protected(), CR4_PCIDE), GP);
    let mut cpu = compatibility();
    cpu.guest.cr3 = 0x1001;
    assert_eq!(write_cr4(&mut cpu, CR4_PAE | CR4_PCIDE), GP);
    cpu.guest.cr3 = 0x1000;
    assert_eq!(write_cr4(&mut cpu, CR4_PAE | CR4_PCIDE), Ok(()));
    // The identifier may change now, and translations may be kept.
    assert_eq!(write(&mut cpu, 3, 1 << 63 | 0x2005), Ok(()));
    assert_eq!(cpu.guest.cr3, 0x2005);
    assert_eq!(write_cr4(&mut cpu, CR4_PAE | CR4_PCIDE | CR4_PGE), Ok(()));
    assert_eq!(write_cr0(&mut cpu, BASE), GP);
    assert_eq!(write_cr4(&mut cpu, CR4_PAE), Ok(()));
    assert_eq!(write(&mut cpu, 3, 1 << 63), GP);
    assert_eq!(write(&mut cpu, 3, 1 << mmu::PHYSICAL_BITS), GP);
}

#[test]
fn bits_that_do_not_exist() {
    for bit in (0..64).filter(|bit| CR4_SUPPORTED >> bit & 1 == 0) {
        assert_eq!(write_cr4(&mut compatibility(), CR4_PAE | 1 << bit), GP, "CR4 bit {bit}");
    }
    for bit in (0..64).filter(|bit| (EFER_WRITABLE | EFER_LMA) >> bit & 1 == 0) {
        assert_eq!(write_efer(&mut protected(), 1 << bit), GP, "EFER bit {bit}");
    }
    // LMA is not software's.
    let mut cpu = protected();
    assert_eq!(write_efer(&mut cpu, EFER_LMA | EFER_SCE), Ok(()));
    assert_eq!(cpu.guest.efer, EFER_SCE);
}

#[test]
fn machine_status_and_extended_control() {
    let mut cpu = protected();
    assert_eq!(load_machine_status(&mut cpu, 0xe), Ok(()));
    assert_eq!(cpu.guest.cr0, BASE | CR0_MP | CR0_EM | CR0_TS);
    assert_eq!(load_machine_status(&mut cpu, 0), Ok(()));
    assert_eq!(cpu.guest.cr0, BASE);
    let cases = [
        (0, 1, Ok(())),
        (0, 3, Ok(())),
        (0, 0, GP),
        (0, 2, GP),
        (0, 7, GP),
        (0, 1 << 63 | 1, GP),
        (1, 1, GP),
    ];
    for (index, value, expected) in cases {
        assert_eq!(write_extended(&mut protected(), index, value), expected, "{index} {value:#x}");
    }
    assert_eq!(write(&mut protected(), 8, 16), GP);
}
