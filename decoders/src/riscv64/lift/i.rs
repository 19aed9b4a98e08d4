//! Meanings of the base integer instructions and M (Unpriv. 2, 4 and 12).

use super::words::{Done, RvEmit};
use crate::riscv64::decode::Insn;
use crate::riscv64::regs::SINK;
use crate::riscv64::trap;
use c2w_engine::addr::Width::{self, W64};
use c2w_engine::emit::{Binary, Cond, Emit};
use c2w_engine::guest::TrapCause;

/// LUI: the upper immediate.
#[inline(always)]
pub(super) fn lui<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let value = e.immediate(i);
    e.set(i.rd, value);
    Ok(())
}

/// AUIPC: the upper immediate plus this instruction's address.
#[inline(always)]
pub(super) fn auipc<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let pc = e.pc();
    let offset = e.immediate(i);
    let sum = e.add(W64, pc, offset);
    e.set(i.rd, sum);
    Ok(())
}

/// Writes the address of the next instruction, unless that is for nobody: most jumps and returns.
#[inline(always)]
fn link<E: Emit>(e: &mut E, i: &Insn) {
    if i.rd == SINK {
        return;
    }
    let pc = e.pc();
    let len = e.imm(u64::from(i.len_bytes()));
    let next = e.add(W64, pc, len);
    e.set(i.rd, next);
}

/// JAL: jump relative to this instruction, leaving a return address.
#[inline(always)]
pub(super) fn jal<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    link(e, i);
    e.jump_relative(i64::from(i.imm));
    Ok(())
}

/// JALR: jump to a register plus an immediate, bit 0 cleared, leaving a return address.
#[inline(always)]
pub(super) fn jalr<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let address = e.address(i);
    let even = e.imm(!1);
    let target = e.and(W64, address, even);
    link(e, i);
    e.jump(target);
    Ok(())
}

/// BEQ, BNE, BLT, ...: jump if a condition holds between two registers.
#[inline(always)]
pub(super) fn branch<E: Emit>(e: &mut E, i: &Insn, cond: Cond) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let taken = e.compare(cond, W64, a, b);
    e.branch_relative(taken, i64::from(i.imm));
    Ok(())
}

/// LB, LH, LW, LD: load, sign-extended.
#[inline(always)]
pub(super) fn load<E: Emit>(e: &mut E, i: &Insn, w: Width) -> Done<E> {
    let address = e.address(i);
    let value = e.load(w, address)?;
    e.set_x(i.rd, w, value);
    Ok(())
}

/// LBU, LHU, LWU: load, zero-extended.
#[inline(always)]
pub(super) fn load_unsigned<E: Emit>(e: &mut E, i: &Insn, w: Width) -> Done<E> {
    let address = e.address(i);
    let value = e.load(w, address)?;
    e.set(i.rd, value);
    Ok(())
}

/// SB, SH, SW, SD: store.
#[inline(always)]
pub(super) fn store<E: Emit>(e: &mut E, i: &Insn, w: Width) -> Done<E> {
    let address = e.address(i);
    let value = e.x(i.rs2);
    e.store(w, address, value)
}

/// ADD, SUBW, MULH, ROL, ...: an operation of two registers; the result of a 32-bit one is sign-extended.
#[inline(always)]
pub(super) fn binary<E: Emit>(e: &mut E, i: &Insn, op: Binary, w: Width) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let result = e.binary(op, w, a, b);
    e.set_x(i.rd, w, result);
    Ok(())
}

/// ADDI, SLLIW, RORI, ...: an operation of a register and an immediate; the result of a 32-bit one is sign-extended.
#[inline(always)]
pub(super) fn binary_imm<E: Emit>(e: &mut E, i: &Insn, op: Binary, w: Width) -> Done<E> {
    let a = e.x(i.rs1);
    let b = e.immediate(i);
    let result = e.binary(op, w, a, b);
    e.set_x(i.rd, w, result);
    Ok(())
}

/// SLT, SLTU: 1 if a condition holds between two registers, else 0.
#[inline(always)]
pub(super) fn set_if<E: Emit>(e: &mut E, i: &Insn, cond: Cond) -> Done<E> {
    let (a, b) = (e.x(i.rs1), e.x(i.rs2));
    let result = e.compare(cond, W64, a, b);
    e.set(i.rd, result);
    Ok(())
}

/// SLTI, SLTIU: 1 if a condition holds between a register and an immediate, else 0.
#[inline(always)]
pub(super) fn set_if_imm<E: Emit>(e: &mut E, i: &Insn, cond: Cond) -> Done<E> {
    let a = e.x(i.rs1);
    let b = e.immediate(i);
    let result = e.compare(cond, W64, a, b);
    e.set(i.rd, result);
    Ok(())
}

/// FENCE: every fence orders everything; the kinds of access are not told apart.
#[inline(always)]
pub(super) fn fence<E: Emit>(e: &mut E) -> Done<E> {
    e.fence();
    Ok(())
}

/// ECALL: the exception of this privilege level, which decoding put into the immediate.
#[inline(always)]
pub(super) fn ecall<E: Emit>(e: &mut E, i: &Insn) -> Done<E> {
    let zero = e.imm(0);
    Err(e.trap(TrapCause(i.imm as u32), zero))
}

/// EBREAK: a breakpoint at this address.
#[inline(always)]
pub(super) fn ebreak<E: Emit>(e: &mut E) -> Done<E> {
    let pc = e.pc();
    Err(e.trap(trap::BREAKPOINT, pc))
}
