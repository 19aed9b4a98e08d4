//! Meanings of floating-point instructions on vector registers: where operands come from and results go. What is
//! computed is in the helpers, which keep MXCSR and raise #XM.

use super::Done;
use super::operands::X86Emit;
use super::vector;
use super::vector_operands::{Alignment, Pair, VectorEmit};
use crate::x86_64::flags::{self, Kind};
use crate::x86_64::float::{self, Word};
use crate::x86_64::helpers::float::Helper;
use crate::x86_64::insn::{FloatOp, Insn, InsnFlags, Operand};
use c2w_engine::addr::Width::W64;
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(never)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: FloatOp) -> Done<E> {
    if E::RECORDS
        && !i.flags.contains(InsnFlags::FLOAT_TRAPS)
        && let Some(done) = in_words(e, i, op)
    {
        return done;
    }
    macro_rules! forms {
        ($($form:ident: $($op:ident)*;)*) => {
            match op {
                $($(FloatOp::$op => $form(e, i, Helper::$op),)*)*
                FloatOp::Cvtpi2ps => singles_from_pair(e, i),
                FloatOp::Cvtdq2pd | FloatOp::Cvtpi2pd => doubles_from_pair(e, i),
                FloatOp::Cvtsi2ss => from_general(e, i, Helper::Cvtsi2ss, Helper::Cvtsi2ssWide),
                FloatOp::Cvtsi2sd => from_general(e, i, Helper::Cvtsi2sd, Helper::Cvtsi2sdWide),
                FloatOp::Cvtss2si => to_general(e, i, Helper::Cvtss2si, Helper::Cvtss2siWide),
                FloatOp::Cvttss2si => to_general(e, i, Helper::Cvttss2si, Helper::Cvttss2siWide),
                FloatOp::Cvtsd2si => to_general(e, i, Helper::Cvtsd2si, Helper::Cvtsd2siWide),
                FloatOp::Cvttsd2si => to_general(e, i, Helper::Cvttsd2si, Helper::Cvttsd2siWide),
                FloatOp::Ldmxcsr => {
                    let value = e.operand(i, 0)?;
                    e.helper(Helper::LoadMxcsr.id(), &[value]).map(|_| ())
                }
                FloatOp::Stmxcsr => {
                    let place = e.place(i, 0)?;
                    let value = e.float_environment();
                    e.write(place, value)
                }
            }
        };
    }
    forms! {
        scalar: Addss Addsd Subss Subsd Mulss Mulsd Divss Divsd Sqrtss Sqrtsd Minss Minsd Maxss Maxsd
            Rcpss Rsqrtss Roundss Roundsd Cmpss Cmpsd Cvtss2sd Cvtsd2ss;
        packed: Addps Addpd Subps Subpd Mulps Mulpd Divps Divpd Sqrtps Sqrtpd Minps Minpd Maxps Maxpd
            Rcpps Rsqrtps Addsubps Addsubpd Haddps Haddpd Hsubps Hsubpd Dpps Dppd Roundps Roundpd Cmpps Cmppd
            Cvtdq2ps Cvtps2dq Cvttps2dq Cvtpd2dq Cvttpd2dq Cvtpd2ps;
        half: Cvtps2pd;
        ordered: Comiss Comisd Ucomiss Ucomisd;
        half_to_mmx: Cvtps2pi Cvttps2pi;
        to_mmx: Cvtpd2pi Cvttpd2pi;
    }
}

/// What the engine has operations for, where no exception is let through: generated code leaves rounding and flags to
/// the processor. The interpreter is quicker with helpers, by which the operations are defined ([`super::super::float`]).
#[inline(always)]
fn in_words<E: Emit>(e: &mut E, i: &Insn, op: FloatOp) -> Option<Done<E>> {
    match float::word(op)? {
        Word::Compute(op) => Some(vector::compute(e, i, op)),
        Word::Insert(narrow, wide) => Some((|| {
            let (source, to) = (e.operand(i, 1)?, e.slot_of(i, 0));
            e.vector_insert(if is_wide(i.operands[1]) { wide } else { narrow }, 0, to, source);
            Ok(())
        })()),
        Word::Extract(narrow, wide) => Some((|| {
            let (from, to) = (e.vector_source(i, 1, Alignment::Never)?, e.slot_of(i, 0));
            let value = e.vector_extract(if is_wide(i.operands[0]) { wide } else { narrow }, from, from);
            e.set(to, value);
            Ok(())
        })()),
        Word::Compare(op) => Some((|| {
            let b = e.vector_source(i, 1, Alignment::Never)?;
            vector::compare(e, i, op, b)
        })()),
    }
}

/// Whether an integer has 64 bits.
#[inline(always)]
fn is_wide(operand: Operand) -> bool {
    matches!(operand, Operand::Register { w: W64, .. } | Operand::Memory(W64))
}

/// The low number of the destination with that of the source; the rest of the destination stays.
#[inline(always)]
fn scalar<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let b = e.scalar(i, 1)?;
    let slot = e.slot_of(i, 0);
    let (a, imm) = (e.get(slot), e.imm(i.imm as u64));
    let result = e.helper(helper.id(), &[a, b, imm])?;
    e.set(slot, result);
    Ok(())
}

/// First argument of helpers that write a whole register.
#[inline(always)]
fn destination<E: Emit>(e: &mut E, i: &Insn) -> E::Val {
    let slot = e.slot_of(i, 0);
    e.imm(u64::from(slot.0) | (i.imm as u64 & 0xff) << 8)
}

/// All numbers of both operands.
#[inline(always)]
fn packed<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let source = e.vector_pair(i, 1, Alignment::Legacy)?;
    let destination = destination(e, i);
    e.helper(helper.id(), &[destination, source.lo, source.hi]).map(|_| ())
}

/// All of the destination from half of the source.
#[inline(always)]
fn half<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let source = e.scalar(i, 1)?;
    let destination = destination(e, i);
    e.helper(helper.id(), &[destination, source]).map(|_| ())
}

/// A comparison that ends in flags.
#[inline(always)]
fn ordered<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    let b = e.scalar(i, 1)?;
    let a = e.scalar(i, 0)?;
    let flags = e.helper(helper.id(), &[a, b])?;
    let zero = e.imm(0);
    flags::produce(e, Kind::Flags, W64, flags, zero, zero);
    Ok(())
}

#[inline(always)]
fn from_general<E: Emit>(e: &mut E, i: &Insn, narrow: Helper, wide: Helper) -> Done<E> {
    let source = e.operand(i, 1)?;
    let slot = e.slot_of(i, 0);
    let a = e.get(slot);
    let helper = if is_wide(i.operands[1]) { wide } else { narrow };
    let result = e.helper(helper.id(), &[a, source])?;
    e.set(slot, result);
    Ok(())
}

#[inline(always)]
fn to_general<E: Emit>(e: &mut E, i: &Insn, narrow: Helper, wide: Helper) -> Done<E> {
    let source = e.scalar(i, 1)?;
    let helper = if is_wide(i.operands[0]) { wide } else { narrow };
    let result = e.helper(helper.id(), &[source])?;
    let slot = e.slot_of(i, 0);
    e.set(slot, result);
    Ok(())
}

/// Whether the source is an MMX register. From memory, conversions of two integers have nothing to do with the x87 state:
/// the manual says so of CVTPI2PD (SDM 2A), and processors do the same for CVTPI2PS.
#[inline(always)]
fn is_from_mmx(i: &Insn) -> bool {
    matches!(i.operands[1], Operand::Mmx(_))
}

/// CVTPI2PS: from two integers to the low half of the destination.
#[inline(always)]
fn singles_from_pair<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    if is_from_mmx(i) {
        e.check_mmx()?;
    }
    let source = e.scalar(i, 1)?;
    let result = if is_from_mmx(i) {
        e.helper(Helper::Cvtpi2psMmx.id(), &[source])?
    } else {
        e.helper(Helper::Cvtpi2ps.id(), &[source])?
    };
    let slot = e.slot_of(i, 0);
    e.set(slot, result);
    Ok(())
}

/// Two 32-bit integers to doubles, which is always exact.
#[inline(always)]
fn doubles_from_pair<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    if is_from_mmx(i) {
        e.check_mmx()?;
    }
    let source = e.scalar(i, 1)?;
    let slot = e.slot_of(i, 0);
    let (zero, thirty_two) = (e.imm(0), e.imm(32));
    let above = e.shr(W64, source, thirty_two);
    let lo = e.helper(Helper::Cvtsi2sd.id(), &[zero, source])?;
    let hi = e.helper(Helper::Cvtsi2sd.id(), &[zero, above])?;
    e.set_vector(i, slot, Pair { lo, hi });
    if is_from_mmx(i) {
        e.enter_mmx();
    }
    Ok(())
}

/// To two integers in an MMX register, from numbers in the low half of a vector or in memory. The helper does what MMX
/// does to the x87 state.
#[inline(always)]
fn half_to_mmx<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    e.check_mmx()?;
    let source = e.scalar(i, 1)?;
    let result = e.helper(helper.id(), &[source])?;
    let slot = e.slot_of(i, 0);
    e.set_mmx(slot, result);
    Ok(())
}

/// To two integers in an MMX register, from a whole vector.
#[inline(always)]
fn to_mmx<E: Emit>(e: &mut E, i: &Insn, helper: Helper) -> Done<E> {
    e.check_mmx()?;
    let source = e.vector_pair(i, 1, Alignment::Legacy)?;
    let result = e.helper(helper.id(), &[source.lo, source.hi])?;
    let slot = e.slot_of(i, 0);
    e.set_mmx(slot, result);
    Ok(())
}
