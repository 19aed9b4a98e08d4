//! Meanings of DIV and IDIV (SDM 2A): a dividend twice as wide as the divisor. #DE if the divisor is 0 or the quotient
//! does not fit.

use crate::x86_64::helpers::integer::Helper;
use crate::x86_64::insn::Insn;
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::{regs, trap};
use c2w_engine::addr::Width::{W8, W16, W32, W64};
use c2w_engine::emit::{Binary, Cond, Emit};

/// DIV.
#[inline(always)]
pub(super) fn div<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let divisor = e.operand(i, 0)?;
    if i.w == W64 {
        return wide(e, divisor, Helper::DivideUnsigned);
    }
    let (dividend, divisor) = (dividend(e, i), e.zext(i.w, divisor));
    let zero = e.imm(0);
    let by_zero = e.compare(Cond::Eq, W64, divisor, zero);
    e.trap_if(by_zero, trap::DIVIDE, zero)?;
    let quotient = e.binary(Binary::DivU, W64, dividend, divisor);
    let most = e.imm(i.w.mask());
    let overflows = e.compare(Cond::LtU, W64, most, quotient);
    e.trap_if(overflows, trap::DIVIDE, zero)?;
    let remainder = e.binary(Binary::RemU, W64, dividend, divisor);
    finish(e, i, quotient, remainder)
}

/// IDIV.
#[inline(always)]
pub(super) fn idiv<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let divisor = e.operand(i, 0)?;
    if i.w == W64 {
        return wide(e, divisor, Helper::DivideSigned);
    }
    let (dividend, divisor) = (dividend(e, i), e.sext(i.w, divisor));
    let dividend = match i.w {
        W8 => e.sext(W16, dividend),
        W16 => e.sext(W32, dividend),
        _ => dividend,
    };
    let zero = e.imm(0);
    let by_zero = e.compare(Cond::Eq, W64, divisor, zero);
    e.trap_if(by_zero, trap::DIVIDE, zero)?;
    let quotient = e.binary(Binary::DivS, W64, dividend, divisor);
    let fitting = e.sext(i.w, quotient);
    let overflows = e.compare(Cond::Ne, W64, fitting, quotient);
    e.trap_if(overflows, trap::DIVIDE, zero)?;
    let remainder = e.binary(Binary::RemS, W64, dividend, divisor);
    finish(e, i, quotient, remainder)
}

/// The dividend of divisors narrower than 64 bits, zero-extended: AX, DX:AX or EDX:EAX.
#[inline(always)]
fn dividend<E: Emit>(e: &mut E, i: &Insn) -> E::Val {
    let low = e.get(regs::RAX);
    if i.w == W8 {
        return e.zext(W16, low);
    }
    let (low, high, bits) = (e.zext(i.w, low), e.get(regs::RDX), e.imm(u64::from(i.w.bits())));
    let high = e.zext(i.w, high);
    let high = e.shl(W64, high, bits);
    e.or(W64, high, low)
}

#[inline(always)]
fn finish<E: Emit>(e: &mut E, i: &Insn, quotient: E::Val, remainder: E::Val) -> Done<E> {
    if i.w == W8 {
        let (low, eight) = (e.zext(W8, quotient), e.imm(8));
        let high = e.shl(W16, remainder, eight);
        let both = e.or(W16, high, low);
        e.set_gpr(regs::RAX, W16, both);
    } else {
        e.set_gpr(regs::RAX, i.w, quotient);
        e.set_gpr(regs::RDX, i.w, remainder);
    }
    Ok(())
}

/// RDX:RAX by 64 bits.
#[inline(always)]
fn wide<E: Emit>(e: &mut E, divisor: E::Val, helper: Helper) -> Done<E> {
    let (low, high) = (e.get(regs::RAX), e.get(regs::RDX));
    let quotient = e.helper(helper.id(), &[high, low, divisor])?;
    let product = e.mul(W64, quotient, divisor);
    let remainder = e.sub(W64, low, product);
    e.set(regs::RAX, quotient);
    e.set(regs::RDX, remainder);
    Ok(())
}
