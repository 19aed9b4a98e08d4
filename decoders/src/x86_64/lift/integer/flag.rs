//! Meanings of the instructions on flags (SDM 1 7.3.13).

use crate::x86_64::flags::{self, CF, DF, FIXED, OF};
use crate::x86_64::insn::Insn;
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::regs::{RAX, RFLAGS};
use c2w_engine::addr::Width::{W8, W64};
use c2w_engine::emit::Emit;

/// What becomes of CF.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// CLC.
    Clear,
    /// STC.
    Set,
    /// CMC.
    Complement,
}

/// CLC, STC, CMC.
#[inline(never)]
pub(super) fn change_carry<E: Emit>(e: &mut E, change: Change) -> Done<E> {
    let value = match change {
        Change::Clear => e.imm(0),
        Change::Set => e.imm(CF),
        Change::Complement => {
            let (carry, one) = (flags::carry(e)?, e.imm(CF));
            e.xor(W64, carry, one)
        }
    };
    flags::replace(e, CF, value)
}

/// CLD, STD.
#[inline(always)]
pub(super) fn direction<E: Emit>(e: &mut E, down: bool) -> Done<E> {
    let value = e.imm(if down { DF } else { 0 });
    e.merge(RFLAGS, DF, value);
    Ok(())
}

/// LAHF: the low byte of the flags goes to AH.
#[inline(never)]
pub(super) fn lahf<E: Emit>(e: &mut E, _i: &Insn) -> Done<E> {
    let (all, fixed, eight) = (flags::all(e)?, e.imm(FIXED), e.imm(8));
    let low = e.or(W8, all, fixed);
    let high = e.shl(W64, low, eight);
    e.merge(RAX, 0xff00, high);
    Ok(())
}

/// SAHF: all arithmetic flags but OF come from AH.
#[inline(never)]
pub(super) fn sahf<E: Emit>(e: &mut E, _i: &Insn) -> Done<E> {
    let (value, eight, mask) = (e.get(RAX), e.imm(8), e.imm(flags::ARITHMETIC & !OF));
    let value = e.shr(W64, value, eight);
    let value = e.and(W8, value, mask);
    flags::replace(e, flags::ARITHMETIC & !OF, value)
}

/// SALC: AL is filled with CF.
#[inline(never)]
pub(super) fn salc<E: Emit>(e: &mut E, _i: &Insn) -> Done<E> {
    let (carry, zero) = (flags::carry(e)?, e.imm(0));
    let value = e.sub(W8, zero, carry);
    e.set_gpr(RAX, W8, value);
    Ok(())
}
