//! The run loop: budgets, traps, interrupts, waiting, requests, saving and restoring.

use crate::toy::{HANDLER, INTERRUPT, Op, POWER_OFF, RAISE, RAM, Toy, insn, machine, map};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, PAGE_SHIFT};
use c2w_engine::machine::{Exit, Machine};
use c2w_engine::mem::device::Request;

/// Counts in register 1; a block of three instructions.
const COUNT: [[u8; 4]; 3] = [insn(Op::Addi, 1, 1, 1), insn(Op::Addi, 2, 2, 2), insn(Op::Jump, 0, 0, -2)];

#[test]
fn a_run_ends_with_the_block_in_which_its_budget_ends() {
    for (budget, retired) in [(1, 3), (3, 3), (4, 6), (3000, 3000), (3001, 3003)] {
        let mut m = machine(&COUNT);
        assert_eq!(m.run(budget), Exit::Budget);
        assert_eq!((m.statistics().retired, m.cpu.slots[1]), (retired, retired / 3), "budget {budget}");
    }
}

#[test]
fn a_guest_that_only_traps_uses_up_its_budget() {
    let mut m = machine(&[insn(Op::Break, 0, 0, 0)]);
    m.cpu.guest.handler = RAM;
    assert_eq!(m.run(1000), Exit::Budget);
    assert_eq!((m.cpu.guest.traps, m.statistics().retired), (1000, 0));
    // A handler that cannot be fetched.
    m.cpu.guest.handler = 0;
    assert_eq!(m.run(1000), Exit::Budget);
    assert_eq!(m.cpu.guest.traps, 2000);
}

#[test]
fn instructions_before_a_trap_retire() {
    let mut m = machine(&[insn(Op::Addi, 1, 1, 1), insn(Op::Load, 3, 0, 0), insn(Op::Addi, 1, 1, 1)]);
    m.run(1);
    assert_eq!((m.cpu.slots[1], m.cpu.guest.trap_pc), (1, RAM + 4));
    let spun = m.statistics().retired - 1;
    m.run(1);
    assert_eq!((m.cpu.pc.0, m.statistics().retired), (HANDLER, spun + 2));
}

#[test]
fn an_interrupt_is_taken_before_the_next_block() {
    let mut m = machine(&COUNT);
    m.cpu.guest.enabled = true;
    m.run(30);
    m.cpu.irq.line(5).raise();
    m.run(1);
    assert_eq!((m.cpu.guest.cause, m.cpu.guest.trap_pc, m.cpu.slots[1]), (INTERRUPT.0, RAM, 10));
    assert_eq!(m.cpu.guest.traps, 1);
}

#[test]
fn an_interrupt_that_an_instruction_raises_is_taken_at_the_end_of_its_block() {
    let code =
        [insn(Op::Store, 1, 2, 0), insn(Op::Addi, 1, 1, 1), insn(Op::Jump, 0, 0, 1), insn(Op::Addi, 3, 3, 1)];
    let mut m = machine(&code);
    m.cpu.guest.enabled = true;
    m.cpu.slots[2] = RAISE;
    m.run(1000);
    assert_eq!((m.cpu.guest.cause, m.cpu.guest.trap_pc), (INTERRUPT.0, RAM + 12));
    assert_eq!((m.cpu.slots[1], m.cpu.slots[3]), (1, 0));
}

#[test]
fn a_pending_interrupt_is_taken_as_soon_as_it_is_enabled() {
    let mut m = machine(&[insn(Op::Enable, 0, 0, 1), insn(Op::Addi, 1, 1, 1), insn(Op::Jump, 0, 0, 0)]);
    m.cpu.irq.line(0).raise();
    m.run(1000);
    assert_eq!((m.cpu.guest.trap_pc, m.cpu.slots[1], m.cpu.guest.traps), (RAM + 4, 0, 1));
}

/// Waits, then counts.
const WAIT: [[u8; 4]; 3] = [insn(Op::Wait, 0, 0, 0), insn(Op::Addi, 1, 1, 1), insn(Op::Jump, 0, 0, -2)];

#[test]
fn waiting_ends_with_a_line_whether_or_not_it_interrupts() {
    for enabled in [false, true] {
        let mut m = machine(&WAIT);
        m.cpu.guest.enabled = enabled;
        for _ in 0..2 {
            assert_eq!(m.run(1000), Exit::Waiting { deadline_ns: None });
            assert_eq!((m.statistics().retired, m.cpu.pc), (1, Gva(RAM + 4)));
        }
        m.cpu.irq.line(1).raise();
        m.run(1);
        assert_eq!(m.cpu.guest.traps, u64::from(enabled));
        assert_eq!(m.cpu.slots[1], u64::from(!enabled));
        assert!(!m.cpu.is_waiting());
    }
}

#[test]
fn waiting_for_a_timer_tells_the_deadline() {
    let mut m = machine(&WAIT);
    m.cpu.guest.timer_ns = Some(1_000_000);
    assert_eq!(m.run(10), Exit::Waiting { deadline_ns: Some(1_000_000) });
    let retired = m.cpu.retired;
    m.cpu.clock.skip_to(999_999, retired);
    assert_eq!(m.run(10), Exit::Waiting { deadline_ns: Some(1_000_000) });
    m.cpu.clock.skip_to(1_000_000, retired);
    m.run(1);
    assert_eq!(m.cpu.slots[1], 1);
}

#[test]
fn a_request_ends_the_run_behind_the_block_that_made_it() {
    let mut m = machine(&[insn(Op::Store, 1, 2, 0), insn(Op::Jump, 0, 0, 1), insn(Op::Addi, 1, 1, 1)]);
    m.cpu.slots[2] = POWER_OFF;
    assert_eq!(m.run(1000), Exit::Request(Request::PowerOff));
    assert_eq!((m.cpu.pc.0, m.cpu.slots[1], m.statistics().retired), (RAM + 8, 0, 2));
}

#[test]
fn devices_are_served_once_a_run() {
    let mut m = machine(&COUNT);
    for run in 1..4 {
        m.run(3000);
        assert_eq!(m.cpu.board.services, run);
    }
}

/// Sums numbers from memory in register 3, stores the sum, and reserves and patches code as it goes.
const MIXED: [[u8; 4]; 8] = [
    insn(Op::Addi, 1, 1, 1),
    insn(Op::LoadReserved, 4, 2, 0),
    insn(Op::Store8, 1, 6, 0),
    insn(Op::Addi, 3, 3, 5),
    insn(Op::Store, 3, 2, 0),
    insn(Op::StoreConditional, 4, 2, 0),
    insn(Op::BranchNe, 1, 5, -6),
    insn(Op::Wait, 0, 0, 0),
];

fn mixed() -> Machine<Toy> {
    let mut m = machine(&MIXED);
    // Register 6 points to the immediate of the fourth instruction.
    (m.cpu.slots[2], m.cpu.slots[5], m.cpu.slots[6]) = (RAM + 3 * PAGE_BYTES, 1000, RAM + 15);
    for page in RAM >> PAGE_SHIFT..=HANDLER >> PAGE_SHIFT {
        map(&mut m.cpu, page, page);
    }
    m
}

#[test]
fn a_restored_machine_runs_on_as_the_saved_one_does() {
    for budget in [1, 7, 100, 1001, 5000, 100_000] {
        let mut saved = mixed();
        saved.run(budget);
        let state = saved.cpu.save();
        let memory = saved.cpu.ram.slice(Gpa(RAM), saved.cpu.ram.len_bytes()).unwrap().to_vec();
        // Another machine, which has run other code.
        let mut restored = machine(&COUNT);
        restored.run(50);
        restored.cpu.ram.write(Gpa(RAM), &memory).unwrap();
        restored.cpu.restore(&state).unwrap();
        let ends = [&mut saved, &mut restored].map(|m| {
            let exits = [m.run(333), m.run(10_000)];
            let memory = m.cpu.ram.slice(Gpa(RAM), m.cpu.ram.len_bytes()).unwrap().to_vec();
            let guest = m.cpu.guest.clone();
            (
                exits,
                *m.cpu.slots,
                m.cpu.pc,
                m.cpu.retired,
                m.cpu.reservation,
                m.cpu.is_waiting(),
                guest,
                memory,
            )
        });
        assert!(ends[0] == ends[1], "after {budget}");
    }
}
