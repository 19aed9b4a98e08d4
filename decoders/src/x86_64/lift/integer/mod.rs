//! Meanings of integer, string and near control transfer instructions.
//!
//! What compilers emit is inlined into the interpreter's loop; the rest is kept out of it.

mod arithmetic;
mod bits;
mod control;
mod data;
mod divide;
mod exchange;
mod flag;
mod other;
mod rotate;
mod shape;
mod shift;
pub(super) mod stack;
mod string;

use super::Done;
use crate::x86_64::insn::{Insn, IntegerOp as Op};
use arithmetic::Bitwise;
use c2w_engine::emit::{Binary, Emit};
use shape::each;

/// The meaning of an instruction.
#[inline(always)]
pub(super) fn lift<E: Emit>(e: &mut E, i: &Insn, op: Op) -> Done<E> {
    match op {
        Op::Add => each!(e, i, i => arithmetic::add(e, i)),
        Op::Adc => arithmetic::adc(e, i),
        Op::Sub => each!(e, i, i => arithmetic::sub(e, i)),
        Op::Sbb => arithmetic::sbb(e, i),
        Op::Cmp => each!(e, i, i => arithmetic::cmp(e, i)),
        Op::And => each!(e, i, i => arithmetic::bitwise(e, i, Bitwise::And)),
        Op::Or => each!(e, i, i => arithmetic::bitwise(e, i, Bitwise::Or)),
        Op::Xor => each!(e, i, i => arithmetic::bitwise(e, i, Bitwise::Xor)),
        Op::Test => each!(e, i, i => arithmetic::test(e, i)),
        Op::Inc => arithmetic::inc(e, i),
        Op::Dec => arithmetic::dec(e, i),
        Op::Neg => arithmetic::neg(e, i),
        Op::Not => arithmetic::not(e, i),
        Op::Imul => arithmetic::imul(e, i),
        Op::ImulWide => arithmetic::wide_product(e, i, Binary::MulHighS),
        Op::Mul => arithmetic::wide_product(e, i, Binary::MulHighU),
        Op::Div => divide::div(e, i),
        Op::Idiv => divide::idiv(e, i),
        Op::Shl => shift::shift(e, i, shift::Direction::Left),
        Op::Shr => shift::shift(e, i, shift::Direction::Right),
        Op::Sar => shift::shift(e, i, shift::Direction::RightSigned),
        Op::Shld => shift::double(e, i, shift::Direction::Left),
        Op::Shrd => shift::double(e, i, shift::Direction::Right),
        Op::Rol => rotate::rotate(e, i, rotate::Direction::Left),
        Op::Ror => rotate::rotate(e, i, rotate::Direction::Right),
        Op::Rcl => rotate::through_carry(e, i, rotate::Direction::Left),
        Op::Rcr => rotate::through_carry(e, i, rotate::Direction::Right),
        Op::Mov => each!(e, i, i => data::mov(e, i)),
        Op::Movzx => data::movzx(e, i),
        Op::Movsx => data::movsx(e, i),
        Op::Movbe | Op::Bswap => data::swap_bytes(e, i, op == Op::Bswap),
        Op::Cmov => data::cmov(e, i),
        Op::Set => data::set(e, i),
        Op::Cbw => data::cbw(e, i),
        Op::Cwd => data::cwd(e, i),
        Op::Xlat => data::xlat(e, i),
        Op::Lea => data::lea(e, i),
        Op::Xchg => exchange::xchg(e, i),
        Op::Xadd => exchange::xadd(e, i),
        Op::Cmpxchg => exchange::cmpxchg(e, i),
        Op::Cmpxchg8b => exchange::cmpxchg8b(e, i),
        Op::Cmpxchg16b => exchange::cmpxchg16b(e, i),
        Op::Bt => bits::test(e, i, None),
        Op::Bts => bits::test(e, i, Some(bits::Change::Set)),
        Op::Btr => bits::test(e, i, Some(bits::Change::Reset)),
        Op::Btc => bits::test(e, i, Some(bits::Change::Complement)),
        Op::Bsf => bits::scan(e, i, bits::Scan::Forward),
        Op::Bsr => bits::scan(e, i, bits::Scan::Reverse),
        Op::Popcnt => bits::popcnt(e, i),
        Op::Crc32 => bits::crc32(e, i),
        Op::Push => stack::push(e, i),
        Op::Pop => stack::pop(e, i),
        Op::Call => stack::call(e, i),
        Op::Ret => stack::ret(e, i),
        Op::Leave => stack::leave(e, i),
        Op::Enter => stack::enter(e, i),
        Op::Pusha => stack::pusha(e, i),
        Op::Popa => stack::popa(e, i),
        Op::Jcc => control::jcc(e, i),
        Op::Jmp => control::jmp(e, i),
        Op::Loop => control::count_down(e, i, false),
        Op::LoopIf => control::count_down(e, i, true),
        Op::Jrcxz => control::jrcxz(e, i),
        Op::Movs => string::movs(e, i),
        Op::Cmps => string::cmps(e, i),
        Op::Stos => string::stos(e, i),
        Op::Lods => string::lods(e, i),
        Op::Scas => string::scas(e, i),
        Op::Lahf => flag::lahf(e, i),
        Op::Sahf => flag::sahf(e, i),
        Op::Clc => flag::change_carry(e, flag::Change::Clear),
        Op::Stc => flag::change_carry(e, flag::Change::Set),
        Op::Cmc => flag::change_carry(e, flag::Change::Complement),
        Op::Cld => flag::direction(e, false),
        Op::Std => flag::direction(e, true),
        Op::Salc => flag::salc(e, i),
        Op::Nop => Ok(()),
        Op::Fence => {
            e.fence();
            Ok(())
        }
        Op::Clflush => other::clflush(e, i),
        Op::Rdrand => other::rdrand(e, i),
        Op::Bound => other::bound(e, i),
        Op::Aaa | Op::Aas | Op::Aam | Op::Aad | Op::Daa | Op::Das => other::decimal(e, i, op),
    }
}
