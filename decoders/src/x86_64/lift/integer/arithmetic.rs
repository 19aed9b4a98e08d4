//! Meanings of integer arithmetic and logic (SDM 1 7.3.2 to 7.3.6). Each stores its result before it writes a
//! register, the flags' slots included.

use crate::x86_64::flags::{self, Kind};
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::{Place, X86Emit};
use crate::x86_64::regs;
use c2w_engine::addr::Width::{W8, W16};
use c2w_engine::emit::{Binary, Cond, Emit};

/// Destination, which is the first operand, and the values of both.
struct Operands<V> {
    to: Place<V>,
    a: V,
    b: V,
}

#[inline(always)]
fn operands<E: Emit>(e: &mut E, i: &Insn) -> Result<Operands<E::Val>, E::Stop> {
    let to = e.place(i, 0)?;
    let a = e.read(to)?;
    let b = e.operand(i, 1)?;
    Ok(Operands { to, a, b })
}

/// ADD.
#[inline(always)]
pub(super) fn add<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let Operands { to, a, b } = operands(e, i)?;
    let sum = e.add(i.w, a, b);
    e.write(to, sum)?;
    flags::produce(e, Kind::Add, i.w, a, b, sum);
    Ok(())
}

/// ADC: sum with the carry.
#[inline(always)]
pub(super) fn adc<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let Operands { to, a, b } = operands(e, i)?;
    let carry = flags::carry(e)?;
    let sum = e.add(i.w, a, b);
    let sum = e.add(i.w, sum, carry);
    e.write(to, sum)?;
    flags::produce(e, Kind::Adc, i.w, a, b, sum);
    Ok(())
}

/// SUB.
#[inline(always)]
pub(super) fn sub<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let Operands { to, a, b } = operands(e, i)?;
    let difference = e.sub(i.w, a, b);
    e.write(to, difference)?;
    flags::produce(e, Kind::Sub, i.w, a, b, difference);
    Ok(())
}

/// SBB: difference with the borrow.
#[inline(always)]
pub(super) fn sbb<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let Operands { to, a, b } = operands(e, i)?;
    let borrow = flags::carry(e)?;
    let difference = e.sub(i.w, a, b);
    let difference = e.sub(i.w, difference, borrow);
    e.write(to, difference)?;
    flags::produce(e, Kind::Sbb, i.w, a, b, difference);
    Ok(())
}

/// CMP: the flags of a difference.
#[inline(always)]
pub(super) fn cmp<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let Operands { a, b, .. } = operands(e, i)?;
    let difference = e.sub(i.w, a, b);
    flags::produce(e, Kind::Sub, i.w, a, b, difference);
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
    let Operands { to, a, b } = operands(e, i)?;
    let op = match which {
        Bitwise::And => Binary::And,
        Bitwise::Or => Binary::Or,
        Bitwise::Xor => Binary::Xor,
    };
    let result = e.binary(op, i.w, a, b);
    e.write(to, result)?;
    flags::produce(e, Kind::Logic, i.w, a, b, result);
    Ok(())
}

/// TEST: the flags of a bitwise and.
#[inline(always)]
pub(super) fn test<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let Operands { a, b, .. } = operands(e, i)?;
    let result = e.and(i.w, a, b);
    flags::produce(e, Kind::Logic, i.w, a, b, result);
    Ok(())
}

/// INC: CF stays.
#[inline(always)]
pub(super) fn inc<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    step(e, i, Binary::Add, Kind::Inc)
}

/// DEC: CF stays.
#[inline(always)]
pub(super) fn dec<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    step(e, i, Binary::Sub, Kind::Dec)
}

#[inline(always)]
fn step<E: Emit>(e: &mut E, i: &Insn, op: Binary, kind: Kind) -> Done<E> {
    let to = e.place(i, 0)?;
    let (a, one) = (e.read(to)?, e.imm(1));
    let carry = flags::carry(e)?;
    let result = e.binary(op, i.w, a, one);
    e.write(to, result)?;
    flags::produce(e, kind, i.w, a, carry, result);
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

/// IMUL with one operand: the accumulator's product, twice as wide.
#[inline(always)]
pub(super) fn imul_wide<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (a, b) = (e.get(regs::RAX), e.operand(i, 0)?);
    let low = e.mul(i.w, a, b);
    let high = e.binary(Binary::MulHighS, i.w, a, b);
    if i.w == W8 {
        let eight = e.imm(8);
        let upper = e.shl(W16, high, eight);
        let product = e.or(W16, upper, low);
        e.set_gpr(regs::RAX, W16, product);
    } else {
        e.set_gpr(regs::RAX, i.w, low);
        e.set_gpr(regs::RDX, i.w, high);
    }
    product_flags(e, i, low, high);
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
