//! What every instruction means: for each operation, the function that says it.

mod arithmetic;
mod control;
mod data;
mod operands;
mod shift;
mod stack;

use super::insn::{Insn, Op};
use arithmetic::Bitwise;
use c2w_engine::emit::Emit;
use c2w_engine::guest::TrapCause;

/// #UD (SDM 3A 6.15).
pub const UNDEFINED: TrapCause = TrapCause(6);

/// How a meaning ends.
type Done<E> = Result<(), <E as Emit>::Stop>;

/// The meaning of an instruction.
#[inline(always)]
pub fn lift<E: Emit>(e: &mut E, i: &Insn) -> Result<(), E::Stop> {
    match i.op {
        Op::Add => arithmetic::add(e, i),
        Op::Adc => arithmetic::adc(e, i),
        Op::Sub => arithmetic::sub(e, i),
        Op::Sbb => arithmetic::sbb(e, i),
        Op::Cmp => arithmetic::cmp(e, i),
        Op::And => arithmetic::bitwise(e, i, Bitwise::And),
        Op::Or => arithmetic::bitwise(e, i, Bitwise::Or),
        Op::Xor => arithmetic::bitwise(e, i, Bitwise::Xor),
        Op::Test => arithmetic::test(e, i),
        Op::Inc => arithmetic::inc(e, i),
        Op::Dec => arithmetic::dec(e, i),
        Op::Imul => arithmetic::imul(e, i),
        Op::ImulWide => arithmetic::imul_wide(e, i),
        Op::Shl => shift::shift(e, i, shift::Direction::Left),
        Op::Shr => shift::shift(e, i, shift::Direction::Right),
        Op::Sar => shift::shift(e, i, shift::Direction::RightSigned),
        Op::Mov => data::mov(e, i),
        Op::Movzx => data::movzx(e, i),
        Op::Movsx => data::movsx(e, i),
        Op::Lea => data::lea(e, i),
        Op::Nop => Ok(()),
        Op::Push => stack::push(e, i),
        Op::Pop => stack::pop(e, i),
        Op::Call => stack::call(e, i),
        Op::Ret => stack::ret(e, i),
        Op::Jcc => control::jcc(e, i),
        Op::Jmp => control::jmp(e, i),
        Op::Undefined => {
            let zero = e.imm(0);
            Err(e.trap(UNDEFINED, zero))
        }
    }
}
