//! Far transfers as tables: where each goes on, and which fault refuses it.

use super::*;
use crate::x86_64::control::{EFER_LMA, EFER_LME};
use crate::x86_64::mode::ModeBits;
use crate::x86_64::regs;
use crate::x86_64::segment::{Attributes, Segment, SystemSegment, TableRegister};
use crate::x86_64::state::State;
use crate::x86_64::testing::{cpu_with, get, machine, set, word, write_words};
use c2w_engine::guest::Trap;

const GDT: u64 = 0x1000;
const TSS: u64 = 0x3000;
const STACK: u64 = 0x1_8000;
const INNER_STACK: u64 = 0x1_2000;
const TARGET: u64 = 0x9000;

/// Selectors of the descriptors that [`vcpu`] makes.
mod sel {
    pub const CODE_64: u16 = 0x08;
    pub const CODE_32: u16 = 0x10;
    pub const DATA: u16 = 0x18;
    pub const CONFORMING: u16 = 0x20;
    pub const ABSENT: u16 = 0x28;
    pub const USER_32: u16 = 0x33;
    pub const USER_DATA: u16 = 0x3b;
    pub const USER_64: u16 = 0x43;
    pub const SMALL: u16 = 0x48;
    pub const TWO_SIZES: u16 = 0x50;
    pub const USER_DATA_16: u16 = 0x5b;
    pub const GATE: u16 = 0x60;
    pub const USER_GATE: u16 = 0x70;
    pub const GATE_TO_DATA: u16 = 0x80;
    pub const PAST_END: u16 = 0x90;
}

/// A call gate in the size of the mode, with a number of parameters.
fn gate(selector: u16, dpl: u64, parameters: u64) -> u64 {
    TARGET & 0xffff | u64::from(selector) << 16 | parameters << 32 | (0x8c | dpl << 5) << 40
}

/// A vCPU at a privilege level, with tables. 64-bit code if `long`, else 32-bit protected mode.
fn vcpu(long: bool, cpl: u8) -> Cpu<X86_64> {
    let mut state = State::flat_64(cpl);
    let code = if long { sel::CODE_64 } else { sel::CODE_32 };
    let (code, data) = if cpl == 0 { (code, sel::DATA) } else { (sel::USER_32, sel::USER_DATA) };
    let segment = if long && cpl == 0 { Segment::code_64(code, cpl) } else { Segment::code_32(code, cpl) };
    state.segments = [Segment::data(data, cpl); 6];
    state.segments[SegmentRegister::Cs as usize] = segment;
    if !long {
        state.efer &= !(EFER_LMA | EFER_LME);
    }
    state.gdtr = TableRegister { base: GDT, limit: sel::PAST_END - 1 };
    let attributes = Attributes(0x8b);
    state.tr = SystemSegment { selector: 0x100, base: TSS, limit: 0x67, attributes };
    let mut cpu = cpu_with(state);
    let gate_code = if long { sel::CODE_64 } else { sel::CODE_32 };
    let table = [
        0,
        0x00af_9a00_0000_ffff,
        0x00cf_9a00_0000_ffff,
        0x00cf_9200_0000_ffff,
        0x00cf_9e00_0000_ffff,
        0x00cf_1a00_0000_ffff,
        0x00cf_fa00_0000_ffff,
        0x00cf_f200_0000_ffff,
        0x00af_fa00_0000_ffff,
        // 32-bit code with a limit of 0xff.
        0x0040_9a00_0000_00ff,
        0x00ef_9a00_0000_ffff,
        0x000f_f200_0000_ffff,
        gate(gate_code, 0, 0),
        0,
        gate(gate_code, 3, if long { 0 } else { 2 }),
        0,
        gate(sel::DATA, 0, 0),
        0,
    ];
    write_words(&mut cpu, GDT, &table);
    if long {
        write_words(&mut cpu, TSS + 4, &[INNER_STACK]);
    } else {
        write_words(&mut cpu, TSS + 4, &[INNER_STACK | u64::from(sel::DATA) << 32]);
    }
    set(&mut cpu, RSP, STACK);
    cpu.pc = Gva(0x8000);
    cpu
}

/// What a transfer left behind: pc, CS, SS, stack pointer.
type Place = (u64, u16, u16, u64);

fn place(cpu: &Cpu<X86_64>, pc: Gva) -> Place {
    let selector = |register| cpu.guest.segment(register).selector;
    (pc.0, selector(SegmentRegister::Cs), selector(SegmentRegister::Ss), get(cpu, RSP))
}

fn gp(selector: u16) -> Trap {
    trap::protection(selector & !3)
}

#[test]
fn jumps() {
    const LONG: bool = true;
    // (long mode, level, selector, offset, where it goes on)
    type Case = (bool, u8, u16, u64, Result<Place, Trap>);
    let cases: &[Case] = &[
        (LONG, 0, sel::CODE_64, TARGET, Ok((TARGET, sel::CODE_64, sel::DATA, STACK))),
        (LONG, 0, sel::CODE_32, TARGET | 1 << 40, Ok((TARGET, sel::CODE_32, sel::DATA, STACK))),
        (LONG, 0, sel::CONFORMING, TARGET, Ok((TARGET, sel::CONFORMING, sel::DATA, STACK))),
        (LONG, 0, sel::GATE, 0, Ok((TARGET, sel::CODE_64, sel::DATA, STACK))),
        (LONG, 0, sel::CODE_64, 1 << 47, Err(gp(0))),
        (LONG, 0, sel::SMALL, 0x100, Err(gp(0))),
        (LONG, 0, 0, TARGET, Err(gp(0))),
        (LONG, 0, 3, TARGET, Err(gp(0))),
        (LONG, 0, sel::DATA, TARGET, Err(gp(sel::DATA))),
        (LONG, 0, sel::ABSENT, TARGET, Err(trap::not_present(sel::ABSENT))),
        (LONG, 0, sel::TWO_SIZES, TARGET, Err(gp(sel::TWO_SIZES))),
        (LONG, 0, sel::USER_32, TARGET, Err(gp(sel::USER_32))),
        (LONG, 0, sel::PAST_END, TARGET, Err(gp(sel::PAST_END))),
        (LONG, 0, sel::GATE | 1, TARGET, Err(gp(sel::GATE))),
        (LONG, 0, sel::GATE_TO_DATA, TARGET, Err(gp(sel::DATA))),
        (LONG, 3, sel::CODE_64, TARGET, Err(gp(sel::CODE_64))),
        (LONG, 3, sel::USER_64, TARGET, Ok((TARGET, sel::USER_64, sel::USER_DATA, STACK))),
        (LONG, 3, sel::CONFORMING, TARGET, Ok((TARGET, sel::CONFORMING | 3, sel::USER_DATA, STACK))),
        (LONG, 3, sel::USER_GATE, TARGET, Err(gp(sel::CODE_64))),
        (!LONG, 0, sel::CODE_32, TARGET, Ok((TARGET, sel::CODE_32, sel::DATA, STACK))),
        (!LONG, 0, sel::GATE, 0, Ok((TARGET, sel::CODE_32, sel::DATA, STACK))),
        (!LONG, 3, sel::USER_32, TARGET, Ok((TARGET, sel::USER_32, sel::USER_DATA, STACK))),
    ];
    for &(long, cpl, selector, offset, expected) in cases {
        let mut cpu = vcpu(long, cpl);
        let before = place(&cpu, cpu.pc);
        let found = jump(&mut cpu, Selector(selector), offset);
        assert_eq!(found.map(|pc| place(&cpu, pc)), expected, "{long} {cpl} {selector:#x} {offset:#x}");
        if expected.is_err() {
            assert_eq!(place(&cpu, cpu.pc), before);
        }
        assert_eq!(cpu.guest.cpl, cpl);
    }
}

#[test]
fn a_call_pushes_where_it_comes_from_and_ret_goes_back_there() {
    for (long, w) in [(true, Width::W64), (true, Width::W32), (false, Width::W32), (false, Width::W16)] {
        let mut cpu = vcpu(long, 0);
        let before = place(&cpu, Gva(0x8007));
        let code = if long { sel::CODE_64 } else { sel::CODE_32 };
        let pc = call(&mut cpu, Selector(code), TARGET, w, Gva(0x8007)).expect("it may be called");
        assert_eq!(place(&cpu, pc), (TARGET, code, sel::DATA, STACK - 2 * w.bytes()));
        assert_eq!(word(&cpu, STACK - 2 * w.bytes()) & w.mask(), 0x8007);
        assert_eq!(word(&cpu, STACK - w.bytes()) & w.mask(), u64::from(code));
        let pc = ret(&mut cpu, w, 0).expect("what was pushed can be returned to");
        assert_eq!(place(&cpu, pc), before);
        assert!(cpu.guest.cpl == 0);
    }
}

#[test]
fn a_gate_leads_from_compatibility_mode_to_the_inner_stack_and_back() {
    let mut cpu = vcpu(true, 3);
    let pc = call(&mut cpu, Selector(sel::USER_GATE | 3), 0, Width::W32, Gva(0x8007)).expect("it is open");
    assert_eq!(place(&cpu, pc), (TARGET, sel::CODE_64, 0, INNER_STACK - 32));
    assert_eq!((cpu.guest.cpl, ModeBits::of(cpu.mode()).code_width()), (0, Width::W64));
    let frame: Vec<u64> = (0..4).map(|i| word(&cpu, INNER_STACK - 32 + 8 * i)).collect();
    assert_eq!(frame, [0x8007, u64::from(sel::USER_32), STACK, u64::from(sel::USER_DATA)]);
    // Data segments of level 0 are not for the caller.
    descriptor::load(&mut cpu, SegmentRegister::Es, Selector(sel::DATA)).expect("it is there");
    let pc = ret(&mut cpu, Width::W64, 0).expect("the caller is there");
    assert_eq!(place(&cpu, pc), (0x8007, sel::USER_32, sel::USER_DATA, STACK));
    assert_eq!((cpu.guest.cpl, ModeBits::of(cpu.mode()).code_width()), (3, Width::W32));
    assert_eq!(cpu.guest.segment(SegmentRegister::Es).selector, 0);
    assert_eq!(cpu.guest.segment(SegmentRegister::Ds).selector, sel::USER_DATA);
}

#[test]
fn a_gate_of_protected_mode_copies_parameters_which_ret_releases_on_both_stacks() {
    let mut cpu = vcpu(false, 3);
    write_words(&mut cpu, STACK, &[0x2222_2222_1111_1111]);
    let pc = call(&mut cpu, Selector(sel::USER_GATE), 0, Width::W32, Gva(0x8007)).expect("it is open");
    assert_eq!(place(&cpu, pc), (TARGET, sel::CODE_32, sel::DATA, INNER_STACK - 24));
    let frame: Vec<u64> = (0..3).map(|i| word(&cpu, INNER_STACK - 24 + 8 * i)).collect();
    let selector = |selector: u16| u64::from(selector) << 32;
    assert_eq!(
        frame,
        [0x8007 | selector(sel::USER_32), 0x2222_2222_1111_1111, STACK | selector(sel::USER_DATA)]
    );
    let pc = ret(&mut cpu, Width::W32, 8).expect("the caller is there");
    assert_eq!(place(&cpu, pc), (0x8007, sel::USER_32, sel::USER_DATA, STACK + 8));
}

/// What IRET pops.
#[derive(Clone, Copy)]
struct Frame {
    ip: u64,
    cs: u16,
    flags: u64,
    sp: u64,
    ss: u16,
}

const FRAME: Frame = Frame { ip: TARGET, cs: sel::CODE_64, flags: 2, sp: 0x5000, ss: sel::DATA };

fn push_frame(cpu: &mut Cpu<X86_64>, w: Width, frame: Frame) {
    let mut stack = Stack::current(cpu);
    for value in [u64::from(frame.ss), frame.sp, frame.flags, frame.cs.into(), frame.ip] {
        stack.push(cpu, w, value).expect("the stack is there");
    }
    stack.write_back(cpu);
}

#[test]
fn returns_from_64_bit_handlers() {
    let user = Frame { cs: sel::USER_64, ss: sel::USER_DATA, ..FRAME };
    let cases: &[(Width, Frame, Result<Place, Trap>)] = &[
        (Width::W64, FRAME, Ok((TARGET, sel::CODE_64, sel::DATA, 0x5000))),
        (Width::W32, FRAME, Ok((TARGET, sel::CODE_64, sel::DATA, 0x5000))),
        (Width::W64, Frame { ss: 0, ..FRAME }, Ok((TARGET, sel::CODE_64, 0, 0x5000))),
        (Width::W64, Frame { cs: sel::CODE_32, ..FRAME }, Ok((TARGET, sel::CODE_32, sel::DATA, 0x5000))),
        (Width::W64, user, Ok((TARGET, sel::USER_64, sel::USER_DATA, 0x5000))),
        (Width::W64, Frame { cs: sel::USER_32, ..user }, Ok((TARGET, sel::USER_32, sel::USER_DATA, 0x5000))),
        // On a 16-bit stack the rest of the old pointer shows through.
        (
            Width::W64,
            Frame { cs: sel::USER_32, ss: sel::USER_DATA_16, sp: 0xabcd_5000, ..user },
            Ok((TARGET, sel::USER_32, sel::USER_DATA_16, STACK & 0xffff_0000 | 0x5000)),
        ),
        (Width::W64, Frame { ss: 0, cs: sel::CODE_32, ..FRAME }, Err(gp(0))),
        (Width::W64, Frame { ss: 3, ..user }, Err(gp(0))),
        (Width::W64, Frame { ss: sel::DATA, ..user }, Err(gp(sel::DATA))),
        (Width::W64, Frame { ss: sel::USER_DATA, ..FRAME }, Err(gp(sel::USER_DATA))),
        (Width::W64, Frame { cs: 0, ..FRAME }, Err(gp(0))),
        (Width::W64, Frame { cs: sel::DATA, ..FRAME }, Err(gp(sel::DATA))),
        (Width::W64, Frame { cs: sel::ABSENT, ..FRAME }, Err(trap::not_present(sel::ABSENT))),
        (Width::W64, Frame { ip: 1 << 63, ..FRAME }, Err(gp(0))),
        (Width::W64, Frame { cs: sel::SMALL, ..FRAME }, Err(gp(0))),
    ];
    for &(w, frame, expected) in cases {
        let mut cpu = vcpu(true, 0);
        push_frame(&mut cpu, w, frame);
        let before = place(&cpu, cpu.pc);
        let found = iret(&mut cpu, w);
        let text = format!("{w:?} {:#x} {:#x} {:#x}", frame.cs, frame.ss, frame.ip);
        assert_eq!(found.map(|pc| place(&cpu, pc)), expected, "{text}");
        match expected {
            Ok((_, cs, ..)) => assert_eq!(cpu.guest.cpl, (cs & 3) as u8, "{text}"),
            Err(_) => assert_eq!(place(&cpu, cpu.pc), before, "{text}"),
        }
    }
}

#[test]
fn iret_between_32_bit_levels() {
    let mut cpu = vcpu(false, 0);
    let user = Frame { cs: sel::USER_32, ss: sel::USER_DATA, flags: flags::IF | 2, ..FRAME };
    push_frame(&mut cpu, Width::W32, user);
    let pc = iret(&mut cpu, Width::W32).expect("user code is there");
    assert_eq!(place(&cpu, pc), (TARGET, sel::USER_32, sel::USER_DATA, 0x5000));
    assert_eq!(flags::rflags(&mut cpu), flags::IF | flags::FIXED);
    // The same level: the stack stays.
    push_frame(&mut cpu, Width::W32, user);
    let top = get(&cpu, RSP);
    let pc = iret(&mut cpu, Width::W32).expect("user code is there");
    assert_eq!(place(&cpu, pc), (TARGET, sel::USER_32, sel::USER_DATA, top + 12));
    // An inner level.
    push_frame(&mut cpu, Width::W32, Frame { cs: sel::CODE_32, ..user });
    assert_eq!(iret(&mut cpu, Width::W32), Err(gp(sel::CODE_32)));
}

#[test]
fn flags_that_iret_changes() {
    use flags::{AC, ARITHMETIC, DF, FIXED, ID, IF, IOPL, NT, RF, TF, VIF, VIP};
    const ALL: u64 = ARITHMETIC | AC | DF | FIXED | ID | IF | IOPL | NT | TF | VIF | VIP;
    // (level, old flags, width, popped, new flags)
    let cases = [
        (0, 0, Width::W64, ALL, ALL),
        (0, 0, Width::W64, !NT, ALL & !NT),
        (0, ALL & !NT, Width::W64, 0, FIXED),
        (0, 0, Width::W16, ALL, ALL & 0xffff),
        (3, 0, Width::W32, ALL, ALL & !(IF | IOPL | VIF | VIP)),
        (3, IOPL, Width::W32, ALL, ALL & !(VIF | VIP)),
        (3, IOPL | IF, Width::W32, 0, IOPL | FIXED),
        (3, IF, Width::W32, 0, IF | FIXED),
    ];
    for (cpl, old, w, popped, new) in cases {
        let mut cpu = vcpu(true, cpl);
        flags::set_rflags(&mut cpu, old);
        let (cs, ss) = if cpl == 0 { (sel::CODE_64, sel::DATA) } else { (sel::USER_32, sel::USER_DATA) };
        push_frame(&mut cpu, w, Frame { flags: popped, cs, ss, ..FRAME });
        iret(&mut cpu, w).expect("it is the same level");
        assert_eq!(flags::rflags(&mut cpu), new, "{cpl} {old:#x} {w:?} {popped:#x}");
        let resumes = cpu.guest.resume_at == Some(cpu.retired);
        assert_eq!(resumes, popped & RF != 0 && w != Width::W16);
    }
    let mut cpu = vcpu(true, 0);
    flags::set_rflags(&mut cpu, NT);
    assert_eq!(iret(&mut cpu, Width::W64), Err(gp(0)));
}

#[test]
fn encodings() {
    // Code, mode, where it goes on.
    let offset = TARGET.to_le_bytes();
    let cases: &[(bool, Vec<u8>, u64)] = &[
        // jmp far [rip + 0]; the pointer: 32 bits and a selector
        (true, [&[0xff, 0x2d, 0, 0, 0, 0], &offset[..4], &[0x08, 0]].concat(), STACK),
        // rex.w jmp far: 64 bits and a selector
        (true, [&[0x48, 0xff, 0x2d, 0, 0, 0, 0], &offset[..], &[0x08, 0]].concat(), STACK),
        // call far [rip + 0]
        (true, [&[0xff, 0x1d, 0, 0, 0, 0], &offset[..4], &[0x08, 0]].concat(), STACK - 8),
        // jmp 0x10:TARGET
        (false, [&[0xea], &offset[..4], &[0x10, 0]].concat(), STACK),
        // call 0x10:TARGET with 16-bit operands
        (false, [&[0x66, 0x9a], &offset[..2], &[0x10, 0]].concat(), STACK - 4),
    ];
    for (long, code, pointer) in cases {
        let mut machine = machine(vcpu(*long, 0), code);
        machine.run(1);
        let cpu = &machine.cpu;
        assert_eq!((cpu.pc.0, get(cpu, regs::RSP)), (TARGET, *pointer), "{code:x?}");
    }
}
