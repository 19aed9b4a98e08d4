//! Calls as a table, then those that do something.

use super::*;
use crate::riscv64::testing::cpu_with;

const ECALL_AT: u64 = 0x8000_0100;

fn kernel() -> Cpu<Riscv64> {
    let mut cpu = cpu_with(hart_state(0));
    enter(&mut cpu, Gva(ECALL_AT), Gpa(0x8000_2000));
    cpu
}

/// Makes a call; gives a0 and a1.
fn ecall(cpu: &mut Cpu<Riscv64>, extension: u64, function: u64, args: &[u64]) -> (i64, u64) {
    let at = |n: u8| regs::x(A0 + n).0 as usize;
    for (n, &arg) in args.iter().enumerate() {
        cpu.slots[at(n as u8)] = arg;
    }
    (cpu.slots[at(6)], cpu.slots[at(7)]) = (function, extension);
    cpu.pc = Gva(ECALL_AT);
    trap::deliver(cpu, c2w_engine::guest::Trap::new(trap::ECALL_S, 0));
    assert_eq!(cpu.pc, Gva(ECALL_AT + 4));
    assert_eq!(cpu.guest.state.privilege, Privilege::Supervisor);
    (cpu.slots[at(0)] as i64, cpu.slots[at(1)])
}

#[test]
fn answers() {
    const ALL_HARTS: u64 = u64::MAX;
    for (extension, function, args, answer) in [
        (extension::BASE, 0, [0; 3], (0, 0x0200_0000)),
        (extension::BASE, 3, [extension::DBCN, 0, 0], (0, 1)),
        (extension::BASE, 3, [0x0a, 0, 0], (0, 0)),
        (extension::BASE, 4, [0; 3], (0, 0)),
        (extension::BASE, 7, [0; 3], (-2, 0)),
        (0x50_4d55, 0, [0; 3], (-2, 0)),
        (extension::IPI, 0, [1, 0, 0], (0, 0)),
        (extension::IPI, 0, [2, 0, 0], (-3, 0)),
        (extension::IPI, 0, [1, 1, 0], (-3, 0)),
        (extension::IPI, 0, [0, ALL_HARTS, 0], (0, 0)),
        (extension::RFENCE, 0, [1, 0, 0], (0, 0)),
        (extension::RFENCE, 1, [1, 0, 0], (0, 0)),
        (extension::RFENCE, 2, [0, ALL_HARTS, 0x1000], (0, 0)),
        // Fences of the hypervisor extension.
        (extension::RFENCE, 3, [1, 0, 0], (-2, 0)),
        (extension::HSM, 0, [0, 0, 0], (-6, 0)),
        (extension::HSM, 0, [1, 0, 0], (-3, 0)),
        (extension::HSM, 2, [0, 0, 0], (0, 0)),
        (extension::HSM, 2, [1, 0, 0], (-3, 0)),
        (extension::HSM, 3, [0x8000_0000, 0, 0], (-2, 0)),
        (extension::SRST, 0, [3, 0, 0], (-3, 0)),
        (extension::DBCN, 0, [4, 0x8000_1000, 0], (0, 4)),
        (extension::DBCN, 0, [4, 0x1000, 0], (-3, 0)),
        (extension::DBCN, 0, [4, 0x8000_1000, 1], (-3, 0)),
        (extension::DBCN, 1, [4, 0x8000_1000, 0], (0, 0)),
        (extension::LEGACY_GETCHAR, 0, [7, 7, 0], (-1, 7)),
        (extension::LEGACY_PUTCHAR, 0, [65, 7, 0], (0, 7)),
    ] {
        assert_eq!(
            ecall(&mut kernel(), extension, function, &args),
            answer,
            "{extension:#x} {function} {args:x?}"
        );
    }
}

#[test]
fn requests_reach_the_machine() {
    for (extension, kind, request) in [
        (extension::SRST, 0, Request::PowerOff),
        (extension::SRST, 1, Request::Reset),
        (extension::SRST, 2, Request::Reset),
        (extension::LEGACY_SHUTDOWN, 0, Request::PowerOff),
    ] {
        let mut cpu = kernel();
        ecall(&mut cpu, extension, 0, &[kind, 0]);
        assert_eq!(cpu.request, Some(request));
    }
}

#[test]
fn timer_and_software_interrupts_are_pending_until_cleared() {
    let mut cpu = kernel();
    cpu.retired = 1000;
    ecall(&mut cpu, extension::TIME, 0, &[500]);
    assert_eq!(irq::pending(&cpu), 1 << irq::STI);
    ecall(&mut cpu, extension::LEGACY_SET_TIMER, 0, &[u64::MAX]);
    assert_eq!((irq::pending(&cpu), irq::deadline_ns(&cpu)), (0, None));
    ecall(&mut cpu, extension::IPI, 0, &[1, 0]);
    assert_eq!(irq::pending(&cpu), 1 << irq::SSI);
    ecall(&mut cpu, extension::LEGACY_CLEAR_IPI, 0, &[]);
    assert_eq!(irq::pending(&cpu), 0);
    assert_eq!(ecall(&mut cpu, extension::HSM, 3, &[0]), (0, 0));
    assert!(cpu.is_waiting());
}
