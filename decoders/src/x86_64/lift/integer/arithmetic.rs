//! Meanings of integer arithmetic and logic (SDM 1 7.3.2 to 7.3.6). Each stores its result before it writes a
//! register, the flags' slots included.

use crate::x86_64::flags::{self, Kind};
use crate::x86_64::insn::{Insn, InsnFlags, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::{Place, X86Emit};
use crate::x86_64::regs;
use c2w_engine::addr::Width::{self, W8, W16, W64};
use c2w_engine::emit::{Amo, Binary, Cond, Emit};

/// Reads the first operand, which [`finish`] writes. With a LOCK prefix it is written now, atomically, with `operand`
/// added or combined.
#[inline(always)]
fn begin<E: Emit>(
    e: &mut E,
    i: &Insn,
    to: Place<E::Val>,
    atomically: Amo,
    operand: E::Val,
) -> Result<E::Val, E::Stop> {
    match to {
        Place::Memory { w, addr } if i.flags.contains(InsnFlags::LOCK) => e.amo(atomically, w, addr, operand),
        to => e.read_to_modify(to),
    }
}

/// Writes the first operand, unless that has been done.
#[inline(always)]
fn finish<E: Emit>(e: &mut E, i: &Insn, to: Place<E::Val>, result: E::Val) -> Done<E> {
    match to {
        Place::Memory { .. } if i.flags.contains(InsnFlags::LOCK) => Ok(()),
        to => e.write(to, result),
    }
}

/// What is added atomically where `value` is subtracted; without LOCK nothing is.
#[inline(always)]
fn negative<E: Emit>(e: &mut E, i: &Insn, value: E::Val) -> E::Val {
    if !i.flags.contains(InsnFlags::LOCK) {
        return value;
    }
    let zero = e.imm(0);
    e.sub(W64, zero, value)
}

/// ADD.
#[inline(always)]
pub(super) fn add<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (to, b) = (e.place(i, 0)?, e.operand(i, 1)?);
    let a = begin(e, i, to, Amo::Add, b)?;
    let sum = e.add(i.w, a, b);
    finish(e, i, to, sum)?;
    flags::produce(e, Kind::Add, i.w, a, b, sum);
    Ok(())
}

/// ADC: sum with the carry.
#[inline(always)]
pub(super) fn adc<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (to, b) = (e.place(i, 0)?, e.operand(i, 1)?);
    let carry = flags::carry(e)?;
    let all = e.add(W64, b, carry);
    let a = begin(e, i, to, Amo::Add, all)?;
    let sum = e.add(i.w, a, all);
    finish(e, i, to, sum)?;
    flags::produce(e, Kind::Adc, i.w, a, b, sum);
    Ok(())
}

/// SUB.
#[inline(always)]
pub(super) fn sub<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (to, b) = (e.place(i, 0)?, e.operand(i, 1)?);
    let operand = negative(e, i, b);
    let a = begin(e, i, to, Amo::Add, operand)?;
    let difference = e.sub(i.w, a, b);
    finish(e, i, to, difference)?;
    flags::produce(e, Kind::Sub, i.w, a, b, difference);
    Ok(())
}

/// SBB: difference with the borrow.
#[inline(always)]
pub(super) fn sbb<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (to, b) = (e.place(i, 0)?, e.operand(i, 1)?);
    let borrow = flags::carry(e)?;
    let all = e.add(W64, b, borrow);
    let operand = negative(e, i, all);
    let a = begin(e, i, to, Amo::Add, operand)?;
    let difference = e.sub(i.w, a, all);
    finish(e, i, to, difference)?;
    flags::produce(e, Kind::Sbb, i.w, a, b, difference);
    Ok(())
}

/// CMP: the flags of a difference.
#[inline(always)]
pub(super) fn cmp<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (a, b) = (e.operand(i, 0)?, e.operand(i, 1)?);
    let difference = e.sub(i.w, a, b);
    flags::produce(e, Kind::Cmp, i.w, a, b, difference);
    Ok(())
}

/// Which bitwise operation.
#[derive(Clone, Copy)]
pub(super) enum Bitwise {
    And,
    Or,
    Xor,
}

/// AND, OR, XOR.
#[inline(always)]
pub(super) fn bitwise<E: Emit>(e: &mut E, i: &Insn, which: Bitwise) -> Done<E> {
    let (to, b) = (e.place(i, 0)?, e.operand(i, 1)?);
    let (op, amo) = match which {
        Bitwise::And => (Binary::And, Amo::And),
        Bitwise::Or => (Binary::Or, Amo::Or),
        Bitwise::Xor => (Binary::Xor, Amo::Xor),
    };
    let a = begin(e, i, to, amo, b)?;
    let result = e.binary(op, i.w, a, b);
    finish(e, i, to, result)?;
    flags::produce(e, Kind::Logic, i.w, a, b, result);
    Ok(())
}

/// TEST: the flags of a bitwise and.
#[inline(always)]
pub(super) fn test<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (a, b) = (e.operand(i, 0)?, e.operand(i, 1)?);
    let result = e.and(i.w, a, b);
    flags::produce(e, Kind::Logic, i.w, a, b, result);
    Ok(())
}

/// INC: CF stays.
#[inline(always)]
pub(super) fn inc<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    step(e, i, 1, Kind::Inc)
}

/// DEC: CF stays.
#[inline(always)]
pub(super) fn dec<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    step(e, i, -1, Kind::Dec)
}

#[inline(always)]
fn step<E: Emit>(e: &mut E, i: &Insn, by: i64, kind: Kind) -> Done<E> {
    let to = e.place(i, 0)?;
    let (carry, by) = (flags::carry(e)?, e.imm(by as u64));
    let a = begin(e, i, to, Amo::Add, by)?;
    let result = e.add(i.w, a, by);
    finish(e, i, to, result)?;
    flags::produce(e, kind, i.w, a, carry, result);
    Ok(())
}

/// NOT: no flags.
#[inline(always)]
pub(super) fn not<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (to, ones) = (e.place(i, 0)?, e.imm(u64::MAX));
    let a = begin(e, i, to, Amo::Xor, ones)?;
    let result = e.xor(i.w, a, ones);
    finish(e, i, to, result)
}

/// NEG: the flags of the difference to 0.
#[inline(always)]
pub(super) fn neg<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (to, zero) = (e.place(i, 0)?, e.imm(0));
    if let Place::Memory { w, addr } = to
        && i.flags.contains(InsnFlags::LOCK)
    {
        return locked_neg(e, w, addr);
    }
    let a = e.read_to_modify(to)?;
    let difference = e.sub(i.w, zero, a);
    e.write(to, difference)?;
    flags::produce(e, Kind::Sub, i.w, zero, a, difference);
    Ok(())
}

/// No atomic operation negates: if another vCPU writes in between, the instruction starts again.
#[inline(never)]
fn locked_neg<E: Emit>(e: &mut E, w: Width, addr: E::Val) -> Done<E> {
    let (a, zero) = (e.load_to_modify(w, addr)?, e.imm(0));
    let difference = e.sub(w, zero, a);
    let seen = e.compare_exchange(w, addr, a, difference)?;
    let done = e.compare(Cond::Eq, w, a, seen);
    flags::produce_if(e, done, Kind::Sub, w, zero, a, difference);
    let again = e.compare(Cond::Ne, w, a, seen);
    e.branch_relative(again, 0);
    Ok(())
}

/// IMUL with two operands, or with three, of which the last is an immediate.
#[inline(always)]
pub(super) fn imul<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let to = e.place(i, 0)?;
    let has_third = i.operands[2] != Operand::None;
    let (a, b) =
        if has_third { (e.operand(i, 1)?, e.operand(i, 2)?) } else { (e.read(to)?, e.operand(i, 1)?) };
    let low = e.mul(i.w, a, b);
    let high = e.binary(Binary::MulHighS, i.w, a, b);
    e.write(to, low)?;
    product_flags(e, i, low, high);
    Ok(())
}

/// MUL, and IMUL with one operand: the accumulator's product, twice as wide.
#[inline(always)]
pub(super) fn wide_product<E: Emit>(e: &mut E, i: &Insn, high_half: Binary) -> Done<E> {
    let (a, b) = (e.get(regs::RAX), e.operand(i, 0)?);
    let low = e.mul(i.w, a, b);
    let high = e.binary(high_half, i.w, a, b);
    if i.w == W8 {
        let eight = e.imm(8);
        let upper = e.shl(W16, high, eight);
        let product = e.or(W16, upper, low);
        e.set_gpr(regs::RAX, W16, product);
    } else {
        e.set_gpr(regs::RAX, i.w, low);
        e.set_gpr(regs::RDX, i.w, high);
    }
    if high_half == Binary::MulHighS {
        product_flags(e, i, low, high);
    } else {
        let zero = e.imm(0);
        let overflows = e.compare(Cond::Ne, i.w, high, zero);
        flags::produce(e, Kind::Mul, i.w, overflows, overflows, low);
    }
    Ok(())
}

/// CF and OF say whether the high half is more than the sign of the low one.
#[inline(always)]
fn product_flags<E: Emit>(e: &mut E, i: &Insn, low: E::Val, high: E::Val) {
    let last = e.imm(u64::from(i.w.bits() - 1));
    let sign = e.sar(i.w, low, last);
    let overflows = e.compare(Cond::Ne, i.w, high, sign);
    flags::produce(e, Kind::Mul, i.w, overflows, overflows, low);
}
