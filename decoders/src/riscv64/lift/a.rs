//! Meanings of the atomic instructions (Unpriv. 13).
//!
//! The ordering bits need no attention: memory accesses of the guest are carried out in program order.

use super::words::{Done, RvEmit};
use crate::riscv64::decode::Insn;
use c2w_engine::addr::Width;
use c2w_engine::emit::{Amo, Emit};

/// LR: load and reserve.
#[inline(always)]
pub(super) fn load_reserved<E: Emit>(e: &mut E, i: &Insn, w: Width) -> Done<E> {
    let address = e.x(i.rs1);
    let value = e.load_reserved(w, address)?;
    e.set_x(i.rd, w, value);
    Ok(())
}

/// SC: store if the reservation still holds; 0 if it did.
#[inline(always)]
pub(super) fn store_conditional<E: Emit>(e: &mut E, i: &Insn, w: Width) -> Done<E> {
    let (address, value) = (e.x(i.rs1), e.x(i.rs2));
    let failed = e.store_conditional(w, address, value)?;
    e.set(i.rd, failed);
    Ok(())
}

/// AMOADD, AMOSWAP, ...: combine memory with a register; the old content, sign-extended.
#[inline(always)]
pub(super) fn amo<E: Emit>(e: &mut E, i: &Insn, op: Amo, w: Width) -> Done<E> {
    let (address, value) = (e.x(i.rs1), e.x(i.rs2));
    let old = e.amo(op, w, address, value)?;
    e.set_x(i.rd, w, old);
    Ok(())
}
