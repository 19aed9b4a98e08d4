//! Instructions on the x87 stack against the host processor: state, flags and memory after each, from random states.

use super::area::{AREA, REGISTERS as STACK};
use super::memory::{put, u16_at, u32_at};
use crate::x86_64::board::PcBoard;
use crate::x86_64::guest::X86_64;
use crate::x86_64::state::State as SystemState;
use crate::x86_64::{flags, mode, regs};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::BlockEnd;
use c2w_engine::guest::Guest;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::mem::ram::Ram;
use std::arch::asm;

/// Where the guest has its operand, and its code.
const OPERAND: u64 = 0x2000;
const CODE: u64 = 0x1000;

/// What an instruction works on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
struct State {
    /// As FXSAVE stores it.
    area: [u8; AREA],
    /// What RDI points to.
    operand: [u8; 128],
    /// As FNSTENV stores it.
    environment: [u8; 28],
    flags: u64,
}

/// An instruction as the host's assembler knows it.
struct Native {
    text: &'static str,
    /// Runs it, and delivers its encoding.
    run: fn(&mut State) -> &'static [u8],
}

macro_rules! natives {
    ($($text:literal)*) => {
        [$(Native {
            text: $text,
            run: |state| {
                let (start, end): (u64, u64);
                // SAFETY: the instruction accesses its operand only; everything it may change is declared, and the
                // unit is initialised afterwards.
                unsafe {
                    asm!(
                        "fxrstor64 [rsi]",
                        "push r8",
                        "popfq",
                        "2:",
                        $text,
                        "3:",
                        "fxsave64 [rsi]",
                        "pushfq",
                        "pop r8",
                        "cld",
                        "fnstenv [rdx]",
                        "fninit",
                        "lea r9, [rip + 2b]",
                        "lea r10, [rip + 3b]",
                        inout("rsi") state.area.as_mut_ptr() => _,
                        inout("rdi") state.operand.as_mut_ptr() => _,
                        inout("rdx") state.environment.as_mut_ptr() => _,
                        inout("r8") state.flags,
                        out("r9") start,
                        out("r10") end,
                        clobber_abi("sysv64"),
                    );
                    std::slice::from_raw_parts(start as *const u8, (end - start) as usize)
                }
            },
        }),*]
    };
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A significand with a pattern in it.
    fn significand(&mut self) -> u64 {
        match self.below(6) {
            0 => 1 << 63,
            1 => 1 << 63 | 1 << self.below(64),
            2 => (1 << 63 | self.next()) & u64::MAX << self.below(64),
            3 => u64::MAX,
            _ => 1 << 63 | self.next(),
        }
    }

    /// An 80-bit number of any kind.
    fn number(&mut self) -> u128 {
        let exponent = match self.below(16) {
            0 => 0,
            1 => 0x7fff,
            2 => self.below(70),
            3 => 0x7ffe - self.below(70),
            4 => self.below(0x8000),
            5 => 16383 - 1023 + self.below(2) * 2046 - 60 + self.below(120),
            6 => 16383 - 127 + self.below(2) * 254 - 30 + self.below(60),
            _ => 16383 - 66 + self.below(132),
        };
        let mut significand = self.significand();
        if exponent == 0 && self.below(4) != 0 {
            significand = significand >> 1 >> self.below(64);
        } else if self.below(32) == 0 {
            significand &= !(1 << 63);
        }
        if exponent == 0x7fff && self.below(2) == 0 {
            significand = 1 << 63 | self.below(2) << 62;
        }
        u128::from(self.next() & 1) << 79 | u128::from(exponent) << 64 | u128::from(significand)
    }

    fn state(&mut self) -> State {
        let mut state = State { area: [0; AREA], operand: [0; 128], environment: [0; 28], flags: 0x202 };
        let masks = if self.below(4) == 0 { self.below(64) as u16 } else { 0x3f };
        // Precision control 1 is reserved.
        let precision = [0, 2, 3, 3][self.below(4) as usize] << 8;
        let control = 0x40 | masks | precision | (self.below(4) as u16) << 10;
        let raised = if self.below(2) == 0 { 0 } else { self.below(128) as u16 & (masks | 0x40) };
        let status = raised | self.next() as u16 & 0x7f00;
        let tags = match self.below(8) {
            0 => self.next() as u8,
            1 => 0xff,
            // Some room behind the top, so that pushes find it.
            _ => {
                let used = 2 + self.below(6) as u32;
                (0xffu8 >> (8 - used)).rotate_left(u32::from(status >> 11 & 7))
            }
        };
        put(&mut state.area, 0, control.to_le_bytes());
        put(&mut state.area, 2, status.to_le_bytes());
        put(&mut state.area, 4, [tags]);
        put(&mut state.area, 24, 0x1f80u32.to_le_bytes());
        let mut last = 0;
        for index in 0..8 {
            let mut number = self.number();
            if self.below(8) == 0 {
                // Close to its neighbour, or equal to it.
                number = last ^ u128::from(self.below(2)) << 79 ^ u128::from(self.below(3));
            }
            last = number;
            state.area[STACK + 16 * index..][..10].copy_from_slice(&number.to_le_bytes()[..10]);
        }
        let operand = self.operand();
        state.operand[..16].copy_from_slice(&operand.to_le_bytes());
        state.flags |= self.next() & flags::ARITHMETIC;
        state
    }

    /// Ten bytes that look like something in one format or another.
    fn operand(&mut self) -> u128 {
        match self.below(8) {
            0 => {
                let digits = (0..18).fold(0, |bits: u128, _| bits << 4 | u128::from(self.below(10)));
                digits >> (4 * self.below(18)) | u128::from(self.below(2)) << 79
            }
            1 => u128::from(self.next() >> self.below(64)),
            2 => u128::from((self.next() >> self.below(64)).wrapping_neg()),
            // Singles and doubles at their limits.
            3 => {
                u128::from((self.below(2) << 31) | (self.below(4) * 0x7f80_0000 / 3) | self.below(0x80_0000))
            }
            4 => u128::from(
                (self.below(2) << 63) | (self.below(4) * 0x7ff0_0000_0000_0000 / 3) | (self.next() >> 12),
            ),
            5 => u128::from(self.below(2) << 63 | self.next() >> (12 + self.below(52))),
            _ => self.number(),
        }
    }
}

fn guest() -> Cpu<X86_64> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let clock = Box::new(InstructionClock::new(1));
    let guest = X86_64::new(SystemState::flat_64(3));
    let ram = Ram::new(Gpa(0), 0x4000);
    let mut cpu = Cpu::new(guest, ram, PcBoard::bare(), lines, attention, clock);
    flags::set_rflags(&mut cpu, 0);
    mode::refresh(&mut cpu);
    cpu
}

/// Runs the same instruction here.
fn run(cpu: &mut Cpu<X86_64>, bytes: &[u8], state: &mut State) {
    let form = super::Form::WIDE_POINTERS | super::Form::SIXTEEN;
    super::area::load_x87(&mut super::unit::Unit::of(cpu), form, &state.area);
    flags::set_rflags(cpu, state.flags);
    cpu.slots[usize::from(regs::RDI.0)] = OPERAND;
    cpu.ram.write(Gpa(OPERAND), &state.operand).expect("there is RAM");
    let decoded = X86_64::decode(bytes, cpu.mode()).expect("the instruction is complete");
    let end = X86_64::run_block(cpu, Gva(CODE), bytes.len() as u64, &[decoded.insn], &[0]);
    assert_eq!(end, BlockEnd::Next(Gva(CODE + bytes.len() as u64)), "{bytes:x?}");
    super::area::put_x87(&super::unit::Unit::of(cpu), form, &mut state.area);
    super::memory::put(&mut state.area, 28, [0; 4]);
    super::environment::put_environment(&super::unit::Unit::of(cpu), 28, &mut state.environment);
    state.operand.copy_from_slice(cpu.ram.slice(Gpa(OPERAND), 128).expect("there is RAM"));
    state.flags = flags::rflags(cpu);
}

/// Control and status word, tags, registers, operand, flags.
type Shown = (u16, u16, u8, [u128; 8], [u8; 16], u64);

/// What is compared of a state: all but pointers, which are looked at one by one.
fn shown(state: &State) -> Shown {
    let register = |index: usize| {
        let mut bytes = [0; 16];
        bytes[..10].copy_from_slice(&state.area[STACK + 16 * index..][..10]);
        u128::from_le_bytes(bytes)
    };
    let mut operand = [0; 16];
    operand.copy_from_slice(&state.operand[..16]);
    (
        u16_at(&state.area, 0),
        u16_at(&state.area, 2),
        state.area[4],
        std::array::from_fn(register),
        operand,
        state.flags & flags::ARITHMETIC,
    )
}

/// Opcode, and whether there is a data pointer.
fn pointers(state: &State) -> (u16, bool) {
    (u16_at(&state.environment, 18) & 0x7ff, u32_at(&state.environment, 20) != 0)
}

/// What Intel's processors do not agree on: scaling a denormal number by 1 where underflow is not masked, and the sine of the least
/// normal number written without an exponent.
fn is_disputed(text: &str, state: &State) -> bool {
    const LEADING_BIT: u128 = 1 << 63;
    const UNDERFLOW_MASK: u16 = 1 << 4;
    let (control, _, _, registers, ..) = shown(state);
    let [first, second] = [registers[0], registers[1]].map(|number| number & !(1 << 79));
    match text {
        "fscale" => second == 0 && first < LEADING_BIT && control & UNDERFLOW_MASK == 0,
        "fsin" => first == LEADING_BIT,
        _ => false,
    }
}

/// Whether the host's processor keeps them only of instructions that raise exceptions which are not masked (CPUID leaf 7,
/// FDP_EXCPTN_ONLY; Intel SDM volume 1, 8.1.8).
fn keeps_pointers_of_exceptions_only() -> bool {
    const FDP_EXCPTN_ONLY: u32 = 1 << 6;
    std::arch::x86_64::__cpuid_count(7, 0).ebx & FDP_EXCPTN_ONLY != 0
}

fn compare(natives: &[Native], rounds: usize) {
    compare_by(natives, rounds, |found, expected| found == expected);
}

/// Compares as `same` says.
fn compare_by(natives: &[Native], rounds: usize, same: fn(&Shown, &Shown) -> bool) {
    let mut cpu = guest();
    let mut random = Random(87);
    let mut failures = Vec::new();
    let may_lack_pointers = keeps_pointers_of_exceptions_only();
    for native in natives {
        let mut bad = 0;
        for _ in 0..rounds {
            let before = random.state();
            if is_disputed(native.text, &before) {
                continue;
            }
            let mut expected = before.clone();
            let mut bytes = (native.run)(&mut expected);
            if pointers(&expected) == (0, false) {
                // The system may have switched tasks in between, and does not keep them on every processor.
                expected = before.clone();
                bytes = (native.run)(&mut expected);
            }
            let mut found = before.clone();
            run(&mut cpu, bytes, &mut found);
            let lacks_pointers = may_lack_pointers && pointers(&expected) == (0, false);
            let same_pointers = lacks_pointers || pointers(&found) == pointers(&expected);
            if !same(&shown(&found), &shown(&expected)) || !same_pointers {
                bad += 1;
                if bad <= 2 {
                    failures.push(format!(
                        "{}\n from {:x?}\n  got {:x?} {:x?}\n want {:x?} {:x?}",
                        native.text,
                        shown(&before),
                        shown(&found),
                        pointers(&found),
                        shown(&expected),
                        pointers(&expected)
                    ));
                }
            }
        }
        if bad > 0 {
            failures.push(format!("{}: {bad} of {rounds} differ\n", native.text));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const ROUNDS: usize = if cfg!(debug_assertions) { 200 } else { 5_000 };

#[test]
fn loads_and_moves() {
    let natives = natives! {
        "fld dword ptr [rdi]" "fld qword ptr [rdi]" "fld tbyte ptr [rdi]" "fld st(0)" "fld st(3)" "fld st(7)"
        "fild word ptr [rdi]" "fild dword ptr [rdi]" "fild qword ptr [rdi]"
        "fld1" "fldl2t" "fldl2e" "fldpi" "fldlg2" "fldln2" "fldz"
        "fxch st(1)" "fxch st(0)" "fxch st(5)" "ffree st(2)" "fincstp" "fdecstp" "fnop"
        ".byte 0xdf, 0xc1"
        "fcmovb st, st(1)" "fcmove st, st(2)" "fcmovbe st, st(3)" "fcmovu st, st(4)"
        "fcmovnb st, st(5)" "fcmovne st, st(6)" "fcmovnbe st, st(7)" "fcmovnu st, st(0)"
    };
    compare(&natives, ROUNDS);
}

#[test]
fn stores() {
    let natives = natives! {
        "fst dword ptr [rdi]" "fst qword ptr [rdi]" "fstp dword ptr [rdi]" "fstp qword ptr [rdi]"
        "fstp tbyte ptr [rdi]" "fst st(2)" "fstp st(0)" "fstp st(3)"
        "fist word ptr [rdi]" "fist dword ptr [rdi]"
        "fistp word ptr [rdi]" "fistp dword ptr [rdi]" "fistp qword ptr [rdi]"
        "fisttp word ptr [rdi]" "fisttp dword ptr [rdi]" "fisttp qword ptr [rdi]"
        "fbstp [rdi]"
        ".byte 0xd9, 0xd9" ".byte 0xdf, 0xd2" ".byte 0xdf, 0xd9" ".byte 0xdd, 0xca"
    };
    compare(&natives, ROUNDS);
}

#[test]
fn arithmetic() {
    let natives = natives! {
        "fadd dword ptr [rdi]" "fadd qword ptr [rdi]" "fiadd word ptr [rdi]" "fiadd dword ptr [rdi]"
        "fadd st, st(2)" "fadd st(2), st" "faddp st(1), st"
        "fsub dword ptr [rdi]" "fsub qword ptr [rdi]" "fisub word ptr [rdi]" "fisub dword ptr [rdi]"
        "fsub st, st(2)" "fsub st(2), st" "fsubp st(1), st"
        "fsubr dword ptr [rdi]" "fsubr qword ptr [rdi]" "fisubr word ptr [rdi]" "fisubr dword ptr [rdi]"
        "fsubr st, st(2)" "fsubr st(2), st" "fsubrp st(1), st"
        "fmul dword ptr [rdi]" "fmul qword ptr [rdi]" "fimul word ptr [rdi]" "fimul dword ptr [rdi]"
        "fmul st, st(2)" "fmul st(2), st" "fmulp st(1), st"
        "fdiv dword ptr [rdi]" "fdiv qword ptr [rdi]" "fidiv word ptr [rdi]" "fidiv dword ptr [rdi]"
        "fdiv st, st(2)" "fdiv st(2), st" "fdivp st(1), st"
        "fdivr dword ptr [rdi]" "fdivr qword ptr [rdi]" "fidivr word ptr [rdi]" "fidivr dword ptr [rdi]"
        "fdivr st, st(2)" "fdivr st(2), st" "fdivrp st(1), st"
        "fsqrt" "frndint" "fchs" "fabs" "fscale" "fxtract" "fprem" "fprem1"
    };
    compare(&natives, ROUNDS);
}

#[test]
fn comparisons() {
    let natives = natives! {
        "fcom dword ptr [rdi]" "fcom qword ptr [rdi]" "fcom st(1)" "fcom st(3)"
        "fcomp dword ptr [rdi]" "fcomp qword ptr [rdi]" "fcomp st(1)" "fcompp"
        "ficom word ptr [rdi]" "ficom dword ptr [rdi]" "ficomp word ptr [rdi]" "ficomp dword ptr [rdi]"
        "fucom st(1)" "fucomp st(1)" "fucompp" "ftst" "fxam"
        "fcomi st, st(1)" "fcomip st, st(1)" "fucomi st, st(2)" "fucomip st, st(2)"
    };
    compare(&natives, ROUNDS);
}

/// Elementary functions are off by a unit in the last place, here or there; and then C1 says another thing.
#[test]
fn elementary_functions() {
    let natives = natives! { "fsin" "fcos" "fsincos" "fptan" "fpatan" "f2xm1" "fyl2x" "fyl2xp1" };
    compare_by(&natives, ROUNDS, |found, expected| {
        const C1: u16 = 1 << 9;
        // Encodings without the leading bit count numbers of one sign.
        let rank = |number: u128| ((number >> 64) << 63) | (number & ((1 << 63) - 1));
        let close = |(a, b): (&u128, &u128)| a >> 79 == b >> 79 && rank(*a).abs_diff(rank(*b)) <= 1;
        found.0 == expected.0
            && found.1 & !C1 == expected.1 & !C1
            && (found.2, found.4, found.5) == (expected.2, expected.4, expected.5)
            && found.3.iter().zip(&expected.3).all(close)
    });
}

/// Decimal operands have digits only here: what others mean is not defined.
#[test]
fn decimal_loads() {
    let natives = natives! { "fbld [rdi]" };
    let mut cpu = guest();
    let mut random = Random(88);
    for _ in 0..ROUNDS {
        let mut before = random.state();
        let digits = (0..18).fold(0, |bits: u128, _| bits << 4 | u128::from(random.below(10)));
        let number = digits >> (4 * random.below(18)) | u128::from(random.below(2)) << 79;
        before.operand[..16].copy_from_slice(&number.to_le_bytes());
        let (mut expected, mut found) = (before.clone(), before);
        let bytes = (natives[0].run)(&mut expected);
        run(&mut cpu, bytes, &mut found);
        assert_eq!(shown(&found), shown(&expected), "{number:x}");
    }
}
