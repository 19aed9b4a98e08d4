//! Meanings of cryptographic instructions (SDM 1 12.13, SDM 2) and of those that resemble nothing else.

use super::shuffle::dword;
use super::{Operands, finish, operands};
use crate::x86_64::decode::vector::SpecialOp as Op;
use crate::x86_64::helpers::vector::Helper;
use crate::x86_64::insn::Insn;
use crate::x86_64::lift::Done;
use crate::x86_64::lift::vector_operands::Pair;
use c2w_engine::addr::Width::W64;
use c2w_engine::emit::{Binary, Emit};

/// The meaning of such an instruction.
#[inline(never)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    let x = operands(e, i)?;
    let imm = i.imm as u8;
    let value = match op {
        Op::Phminposuw => Pair { lo: e.helper(Helper::Phminposuw.id(), &[x.b.lo, x.b.hi])?, hi: e.imm(0) },
        Op::Mpsadbw => block_differences(e, x, imm)?,
        Op::Pclmulqdq => {
            let a = if imm & 1 == 0 { x.a.lo } else { x.a.hi };
            let b = if imm & 16 == 0 { x.b.lo } else { x.b.hi };
            Pair { lo: e.binary(Binary::ClMul, W64, a, b), hi: e.binary(Binary::ClMulHigh, W64, a, b) }
        }
        Op::Aesenc => round(e, Helper::Aesenc, x)?,
        Op::Aesenclast => round(e, Helper::Aesenclast, x)?,
        Op::Aesdec => round(e, Helper::Aesdec, x)?,
        Op::Aesdeclast => round(e, Helper::Aesdeclast, x)?,
        Op::Aesimc => {
            let lo = e.helper(Helper::Aesimc.id(), &[x.b.lo])?;
            Pair { lo, hi: e.helper(Helper::Aesimc.id(), &[x.b.hi])? }
        }
        Op::Aeskeygenassist => {
            let constant = e.imm(imm.into());
            let lo = e.helper(Helper::Aeskeygenassist.id(), &[x.b.lo, constant])?;
            Pair { lo, hi: e.helper(Helper::Aeskeygenassist.id(), &[x.b.hi, constant])? }
        }
        Op::Sha1rnds4 => return in_place(e, Helper::Sha1rnds4, x, imm),
        Op::Sha1nexte => return in_place(e, Helper::Sha1nexte, x, imm),
        Op::Sha1msg1 => return in_place(e, Helper::Sha1msg1, x, imm),
        Op::Sha1msg2 => return in_place(e, Helper::Sha1msg2, x, imm),
        Op::Sha256rnds2 => return in_place(e, Helper::Sha256rnds2, x, imm),
        Op::Sha256msg1 => return in_place(e, Helper::Sha256msg1, x, imm),
        Op::Sha256msg2 => return in_place(e, Helper::Sha256msg2, x, imm),
    };
    finish(e, i, x.to, false, value);
    Ok(())
}

/// MPSADBW: bits 0 and 1 of the immediate choose the block of the second operand, bit 2 where the first one starts.
#[inline(always)]
fn block_differences<E: Emit>(e: &mut E, x: Operands<E::Val>, imm: u8) -> Result<Pair<E::Val>, E::Stop> {
    let block = dword(e, x.b, imm & 3);
    let first = imm & 4;
    let mut half = |first: u8| {
        let first = e.imm(first.into());
        e.helper(Helper::Mpsadbw.id(), &[x.a.lo, x.a.hi, block, first])
    };
    Ok(Pair { lo: half(first)?, hi: half(first + 4)? })
}

/// A round of AES, then the round key.
#[inline(always)]
fn round<E: Emit>(e: &mut E, helper: Helper, x: Operands<E::Val>) -> Result<Pair<E::Val>, E::Stop> {
    let lo = e.helper(helper.id(), &[x.a.lo, x.a.hi])?;
    let hi = e.helper(helper.id(), &[x.a.hi, x.a.lo])?;
    Ok(Pair { lo: e.xor(W64, lo, x.b.lo), hi: e.xor(W64, hi, x.b.hi) })
}

/// A helper that changes the destination itself.
#[inline(always)]
fn in_place<E: Emit>(e: &mut E, helper: Helper, x: Operands<E::Val>, imm: u8) -> Done<E> {
    let to = e.imm(u64::from(x.to.0) | u64::from(imm) << 8);
    e.helper(helper.id(), &[to, x.b.lo, x.b.hi])?;
    Ok(())
}
