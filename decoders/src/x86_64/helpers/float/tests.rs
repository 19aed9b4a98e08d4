//! Exceptions of vector instructions written out: which flags a fault leaves, which fault it is, what switches the
//! instructions off. The values are those of processors; random ones are compared by the conformance suites.

use crate::x86_64::board::PcBoard;
use crate::x86_64::control::CR4_OSXMMEXCPT;
use crate::x86_64::decode::decode;
use crate::x86_64::guest::X86_64;
use crate::x86_64::insn::Op;
use crate::x86_64::mode::ModeBits;
use crate::x86_64::regs::{MXCSR, vector};
use crate::x86_64::state::State;
use crate::x86_64::{mode, trap};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::BlockEnd;
use c2w_engine::guest::Guest;
use c2w_engine::guest::{Mode, TrapCause};
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::mem::ram::Ram;

const CODE: ModeBits = ModeBits::USER.union(ModeBits::SSE);

const SIGNALING: u32 = 0x7fa0_0001;
const QUIETED: u32 = 0x7fe0_0001;
const MAX: u32 = 0x7f7f_ffff;
const LEAST: u32 = 0x0080_0000;
const DENORMAL: u32 = 3;
const ONE: u32 = 0x3f80_0000;
const TWO: u32 = 0x4000_0000;
const HALF: u32 = 0x3f00_0000;
const SMALL: u32 = 0x3300_0000;
const INFINITY: u32 = 0x7f80_0000;
/// Flags of MXCSR; shifted left by seven they are masks.
const I: u64 = 1;
const D: u64 = 2;
const Z: u64 = 4;
const O: u64 = 8;
const U: u64 = 16;
const P: u64 = 32;
const FTZ: u64 = 1 << 15;

fn cpu() -> Cpu<X86_64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let clock = Box::new(InstructionClock::new(1));
    let guest = X86_64::new(State::flat_64(3));
    let mut cpu = Cpu::new(guest, Ram::new(Gpa(0), 0x1000), PcBoard::bare(), lines, attention, clock);
    mode::refresh(&mut cpu);
    cpu
}

fn run(cpu: &mut Cpu<X86_64>, code: &[u8]) -> Option<TrapCause> {
    let decoded = decode(code, Mode(CODE.bits())).expect("complete");
    assert_eq!(usize::from(decoded.len_bytes), code.len());
    match X86_64::run_block(cpu, Gva(0), code.len() as u64, &[decoded.insn], &[0]) {
        BlockEnd::Next(_) => None,
        BlockEnd::Trapped { trap, .. } => Some(trap.cause),
        end => panic!("{end:?}"),
    }
}

fn pack([a, b, c, d]: [u32; 4]) -> [u64; 2] {
    [u64::from(a) | u64::from(b) << 32, u64::from(c) | u64::from(d) << 32]
}

const ADDPS: &[u8] = &[0x0f, 0x58, 0xc1];
const MULPS: &[u8] = &[0x0f, 0x59, 0xc1];
const MULSS: &[u8] = &[0xf3, 0x0f, 0x59, 0xc1];
const DIVPS: &[u8] = &[0x0f, 0x5e, 0xc1];
const DPPS: &[u8] = &[0x66, 0x0f, 0x3a, 0x40, 0xc1, 0xff];
const CVTPS2DQ: &[u8] = &[0x66, 0x0f, 0x5b, 0xc1];

#[test]
fn flags_of_masked_and_unmasked_exceptions() {
    let mixed = ([SIGNALING, MAX, ONE, ONE], [ONE, MAX, SMALL, ONE]);
    let late = ([INFINITY, 0xff80_0000, 0x3f80_0001, ONE], [ONE, ONE, 0x3f80_0001, ONE]);
    let large = ([MAX, LEAST, ONE, ONE], [TWO, HALF, ONE, ONE]);
    let divided = ([DENORMAL, ONE, SIGNALING, ONE], [ONE, 0, ONE, TWO]);
    let tiny = ([LEAST, 0, 0, 0], [HALF, 0, 0, 0]);
    type Case<'a> = (&'a str, &'a [u8], ([u32; 4], [u32; 4]), u64, u64, Option<[u32; 4]>);
    #[rustfmt::skip]
    let cases: &[Case] = &[
        // name                              code      operands  unmasked   raised     result
        ("all masked",                       MULPS,    mixed,    0,         I | O | P, Some([QUIETED, INFINITY, SMALL, ONE])),
        ("invalid hides the others",         MULPS,    mixed,    I,         I,         None),
        ("invalid hides unmasked overflow",  MULPS,    mixed,    I | O,     I,         None),
        ("overflow hides nothing",           MULPS,    mixed,    O,         I | O | P, None),
        ("nor does inexact",                 ADDPS,    mixed,    P,         I | O | P, None),
        ("all found before computing",       DIVPS,    divided,  D,         I | D | Z, None),
        ("exact but for its exponent",       MULPS,    large,    O,         O,         None),
        ("inexact by default",               MULPS,    large,    P,         O | P,     None),
        ("exact, but denormal",              MULPS,    large,    U,         O | U | P, None),
        ("the default of it",                MULPS,    large,    0,         O | P,     Some([INFINITY, LEAST / 2, ONE, ONE])),
        ("flushed",                          MULSS,    tiny,     FTZ,       U | P,     Some([0; 4])),
        ("not flushed, since unmasked",      MULSS,    tiny,     FTZ | U,   U,         None),
        ("products before sums",             DPPS,     late,     P,         P,         None),
        ("sums after products",              DPPS,     late,     I,         I | P,     None),
        ("integers",                         CVTPS2DQ, late,     I,         I,         None),
    ];
    for &(name, code, (a, b), unmasked, raised, result) in cases {
        let mut cpu = cpu();
        let b = if code == CVTPS2DQ { [b[0], b[1], INFINITY, 0x3fc0_0000] } else { b };
        for (register, value) in [(0, pack(a)), (1, pack(b))] {
            let slot = usize::from(vector(register).0);
            cpu.slots[slot..slot + 2].copy_from_slice(&value);
        }
        let control = 0x1f80 & !((unmasked & 0x3f) << 7) | unmasked & FTZ;
        cpu.slots[usize::from(MXCSR.0)] = control;
        let cause = run(&mut cpu, code);
        let slot = usize::from(vector(0).0);
        assert_eq!(cpu.slots[slot..slot + 2], pack(result.unwrap_or(a)), "{name}");
        assert_eq!(cpu.slots[usize::from(MXCSR.0)], control | raised, "{name}");
        assert_eq!(cause, result.is_none().then_some(trap::SIMD_ERROR), "{name}");
    }
}

#[test]
fn without_osxmmexcpt_exceptions_are_undefined_instructions() {
    let mut cpu = cpu();
    cpu.guest.cr4 &= !CR4_OSXMMEXCPT;
    cpu.slots[usize::from(vector(0).0)] = u64::from(SIGNALING);
    assert_eq!(run(&mut cpu, MULSS), Some(trap::UNDEFINED));
    assert_eq!(cpu.slots[usize::from(MXCSR.0)], I);
}

#[test]
fn reserved_bits_of_mxcsr_cannot_be_set() {
    let mut cpu = cpu();
    // ldmxcsr [rax]
    let ldmxcsr = [0x0f, 0xae, 0x10];
    for (value, cause) in
        [(0x1_0000u32, Some(trap::PROTECTION)), (0x8000_0000, Some(trap::PROTECTION)), (0xffff, None)]
    {
        cpu.ram.write(Gpa(0), &value.to_le_bytes()).expect("in memory");
        assert_eq!(run(&mut cpu, &ldmxcsr), cause, "{value:#x}");
    }
    assert_eq!(cpu.slots[usize::from(MXCSR.0)], 0xffff);
}

#[test]
fn control_bits_switch_the_instructions_off() {
    let cases = [
        (CODE, None),
        (CODE.difference(ModeBits::SSE), Some(trap::UNDEFINED)),
        (CODE.union(ModeBits::EMULATE), Some(trap::UNDEFINED)),
        (CODE.union(ModeBits::TASK_SWITCHED), Some(trap::NO_FPU)),
        (CODE.union(ModeBits::TASK_SWITCHED).union(ModeBits::EMULATE), Some(trap::UNDEFINED)),
        // x87 alone.
        (CODE.union(ModeBits::NO_X87), None),
    ];
    for (mode, cause) in cases {
        let insn = decode(ADDPS, Mode(mode.bits())).expect("complete").insn;
        let raised = (insn.op == Op::Raise).then_some(TrapCause(insn.imm as u32));
        assert_eq!(raised, cause, "{mode:?}");
    }
}
