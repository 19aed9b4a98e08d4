//! Meanings of what takes results from vectors to general registers and flags.

use crate::x86_64::decode::vector::StringOp;
use crate::x86_64::flags::{self, Kind};
use crate::x86_64::helpers::vector::{Helper, strings};
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::lift::vector_operands::{Alignment, VectorEmit};
use c2w_engine::addr::Width::W64;
use c2w_engine::emit::{Emit, Slot, VectorExtract};
use c2w_engine::ir::vector::{CARRY, PARITY, ZERO};

/// The meaning of such an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: VectorExtract) -> Done<E> {
    if op == VectorExtract::Ptest {
        let b = e.vector_source(i, 1, Alignment::Legacy)?;
        return compare(e, i, op, b);
    }
    if let Operand::Mmx(from) = i.operands[1] {
        return byte_signs(e, i, from);
    }
    let from = e.slot_of(i, 1);
    let value = e.vector_extract(op, from, from);
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// A comparison of a register and `b` that ends in flags.
#[inline(always)]
pub(in crate::x86_64::lift) fn compare<E: Emit>(e: &mut E, i: &Insn, op: VectorExtract, b: Slot) -> Done<E> {
    const { assert!(ZERO == flags::ZF && PARITY == flags::PF && CARRY == flags::CF) };
    let a = e.slot_of(i, 0);
    let (all, zero) = (e.vector_extract(op, a, b), e.imm(0));
    flags::produce(e, Kind::Flags, W64, all, zero, zero);
    Ok(())
}

/// PMOVMSKB of an MMX register: the product brings bit 8 `n` + 7 to bit 56 + `n`, and nothing else there.
#[inline(never)]
fn byte_signs<E: Emit>(e: &mut E, i: &Insn, from: Slot) -> Done<E> {
    e.check_mmx()?;
    let (value, signs) = (e.get(from), e.imm(0x8080_8080_8080_8080));
    let (places, last) = (e.imm(0x0002_0408_1020_4081), e.imm(56));
    let signs = e.and(W64, value, signs);
    let gathered = e.mul(W64, signs, places);
    let value = e.shr(W64, gathered, last);
    e.enter_mmx();
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM.
#[inline(never)]
pub(super) fn strings<E: Emit>(e: &mut E, i: &Insn, op: StringOp) -> Done<E> {
    let (a, b) = (e.slot_of(i, 0), e.vector_pair(i, 1, Alignment::Never)?);
    let explicit = matches!(op, StringOp::Pcmpestri | StringOp::Pcmpestrm);
    let mask = matches!(op, StringOp::Pcmpestrm | StringOp::Pcmpistrm);
    let mut what = u64::from(a.0) | u64::from(i.imm as u8) << 8;
    for (set, flag) in [(explicit, strings::EXPLICIT), (i.w == W64, strings::WIDE), (mask, strings::MASK)] {
        what |= if set { flag } else { 0 };
    }
    let (what, zero) = (e.imm(what), e.imm(0));
    let all = e.helper(Helper::CompareStrings.id(), &[what, b.lo, b.hi])?;
    flags::produce(e, Kind::Flags, W64, all, zero, zero);
    Ok(())
}
