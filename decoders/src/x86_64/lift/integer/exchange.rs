//! Meanings of the exchanges, which are what locks are made of (SDM 3A 9.1.2.2).

use crate::x86_64::flags::{self, Kind, ZF};
use crate::x86_64::insn::{Insn, InsnFlags};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::{Place, X86Emit};
use crate::x86_64::{regs, trap};
use c2w_engine::addr::Width::{W32, W64};
use c2w_engine::emit::{Amo, Cond, Emit, Slot};

/// XCHG: atomic with memory, LOCK or not. Memory may be either operand.
#[inline(always)]
pub(super) fn xchg<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (first, second) = (e.place(i, 0)?, e.place(i, 1)?);
    let (memory, register) = match (first, second) {
        (Place::Memory { w, addr }, register) | (register, Place::Memory { w, addr }) => {
            ((w, addr), register)
        }
        _ => {
            let (a, b) = (e.read(first)?, e.read(second)?);
            e.write(first, b)?;
            return e.write(second, a);
        }
    };
    let new = e.read(register)?;
    let old = e.amo(Amo::Swap, memory.0, memory.1, new)?;
    e.write(register, old)
}

/// XADD: the sum goes to the first operand, what was there to the second.
#[inline(always)]
pub(super) fn xadd<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (to, from) = (e.place(i, 0)?, e.place(i, 1)?);
    let b = e.read(from)?;
    let (a, sum) = match to {
        Place::Memory { w, addr } if i.flags.contains(InsnFlags::LOCK) => {
            let a = e.amo(Amo::Add, w, addr, b)?;
            (a, e.add(i.w, a, b))
        }
        Place::Memory { w, addr } => {
            let a = e.load_to_modify(w, addr)?;
            let sum = e.add(i.w, a, b);
            e.store(w, addr, sum)?;
            (a, sum)
        }
        to => {
            let a = e.read(to)?;
            (a, e.add(i.w, a, b))
        }
    };
    e.write(from, a)?;
    if !matches!(to, Place::Memory { .. }) {
        e.write(to, sum)?;
    }
    flags::produce(e, Kind::Add, i.w, a, b, sum);
    Ok(())
}

/// CMPXCHG: the second operand replaces the first if that equals the accumulator, which else takes its value;
/// memory is written in any case.
#[inline(always)]
pub(super) fn cmpxchg<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let to = e.place(i, 0)?;
    let (expected, new) = (e.get(regs::RAX), e.operand(i, 1)?);
    let old = match to {
        Place::Memory { w, addr } => e.compare_exchange(w, addr, expected, new)?,
        to => e.read(to)?,
    };
    let equal = e.compare(Cond::Eq, i.w, expected, old);
    let seen = e.zext(i.w, old);
    let difference = e.sub(i.w, expected, old);
    if i.w == W32 {
        // An accumulator that stays keeps its upper half.
        let value = e.select(equal, expected, seen);
        e.set(regs::RAX, value);
    } else {
        e.set_gpr(regs::RAX, i.w, seen);
    }
    match to {
        Place::Memory { .. } => {}
        Place::Register { slot, w: W32 } => {
            // A register that stays keeps its upper half, too.
            let (old, new) = (e.get(slot), e.zext(W32, new));
            let value = e.select(equal, new, old);
            e.set(slot, value);
        }
        to => {
            let value = e.select(equal, new, old);
            e.write(to, value)?;
        }
    }
    flags::produce(e, Kind::Cmp, i.w, expected, old, difference);
    Ok(())
}

/// The halves of a register pair, `high:low`, as one number.
#[inline(always)]
fn pair<E: Emit>(e: &mut E, high: Slot, low: Slot) -> E::Val {
    let (low, high, half) = (e.get(low), e.get(high), e.imm(32));
    let (low, high) = (e.zext(W32, low), e.shl(W64, high, half));
    e.or(W64, high, low)
}

/// Writes the accumulator pair if memory differed, and ZF.
#[inline(always)]
fn finish_pair<E: Emit>(e: &mut E, equal: E::Val, low: E::Val, high: E::Val) -> Done<E> {
    let place = e.imm(u64::from(ZF.trailing_zeros()));
    let zero = e.shl(W64, equal, place);
    flags::replace(e, ZF, zero)?;
    for (slot, seen) in [(regs::RAX, low), (regs::RDX, high)] {
        let old = e.get(slot);
        let value = e.select(equal, old, seen);
        e.set(slot, value);
    }
    Ok(())
}

/// CMPXCHG8B: EDX:EAX with 64 bits of memory; ECX:EBX replaces them. Only ZF changes.
#[inline(never)]
pub(super) fn cmpxchg8b<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let addr = e.address(&i.memory)?;
    let expected = pair(e, regs::RDX, regs::RAX);
    let new = pair(e, regs::RCX, regs::RBX);
    let old = e.compare_exchange(W64, addr, expected, new)?;
    let equal = e.compare(Cond::Eq, W64, expected, old);
    let half = e.imm(32);
    let (low, high) = (e.zext(W32, old), e.shr(W64, old, half));
    finish_pair(e, equal, low, high)
}

/// CMPXCHG16B: the same with RDX:RAX and RCX:RBX, on aligned memory.
///
/// No word is that wide: one vCPU runs, and devices write only while it does not, so that two halves are atomic.
#[inline(never)]
pub(super) fn cmpxchg16b<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let addr = e.address(&i.memory)?;
    let (low_bits, zero, eight) = (e.imm(15), e.imm(0), e.imm(8));
    let misaligned = e.and(W64, addr, low_bits);
    e.trap_if(misaligned, trap::PROTECTION, zero)?;
    let above = e.add(W64, addr, eight);
    let low = e.load_to_modify(W64, addr)?;
    let high = e.load_to_modify(W64, above)?;
    let (expected_low, expected_high) = (e.get(regs::RAX), e.get(regs::RDX));
    let low_differs = e.xor(W64, low, expected_low);
    let high_differs = e.xor(W64, high, expected_high);
    let differs = e.or(W64, low_differs, high_differs);
    let equal = e.compare(Cond::Eq, W64, differs, zero);
    let (new_low, new_high) = (e.get(regs::RBX), e.get(regs::RCX));
    let (new_low, new_high) = (e.select(equal, new_low, low), e.select(equal, new_high, high));
    e.store(W64, addr, new_low)?;
    e.store(W64, above, new_high)?;
    finish_pair(e, equal, low, high)
}
