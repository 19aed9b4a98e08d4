//! Meanings of the instructions on single bits, of bit scans and counts, and of CRC32 (SDM 1 7.3.6).

use crate::x86_64::flags::{self, CF, Kind, ZF};
use crate::x86_64::helpers::integer::Helper;
use crate::x86_64::insn::{Condition, Insn, InsnFlags, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::{Place, X86Emit};
use c2w_engine::addr::Width::{W32, W64};
use c2w_engine::emit::{Amo, Cond, Emit, Unary};

/// What becomes of a bit.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// 1.
    Set,
    /// 0.
    Reset,
    /// The other value.
    Complement,
}

/// ZF of what ran before, at its place.
#[inline(always)]
fn zero_flag<E: Emit>(e: &mut E) -> Result<E::Val, E::Stop> {
    let zero = flags::condition(e, Condition(4))?;
    let place = e.imm(u64::from(ZF.trailing_zeros()));
    Ok(e.shl(W64, zero, place))
}

/// BT, BTS, BTR, BTC: the bit goes to CF, ZF stays. A bit offset in a register reaches beyond an operand in memory.
#[inline(always)]
pub(super) fn test<E: Emit>(e: &mut E, i: &Insn, change: Option<Change>) -> Done<E> {
    let number = e.operand(i, 1)?;
    let place = match (i.operands[0], i.operands[1]) {
        (Operand::Memory(w), Operand::Register { .. }) => {
            // log2 of the bits of an operand, and of its bytes.
            let (bits, bytes) = (e.imm(u64::from(i.w.bits().trailing_zeros())), e.imm(w as u64));
            let number = e.sext(i.w, number);
            let units = e.sar(W64, number, bits);
            let distance = e.shl(W64, units, bytes);
            let offset = e.effective(&i.memory);
            let offset = e.add(i.memory.address_width, offset, distance);
            Place::Memory { w, addr: e.linear(&i.memory, offset)? }
        }
        _ => e.place(i, 0)?,
    };
    let one = e.imm(1);
    // The count is taken modulo the operand size.
    let mask = e.shl(i.w, one, number);
    let zero = zero_flag(e)?;
    let old = match (change, place) {
        (None, place) => e.read(place)?,
        (Some(change), Place::Memory { w, addr }) if i.flags.contains(InsnFlags::LOCK) => {
            let (amo, operand) = match change {
                Change::Set => (Amo::Or, mask),
                Change::Reset => (Amo::And, complement(e, mask)),
                Change::Complement => (Amo::Xor, mask),
            };
            e.amo(amo, w, addr, operand)?
        }
        (Some(change), place) => {
            let old = e.read_to_modify(place)?;
            let new = match change {
                Change::Set => e.or(i.w, old, mask),
                Change::Reset => {
                    let others = complement(e, mask);
                    e.and(i.w, old, others)
                }
                Change::Complement => e.xor(i.w, old, mask),
            };
            e.write(place, new)?;
            old
        }
    };
    let bit = e.shr(i.w, old, number);
    let carry = e.and(W64, bit, one);
    let value = e.or(W64, carry, zero);
    flags::set_all(e, value);
    Ok(())
}

#[inline(always)]
fn complement<E: Emit>(e: &mut E, value: E::Val) -> E::Val {
    let ones = e.imm(u64::MAX);
    e.xor(W64, value, ones)
}

/// Which end a scan begins at.
#[derive(Clone, Copy)]
pub(super) enum Scan {
    /// BSF.
    Forward,
    /// BSR.
    Reverse,
}

/// BSF, BSR: the number of the first bit that is set. Without any, ZF is set and the destination stays.
#[inline(always)]
pub(super) fn scan<E: Emit>(e: &mut E, i: &Insn, which: Scan) -> Done<E> {
    let source = e.operand(i, 1)?;
    let found = match which {
        Scan::Forward => e.unary(Unary::Ctz, i.w, source),
        Scan::Reverse => {
            let (zeros, last) = (e.unary(Unary::Clz, i.w, source), e.imm(u64::from(i.w.bits() - 1)));
            e.sub(i.w, last, zeros)
        }
    };
    let Operand::Register { slot, .. } = i.operands[0] else {
        unreachable!("the destination of a scan is a register");
    };
    let zero = e.imm(0);
    let none = e.compare(Cond::Eq, i.w, source, zero);
    let old = e.get(slot);
    if i.w == W32 {
        // All 64 bits stay.
        let value = e.select(none, old, found);
        e.set(slot, value);
    } else {
        let value = e.select(none, old, found);
        e.set_gpr(slot, i.w, value);
    }
    flags::produce(e, Kind::Logic, i.w, source, source, source);
    Ok(())
}

/// POPCNT: ZF tells whether there was none, the other flags are cleared.
#[inline(always)]
pub(super) fn popcnt<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let source = e.operand(i, 1)?;
    let count = e.unary(Unary::Popcnt, i.w, source);
    let (zero, place) = (e.imm(0), e.imm(u64::from(ZF.trailing_zeros())));
    let none = e.compare(Cond::Eq, i.w, source, zero);
    let value = e.shl(W64, none, place);
    let to = e.place(i, 0)?;
    e.write(to, count)?;
    flags::set_all(e, value);
    Ok(())
}

/// CRC32: adds `i.w` bits to a checksum with the Castagnoli polynomial. No flags.
#[inline(always)]
pub(super) fn crc32<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let data = e.operand(i, 1)?;
    let to = e.place(i, 0)?;
    let (sum, bytes) = (e.read(to)?, e.imm(i.w.bytes()));
    let sum = e.helper(Helper::Crc32.id(), &[sum, data, bytes])?;
    e.write(to, sum)
}

const _: () = assert!(CF == 1, "a bit is its own place in the flags");
