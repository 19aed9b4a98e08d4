//! Where traps go, what they save, and what returns restore; then the same with code.

use super::*;
use crate::riscv64::asm::assemble;
use crate::riscv64::guest::HartState;
use crate::riscv64::regs;
use crate::riscv64::status::{MIE, MPIE, MPP, MPRV, SIE, SPIE, SPP, TSR};
use crate::riscv64::testing::{cpu_with, machine};
use Privilege::{Machine, Supervisor, User};
use c2w_engine::machine::Exit;

const MTVEC: u64 = 0x8000_1000;
const STVEC: u64 = 0x8000_2000;

fn hart(privilege: Privilege, mstatus: u64) -> HartState {
    let mstatus = status::write_m(status::RESET, mstatus);
    HartState { privilege, mstatus, mtvec: MTVEC, stvec: STVEC, ..HartState::reset(0) }
}

#[test]
fn delegation() {
    const INT: u32 = INTERRUPT;
    // From, cause, medeleg, mideleg, where to.
    for (from, cause, medeleg, mideleg, to) in [
        (User, 8, 0, 0, Machine),
        (User, 8, 1 << 8, 0, Supervisor),
        (User, 8, 1 << 9, 0, Machine),
        (Supervisor, 13, 1 << 13, 0, Supervisor),
        (Machine, 13, 1 << 13, 0, Machine),
        (User, INT | 5, 1 << 5, 0, Machine),
        (User, INT | 5, 0, 1 << 5, Supervisor),
        (Supervisor, INT | 5, 0, 1 << 5, Supervisor),
    ] {
        let mut cpu = cpu_with(HartState { medeleg, mideleg, ..hart(from, MIE | SIE) });
        cpu.pc = Gva(0x8000_0040);
        deliver(&mut cpu, Trap::new(TrapCause(cause), 0x123));
        let state = &cpu.guest.state;
        assert_eq!(state.privilege, to, "{from:?} {cause:#x}");
        let full_cause = u64::from(cause & INT) << 32 | u64::from(cause & !INT);
        if to == Machine {
            assert_eq!(
                (state.mepc, state.mcause, state.mtval, cpu.pc.0),
                (0x8000_0040, full_cause, 0x123, MTVEC)
            );
            let expected = MPIE | SIE | (from as u64) << status::MPP_SHIFT;
            assert_eq!(state.mstatus & (MIE | MPIE | SIE | MPP), expected);
        } else {
            assert_eq!(
                (state.sepc, state.scause, state.stval, cpu.pc.0),
                (0x8000_0040, full_cause, 0x123, STVEC)
            );
            let expected = SPIE | MIE | if from == Supervisor { SPP } else { 0 };
            assert_eq!(state.mstatus & (SIE | SPIE | SPP | MIE), expected);
        }
    }
}

#[test]
fn only_interrupts_use_the_vector_table() {
    for (cause, pc) in [(TrapCause(5), MTVEC), (TrapCause(INTERRUPT | 7), MTVEC + 28)] {
        let mut cpu = cpu_with(HartState { mtvec: MTVEC | 1, ..hart(Machine, 0) });
        deliver(&mut cpu, Trap::new(cause, 0));
        assert_eq!(cpu.pc.0, pc);
    }
}

#[test]
fn returns_restore() {
    // Privilege, mstatus, then for MRET: privilege and mstatus after, or illegal.
    let fields = MIE | MPIE | MPP | MPRV | SIE | SPIE | SPP;
    let supervisor_mpp = 1 << status::MPP_SHIFT;
    for (from, before, after) in [
        (Machine, MPP | MPIE | MPRV, Some((Machine, MIE | MPIE | MPRV))),
        (Machine, supervisor_mpp | MPRV | MIE, Some((Supervisor, MPIE))),
        (Machine, MPIE, Some((User, MIE | MPIE))),
        (Supervisor, MPP, None),
        (User, MPP, None),
    ] {
        let mut cpu = cpu_with(HartState { mepc: 0x8000_0100, ..hart(from, before) });
        let result = mret(&mut cpu, 7);
        let got = result.ok().map(|pc| (pc, cpu.guest.state.privilege, cpu.guest.state.mstatus & fields));
        assert_eq!(got, after.map(|(to, mstatus)| (0x8000_0100, to, mstatus)), "mret {from:?} {before:#x}");
    }
    for (from, before, after) in [
        (Machine, SPP | SPIE | MPRV, Some((Supervisor, SIE | SPIE))),
        (Supervisor, SPP | SIE, Some((Supervisor, SPIE))),
        (Supervisor, SPIE, Some((User, SIE | SPIE))),
        (Supervisor, SPIE | TSR, None),
        (Machine, SPIE | TSR, Some((User, SIE | SPIE))),
        (User, 0, None),
    ] {
        let mut cpu = cpu_with(HartState { sepc: 0x8000_0100, ..hart(from, before) });
        let result = sret(&mut cpu, 7);
        let got = result.ok().map(|pc| (pc, cpu.guest.state.privilege, cpu.guest.state.mstatus & fields));
        assert_eq!(got, after.map(|(to, mstatus)| (0x8000_0100, to, mstatus)), "sret {from:?} {before:#x}");
    }
}

#[test]
fn which_interrupt_is_taken() {
    let all = irq::ALL;
    let delegated = irq::SUPERVISOR;
    // Privilege, mstatus, mie, mideleg, pending, which.
    for (from, mstatus, mie, mideleg, pending, taken) in [
        (Machine, 0, all, 0, all, None),
        (Machine, MIE, all, 0, all, Some(irq::MEI)),
        (Machine, MIE, all, 0, all & !(1 << irq::MEI), Some(irq::MSI)),
        (Machine, MIE, all, 0, 1 << irq::MTI | delegated, Some(irq::MTI)),
        (Machine, MIE, all, 0, delegated, Some(irq::SEI)),
        (Machine, MIE, all, delegated, delegated, None),
        (Machine, MIE, 1 << irq::STI, 0, all, Some(irq::STI)),
        (Supervisor, 0, all, delegated, all, Some(irq::MEI)),
        (Supervisor, 0, all, delegated, delegated, None),
        (Supervisor, SIE, all, delegated, delegated, Some(irq::SEI)),
        (Supervisor, SIE, all, delegated, 1 << irq::SSI | 1 << irq::STI, Some(irq::SSI)),
        (User, 0, all, delegated, 1 << irq::STI, Some(irq::STI)),
        (User, 0, 0, delegated, all, None),
    ] {
        let mut cpu = cpu_with(HartState { mie, mideleg, ..hart(from, mstatus) });
        irq::write(&mut cpu, pending, irq::SUPERVISOR);
        cpu.irq.restore(pending & !irq::SUPERVISOR);
        let number = interrupt(&cpu).map(|trap| trap.cause.0 & !INTERRUPT);
        assert_eq!(number, taken, "{from:?} {mstatus:#x} {mie:#x} {mideleg:#x} {pending:#x}");
    }
}

/// Runs assembly from reset until `a0` is not 0 or the budget ends; gives `a0` and `a1`.
fn run(text: &str) -> (u64, u64) {
    let code = assemble(text).unwrap();
    let words: Vec<u32> = code.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
    let mut machine = machine(&words);
    for _ in 0..200 {
        if let Exit::Waiting { deadline_ns: Some(deadline_ns) } = machine.run(50) {
            let retired = machine.cpu.retired;
            machine.cpu.clock.skip_to(deadline_ns, retired);
        }
        if machine.cpu.slots[regs::x(10).0 as usize] != 0 {
            break;
        }
    }
    [10, 11].map(|n| machine.cpu.slots[regs::x(n).0 as usize]).into()
}

#[test]
fn an_illegal_instruction_reports_its_bits() {
    // mtvec (0x305) = handler; then a write to register 0x5c0, which does not exist; mtval, mcause.
    let (cause, value) = run("
        auipc t0, 0
        addi t0, t0, 20
        csrrw zero, 0x305, t0
        csrrw zero, 0x5c0, zero
        addi zero, zero, 0
        csrrs a1, 0x343, zero
        csrrs a0, 0x342, zero
        stop: jal zero, stop
    ");
    assert_eq!((cause, value), (2, 0x5c00_1073));
}

#[test]
fn a_timer_interrupt_ends_waiting_in_supervisor_mode() {
    // pmpaddr0, pmpcfg0: all memory open; menvcfg: Sstc on; stimecmp = 2000; mcounteren; mideleg and mie: the timer;
    // stvec, mepc, mstatus: S-mode with interrupts on. The handler reports time and scause.
    let (cause, time) = run("
        auipc s0, 0
        addi t0, zero, -1
        srli t0, t0, 10
        csrrw zero, 0x3b0, t0
        csrrwi zero, 0x3a0, 31
        addi t0, zero, 1
        slli t0, t0, 63
        csrrw zero, 0x30a, t0
        addi t0, zero, 2000
        csrrw zero, 0x14d, t0
        addi t0, zero, 2
        csrrw zero, 0x306, t0
        addi t0, zero, 32
        csrrw zero, 0x303, t0
        csrrw zero, 0x304, t0
        addi t0, s0, 112
        csrrw zero, 0x105, t0
        addi t0, s0, 100
        csrrw zero, 0x341, t0
        addi t0, zero, 1
        slli t0, t0, 11
        csrrw zero, 0x300, t0
        csrrsi zero, 0x300, 2
        addi zero, zero, 0
        mret
        wait: wfi
        jal zero, wait
        addi zero, zero, 0
        csrrs a1, 0xc01, zero
        csrrs a0, 0x142, zero
        stop: jal zero, stop
    ");
    assert_eq!(cause, 1 << 63 | 5);
    assert!((2000..2100).contains(&time), "{time}");
}
