//! Meanings of the shifts (SDM 2B, SAL/SAR/SHL/SHR).

use crate::x86_64::flags::{self, Kind};
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use c2w_engine::addr::Width::W64;
use c2w_engine::emit::{Cond, Emit};

/// Which shift.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    /// SHL.
    Left,
    /// SHR.
    Right,
    /// SAR.
    RightSigned,
}

/// SHL, SHR, SAR. The count is taken modulo 32, or 64 for 64-bit operands; a count of 0 leaves the flags alone.
#[inline(always)]
pub(super) fn shift<E: Emit>(e: &mut E, i: &Insn, direction: Direction) -> Done<E> {
    let most = if i.w == W64 { 63 } else { 31 };
    let to = e.place(i, 0)?;
    let a = e.read(to)?;
    let (given, mask) = (e.operand(i, 1)?, e.imm(most));
    let count = e.and(W64, given, mask);
    // Counts up to 31 exceed narrow operands: the shift is carried out on 64 bits.
    let (kind, result) = match direction {
        Direction::Left => (Kind::Shl, e.shl(W64, a, count)),
        Direction::Right => {
            let wide = e.zext(i.w, a);
            (Kind::Shr, e.shr(W64, wide, count))
        }
        Direction::RightSigned => {
            let wide = e.sext(i.w, a);
            (Kind::Sar, e.sar(W64, wide, count))
        }
    };
    e.write(to, result)?;
    if i.operands[1] != Operand::Immediate {
        let zero = e.imm(0);
        let shifts = e.compare(Cond::Ne, W64, count, zero);
        flags::produce_if(e, shifts, kind, i.w, a, count, result);
    } else if i.imm as u64 & most != 0 {
        flags::produce(e, kind, i.w, a, count, result);
    }
    Ok(())
}
