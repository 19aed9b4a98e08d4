//! What comes between instructions, in programs: interrupts and their shadows, single step, breakpoints.

use super::*;
use crate::x86_64::segment::TableRegister;
use crate::x86_64::testing::{self, CODE, STACK, get, set, word, write_words};
use c2w_engine::machine::{Exit, Machine};

const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
/// Where the handlers of all vectors are: 16 bytes each.
const HANDLERS: u64 = 0x1_0000;

/// A machine in 64-bit code with an interrupt gate for every vector; handlers are `jmp $`.
fn machine(code: &[u8]) -> Machine<X86_64> {
    let mut cpu = testing::cpu();
    cpu.guest.gdtr = TableRegister { base: GDT, limit: 0x3f };
    cpu.guest.idtr = TableRegister { base: IDT, limit: 0xfff };
    write_words(&mut cpu, GDT + 0x30, &[0x00af_9b00_0000_ffff]);
    for vector in 0..256 {
        let offset = HANDLERS + 16 * vector;
        let gate = offset & 0xffff | 0x30 << 16 | 0x8e << 40 | offset >> 16 << 48;
        write_words(&mut cpu, IDT + 16 * vector, &[gate, 0]);
        testing::write(&mut cpu, offset, &[0xeb, 0xfe]);
    }
    testing::machine(cpu, code)
}

fn set_flags(machine: &mut Machine<X86_64>, value: u64) {
    flags::set_rflags(&mut machine.cpu, value);
    mode::refresh(&mut machine.cpu);
    machine.cpu.recheck_interrupts();
}

/// Runs block by block until a handler is entered; gives its vector and the pushed RIP and flags.
fn run_to_handler(machine: &mut Machine<X86_64>) -> (u64, u64, u64) {
    for _ in 0..1000 {
        machine.run(1);
        let pc = machine.cpu.pc.0;
        if (HANDLERS..HANDLERS + 0x1000).contains(&pc) {
            let rsp = get(&machine.cpu, regs::RSP);
            return ((pc - HANDLERS) / 16, word(&machine.cpu, rsp), word(&machine.cpu, rsp + 16));
        }
    }
    panic!("no handler was entered, pc is {}", machine.cpu.pc);
}

/// Like IRET: goes on at `pc` with these flags.
fn resume(machine: &mut Machine<X86_64>, pc: u64, value: u64) {
    machine.cpu.pc = c2w_engine::addr::Gva(pc);
    set(&mut machine.cpu, regs::RSP, STACK);
    set_flags(machine, value & !flags::RF);
    if value & flags::RF != 0 {
        debug::set_resume(&mut machine.cpu);
    }
}

fn dr6(machine: &mut Machine<X86_64>) -> u64 {
    let status = machine.cpu.guest.debug.status & !0xffff_0ff0;
    machine.cpu.guest.debug.status = 0xffff_0ff0;
    status
}

/// Enables breakpoint 0 with these length and kind bits of DR7.
fn watch(machine: &mut Machine<X86_64>, address: u64, field: u64) {
    debug::write(&mut machine.cpu, 0, address).unwrap();
    debug::write(&mut machine.cpu, 7, 1 | field << 16).unwrap();
}

const NOPS: [u8; 8] = [0x90; 8];

#[test]
fn single_steps_stop_after_every_instruction() {
    // nop; mov al, 1; jmp to itself
    let mut machine = machine(&[0x90, 0xb0, 1, 0xeb, 0xfe]);
    set_flags(&mut machine, flags::TF);
    for (at, next) in [(0, 1), (1, 3), (3, 3), (3, 3)] {
        resume(&mut machine, CODE + at, flags::TF);
        let (vector, rip, rflags) = run_to_handler(&mut machine);
        assert_eq!((vector, rip, rflags), (1, CODE + next, flags::TF | flags::FIXED), "from {at}");
        assert_eq!(dr6(&mut machine), 1 << 14);
    }
    assert_eq!(get(&machine.cpu, regs::RAX), 1);
}

#[test]
fn faults_come_before_single_steps() {
    // ud2; mov al, [rax] at an address that is not canonical
    for (code, vector) in [(&[0x0f, 0x0b][..], 6), (&[0x8a, 0x00], 13)] {
        let mut machine = machine(code);
        set(&mut machine.cpu, regs::RAX, 1 << 63);
        set_flags(&mut machine, flags::TF);
        let (got, rip, rflags) = run_to_handler(&mut machine);
        let (rip, rflags) =
            if vector == 13 { (rflags_of(&machine, 1), rflags_of(&machine, 3)) } else { (rip, rflags) };
        assert_eq!((got, rip), (vector, CODE));
        assert_eq!(rflags, flags::TF | flags::RF | flags::FIXED);
        assert_eq!(dr6(&mut machine), 0);
    }
}

/// A word of the frame with an error code.
fn rflags_of(machine: &Machine<X86_64>, index: u64) -> u64 {
    word(&machine.cpu, get(&machine.cpu, regs::RSP) + 8 * index)
}

#[test]
fn repeated_strings_stop_after_every_element() {
    // rep stosb; nop
    let mut machine = machine(&[0xf3, 0xaa, 0x90]);
    set(&mut machine.cpu, regs::RCX, 2);
    set(&mut machine.cpu, regs::RDI, 0x3_0000);
    for (rip, left, rf) in [(CODE, 1, flags::RF), (CODE + 2, 0, 0)] {
        resume(&mut machine, CODE, flags::TF);
        let (vector, at, rflags) = run_to_handler(&mut machine);
        assert_eq!((vector, at, get(&machine.cpu, regs::RCX)), (1, rip, left));
        assert_eq!(rflags, flags::TF | flags::FIXED | rf);
    }
}

#[test]
fn data_breakpoints_stop_after_the_access() {
    const DATA: u64 = 0x3_0010;
    let (write, access) = (1, 3);
    let (one, two, eight, four) = (0, 1 << 2, 2 << 2, 3 << 2);
    let (load, store, exchange) = (&[0x48, 0x8b, 0x07][..], &[0x88, 0x07][..], &[0x48, 0x87, 0x07][..]);
    // Code, RDI, breakpoint's address and field: whether it is hit.
    for (code, at, address, field, hit) in [
        (store, DATA, DATA, write | one, true),
        (store, DATA, DATA, access | one, true),
        (load, DATA, DATA, access | one, true),
        (load, DATA, DATA, write | one, false),
        (exchange, DATA, DATA, write | one, true),
        (store, DATA + 1, DATA, write | one, false),
        (store, DATA + 1, DATA, write | two, true),
        (store, DATA + 7, DATA, write | eight, true),
        (store, DATA + 4, DATA, write | four, false),
        (store, DATA + 3, DATA + 1, write | four, true),
        (load, DATA - 7, DATA, access | one, true),
        (load, DATA - 8, DATA, access | one, false),
        // An access that crosses into the page of the breakpoint.
        (load, 0x3_0ffc, 0x3_1000, access | four, true),
        (load, 0x3_0ff8, 0x3_1000, access | four, false),
    ] {
        let mut machine = machine(&[code, &[0x0f, 0x0b]].concat());
        set(&mut machine.cpu, regs::RDI, at);
        // Translations from before the breakpoint do not hide accesses from it.
        machine.cpu.store(c2w_engine::addr::Gva(at), c2w_engine::addr::Width::W8, 0).unwrap();
        watch(&mut machine, address, field);
        let (vector, rip, _) = run_to_handler(&mut machine);
        let expected = if hit { (1, 1) } else { (6, 0) };
        assert_eq!((vector, dr6(&mut machine)), expected, "{code:x?} {at:#x} {address:#x} {field:#x}");
        assert_eq!(rip, CODE + code.len() as u64);
    }
}

#[test]
fn faults_forget_breakpoints_that_the_instruction_hit() {
    // push [rdi], with a stack pointer that is not canonical
    let mut machine = machine(&[0xff, 0x37]);
    set(&mut machine.cpu, regs::RDI, 0x3_0000);
    set(&mut machine.cpu, regs::RSP, 1 << 63);
    write_words(&mut machine.cpu, IDT + 16 * 12, &[0]);
    watch(&mut machine, 0x3_0000, 3);
    for _ in 0..3 {
        machine.run(1);
    }
    assert_eq!(machine.cpu.guest.debug.hits, 0);
}

#[test]
fn instruction_breakpoints_stop_before_the_instruction() {
    let mut machine = machine(&NOPS);
    watch(&mut machine, CODE + 2, 0);
    assert_eq!(run_to_handler(&mut machine), (1, CODE + 2, flags::FIXED));
    assert_eq!(dr6(&mut machine), 1);
    // With RF the instruction runs, and the next breakpoint on it stops again.
    resume(&mut machine, CODE + 2, flags::RF);
    machine.run(1);
    assert_eq!(machine.cpu.pc.0, CODE + 3);
    resume(&mut machine, CODE + 1, flags::RF);
    assert_eq!(run_to_handler(&mut machine), (1, CODE + 2, flags::FIXED));
}

#[test]
fn a_breakpoint_on_a_repeated_instruction_stops_once() {
    let mut machine = machine(&[0xf3, 0xaa, 0x0f, 0x0b]);
    set(&mut machine.cpu, regs::RCX, 3);
    set(&mut machine.cpu, regs::RDI, 0x3_0000);
    watch(&mut machine, CODE, 0);
    assert_eq!(run_to_handler(&mut machine).0, 1);
    resume(&mut machine, CODE, flags::RF);
    assert_eq!(run_to_handler(&mut machine).0, 6);
    assert_eq!(get(&machine.cpu, regs::RCX), 0);
}

#[test]
fn handlers_can_have_breakpoints_on_their_first_instruction() {
    let mut machine = machine(&[0x0f, 0x0b]);
    watch(&mut machine, HANDLERS + 6 * 16, 0);
    assert_eq!(run_to_handler(&mut machine), (1, HANDLERS + 6 * 16, flags::FIXED));
}

#[test]
fn interrupts_wait_for_the_flag_and_for_each_other() {
    let nmi = |machine: &Machine<X86_64>| machine.cpu.irq.line(NMI).raise();
    let mut machine = machine(&[0xeb, 0xfe]);
    nmi(&machine);
    assert_eq!(run_to_handler(&mut machine).0, 2);
    assert_eq!(machine.cpu.irq.levels(), 0);
    // Another one waits until the first is done.
    nmi(&machine);
    resume(&mut machine, CODE, 0);
    machine.run(3);
    assert_eq!(machine.cpu.pc.0, CODE);
    resume(&mut machine, CODE, 0);
    unblock_nmi(&mut machine.cpu);
    assert_eq!(run_to_handler(&mut machine).0, 2);
}

#[test]
fn stack_loads_hold_traps_and_interrupts_off_for_one_instruction() {
    let mut machine = machine(&NOPS);
    set_flags(&mut machine, flags::TF);
    hold_after_stack_load(&mut machine.cpu);
    machine.cpu.guest.debug.hits = 2;
    machine.cpu.irq.line(NMI).raise();
    // As if MOV SS had retired with a breakpoint hit just now: first one more instruction.
    let (vector, rip, _) = run_to_handler(&mut machine);
    assert_eq!((vector, rip, dr6(&mut machine)), (1, CODE + 1, 1 << 14 | 2));
    // The interrupt comes behind the trap, in front of the first instruction of its handler.
    let (vector, rip, _) = run_to_handler(&mut machine);
    assert_eq!((vector, rip), (2, HANDLERS + 16));
}

#[test]
fn halted_until_an_interrupt_that_may_come() {
    let mut machine = machine(&[0xf4, 0x90, 0xf4]);
    assert_eq!(machine.run(10), Exit::Waiting { deadline_ns: None });
    assert!(!devices_can_wake(&machine.cpu));
    machine.cpu.irq.line(INTR).raise();
    assert_eq!(machine.run(10), Exit::Waiting { deadline_ns: None });
    assert!(machine.cpu.is_waiting());
    machine.cpu.irq.line(NMI).raise();
    assert_eq!(run_to_handler(&mut machine), (2, CODE + 1, flags::FIXED));
}

#[test]
fn a_stepped_halt_ends_at_once() {
    let mut machine = machine(&[0xf4]);
    set_flags(&mut machine, flags::TF);
    assert_eq!(run_to_handler(&mut machine), (1, CODE + 1, flags::TF | flags::FIXED));
}

#[test]
fn what_waits_comes_behind_the_instruction_after_sti() {
    // nop; sti; nop; nop
    let mut machine = machine(&[0x90, 0xfb, 0x90, 0x90]);
    machine.cpu.irq.line(INTR).raise();
    machine.run(1);
    assert_eq!(get(&machine.cpu, regs::INTERRUPT_WAITS), 1);
    while machine.cpu.pc.0 < CODE + 2 {
        machine.run(1);
    }
    // The board has no interrupt for the pin, and so a non-maskable one shows where interrupts are taken.
    assert!(machine.cpu.needs_look());
    machine.cpu.irq.line(NMI).raise();
    assert_eq!(run_to_handler(&mut machine).1, CODE + 3);
    assert_eq!(get(&machine.cpu, regs::STI_SHADOW), regs::NO_SHADOW);
}

#[test]
fn what_comes_right_behind_sti_waits_for_one_instruction_once() {
    // sti; jmp to itself
    let mut machine = machine(&[0xfb, 0xeb, 0xfe]);
    machine.run(1);
    assert_eq!((machine.cpu.pc.0, get(&machine.cpu, regs::STI_SHADOW)), (CODE + 1, CODE + 1));
    machine.cpu.irq.line(NMI).raise();
    let retired = machine.cpu.retired;
    assert_eq!(run_to_handler(&mut machine).1, CODE + 1);
    // The jump ran in between, and then one instruction of the handler at most.
    assert!((1..=2).contains(&(machine.cpu.retired - retired)));
}

#[test]
fn cli_leaves_no_shadow_behind() {
    // sti; cli; nop: an interrupt does not come between nor behind, a non-maskable one does behind
    let mut machine = machine(&[0xfb, 0xfa, 0x90, 0xeb, 0xfe]);
    machine.cpu.irq.line(INTR).raise();
    for _ in 0..8 {
        machine.run(1);
    }
    assert_eq!(machine.cpu.pc.0, CODE + 3);
    assert_eq!(flags::rflags(&mut machine.cpu) & flags::IF, 0);
}
