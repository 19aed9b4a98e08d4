//! Meanings of the system instructions: CSR accesses, returns from traps, fences of translations, cache blocks
//! (Unpriv. 7 and 19, Priv. 3.3 and 12.2). The work is done by helpers, which find out what is allowed.

use super::words::{Done, RvEmit};
use crate::riscv64::decode::Insn;
use crate::riscv64::helpers::Helper;
use crate::riscv64::mmu::FenceScope;

use c2w_engine::emit::{Emit, Slot};

/// Where a CSR instruction takes its operand from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    /// The first source register.
    Register,
    /// The 5-bit immediate.
    Immediate,
}

/// Number of the CSR.
#[inline(always)]
fn number<E: Emit>(e: &mut E, i: &Insn) -> E::Val {
    e.imm(i.imm as u64 & 0xfff)
}

#[inline(always)]
fn source<E: Emit>(e: &mut E, i: &Insn, from: Source) -> E::Val {
    match from {
        Source::Register => e.x(i.rs1),
        Source::Immediate => e.imm(i.imm as u64 >> 12),
    }
}

/// CSRRW, CSRRWI: write; the old value. No CSR has a side effect on reads, so x0 as destination is not special.
#[inline(always)]
pub(super) fn csr_write<E: Emit>(e: &mut E, i: &Insn, from: Source) -> Done<E> {
    let (csr, value, raw) = (number(e, i), source(e, i, from), e.imm(u64::from(i.raw)));
    let old = e.helper(Helper::CsrWrite.id(), &[csr, value, raw])?;
    e.set(i.rd, old);
    Ok(())
}

/// CSRRS, CSRRC and their immediate forms: change the bits of a mask; the old value. Naming x0, or the immediate 0,
/// is a mere read, allowed for read-only registers.
#[inline(always)]
pub(super) fn csr_change<E: Emit>(e: &mut E, i: &Insn, helper: Helper, from: Source) -> Done<E> {
    let reads = match from {
        Source::Register => i.rs1 == Slot(0),
        Source::Immediate => i.imm >> 12 == 0,
    };
    let (csr, raw) = (number(e, i), e.imm(u64::from(i.raw)));
    let old = if reads {
        e.helper(Helper::CsrRead.id(), &[csr, raw])?
    } else {
        let mask = source(e, i, from);
        e.helper(helper.id(), &[csr, mask, raw])?
    };
    e.set(i.rd, old);
    Ok(())
}

/// MRET, SRET: continue where the helper says.
#[inline(always)]
pub(super) fn trap_return<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let raw = e.imm(u64::from(i.raw));
    let target = e.helper(helper.id(), &[raw])?;
    e.jump(target);
    Ok(())
}

/// WFI, WRS.NTO, SFENCE.W.INVAL, ...: a helper without operands.
#[inline(always)]
pub(super) fn plain<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let raw = e.imm(u64::from(i.raw));
    e.helper(helper.id(), &[raw])?;
    Ok(())
}

/// SFENCE.VMA, SINVAL.VMA: x0 as an operand means every address, or every address space.
#[inline(always)]
pub(super) fn fence_translations<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (address, space) = (e.x(i.rs1), e.x(i.rs2));
    let all_addresses = if i.rs1 == Slot(0) { FenceScope::ALL_ADDRESSES } else { 0 };
    let all_spaces = if i.rs2 == Slot(0) { FenceScope::ALL_SPACES } else { 0 };
    let scope = e.imm(all_addresses | all_spaces);
    let raw = e.imm(u64::from(i.raw));
    e.helper(Helper::SfenceVma.id(), &[address, space, scope, raw])?;
    Ok(())
}

/// CBO.CLEAN, CBO.ZERO, ...: an operation on the cache block that holds an address.
#[inline(always)]
pub(super) fn cache_block<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let address = e.x(i.rs1);
    let raw = e.imm(u64::from(i.raw));
    e.helper(helper.id(), &[address, raw])?;
    Ok(())
}
