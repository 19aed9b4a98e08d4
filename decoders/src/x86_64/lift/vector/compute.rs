//! Meanings of what has two operands and a destination, which is the first of them unless the instruction is VEX-encoded:
//! an operation of the engine each.

use crate::x86_64::insn::{Insn, InsnFlags, Operand};
use crate::x86_64::lift::Done;
use crate::x86_64::lift::vector_operands::{Alignment, VectorEmit, high};
use crate::x86_64::regs::{self, VECTOR_SCRATCH, VECTOR_SCRATCH_2};
use c2w_engine::emit::{Emit, Slot, VectorOp};

/// The meaning of such an instruction.
#[inline(always)]
pub(in crate::x86_64::lift) fn compute<E: Emit>(e: &mut E, i: &Insn, op: VectorOp) -> Done<E> {
    if let Operand::Mmx(to) = i.operands[0] {
        return on_mmx(e, i, op, to);
    }
    // The number of the first operand.
    let first = usize::from(i.flags.contains(InsnFlags::VEX));
    let b = e.vector_source(i, first + 1, Alignment::Legacy)?;
    let (to, a) = (e.slot_of(i, 0), e.slot_of(i, first));
    let mut imm = i.imm as u8;
    if op == VectorOp::Insertps && b == VECTOR_SCRATCH {
        // There is but one lane to choose from (SDM 2A, INSERTPS).
        imm &= 0x3f;
    }
    if op.has_three_operands() {
        e.vector(op, imm, to, b, regs::vector(0));
    } else {
        e.vector(op, imm, to, a, b);
    }
    if i.flags.contains(InsnFlags::VEX) {
        e.clear_upper(to);
    }
    Ok(())
}

/// The same on MMX registers: what it does to 64 bits is part of what it does to vectors.
#[inline(never)]
fn on_mmx<E: Emit>(e: &mut E, i: &Insn, op: VectorOp, to: Slot) -> Done<E> {
    use VectorOp as Op;
    e.check_mmx()?;
    let b = match i.operands[1] {
        Operand::Immediate => e.imm(0),
        _ => e.scalar(i, 1)?,
    };
    let a = e.get(to);
    let (x, y) = (VECTOR_SCRATCH, VECTOR_SCRATCH_2);
    // Lanes of a, then those of b, become those of the low half where both are in one vector.
    let gathers = matches!(
        op,
        Op::Packsswb
            | Op::Packuswb
            | Op::Packssdw
            | Op::Phaddw
            | Op::Phaddd
            | Op::Phaddsw
            | Op::Phsubw
            | Op::Phsubd
            | Op::Phsubsw
    );
    let (low, above) = match op {
        Op::Palignr => (b, a),
        _ if gathers => (a, b),
        _ => (a, a),
    };
    e.set(x, low);
    e.set(high(x), above);
    e.set(y, b);
    e.set(high(y), b);
    // The high halves of MMX registers by turns are the second half of all of them by turns.
    let (op, result) = match op {
        Op::Palignr => (Op::Psrldq, x),
        Op::Punpckhbw => (Op::Punpcklbw, high(x)),
        Op::Punpckhwd => (Op::Punpcklwd, high(x)),
        Op::Punpckhdq => (Op::Punpckldq, high(x)),
        op => (op, x),
    };
    e.vector(op, i.imm as u8, x, x, if gathers { x } else { y });
    let value = e.get(result);
    e.enter_mmx();
    e.set_mmx(to, value);
    Ok(())
}
