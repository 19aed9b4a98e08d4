//! The x87 unit as its instructions see it: a stack of registers, tags, control and status words (SDM 1 8.1).

use crate::x86_64::guest::X86_64;
use crate::x86_64::regs::{
    X87_CONTROL, X87_DP, X87_IP, X87_OPCODE, X87_STATUS, X87_TAGS, x87_exponent, x87_significand,
};
use c2w_engine::cpu::Cpu;
use c2w_engine::emit::{SLOTS, Slot};

/// The control word after FNINIT: everything masked, 64-bit precision, round to nearest.
pub const INIT_CONTROL: u16 = 0x37f;
/// Exception flags of the status word, and masks of the control word.
pub const EXCEPTIONS: u16 = 0x3f;
/// An unmasked exception waits for the next instruction that looks.
pub const ERROR_SUMMARY: u16 = 1 << 7;
/// Follows [`ERROR_SUMMARY`].
pub const BUSY: u16 = 1 << 15;
const TOP_SHIFT: u32 = 11;

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
}
