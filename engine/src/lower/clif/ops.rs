//! Operations on values. Their meaning is that of [`crate::ir::eval`]; Cranelift's own differ in division.
//!
//! A value is 64 bits; operations of a narrower width are computed in that width, and have zeros above it.

use super::LAYOUT;
use super::function::Lowering;
use crate::addr::Width;
use crate::ir::block::{Op, Value};
use crate::ir::ops::{Binary, Cond, Unary};
use cranelift_codegen::ir::{self as clif, InstBuilder, Type, condcodes::IntCC, types};

/// The type of a width.
fn type_of(w: Width) -> Type {
    match w {
        Width::W8 => types::I8,
        Width::W16 => types::I16,
        Width::W32 => types::I32,
        Width::W64 => types::I64,
    }
}

/// Cranelift's condition.
pub(super) fn condition_code(cond: Cond) -> IntCC {
    match cond {
        Cond::Eq => IntCC::Equal,
        Cond::Ne => IntCC::NotEqual,
        Cond::LtS => IntCC::SignedLessThan,
        Cond::LtU => IntCC::UnsignedLessThan,
        Cond::GeS => IntCC::SignedGreaterThanOrEqual,
        Cond::GeU => IntCC::UnsignedGreaterThanOrEqual,
    }
}

impl Lowering<'_, '_> {
    /// Writes an operation that does not end the block.
    pub(super) fn op(&mut self, value: Value, op: &Op) {
        let result = match *op {
            Op::Const(number) => self.number(number),
            Op::Pc => self.address(self.at),
            Op::Get(slot) => {
                if !self.state.valid.contains(slot) {
                    self.load_slot(slot);
                }
                self.build.use_var(self.variable(slot))
            }
            Op::Set { slot, value } => {
                let value = self.value(value);
                self.build.def_var(self.variable(slot), value);
                self.floats.known.after(op, &self.block.block, None);
                let pair = self.state.take_dirty_pair(slot);
                self.store_pairs(pair);
                return self.state.set(slot);
            }
            // No variable has it: no block reads or sets the slot, but call-outs do, in memory.
            Op::FloatEnvironment => match self.target.float_environment {
                Some(slot) => self.load_own(LAYOUT.slot(slot.0)),
                None => self.number(0),
            },
            Op::Fence => return,
            Op::Binary { op, w, a, b } => self.binary(op, w, a, b),
            Op::Unary { op, w, a } => self.unary(op, w, a),
            Op::Compare { cond, w, a, b } => {
                let [a, b] = [a, b].map(|operand| self.narrow(w, operand));
                let holds = self.build.ins().icmp(condition_code(cond), a, b);
                self.define_condition(value, holds);
                self.build.ins().uextend(types::I64, holds)
            }
            Op::Select { cond, a, b } => {
                let (cond, a, b) = (self.condition(cond), self.value(a), self.value(b));
                self.build.ins().select(cond, a, b)
            }
            Op::LookIf { cond } => return self.look_if(cond),
            Op::TrapIf { cond, cause, value } => {
                let cond = self.condition(cond);
                return self.rarely(cond, |this| this.trap(cause, value));
            }
            _ => return self.memory_op(value, op),
        };
        self.define(value, result);
    }

    /// The low bits of a value.
    pub(super) fn narrow(&mut self, w: Width, value: Value) -> clif::Value {
        let value = self.value(value);
        self.narrowed(w, value)
    }

    pub(super) fn narrowed(&mut self, w: Width, value: clif::Value) -> clif::Value {
        if w == Width::W64 { value } else { self.build.ins().ireduce(type_of(w), value) }
    }

    fn widened(&mut self, w: Width, value: clif::Value) -> clif::Value {
        if w == Width::W64 { value } else { self.build.ins().uextend(types::I64, value) }
    }

    fn signed(&mut self, w: Width, value: clif::Value) -> clif::Value {
        if w == Width::W64 { value } else { self.build.ins().sextend(types::I64, value) }
    }

    fn unary(&mut self, op: Unary, w: Width, a: Value) -> clif::Value {
        let a = self.narrow(w, a);
        let result = match op {
            Unary::Zext => a,
            Unary::Sext => return self.signed(w, a),
            Unary::Clz => self.build.ins().clz(a),
            Unary::Ctz => self.build.ins().ctz(a),
            Unary::Popcnt => self.build.ins().popcnt(a),
            Unary::Bswap if w == Width::W8 => a,
            Unary::Bswap => self.build.ins().bswap(a),
        };
        self.widened(w, result)
    }

    fn binary(&mut self, op: Binary, w: Width, a: Value, b: Value) -> clif::Value {
        let (a, b) = (self.narrow(w, a), self.narrow(w, b));
        let result = match op {
            Binary::Add => self.build.ins().iadd(a, b),
            Binary::Sub => self.build.ins().isub(a, b),
            Binary::Mul => self.build.ins().imul(a, b),
            Binary::And => self.build.ins().band(a, b),
            Binary::Or => self.build.ins().bor(a, b),
            Binary::Xor => self.build.ins().bxor(a, b),
            Binary::Shl => self.build.ins().ishl(a, b),
            Binary::ShrU => self.build.ins().ushr(a, b),
            Binary::ShrS => self.build.ins().sshr(a, b),
            Binary::Rotl => self.build.ins().rotl(a, b),
            Binary::Rotr => self.build.ins().rotr(a, b),
            Binary::MulHighU | Binary::MulHighS | Binary::MulHighSu => return self.high_product(op, w, a, b),
            Binary::DivU | Binary::DivS | Binary::RemU | Binary::RemS => return self.divide(op, w, a, b),
            Binary::ClMul | Binary::ClMulHigh => return self.polynomials(op, w, a, b),
        };
        self.widened(w, result)
    }

    /// The low bits of a number of 64 bits, with zeros above.
    fn low(&mut self, w: Width, value: clif::Value) -> clif::Value {
        let value = self.narrowed(w, value);
        self.widened(w, value)
    }

    fn high_product(&mut self, op: Binary, w: Width, a: clif::Value, b: clif::Value) -> clif::Value {
        if w != Width::W64 {
            let a = if op == Binary::MulHighU { self.widened(w, a) } else { self.signed(w, a) };
            let b = if op == Binary::MulHighS { self.signed(w, b) } else { self.widened(w, b) };
            let product = self.build.ins().imul(a, b);
            let high = self.build.ins().ushr_imm_s(product, i64::from(w.bits()));
            return self.low(w, high);
        }
        match op {
            Binary::MulHighU => self.build.ins().umulhi(a, b),
            Binary::MulHighS => self.build.ins().smulhi(a, b),
            _ => {
                // A negative number is its unsigned reading less 2^64.
                let high = self.build.ins().umulhi(a, b);
                let sign = self.build.ins().sshr_imm_s(a, 63);
                let less = self.build.ins().band(sign, b);
                self.build.ins().isub(high, less)
            }
        }
    }

    /// Cranelift's division traps where ours has a result: a zero divisor, and the lowest number by minus one. Divided by one
    /// instead, the latter has the right results; the former's are chosen afterwards.
    fn divide(&mut self, op: Binary, w: Width, a: clif::Value, b: clif::Value) -> clif::Value {
        let is_signed = matches!(op, Binary::DivS | Binary::RemS);
        let [a, b] = [a, b].map(|it| if is_signed { self.signed(w, it) } else { self.widened(w, it) });
        let one = self.number(1);
        let by_zero = self.build.ins().icmp_imm_s(IntCC::Equal, b, 0);
        let mut by = self.build.ins().select(by_zero, one, b);
        if is_signed {
            let lowest = self.build.ins().icmp_imm_s(IntCC::Equal, a, i64::MIN);
            let minus_one = self.build.ins().icmp_imm_s(IntCC::Equal, b, -1);
            let overflows = self.build.ins().band(lowest, minus_one);
            by = self.build.ins().select(overflows, one, by);
        }
        let result = match op {
            Binary::DivU => self.build.ins().udiv(a, by),
            Binary::DivS => self.build.ins().sdiv(a, by),
            Binary::RemU => self.build.ins().urem(a, by),
            _ => self.build.ins().srem(a, by),
        };
        let of_zero = if matches!(op, Binary::DivU | Binary::DivS) { self.number(u64::MAX) } else { a };
        let result = self.build.ins().select(by_zero, of_zero, result);
        self.low(w, result)
    }

    fn polynomials(&mut self, op: Binary, w: Width, a: clif::Value, b: clif::Value) -> clif::Value {
        let [a, b] = [a, b].map(|operand| self.widened(w, operand));
        let is_high = op == Binary::ClMulHigh && w == Width::W64;
        let function = self.number(self.target.polynomials[usize::from(is_high)]);
        let call = self.build.ins().call_indirect(self.product_signature, function, &[a, b]);
        let product = self.build.inst_results(call)[0];
        let product = match op {
            Binary::ClMulHigh if w != Width::W64 => self.build.ins().ushr_imm_s(product, i64::from(w.bits())),
            _ => product,
        };
        self.low(w, product)
    }
}
