//! Meanings of the moves, extensions and of LEA (SDM 1 7.3.1).

use crate::x86_64::flags;
use crate::x86_64::insn::{Insn, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::operands::X86Emit;
use crate::x86_64::regs;
use c2w_engine::addr::Width::{self, W8, W16, W32, W64};
use c2w_engine::emit::{Emit, Unary};

/// MOV between general registers, memory and immediates; MOVNTI.
#[inline(always)]
pub(super) fn mov<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.operand(i, 1)?;
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// Width of the operand that is extended.
#[inline(always)]
fn source_width(i: &Insn) -> Width {
    match i.operands[1] {
        Operand::Register { w, .. } | Operand::Memory(w) => w,
        Operand::HighByte(_) => W8,
        _ => W64,
    }
}

/// MOVZX.
#[inline(always)]
pub(super) fn movzx<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.operand(i, 1)?;
    let value = e.zext(source_width(i), value);
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// MOVSX, MOVSXD.
#[inline(always)]
pub(super) fn movsx<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.operand(i, 1)?;
    let value = e.sext(source_width(i), value);
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// LEA: the offset, without the segment's base.
#[inline(always)]
pub(super) fn lea<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let offset = e.effective(&i.memory);
    let to = e.place(i, 0)?;
    e.write(to, offset)
}

/// MOVBE, and BSWAP, which is in place. BSWAP of 16 bits is undefined and gives 0 on every processor.
#[inline(always)]
pub(super) fn swap_bytes<E: Emit>(e: &mut E, i: &Insn, in_place: bool) -> Done<E> {
    let value = e.operand(i, usize::from(!in_place))?;
    let value = if in_place && i.w == W16 { e.imm(0) } else { e.unary(Unary::Bswap, i.w, value) };
    let to = e.place(i, 0)?;
    e.write(to, value)
}

/// CMOVcc: the source is read in any case, and 32 bits are zero-extended in any case.
#[inline(always)]
pub(super) fn cmov<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let new = e.operand(i, 1)?;
    let to = e.place(i, 0)?;
    let old = e.read(to)?;
    let holds = flags::condition(e, i.condition)?;
    let value = e.select(holds, new, old);
    e.write(to, value)
}

/// SETcc.
#[inline(always)]
pub(super) fn set<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let to = e.place(i, 0)?;
    let holds = flags::condition(e, i.condition)?;
    e.write(to, holds)
}

/// CBW, CWDE, CDQE.
#[inline(always)]
pub(super) fn cbw<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let half = match i.w {
        W64 => W32,
        W32 => W16,
        _ => W8,
    };
    let value = e.get(regs::RAX);
    let value = e.sext(half, value);
    e.set_gpr(regs::RAX, i.w, value);
    Ok(())
}

/// CWD, CDQ, CQO.
#[inline(always)]
pub(super) fn cwd<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (value, last) = (e.get(regs::RAX), e.imm(u64::from(i.w.bits() - 1)));
    let sign = e.sar(i.w, value, last);
    e.set_gpr(regs::RDX, i.w, sign);
    Ok(())
}

/// XLAT: byte AL of a table.
#[inline(never)]
pub(super) fn xlat<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let (base, index) = (e.effective(&i.memory), e.get(regs::RAX));
    let index = e.zext(W8, index);
    let offset = e.add(i.memory.address_width, base, index);
    let addr = e.linear(&i.memory, offset)?;
    let value = e.load(W8, addr)?;
    e.set_gpr(regs::RAX, W8, value);
    Ok(())
}
