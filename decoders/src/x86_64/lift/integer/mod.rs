//! Meanings of integer, string and near control transfer instructions.

mod arithmetic;
mod control;
mod data;
mod shift;
mod stack;

use super::Done;
use crate::x86_64::insn::{Insn, IntegerOp as Op};
use arithmetic::Bitwise;
use c2w_engine::emit::Emit;

/// The meaning of an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    match op {
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
    }
}
