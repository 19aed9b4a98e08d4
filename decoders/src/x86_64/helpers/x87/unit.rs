//! The x87 unit as its instructions see it: a stack of registers, tags, control and status words (SDM 1 8.1).

use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::{
    X87_CONTROL, X87_DP, X87_IP, X87_OPCODE, X87_STATUS, X87_TAGS, x87_exponent, x87_significand,
};
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::{SLOTS, Slot};
use c2w_engine::fp::{Env, Flags, NanRule, Precision, Rounding};

/// The control word after FNINIT: everything masked, 64-bit precision, round to nearest.
pub const INIT_CONTROL: u16 = 0x37f;
/// Exception flags of the status word, and masks of the control word.
pub const EXCEPTIONS: u16 = 0x3f;
/// An unmasked exception waits for the next instruction that looks.
pub const ERROR_SUMMARY: u16 = 1 << 7;
/// Follows [`ERROR_SUMMARY`].
pub const BUSY: u16 = 1 << 15;
/// Invalid operation, denormal operand and division by zero: found before there is a result.
const BEFORE_RESULT: u16 = 7;
const INVALID: u16 = 1 << 0;
const STACK_FAULT: u16 = 1 << 6;
/// C1: the result was rounded up; with a stack fault, the stack was full.
pub const C1: u16 = 1 << 9;
/// C0: less; sign of the quotient's third bit.
pub const C0: u16 = 1 << 8;
/// C2: unordered; the operation is incomplete.
pub const C2: u16 = 1 << 10;
/// C3: equal.
pub const C3: u16 = 1 << 14;
const TOP_SHIFT: u32 = 11;
const TOP: u16 = 7 << TOP_SHIFT;
/// The NaN that stands for no result (SDM 1 4.8.3.7).
pub const INDEFINITE: u128 = 0xffff_c000_0000_0000_0000;

/// The unit's registers among a vCPU's slots.
pub struct Unit<'a> {
    slots: &'a mut [u64; SLOTS],
}

impl<'a> Unit<'a> {
    /// The unit of a vCPU.
    pub fn of(cpu: &'a mut Cpu<X86_64>) -> Self {
        Self { slots: &mut cpu.slots }
    }

    fn get(&self, slot: Slot) -> u64 {
        self.slots[usize::from(slot.0)]
    }

    fn set(&mut self, slot: Slot, value: u64) {
        self.slots[usize::from(slot.0)] = value;
    }

    /// Control word.
    pub fn control(&self) -> u16 {
        self.get(X87_CONTROL) as u16
    }

    /// Status word.
    pub fn status(&self) -> u16 {
        self.get(X87_STATUS) as u16
    }

    /// Writes control and status word; whether an error waits follows from them (SDM 1 8.1.3.3).
    pub fn set_words(&mut self, control: u16, status: u16) {
        let waits = status & !control & EXCEPTIONS != 0;
        let summary = if waits { ERROR_SUMMARY | BUSY } else { 0 };
        self.set(X87_CONTROL, u64::from(control));
        self.set(X87_STATUS, u64::from(status & !(ERROR_SUMMARY | BUSY) | summary));
    }

    /// Number of the register that is the top of the stack.
    pub fn top(&self) -> u8 {
        (self.status() >> TOP_SHIFT) as u8 & 7
    }

    /// Number of the register that is ST(`index`).
    pub fn number(&self, index: u8) -> u8 {
        self.top().wrapping_add(index) & 7
    }

    /// Which registers are not empty, by number.
    pub fn tags(&self) -> u8 {
        self.get(X87_TAGS) as u8
    }

    /// Sets which registers are not empty.
    pub fn set_tags(&mut self, tags: u8) {
        self.set(X87_TAGS, u64::from(tags));
    }

    /// Content of register `number`, empty or not: 80 bits.
    pub fn register(&self, number: u8) -> u128 {
        let exponent = self.get(x87_exponent(number)) & 0xffff;
        u128::from(exponent) << 64 | u128::from(self.get(x87_significand(number)))
    }

    /// Writes register `number`; its tag stays.
    pub fn set_register(&mut self, number: u8, value: u128) {
        self.set(x87_significand(number), value as u64);
        self.set(x87_exponent(number), (value >> 64) as u64 & 0xffff);
    }

    /// Opcode, instruction pointer and data pointer of the last instruction that is not a control instruction.
    pub fn pointers(&self) -> (u16, u64, u64) {
        (self.get(X87_OPCODE) as u16 & 0x7ff, self.get(X87_IP), self.get(X87_DP))
    }

    /// Writes them.
    pub fn set_pointers(&mut self, (opcode, instruction, data): (u16, u64, u64)) {
        self.set(X87_OPCODE, u64::from(opcode & 0x7ff));
        self.set(X87_IP, instruction);
        self.set(X87_DP, data);
    }

    /// What FNINIT does: contents of registers stay (SDM 1 8.1.5).
    pub fn init(&mut self) {
        self.set_words(INIT_CONTROL, 0);
        self.set_tags(0);
        self.set_pointers((0, 0, 0));
    }

    /// The state that XRSTOR initialises to, contents of registers included (SDM 1 13.6).
    pub fn reset(&mut self) {
        self.init();
        for number in 0..8 {
            self.set_register(number, 0);
        }
    }

    /// Whether this is the state after [`Self::reset`].
    pub fn is_reset(&self) -> bool {
        self.control() == INIT_CONTROL
            && self.status() == 0
            && self.tags() == 0
            && self.pointers() == (0, 0, 0)
            && (0..8).all(|number| self.register(number) == 0)
    }

    /// Whether ST(`index`) is empty.
    pub fn is_empty(&self, index: u8) -> bool {
        self.tags() >> self.number(index) & 1 == 0
    }

    /// Content of ST(`index`), unless it is empty.
    pub fn read(&self, index: u8) -> Option<u128> {
        if self.is_empty(index) { None } else { Some(self.register(self.number(index))) }
    }

    /// Writes ST(`index`), which is not empty then.
    pub fn write(&mut self, index: u8, value: u128) {
        let number = self.number(index);
        self.set_register(number, value);
        self.set_tags(self.tags() | 1 << number);
    }

    /// Empties ST(`index`).
    pub fn free(&mut self, index: u8) {
        self.set_tags(self.tags() & !(1 << self.number(index)));
    }

    /// Makes ST(`by`) the top of the stack, without looking at tags.
    pub fn turn(&mut self, by: u8) {
        let top = u16::from(self.number(by));
        let status = self.status() & !TOP | top << TOP_SHIFT;
        self.set(X87_STATUS, u64::from(status));
    }

    /// Takes registers from the stack.
    pub fn pop(&mut self, count: u8) {
        for _ in 0..count {
            self.free(0);
            self.turn(1);
        }
    }

    /// Puts a value on the stack, where there is room: see [`Self::has_room`].
    pub fn push(&mut self, value: u128) {
        self.turn(7);
        self.write(0, value);
    }

    /// Sets the condition bits of `mask` to `value`.
    pub fn set_conditions(&mut self, mask: u16, value: u16) {
        let status = self.status() & !mask | value & mask;
        self.set(X87_STATUS, u64::from(status));
    }

    /// Rounding direction of the control word.
    pub fn rounding(&self) -> Rounding {
        match self.control() >> 10 & 3 {
            0 => Rounding::NearestEven,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::TowardZero,
        }
    }

    /// The environment of operations that precision control does not apply to.
    pub fn extended(&self) -> Env {
        let masked = self.control();
        let mut trapped = Flags::empty();
        trapped.set(Flags::OVERFLOW, masked & 1 << 3 == 0);
        trapped.set(Flags::UNDERFLOW, masked & 1 << 4 == 0);
        Env { rounding: self.rounding(), nan: NanRule::LargerSignificand, trapped, ..Env::default() }
    }

    /// The environment of additions, multiplications, divisions and square roots (SDM 1 8.1.5.2).
    pub fn controlled(&self) -> Env {
        let precision = match self.control() >> 8 & 3 {
            0 => Precision::Single,
            2 => Precision::Double,
            _ => Precision::Extended,
        };
        Env { precision, ..self.extended() }
    }

    /// Adds exceptions to the status word, with C1 for the direction of rounding. Whether there is a result to be
    /// written: not if an exception that is found before is unmasked (SDM 1 8.5).
    pub fn raise(&mut self, env: &Env) -> bool {
        let mut raised = status_flags(env.flags);
        let stops = raised & !self.control() & BEFORE_RESULT != 0;
        if stops {
            raised &= BEFORE_RESULT;
        }
        let up = env.rounded_up && env.flags.contains(Flags::INEXACT) && !stops;
        let (control, status) = (self.control(), self.status() & !C1 | if up { C1 } else { 0 });
        self.set_words(control, status | raised);
        !stops
    }

    /// Notes that an operand is empty, or that there is no room. Whether the indefinite result is to be delivered.
    pub fn stack_fault(&mut self, overflow: bool) -> bool {
        let (control, status) = (self.control(), self.status() & !C1);
        let direction = if overflow { C1 } else { 0 };
        self.set_words(control, status | INVALID | STACK_FAULT | direction);
        control & INVALID != 0
    }

    /// Whether a value can be pushed.
    pub fn has_room(&self) -> bool {
        self.is_empty(7)
    }
}

/// Exceptions in the status word's order.
fn status_flags(flags: Flags) -> u16 {
    let order = [
        Flags::INVALID,
        Flags::DENORMAL_OPERAND,
        Flags::DIVIDE_BY_ZERO,
        Flags::OVERFLOW,
        Flags::UNDERFLOW,
        Flags::INEXACT,
    ];
    order.iter().enumerate().map(|(bit, &flag)| u16::from(flags.contains(flag)) << bit).sum()
}
