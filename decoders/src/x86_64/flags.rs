//! The arithmetic flags, kept lazily: instructions leave behind what they computed from what, and flags are worked
//! out where they are read (SDM 1 3.4.3).
//!
//! Four slots hold them: the [`Producer`], its operands and its result, of which each kind of producer keeps as few as
//! tell the rest ([`produce`]). Reading asks [`Emit::known`] for the producer.
//! The interpreter always knows it. A recorder knows it if it is the same in every run of the block, and then CMP and
//! a conditional jump become one comparison; otherwise the helper works the condition out, by these same functions.
//!
//! An instruction that changes some flags only (INC and DEC keep CF) puts the kept ones into an operand. One that
//! changes flags in some runs only (a shift by CL may be a shift by 0) selects each slot.

use super::guest::X86_64;
use super::helpers::integer::Helper;
use super::insn::Condition;
use super::regs::{CC_A, CC_B, CC_OP, CC_RES, RFLAGS};
use c2w_engine::addr::Width::{self, W8, W64};
use c2w_engine::cpu::Cpu;
use c2w_engine::eager::{Stopped, with_words};
use c2w_engine::emit::{Cond, Emit, Unary};

/// Carry.
pub const CF: u64 = 1 << 0;
/// Even parity of the low byte.
pub const PF: u64 = 1 << 2;
/// Carry out of bit 3.
pub const AF: u64 = 1 << 4;
/// Zero.
pub const ZF: u64 = 1 << 6;
/// Sign.
pub const SF: u64 = 1 << 7;
/// Signed overflow.
pub const OF: u64 = 1 << 11;
/// Trap: single step.
pub const TF: u64 = 1 << 8;
/// Maskable interrupts are enabled.
pub const IF: u64 = 1 << 9;
/// String instructions go down.
pub const DF: u64 = 1 << 10;
/// I/O privilege level, two bits.
pub const IOPL: u64 = 3 << 12;
/// Nested task.
pub const NT: u64 = 1 << 14;
/// Instruction breakpoints are off for one instruction.
pub const RF: u64 = 1 << 16;
/// Virtual 8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check; lets supervisors access user pages under SMAP.
pub const AC: u64 = 1 << 18;
/// Virtual interrupt flag.
pub const VIF: u64 = 1 << 19;
/// Virtual interrupt pending.
pub const VIP: u64 = 1 << 20;
/// CPUID exists if this can be changed.
pub const ID: u64 = 1 << 21;
/// Always set.
pub const FIXED: u64 = 1 << 1;
/// All arithmetic flags.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;

/// The operation that flags are of, and what the slots `a` and `b` hold for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// `a` is the flags themselves.
    Flags = 0,
    /// `a + b`.
    Add,
    /// `a + b + carry`.
    Adc,
    /// `a - b`.
    Sub,
    /// `a - b - carry`.
    Sbb,
    /// A bitwise operation.
    Logic,
    /// An increment; `b` is the carry before.
    Inc,
    /// A decrement; `b` is the carry before.
    Dec,
    /// `a` shifted left `b` times, at least once, with zeros or other bits coming in.
    Shl,
    /// `a` shifted right `b` times, at least once, with zeros or other bits coming in.
    Shr,
    /// `a` shifted right `b` times, at least once, with the sign coming in.
    Sar,
    /// A product; `a` is 1 if it does not fit.
    Mul,
    /// `a - b`, of which nothing is written but the flags.
    Cmp,
}

const KINDS: [Kind; 13] = [
    Kind::Flags,
    Kind::Add,
    Kind::Adc,
    Kind::Sub,
    Kind::Sbb,
    Kind::Logic,
    Kind::Inc,
    Kind::Dec,
    Kind::Shl,
    Kind::Shr,
    Kind::Sar,
    Kind::Mul,
    Kind::Cmp,
];

/// An operation and its operand size: the content of `CC_OP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    kind: Kind,
    w: Width,
}

impl Producer {
    /// The producer of a kind and operand size.
    pub const fn new(kind: Kind, w: Width) -> Self {
        Self { kind, w }
    }

    /// The number in the slot.
    pub const fn number(self) -> u64 {
        (self.kind as u64) << 2 | self.w as u64
    }

    /// The producer of a number; numbers that are none mean [`Kind::Flags`].
    fn from_number(number: u64) -> Self {
        let kind = KINDS.get((number >> 2) as usize).copied().unwrap_or(Kind::Flags);
        Self { kind, w: Width::ALL[(number & 3) as usize] }
    }
}

/// A flag as a comparison, so that a conditional jump is one comparison and its negation costs nothing.
struct Test<V> {
    cond: Cond,
    w: Width,
    a: V,
    b: V,
}

impl<V: Copy> Test<V> {
    fn negated(self) -> Self {
        Self { cond: self.cond.negated(), ..self }
    }

    #[inline(always)]
    fn value<E: Emit<Val = V>>(self, e: &mut E) -> V {
        e.compare(self.cond, self.w, self.a, self.b)
    }
}

/// Notes that the flags are those of an operation.
///
/// What follows from the rest is not kept: mostly the result is in a register anyway, and an operand is overwritten by it.
#[inline(always)]
pub fn produce<E: Emit>(e: &mut E, kind: Kind, w: Width, a: E::Val, b: E::Val, result: E::Val) {
    let op = e.imm(Producer::new(kind, w).number());
    e.set(CC_OP, op);
    let (keeps_a, keeps_b, keeps_result) = match kind {
        Kind::Flags => (true, false, false),
        Kind::Add | Kind::Sub | Kind::Inc | Kind::Dec => (false, true, true),
        Kind::Cmp => (true, true, false),
        Kind::Logic => (false, false, true),
        Kind::Mul => (true, false, true),
        Kind::Adc | Kind::Sbb | Kind::Shl | Kind::Shr | Kind::Sar => (true, true, true),
    };
    if keeps_a {
        e.set(CC_A, a);
    }
    if keeps_b {
        e.set(CC_B, b);
    }
    if keeps_result {
        e.set(CC_RES, result);
    }
}

/// The first operand of a producer that has two.
#[inline(always)]
fn first_operand<E: Emit>(e: &mut E, p: Producer) -> E::Val {
    match p.kind {
        Kind::Add => {
            let (result, b) = (e.get(CC_RES), e.get(CC_B));
            e.sub(W64, result, b)
        }
        Kind::Sub => {
            let (result, b) = (e.get(CC_RES), e.get(CC_B));
            e.add(W64, result, b)
        }
        _ => e.get(CC_A),
    }
}

/// The result of a producer that has one.
#[inline(always)]
fn result<E: Emit>(e: &mut E, p: Producer) -> E::Val {
    if p.kind != Kind::Cmp {
        return e.get(CC_RES);
    }
    let (a, b) = (e.get(CC_A), e.get(CC_B));
    e.sub(W64, a, b)
}

/// The same if `changed` is not 0, else the flags stay.
#[inline(always)]
pub fn produce_if<E: Emit>(
    e: &mut E,
    changed: E::Val,
    kind: Kind,
    w: Width,
    a: E::Val,
    b: E::Val,
    result: E::Val,
) {
    let op = e.imm(Producer::new(kind, w).number());
    for (slot, new) in [(CC_OP, op), (CC_A, a), (CC_B, b), (CC_RES, result)] {
        let old = e.get(slot);
        let value = e.select(changed, new, old);
        e.set(slot, value);
    }
}

/// Writes all arithmetic flags.
#[inline(always)]
pub fn set_all<E: Emit>(e: &mut E, value: E::Val) {
    let op = e.imm(Producer::new(Kind::Flags, W64).number());
    e.set(CC_OP, op);
    e.set(CC_A, value);
}

/// All arithmetic flags, with those of `mask` taken from `value`, which has no others.
#[inline(always)]
pub fn replaced<E: Emit>(e: &mut E, mask: u64, value: E::Val) -> Result<E::Val, E::Stop> {
    let (old, others) = (all(e)?, e.imm(ARITHMETIC & !mask));
    let kept = e.and(W64, old, others);
    Ok(e.or(W64, kept, value))
}

/// Writes the flags of `mask`, which `value` has no others than; the rest stays.
#[inline(always)]
pub fn replace<E: Emit>(e: &mut E, mask: u64, value: E::Val) -> Result<(), E::Stop> {
    let flags = replaced(e, mask, value)?;
    set_all(e, flags);
    Ok(())
}

/// Who produced the flags, if that is known.
#[inline(always)]
fn producer<E: Emit>(e: &mut E) -> Option<Producer> {
    let op = e.get(CC_OP);
    e.known(op).map(Producer::from_number)
}

/// 1 if the condition holds, else 0.
#[inline]
pub fn condition<E: Emit>(e: &mut E, condition: Condition) -> Result<E::Val, E::Stop> {
    let Some(producer) = producer(e) else {
        let number = e.imm(u64::from(condition.0));
        return e.helper(Helper::Condition.id(), &[number]);
    };
    let number = condition.0 & 15;
    // What conditional jumps ask most is one comparison, and said as that.
    if producer.kind == Kind::Cmp
        && let Some(holds) = comparison(e, producer, number)
    {
        return Ok(holds);
    }
    if !matches!(producer.kind, Kind::Flags | Kind::Cmp) && matches!(number, 4 | 5 | 8 | 9) {
        let (result, zero) = (e.get(CC_RES), e.imm(0));
        return Ok(match number {
            4 => e.compare(Cond::Eq, producer.w, result, zero),
            5 => e.compare(Cond::Ne, producer.w, result, zero),
            8 => e.compare(Cond::LtS, producer.w, result, zero),
            _ => e.compare(Cond::GeS, producer.w, result, zero),
        });
    }
    if producer.kind == Kind::Sub
        && let Some(holds) = comparison(e, producer, number)
    {
        return Ok(holds);
    }
    Ok(worked_out(e, producer, number))
}

/// Condition `number` of a difference, if it is a comparison of its operands.
#[inline(always)]
fn comparison<E: Emit>(e: &mut E, p: Producer, number: u8) -> Option<E::Val> {
    let (a, b, w) = (first_operand(e, p), e.get(CC_B), p.w);
    Some(match number {
        2 => e.compare(Cond::LtU, w, a, b),
        3 => e.compare(Cond::GeU, w, a, b),
        4 => e.compare(Cond::Eq, w, a, b),
        5 => e.compare(Cond::Ne, w, a, b),
        6 => e.compare(Cond::GeU, w, b, a),
        7 => e.compare(Cond::LtU, w, b, a),
        12 => e.compare(Cond::LtS, w, a, b),
        13 => e.compare(Cond::GeS, w, a, b),
        14 => e.compare(Cond::GeS, w, b, a),
        15 => e.compare(Cond::LtS, w, b, a),
        _ => return None,
    })
}

/// Condition `number`, whoever produced the flags.
#[inline(never)]
fn worked_out<E: Emit>(e: &mut E, producer: Producer, number: u8) -> E::Val {
    let test = test(e, producer, number >> 1);
    let test = if number & 1 == 0 { test } else { test.negated() };
    test.value(e)
}

/// CF, 0 or 1.
#[inline]
pub fn carry<E: Emit>(e: &mut E) -> Result<E::Val, E::Stop> {
    condition(e, Condition(2))
}

/// All arithmetic flags at their places in EFLAGS.
pub fn all<E: Emit>(e: &mut E) -> Result<E::Val, E::Stop> {
    let Some(producer) = producer(e) else {
        return e.helper(Helper::Flags.id(), &[]);
    };
    if producer.kind == Kind::Flags {
        return Ok(e.get(CC_A));
    }
    let tests = [
        (test(e, producer, 0), OF),
        (test(e, producer, 1), CF),
        (test(e, producer, 2), ZF),
        (test(e, producer, 4), SF),
        (test(e, producer, 5), PF),
        (adjust(e, producer), AF),
    ];
    let mut flags = e.imm(0);
    for (test, flag) in tests {
        let holds = test.value(e);
        let place = e.imm(u64::from(flag.trailing_zeros()));
        let bit = e.shl(W64, holds, place);
        flags = e.or(W64, flags, bit);
    }
    Ok(flags)
}

/// The condition whose number without the negation bit is `number`: O, B, E, BE, S, P, L, LE.
fn test<E: Emit>(e: &mut E, p: Producer, number: u8) -> Test<E::Val> {
    match number {
        0 => overflow(e, p),
        1 => carried(e, p),
        2 => result_test(e, p, ZF),
        4 => result_test(e, p, SF),
        5 => result_test(e, p, PF),
        3 => {
            let (carried, zero) = (carried(e, p).value(e), result_test(e, p, ZF).value(e));
            let either = e.or(W8, carried, zero);
            is_set(e, either)
        }
        6 => less(e, p),
        _ => {
            let (less, zero) = (less(e, p).value(e), result_test(e, p, ZF).value(e));
            let either = e.or(W8, less, zero);
            is_set(e, either)
        }
    }
}

/// Both operands and the result.
fn operands<E: Emit>(e: &mut E, p: Producer) -> (E::Val, E::Val, E::Val) {
    (first_operand(e, p), e.get(CC_B), result(e, p))
}

fn is_set<E: Emit>(e: &mut E, bit: E::Val) -> Test<E::Val> {
    let b = e.imm(0);
    Test { cond: Cond::Ne, w: W64, a: bit, b }
}

/// Whether the top bit of the low `w` bits is set.
fn is_negative<E: Emit>(e: &mut E, w: Width, value: E::Val) -> Test<E::Val> {
    let b = e.imm(0);
    Test { cond: Cond::LtS, w, a: value, b }
}

/// A flag of [`Kind::Flags`].
fn kept<E: Emit>(e: &mut E, flag: u64) -> Test<E::Val> {
    let flags = e.get(CC_A);
    let mask = e.imm(flag);
    let bit = e.and(W64, flags, mask);
    is_set(e, bit)
}

/// ZF, SF and PF are functions of the result.
fn result_test<E: Emit>(e: &mut E, p: Producer, flag: u64) -> Test<E::Val> {
    if p.kind == Kind::Flags {
        return kept(e, flag);
    }
    let result = result(e, p);
    let zero = e.imm(0);
    match flag {
        ZF => Test { cond: Cond::Eq, w: p.w, a: result, b: zero },
        SF => is_negative(e, p.w, result),
        _ => {
            let ones = e.unary(Unary::Popcnt, W8, result);
            let one = e.imm(1);
            let odd = e.and(W8, ones, one);
            Test { cond: Cond::Eq, w: W8, a: odd, b: zero }
        }
    }
}

/// SF differs from OF.
fn less<E: Emit>(e: &mut E, p: Producer) -> Test<E::Val> {
    let (sign, overflow) = (result_test(e, p, SF).value(e), overflow(e, p).value(e));
    let differ = e.xor(W8, sign, overflow);
    is_set(e, differ)
}

fn carried<E: Emit>(e: &mut E, p: Producer) -> Test<E::Val> {
    let (a, b, result) = operands(e, p);
    match p.kind {
        Kind::Flags => kept(e, CF),
        Kind::Add => Test { cond: Cond::LtU, w: p.w, a: result, b },
        Kind::Sub | Kind::Cmp => Test { cond: Cond::LtU, w: p.w, a, b },
        // With a carry or borrow in, the carries out of each bit are its majority of operands and complement of result.
        Kind::Adc => {
            let not_result = complement(e, result);
            let carries = majority(e, a, b, not_result);
            is_negative(e, p.w, carries)
        }
        Kind::Sbb => {
            let not_a = complement(e, a);
            let borrows = majority(e, not_a, b, result);
            is_negative(e, p.w, borrows)
        }
        Kind::Logic => never(e),
        Kind::Inc | Kind::Dec => is_set(e, b),
        Kind::Mul => is_set(e, a),
        Kind::Shl => {
            let before_last = shifted(e, p, a, b);
            is_negative(e, p.w, before_last)
        }
        Kind::Shr | Kind::Sar => {
            let before_last = shifted(e, p, a, b);
            let one = e.imm(1);
            let last = e.and(W64, before_last, one);
            is_set(e, last)
        }
    }
}

/// The operand of a shift after all but the last of its steps.
fn shifted<E: Emit>(e: &mut E, p: Producer, a: E::Val, count: E::Val) -> E::Val {
    let one = e.imm(1);
    let steps = e.sub(W64, count, one);
    match p.kind {
        Kind::Shl => e.shl(W64, a, steps),
        Kind::Sar => {
            let wide = e.sext(p.w, a);
            e.sar(W64, wide, steps)
        }
        _ => {
            let wide = e.zext(p.w, a);
            e.shr(W64, wide, steps)
        }
    }
}

fn overflow<E: Emit>(e: &mut E, p: Producer) -> Test<E::Val> {
    let (a, b, result) = operands(e, p);
    match p.kind {
        Kind::Flags => kept(e, OF),
        Kind::Add | Kind::Adc => {
            // Both operands differ from the result in sign.
            let (x, y) = (e.xor(W64, a, result), e.xor(W64, b, result));
            let both = e.and(W64, x, y);
            is_negative(e, p.w, both)
        }
        Kind::Sub | Kind::Cmp | Kind::Sbb => {
            let (x, y) = (e.xor(W64, a, b), e.xor(W64, a, result));
            let both = e.and(W64, x, y);
            is_negative(e, p.w, both)
        }
        Kind::Logic | Kind::Sar => never(e),
        Kind::Inc => {
            let least = e.imm(1 << (p.w.bits() - 1));
            Test { cond: Cond::Eq, w: p.w, a: result, b: least }
        }
        Kind::Dec => {
            let most = e.imm(p.w.mask() >> 1);
            Test { cond: Cond::Eq, w: p.w, a: result, b: most }
        }
        Kind::Mul => is_set(e, a),
        Kind::Shl => {
            // The carry differs from the sign of the result: the last step changed the sign.
            let before_last = shifted(e, p, a, b);
            let changed = e.xor(W64, before_last, result);
            is_negative(e, p.w, changed)
        }
        // The sign changes; zeros come in, but for SHRD.
        Kind::Shr => {
            let changed = e.xor(W64, a, result);
            is_negative(e, p.w, changed)
        }
    }
}

fn adjust<E: Emit>(e: &mut E, p: Producer) -> Test<E::Val> {
    let (a, b, result) = operands(e, p);
    let low = e.imm(15);
    match p.kind {
        Kind::Flags => kept(e, AF),
        Kind::Add | Kind::Adc | Kind::Sub | Kind::Cmp | Kind::Sbb => {
            let operands = e.xor(W64, a, b);
            let carries = e.xor(W64, operands, result);
            let bit = e.imm(AF);
            let carry = e.and(W64, carries, bit);
            is_set(e, carry)
        }
        Kind::Inc => {
            let nibble = e.and(W64, result, low);
            let zero = e.imm(0);
            Test { cond: Cond::Eq, w: W8, a: nibble, b: zero }
        }
        Kind::Dec => {
            let nibble = e.and(W64, result, low);
            Test { cond: Cond::Eq, w: W8, a: nibble, b: low }
        }
        // Undefined for these.
        Kind::Logic | Kind::Shl | Kind::Shr | Kind::Sar | Kind::Mul => never(e),
    }
}

/// RFLAGS, complete, outside of a lift.
pub fn rflags(cpu: &mut Cpu<X86_64>) -> u64 {
    let arithmetic: Result<u64, Stopped> = with_words(cpu, |e| all(e));
    cpu.slots[usize::from(RFLAGS.0)] | arithmetic.expect("flags are functions of registers")
}

/// Writes RFLAGS, outside of a lift. The caller calls [`super::mode::refresh`] and rechecks interrupts if TF, AC or IF
/// may have changed.
pub fn set_rflags(cpu: &mut Cpu<X86_64>, value: u64) {
    let slots = &mut cpu.slots;
    slots[usize::from(CC_OP.0)] = Producer::new(Kind::Flags, W64).number();
    slots[usize::from(CC_A.0)] = value & ARITHMETIC;
    slots[usize::from(RFLAGS.0)] = value & !ARITHMETIC | FIXED;
}

fn never<E: Emit>(e: &mut E) -> Test<E::Val> {
    let zero = e.imm(0);
    is_set(e, zero)
}

fn complement<E: Emit>(e: &mut E, value: E::Val) -> E::Val {
    let ones = e.imm(u64::MAX);
    e.xor(W64, value, ones)
}

/// (a & b) | ((a | b) & c), bit by bit.
fn majority<E: Emit>(e: &mut E, a: E::Val, b: E::Val, c: E::Val) -> E::Val {
    let (both, either) = (e.and(W64, a, b), e.or(W64, a, b));
    let with_c = e.and(W64, either, c);
    e.or(W64, both, with_c)
}
