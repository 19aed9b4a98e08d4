//! Meanings of instructions that fit no group: random numbers, cache control, BOUND and decimal adjustments.

use crate::x86_64::flags::{self, CF};
use crate::x86_64::helpers::integer::Helper;
use crate::x86_64::insn::{Insn, IntegerOp as Op};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::trap::{self, vector};
use c2w_engine::addr::Width::{W8, W64};
use c2w_engine::emit::{Cond, Emit};

/// CLFLUSH and its like: a read, as far as anyone can tell.
#[inline(never)]
pub(super) fn clflush<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let addr = e.address(&i.memory)?;
    e.load(W8, addr).map(|_| ())
}

/// RDRAND, RDSEED: a number is always there, which CF says; the other flags are cleared.
#[inline(never)]
pub(super) fn rdrand<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let number = e.helper(Helper::Random.id(), &[])?;
    let to = e.place(i, 0)?;
    e.write(to, number)?;
    let carry = e.imm(CF);
    flags::set_all(e, carry);
    Ok(())
}

/// BOUND: #BR if a signed index is not between two bounds in memory, both included.
#[inline(never)]
pub(super) fn bound<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let index = e.operand(i, 0)?;
    let (addr, size) = (e.address(&i.memory)?, e.imm(i.w.bytes()));
    let above = e.add(W64, addr, size);
    let (lower, upper) = (e.load(i.w, addr)?, e.load(i.w, above)?);
    let below = e.compare(Cond::LtS, i.w, index, lower);
    let beyond = e.compare(Cond::LtS, i.w, upper, index);
    let (outside, zero) = (e.or(W64, below, beyond), e.imm(0));
    e.trap_if(outside, trap::fault(vector::BR), zero)
}

/// AAA, AAS, AAM, AAD, DAA, DAS.
#[inline(never)]
pub(super) fn decimal<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    let helper = match op {
        Op::Aaa => Helper::Aaa,
        Op::Aas => Helper::Aas,
        Op::Aam => Helper::Aam,
        Op::Aad => Helper::Aad,
        Op::Daa => Helper::Daa,
        _ => Helper::Das,
    };
    let imm = e.imm(i.imm as u64);
    e.helper(helper.id(), &[imm]).map(|_| ())
}
