//! Delivery as tables: what is pushed and where execution goes on, and what faults on the way become.

use super::*;
use crate::x86_64::control::{CR0_PG, CR4_PAE, EFER_LMA};
use crate::x86_64::segment::{Segment, SystemSegment, TableRegister};
use crate::x86_64::state::State;
use crate::x86_64::testing::{cpu_with, get, set, start, word, write, write_words};
use crate::x86_64::{control, debug};
use c2w_engine::addr::Gpa;
use c2w_engine::mem::ram::Ram;

const GDT: u64 = 0x1000;
const IDT_AT: u64 = 0x2000;
const TSS: u64 = 0x3000;
const HANDLERS: u64 = 0x8000;
const STACK: u64 = 0x1_0000;
const INNER_STACK: u64 = 0x1_2008;
const NAMED_STACK: u64 = 0x1_4000;
const CODE: u64 = 0x2_0000;

/// Selectors of the descriptors that [`machine`] makes.
mod sel {
    pub const CODE_64: u16 = 0x08;
    pub const CODE_32: u16 = 0x10;
    pub const CONFORMING: u16 = 0x18;
    pub const ABSENT: u16 = 0x20;
    pub const DATA: u16 = 0x28;
    pub const USER_CODE: u16 = 0x30;
    pub const USER_DATA: u16 = 0x38;
    pub const ABSENT_DATA: u16 = 0x40;
    pub const CODE_16: u16 = 0x48;
    pub const SMALL_DATA: u16 = 0x50;
    pub const LIMIT: u16 = 0x57;
}

const DESCRIPTORS: [u64; 11] = [
    0,
    0x00af_9a00_0000_ffff,
    0x00cf_9a00_0000_ffff,
    0x00af_9e00_0000_ffff,
    0x00af_1a00_0000_ffff,
    0x00cf_9200_0000_ffff,
    0x00af_fa00_0000_ffff,
    0x00cf_f200_0000_ffff,
    0x00cf_1200_0000_ffff,
    0x0000_9a00_0000_ffff,
    // Base 0x10000, limit 0xff: a 16-bit stack.
    0x0000_9201_0000_00ff,
];

/// A gate of long mode: type and privilege, code segment, stack number.
fn long_gate(vector: u64, rights: u64, selector: u16, stack: u64) -> [u64; 2] {
    let offset = HANDLERS + 16 * vector;
    [
        offset & 0xffff | u64::from(selector) << 16 | stack << 32 | rights << 40 | offset >> 16 << 48,
        offset >> 32,
    ]
}

const INTERRUPT_GATE: u64 = 0x8e;
const TRAP_GATE: u64 = 0x8f;
const OPEN: u64 = 0x60;

/// A vCPU in 64-bit code at a privilege level, with an interrupt gate for every vector.
fn machine(cpl: u8) -> Cpu<X86_64> {
    let mut state = State::flat_64(cpl);
    let (code, data) =
        if cpl == 3 { (sel::USER_CODE | 3, sel::USER_DATA | 3) } else { (sel::CODE_64, sel::DATA) };
    state.segments = [Segment::data(data, cpl); 6];
    state.segments[1] = Segment::code_64(code, cpl);
    state.gdtr = TableRegister { base: GDT, limit: sel::LIMIT };
    state.idtr = TableRegister { base: IDT_AT, limit: 0xfff };
    state.tr = SystemSegment { selector: 0x60, base: TSS, limit: 0x67, attributes: Attributes(0x8b) };
    let mut cpu = cpu_with(state);
    write_words(&mut cpu, GDT, &DESCRIPTORS);
    for vector in 0..256 {
        write_words(&mut cpu, IDT_AT + 16 * vector, &long_gate(vector, INTERRUPT_GATE, sel::CODE_64, 0));
    }
    write_words(&mut cpu, TSS + 4, &[INNER_STACK, 0x1_1000, 0x1_1800]);
    write_words(&mut cpu, TSS + 0x24, &[NAMED_STACK]);
    set(&mut cpu, regs::RSP, STACK + 0x18);
    flags::set_rflags(&mut cpu, flags::IF | flags::ZF | flags::NT);
    mode::refresh(&mut cpu);
    cpu.pc = Gva(CODE);
    cpu
}

fn gate(cpu: &mut Cpu<X86_64>, vector: u8, rights: u64, selector: u16, stack: u64) {
    let vector = u64::from(vector);
    write_words(cpu, IDT_AT + 16 * vector, &long_gate(vector, rights, selector, stack));
}

/// What was pushed, the last first, `count` numbers.
fn frame(cpu: &Cpu<X86_64>, count: u64) -> Vec<u64> {
    (0..count).map(|i| word(cpu, get(cpu, regs::RSP) + 8 * i)).collect()
}

/// The vector whose handler was entered, or that the machine restarts.
fn entered(cpu: &Cpu<X86_64>) -> Option<u64> {
    if cpu.request == Some(Request::Reset) { None } else { Some((cpu.pc.0 - HANDLERS) / 16) }
}

fn interrupt(vector: u8) -> Trap {
    trap::plain(trap::cause(Kind::Interrupt, vector))
}

fn software(vector: u8, value: u64) -> Trap {
    Trap::new(trap::cause(Kind::Software, vector), value)
}

const RFLAGS: u64 = flags::FIXED | flags::IF | flags::ZF | flags::NT;
const AFTER: u64 = flags::FIXED | flags::ZF;

#[test]
fn frames_of_long_mode() {
    let same = [u64::from(sel::CODE_64), RFLAGS, STACK + 0x18, u64::from(sel::DATA)];
    let user = [u64::from(sel::USER_CODE | 3), RFLAGS, STACK + 0x18, u64::from(sel::USER_DATA | 3)];
    let with = |first: &[u64], rest: [u64; 4], rf: u64| {
        let mut all = [first, &rest].concat();
        all[first.len() + 1] |= rf;
        all
    };
    let rf = flags::RF;
    // Privilege, gate rights, stack number, trap; then frame, stack pointer before it, flags after.
    for (cpl, rights, stack, trap, expected, top, after) in [
        (0, INTERRUPT_GATE, 0, interrupt(0x40), with(&[CODE], same, 0), STACK + 0x10, AFTER),
        (0, TRAP_GATE, 0, interrupt(0x40), with(&[CODE], same, 0), STACK + 0x10, AFTER | flags::IF),
        (0, INTERRUPT_GATE, 1, interrupt(0x40), with(&[CODE], same, 0), NAMED_STACK, AFTER),
        (0, INTERRUPT_GATE, 0, trap::plain(trap::UNDEFINED), with(&[CODE], same, rf), STACK + 0x10, AFTER),
        (0, INTERRUPT_GATE, 0, trap::protection(0x28), with(&[0x28, CODE], same, rf), STACK + 0x10, AFTER),
        (0, INTERRUPT_GATE, 0, software(0x80, 2), with(&[CODE + 2], same, 0), STACK + 0x10, AFTER),
        (3, INTERRUPT_GATE, 0, interrupt(0x40), with(&[CODE], user, 0), INNER_STACK & !15, AFTER),
        (3, INTERRUPT_GATE, 1, trap::protection(0), with(&[0, CODE], user, rf), NAMED_STACK, AFTER),
        (
            3,
            TRAP_GATE | OPEN,
            0,
            software(3, 1),
            with(&[CODE + 1], user, 0),
            INNER_STACK & !15,
            AFTER | flags::IF,
        ),
        (
            3,
            TRAP_GATE,
            0,
            software(1, 1 | trap::NOT_BY_PROGRAM),
            with(&[CODE + 1], user, 0),
            INNER_STACK & !15,
            AFTER | flags::IF,
        ),
    ] {
        let mut cpu = machine(cpl);
        let number = trap::vector_of(trap.cause);
        gate(&mut cpu, number, rights, sel::CODE_64, stack);
        deliver(&mut cpu, trap);
        let name = format!("{trap:?} at {cpl}");
        assert_eq!(entered(&cpu), Some(u64::from(number)), "{name}");
        let count = expected.len() as u64;
        assert_eq!((get(&cpu, regs::RSP), frame(&cpu, count)), (top - 8 * count, expected), "{name}");
        assert_eq!(flags::rflags(&mut cpu), after, "{name}");
        assert_eq!((cpu.guest.cpl, cpu.guest.segments[1].selector), (0, sel::CODE_64), "{name}");
        let stack_selector = if cpl == 3 { 0 } else { sel::DATA };
        assert_eq!(cpu.guest.segments[2].selector, stack_selector, "{name}");
        // Loading the code segment marked its descriptor.
        assert_eq!(word(&cpu, GDT + 8) >> 40 & 1, 1);
    }
}

#[test]
fn conforming_handlers_stay_at_the_privilege_of_what_they_interrupt() {
    let mut cpu = machine(3);
    gate(&mut cpu, 0x40, INTERRUPT_GATE, sel::CONFORMING, 0);
    deliver(&mut cpu, interrupt(0x40));
    assert_eq!((cpu.guest.cpl, cpu.guest.segments[1].selector), (3, sel::CONFORMING | 3));
    assert_eq!(get(&cpu, regs::RSP), STACK + 0x10 - 40);
    assert_eq!(cpu.guest.segments[2].selector, sel::USER_DATA | 3);
}

/// Vector 0x40 is delivered; its first word on the stack is the error code of what is entered instead.
#[test]
fn faults_on_the_way() {
    type Change = fn(&mut Cpu<X86_64>);
    let number = 0x40 << 3 | IDT;
    let cases: &[(&str, u8, Change, u64, u16)] = &[
        ("past the limit", 0, |cpu| cpu.guest.idtr.limit = 0x40e, 13, number),
        ("not a gate", 0, |cpu| gate(cpu, 0x40, 0x8c, sel::CODE_64, 0), 13, number),
        ("a 16-bit gate", 0, |cpu| gate(cpu, 0x40, 0x86, sel::CODE_64, 0), 13, number),
        ("a task gate", 0, |cpu| gate(cpu, 0x40, 0x85, sel::CODE_64, 0), 13, number),
        ("absent", 0, |cpu| gate(cpu, 0x40, 0x0e, sel::CODE_64, 0), 11, number),
        ("no code segment", 0, |cpu| gate(cpu, 0x40, 0x8e, 3, 0), 13, 0),
        ("code past the limit", 0, |cpu| gate(cpu, 0x40, 0x8e, 0x58, 0), 13, 0x58),
        ("code in no LDT", 0, |cpu| gate(cpu, 0x40, 0x8e, 0x0c, 0), 13, 0x0c),
        ("data", 0, |cpu| gate(cpu, 0x40, 0x8e, sel::DATA, 0), 13, sel::DATA),
        ("32-bit code", 0, |cpu| gate(cpu, 0x40, 0x8e, sel::CODE_32, 0), 13, sel::CODE_32),
        ("outer code", 0, |cpu| gate(cpu, 0x40, 0x8e, sel::USER_CODE | 3, 0), 13, sel::USER_CODE),
        ("absent code", 0, |cpu| gate(cpu, 0x40, 0x8e, sel::ABSENT | 2, 0), 11, sel::ABSENT),
        ("stack pointer", 0, |cpu| set(cpu, regs::RSP, 1 << 47), 12, 0),
        (
            "stack in TSS",
            0,
            |cpu| {
                gate(cpu, 0x40, 0x8e, sel::CODE_64, 1);
                write_words(cpu, TSS + 0x24, &[1 << 63]);
            },
            12,
            0,
        ),
        (
            "TSS limit",
            3,
            |cpu| {
                gate(cpu, 0x40, 0x8e, sel::CODE_64, 2);
                cpu.guest.tr.limit = 0x32;
            },
            10,
            0x60,
        ),
        ("handler", 0, |cpu| write_words(cpu, IDT_AT + 0x408, &[0x8000]), 13, 0),
    ];
    for (name, cpl, change, vector, error) in cases {
        // On a stack of its own, so that a bad one does not matter twice.
        let run = |trap: Trap| {
            let mut cpu = machine(*cpl);
            for number in 10..14 {
                gate(&mut cpu, number, TRAP_GATE, sel::CODE_64, 3);
            }
            write_words(&mut cpu, TSS + 0x34, &[0x1_8000]);
            change(&mut cpu);
            let limit = cpu.guest.tr.limit;
            if limit < 0x67 {
                // Only the stack of the faulting gate is past the limit.
                for number in 10..14 {
                    gate(&mut cpu, number, TRAP_GATE, sel::CODE_64, 1);
                }
            }
            deliver(&mut cpu, trap);
            (entered(&cpu), word(&cpu, get(&cpu, regs::RSP)), word(&cpu, get(&cpu, regs::RSP) + 8))
        };
        assert_eq!(run(interrupt(0x40)), (Some(*vector), u64::from(error | EXT), CODE), "{name}");
        // What a program asks for itself does not come from outside, and the instruction did not happen.
        if *cpl == 0 {
            assert_eq!(run(software(0x40, 2)), (Some(*vector), u64::from(*error), CODE), "INT n: {name}");
        }
    }
}

#[test]
fn programs_need_open_gates() {
    for (rights, vector, error) in
        [(INTERRUPT_GATE, 13, 0x80 << 3 | 2), (INTERRUPT_GATE | OPEN, 0x80, CODE + 2)]
    {
        let mut cpu = machine(3);
        gate(&mut cpu, 0x80, rights, sel::CODE_64, 0);
        deliver(&mut cpu, software(0x80, 2));
        assert_eq!((entered(&cpu), frame(&cpu, 1)), (Some(vector), vec![error]));
    }
}

#[test]
fn double_and_triple_faults() {
    let page = trap::page_fault(Gva(0x1234), 2);
    let divide = trap::plain(trap::DIVIDE);
    let undefined = trap::plain(trap::UNDEFINED);
    // Vectors without a gate, what is delivered first, where it ends.
    for (absent, first, last) in [
        (&[0x40][..], interrupt(0x40), Some(11)),
        (&[0x40, 11], interrupt(0x40), Some(8)),
        (&[0], divide, Some(8)),
        (&[13], trap::protection(0), Some(8)),
        (&[14], page, Some(8)),
        (&[6], undefined, Some(11)),
        (&[6, 11], undefined, Some(8)),
        (&[8, 13], trap::protection(0), None),
        (&[8, 14], page, None),
        (&[3, 11, 8], software(3, 1), None),
    ] {
        let mut cpu = machine(0);
        for &vector in absent {
            gate(&mut cpu, vector, 0x0e, sel::CODE_64, 0);
        }
        let before = *cpu.slots;
        deliver(&mut cpu, first);
        assert_eq!(entered(&cpu), last, "{first:?} without {absent:?}");
        if last == Some(8) {
            assert_eq!(frame(&cpu, 2), [0, CODE]);
        }
        if last.is_none() {
            assert!(*cpu.slots == before && cpu.pc == Gva(CODE));
        }
        if first == page {
            assert_eq!(cpu.guest.cr2, 0x1234);
        }
    }
}

/// Turns on long-mode paging: addresses below 2 MiB are physical ones, except the last page.
fn turn_paging_on(cpu: &mut Cpu<X86_64>) {
    write_words(cpu, 0x4000, &[0x5003]);
    write_words(cpu, 0x5000, &[0x6003]);
    write_words(cpu, 0x6000, &[0x7003]);
    let pages: Vec<u64> = (0..511).map(|page| page << 12 | 3).collect();
    write_words(cpu, 0x7000, &pages);
    (cpu.guest.cr3, cpu.guest.cr0) = (0x4000, cpu.guest.cr0 | CR0_PG);
    crate::x86_64::mmu::flush(cpu);
}

#[test]
fn page_faults_on_the_way() {
    const GONE: u64 = 0x1f_f800;
    // Stack pointer, first trap: what is entered, its error code, CR2.
    for (first, last, cr2) in [
        (interrupt(0x40), (14, 2), GONE - 8),
        (software(0x40, 2), (14, 2), GONE - 8),
        (trap::protection(0), (14, 2), GONE - 8),
        (trap::page_fault(Gva(0x1234), 4), (8, 0), GONE - 8),
    ] {
        let mut cpu = machine(0);
        gate(&mut cpu, 8, INTERRUPT_GATE, sel::CODE_64, 1);
        gate(&mut cpu, 14, INTERRUPT_GATE, sel::CODE_64, 1);
        if last.0 == 8 {
            gate(&mut cpu, 14, INTERRUPT_GATE, sel::CODE_64, 0);
        }
        turn_paging_on(&mut cpu);
        set(&mut cpu, regs::RSP, GONE);
        deliver(&mut cpu, first);
        assert_eq!((entered(&cpu), frame(&cpu, 1)), (Some(last.0), vec![last.1]), "{first:?}");
        assert_eq!(cpu.guest.cr2, cr2, "{first:?}");
    }
}

#[test]
fn non_maskable_interrupts_block_themselves() {
    for (trap, blocked) in [(interrupt(2), true), (software(2, 2), false), (interrupt(3), false)] {
        let mut cpu = machine(0);
        deliver(&mut cpu, trap);
        assert_eq!(cpu.guest.nmi_blocked, blocked);
    }
}

#[test]
fn debug_exceptions_say_why_in_dr6() {
    let mut cpu = machine(0);
    cpu.guest.debug.control |= 1 << 13;
    let trap = debug::read(&cpu, 0).unwrap_err();
    deliver(&mut cpu, trap);
    assert_eq!((entered(&cpu), cpu.guest.debug.status), (Some(1), 0xffff_2ff0));
    assert_eq!((debug::read(&cpu, 7), frame(&cpu, 3)[2] & flags::RF), (Ok(0x400), flags::RF));
}

#[test]
fn stack_accesses_raise_ss() {
    const BAD: u64 = 1 << 47;
    // Code, RSP, RBP, RAX, address that faulted: vector.
    for (code, rsp, rbp, rax, gva, vector) in [
        // mov rax, [rax]; mov rax, [rbp + 16]; mov rax, [rsp]; mov rax, [rbp + rax]
        (&[0x48, 0x8b, 0x00][..], 0, 0, BAD, BAD, 13),
        (&[0x48, 0x8b, 0x45, 0x10], 0, BAD, 0, BAD + 16, 12),
        (&[0x48, 0x8b, 0x04, 0x24], BAD, 0, 0, BAD, 12),
        (&[0x48, 0x8b, 0x44, 0x05, 0x00], 0, BAD, 8, BAD + 8, 12),
        // mov rax, fs:[rbp]
        (&[0x64, 0x48, 0x8b, 0x45, 0x00], 0, BAD, 0, BAD, 13),
        // push rax; push [rax], for both reasons; pop rax; ret; call [rax]
        (&[0x50], BAD + 8, 0, 0, BAD, 12),
        (&[0xff, 0x30], 0x1000, 0, BAD, BAD, 13),
        (&[0xff, 0x30], BAD + 8, 0, 0x1000, BAD, 12),
        (&[0x58], BAD, 0, 0, BAD, 12),
        (&[0xc3], BAD, 0, 0, BAD, 12),
        (&[0xff, 0x10], 0x1000, 0, BAD, BAD, 13),
        // movsq: source and destination are RSI and RDI, zero here.
        (&[0x48, 0xa5], BAD, 0, 0, 0, 13),
    ] {
        let mut cpu = machine(3);
        start(&mut cpu, CODE, code);
        set(&mut cpu, regs::RSP, rsp);
        set(&mut cpu, regs::RBP, rbp);
        set(&mut cpu, regs::RAX, rax);
        deliver(&mut cpu, trap::non_canonical(Gva(gva)));
        assert_eq!((entered(&cpu), frame(&cpu, 1)), (Some(vector), vec![0]), "{code:x?} {gva:#x}");
    }
}

#[test]
fn accesses_that_leave_the_lower_half_are_not_translated() {
    const END: u64 = 1 << 47;
    // Code, RAX and RSP, address that faulted: vector.
    for (code, register, gva, vector) in [
        // mov rax, [rax]; mov eax, [rax]; mov al, [rax]
        (&[0x48, 0x8b, 0x00][..], END - 7, END - 7, 13),
        (&[0x48, 0x8b, 0x00], END - 8, END - 8, 14),
        (&[0x8b, 0x00], END - 3, END - 3, 13),
        (&[0x8b, 0x00], END - 7, END - 7, 14),
        (&[0x8a, 0x00], END - 1, END - 1, 14),
        // mov rax, [rsp]; pop rax; push rax; call rax
        (&[0x48, 0x8b, 0x04, 0x24], END - 4, END - 4, 12),
        (&[0x58], END - 4, END - 4, 12),
        (&[0x50], END + 4, END - 4, 12),
        (&[0xff, 0xd0], END + 4, END - 4, 12),
        (&[0x58], END - 8, END - 8, 14),
        // movups xmm0, [rax]; fld tbyte [rax], which reads 8 bytes first
        (&[0x0f, 0x10, 0x00], END - 15, END - 15, 13),
        (&[0x0f, 0x10, 0x00], END - 16, END - 16, 14),
        (&[0xdb, 0x28], END - 9, END - 9, 14),
        (&[0xdb, 0x28], END - 7, END - 7, 13),
        // bt [rax], rcx, whose bit is 8 bytes further on; rep movsq
        (&[0x48, 0x0f, 0xa3, 0x08], END - 12, END - 4, 13),
        (&[0xf3, 0x48, 0xa5], END - 4, END - 4, 13),
        // Elsewhere.
        (&[0x48, 0x8b, 0x00], 0x2000 - 4, 0x2000 - 4, 14),
    ] {
        let mut cpu = machine(3);
        start(&mut cpu, CODE, code);
        for slot in [regs::RSP, regs::RAX, regs::RSI] {
            set(&mut cpu, slot, register);
        }
        set(&mut cpu, regs::RCX, 64);
        deliver(&mut cpu, trap::page_fault(Gva(gva), 4));
        assert_eq!(entered(&cpu), Some(vector), "{code:x?} {gva:#x}");
        assert_eq!(cpu.guest.cr2 == gva, vector == 14, "{code:x?} {gva:#x}");
    }
    // Fetching there, and 32-bit code, which has no such addresses.
    let mut cpu = machine(3);
    cpu.pc = Gva(END - 4);
    deliver(&mut cpu, trap::page_fault(Gva(END - 4), 0x14));
    assert_eq!(entered(&cpu), Some(14));
}

#[test]
fn the_push_of_a_call_comes_before_its_target() {
    const BAD: u64 = 1 << 47;
    const GONE: u64 = 0x1f_f800;
    // Stack pointer: what is entered, with its error code.
    for (rsp, vector, error) in [(STACK, 13, 0), (BAD + 8, 12, 0), (GONE, 14, 2), (0x1f_f004, 14, 2)] {
        let mut cpu = machine(0);
        gate(&mut cpu, 14, INTERRUPT_GATE, sel::CODE_64, 1);
        gate(&mut cpu, 12, INTERRUPT_GATE, sel::CODE_64, 1);
        turn_paging_on(&mut cpu);
        set(&mut cpu, regs::RAX, BAD);
        set(&mut cpu, regs::RSP, rsp);
        start(&mut cpu, crate::x86_64::testing::CODE, &[]);
        // call rax
        let refused = crate::x86_64::testing::step(&mut cpu, &[0xff, 0xd0]).unwrap_err();
        assert_eq!(get(&cpu, regs::RSP), rsp);
        deliver(&mut cpu, refused);
        assert_eq!((entered(&cpu), frame(&cpu, 1)), (Some(vector), vec![error]), "{rsp:#x}");
    }
}

/// The bytes of numbers of one size.
fn packed(numbers: &[u64], len_bytes: usize) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()[..len_bytes].to_vec()).collect()
}

const TSS_32: u16 = 0x8b;
const TSS_16: u16 = 0x83;

/// A vCPU in 32-bit protected mode at a privilege level, with 32-bit interrupt gates.
fn protected(cpl: u8) -> Cpu<X86_64> {
    let mut cpu = machine(cpl);
    let guest = &mut cpu.guest.state;
    (guest.efer, guest.cr4) = (guest.efer & !(EFER_LMA | control::EFER_LME), guest.cr4 & !CR4_PAE);
    let code = if cpl == 3 { sel::USER_CODE | 3 } else { sel::CODE_32 };
    guest.segments[1] = Segment::code_32(code, cpl);
    guest.tr.attributes = Attributes(TSS_32);
    for vector in 0..=255 {
        gate_32(&mut cpu, vector, 0x8e, sel::CODE_32);
    }
    write(&mut cpu, TSS + 4, &packed(&[INNER_STACK, u64::from(sel::DATA)], 4));
    set(&mut cpu, regs::RSP, STACK + 0x18);
    mode::refresh(&mut cpu);
    cpu
}

fn gate_32(cpu: &mut Cpu<X86_64>, vector: u8, rights: u64, selector: u16) {
    let offset = HANDLERS + 16 * u64::from(vector);
    let bits = offset & 0xffff | u64::from(selector) << 16 | rights << 40 | offset >> 16 << 48;
    write_words(cpu, IDT_AT + 8 * u64::from(vector), &[bits]);
}

fn bytes(ram: &Ram, at: u64, len_bytes: u64) -> Vec<u8> {
    ram.slice(Gpa(at), len_bytes).unwrap().to_vec()
}

#[test]
fn frames_of_protected_mode() {
    let kernel = [u64::from(sel::CODE_32), RFLAGS];
    let user = [u64::from(sel::USER_CODE | 3), RFLAGS, STACK + 0x18, u64::from(sel::USER_DATA | 3)];
    let with = |first: &[u64], rest: &[u64], rf: u64| {
        let mut all = [first, rest].concat();
        all[first.len() + 1] |= rf;
        all
    };
    // Privilege, gate rights, trap; frame in units of so many bytes, stack pointer before it.
    for (cpl, rights, trap, expected, size, top) in [
        (0, 0x8e, interrupt(0x40), with(&[CODE], &kernel, 0), 4, STACK + 0x18),
        (0, 0x8e, trap::protection(8), with(&[8, CODE], &kernel, flags::RF), 4, STACK + 0x18),
        (0, 0x87, interrupt(0x40), with(&[CODE], &kernel, 0), 2, STACK + 0x18),
        (3, 0x8e, trap::protection(8), with(&[8, CODE], &user, flags::RF), 4, INNER_STACK),
        (3, 0xef, software(0x80, 2), with(&[CODE + 2], &user, 0), 4, INNER_STACK),
    ] {
        let mut cpu = protected(cpl);
        let number = trap::vector_of(trap.cause);
        gate_32(&mut cpu, number, rights, sel::CODE_32);
        deliver(&mut cpu, trap);
        let len_bytes = (expected.len() * size) as u64;
        assert_eq!(entered(&cpu), Some(u64::from(number)));
        assert_eq!(get(&cpu, regs::RSP), top - len_bytes, "{trap:?} at {cpl}");
        assert_eq!(bytes(&cpu.ram, top - len_bytes, len_bytes), packed(&expected, size), "{trap:?} at {cpl}");
        assert_eq!(cpu.guest.segments[2].selector, sel::DATA);
    }
}

#[test]
fn stacks_of_16_bits_keep_the_upper_half_of_the_pointer() {
    let mut cpu = protected(0);
    cpu.guest.segments[2] = Segment { selector: sel::SMALL_DATA, limit: 0xff, attributes: Attributes(0x93) };
    set(&mut cpu, regs::SS_BASE, STACK);
    set(&mut cpu, regs::RSP, 0x7777_0020);
    mode::refresh(&mut cpu);
    deliver(&mut cpu, interrupt(0x40));
    assert_eq!((entered(&cpu), get(&cpu, regs::RSP)), (Some(0x40), 0x7777_0014));
    assert_eq!(bytes(&cpu.ram, STACK + 0x14, 4), packed(&[CODE], 4));
}

#[test]
fn faults_on_the_way_in_protected_mode() {
    type Change = fn(&mut Cpu<X86_64>);
    fn tss(cpu: &mut Cpu<X86_64>, selector: u16) {
        write(cpu, TSS + 8, &selector.to_le_bytes());
    }
    let number = 0x40 << 3 | IDT;
    // Handlers of faults are at privilege 3, so that a bad inner stack does not matter twice.
    let cases: &[(&str, Change, u64, u16)] = &[
        ("past the limit", |cpu| cpu.guest.idtr.limit = 0x206, 13, number),
        ("a task gate", |cpu| gate_32(cpu, 0x40, 0x85, sel::CODE_32), 13, number),
        ("absent code", |cpu| gate_32(cpu, 0x40, 0x8e, sel::ABSENT), 11, sel::ABSENT),
        ("null stack", |cpu| tss(cpu, 3), 10, 0),
        ("stack past the limit", |cpu| tss(cpu, 0x58), 10, 0x58),
        ("stack of another privilege", |cpu| tss(cpu, sel::USER_DATA), 10, sel::USER_DATA),
        ("stack selector of another privilege", |cpu| tss(cpu, sel::DATA | 3), 10, sel::DATA),
        ("code as stack", |cpu| tss(cpu, sel::CODE_32), 10, sel::CODE_32),
        ("absent stack", |cpu| tss(cpu, sel::ABSENT_DATA), 12, sel::ABSENT_DATA),
        ("small TSS", |cpu| cpu.guest.tr.limit = 8, 10, 0x60),
        (
            "small stack",
            |cpu| {
                tss(cpu, sel::SMALL_DATA);
                write(cpu, TSS + 4, &[8, 0, 0, 0]);
            },
            12,
            sel::SMALL_DATA,
        ),
        (
            "handler past the limit",
            |cpu| {
                gate_32(cpu, 0x40, 0x8e, sel::CODE_16);
                write(cpu, IDT_AT + 0x206, &[1, 0]);
            },
            13,
            0,
        ),
    ];
    for (name, change, vector, error) in cases {
        let mut cpu = protected(3);
        for number in 10..14 {
            gate_32(&mut cpu, number, 0x8e, sel::CONFORMING);
        }
        change(&mut cpu);
        deliver(&mut cpu, interrupt(0x40));
        assert_eq!(entered(&cpu), Some(*vector), "{name}");
        assert_eq!(bytes(&cpu.ram, get(&cpu, regs::RSP), 4), packed(&[u64::from(error | EXT)], 4), "{name}");
    }
}

#[test]
fn stacks_in_a_16_bit_tss() {
    let mut cpu = protected(3);
    cpu.guest.tr.attributes = Attributes(TSS_16);
    write(&mut cpu, TSS + 2, &packed(&[0x80, u64::from(sel::SMALL_DATA)], 2));
    deliver(&mut cpu, interrupt(0x40));
    assert_eq!((get(&cpu, regs::RSP), get(&cpu, regs::SS_BASE)), (0x80 - 20, STACK));
}
