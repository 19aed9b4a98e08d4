//! What every instruction means: for each class, the functions that say it.

mod float;
mod integer;
mod operands;
mod system;
mod vector;
mod vector_operands;
mod x87;

use super::insn::{Insn, Op};
use c2w_engine::emit::Emit;
use c2w_engine::guest::TrapCause;

/// How a meaning ends.
type Done<E> = Result<(), <E as Emit>::Stop>;

/// The meaning of an instruction.
#[inline(always)]
pub fn lift<E: Emit>(e: &mut E, i: &Insn) -> Result<(), E::Stop> {
    match i.op {
        Op::Integer(op) => integer::lift(e, i, op),
        Op::Vector(op) => vector::lift(e, i, op),
        Op::Float(op) => float::lift(e, i, op),
        Op::X87(op) => x87::lift(e, i, op),
        Op::System(op) => system::lift(e, i, op),
        Op::Raise => {
            let zero = e.imm(0);
            Err(e.trap(TrapCause(i.imm as u32), zero))
        }
    }
}
