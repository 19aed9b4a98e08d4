//! Operations on values. Their meaning is that of [`crate::ir::eval`]; wasm's own differ in division and in that they
//! know no widths below 32 bits.
//!
//! A value is pushed in the form that its use needs: 64 bits, the low 32 bits (operations of up to 32 bits are computed
//! in these), or a condition. Pushed results of width `w` have zeros above it.

use super::code::Code;
use super::function::{Lowering, Place};
use super::uses::How;
use crate::addr::Width;
use crate::emit::Slot;
use crate::ir::block::{Op, Value};
use crate::ir::ops::{Binary, Cond, Unary};
use crate::lower::calls::CallOut;
use wasm_encoder::{BlockType, InstructionSink, ValType};

/// How a narrow operand is to be extended to 32 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extension {
    Any,
    Zero,
    Sign,
}

impl Lowering<'_> {
    fn op_of(&self, value: Value) -> Op {
        *self.block.block.definition(value)
    }

    /// Writes an operation that does not end the block, at its place.
    pub(super) fn op(&mut self, value: Value, op: &Op) {
        if self.uses.how(value) == How::Unused {
            return;
        }
        match *op {
            Op::Const(number) => self.set_place(value, Place::Const(number)),
            Op::Pc => self.set_place(value, Place::Pc(self.at)),
            Op::Get(slot) => {
                if !self.state.valid.contains(slot) {
                    self.load_slot(slot);
                }
                let local = self.slots[usize::from(slot.0)];
                if self.uses.how(value) == How::InSlot {
                    self.set_place(value, Place::Slot(local));
                } else {
                    self.code.put().local_get(local);
                    self.keep(value);
                }
            }
            Op::Set { slot, value } => {
                self.push_i64(value);
                let local = self.slots[usize::from(slot.0)];
                self.code.put().local_set(local);
                let pair = self.state.take_dirty_pair(slot);
                self.store_pairs(pair);
                self.state.set(slot);
                self.floats.known.after(op, &self.block.block, None);
            }
            // No local has it: no block reads or sets the slot, but call-outs do, in memory.
            Op::FloatEnvironment => {
                match self.float_environment {
                    Some(Slot(slot)) => self.code.load_i64(self.layout.slot(slot)),
                    None => {
                        self.code.put().i64_const(0);
                    }
                }
                self.keep(value);
            }
            Op::Fence => {}
            Op::Binary { .. } | Op::Unary { .. } | Op::Compare { .. } | Op::Select { .. } => {
                if self.uses.how(value) == How::AtUse {
                    self.set_place(value, Place::AtUse);
                } else {
                    self.compute_i64(op);
                    self.keep(value);
                }
            }
            Op::LookIf { cond } => {
                self.push_bool(cond);
                self.begin_other(false);
                self.rare_call_out(CallOut::Look, 0, |this| {
                    this.code.put().i64_const(0).i64_const(0);
                });
                self.code.put().drop();
                self.end_other();
                self.must_look = true;
            }
            Op::TrapIf { cond, cause, value } => {
                self.push_bool(cond);
                self.begin_other(false);
                self.trap(cause, value);
                self.end_other();
            }
            _ => self.memory_op(value, op),
        }
    }

    fn set_place(&mut self, value: Value, place: Place) {
        self.places[value.0 as usize] = place;
    }

    /// Takes a value from the stack for its uses.
    pub(super) fn keep(&mut self, value: Value) {
        if self.uses.is_used(value.0 as usize) {
            let local = self.code.temporary(ValType::I64);
            self.code.put().local_set(local);
            self.set_place(value, Place::Local(local));
        } else {
            self.code.put().drop();
        }
    }

    /// Pushes a value.
    pub(super) fn push_i64(&mut self, value: Value) {
        match self.places[value.0 as usize] {
            Place::Const(number) => {
                self.code.put().i64_const(number as i64);
            }
            Place::Pc(at) => self.push_address(at),
            Place::Local(local) | Place::Slot(local) => {
                self.code.put().local_get(local);
            }
            Place::AtUse => self.compute_i64(&self.op_of(value)),
            Place::Nowhere => unreachable!("values are defined before they are used"),
        }
    }

    /// Pushes the low 32 bits of a value.
    fn push_i32(&mut self, value: Value) {
        match (self.places[value.0 as usize], self.op_of(value)) {
            (Place::Const(number), _) => {
                self.code.put().i32_const(number as i32);
            }
            (Place::AtUse, Op::Binary { op, w, a, b }) if w != Width::W64 => self.binary_i32(op, w, a, b),
            (Place::AtUse, Op::Unary { op, w, a }) if w != Width::W64 => self.unary_i32(op, w, a),
            (Place::AtUse, Op::Compare { cond, w, a, b }) => self.compare(cond, w, a, b),
            _ => {
                self.push_i64(value);
                self.code.put().i32_wrap_i64();
            }
        }
    }

    /// Pushes 32 bits that are not zero if and only if the value is not.
    pub(super) fn push_bool(&mut self, value: Value) {
        match (self.places[value.0 as usize], self.op_of(value)) {
            (Place::Const(number), _) => {
                self.code.put().i32_const(i32::from(number != 0));
            }
            (Place::AtUse, Op::Compare { cond, w, a, b }) => self.compare(cond, w, a, b),
            _ if self.bits(value) <= 32 => self.push_i32(value),
            _ => {
                self.push_i64(value);
                self.code.put().i64_const(0).i64_ne();
            }
        }
    }

    /// Pushes the low bits of a value as 32 bits.
    fn push_narrow(&mut self, w: Width, value: Value, extension: Extension) {
        self.push_i32(value);
        let clean = self.bits(value) <= w.bits();
        let mut put = self.code.put();
        match (extension, w) {
            (Extension::Zero, Width::W8 | Width::W16) if !clean => put.i32_const(w.mask() as i32).i32_and(),
            (Extension::Sign, Width::W8) => put.i32_extend8_s(),
            (Extension::Sign, Width::W16) => put.i32_extend16_s(),
            _ => &mut put,
        };
    }

    /// The highest number of bits that a value can have.
    fn bits(&self, value: Value) -> u32 {
        match self.op_of(value) {
            Op::Const(number) => 64 - number.leading_zeros(),
            Op::Binary { w, .. }
            | Op::Load { w, .. }
            | Op::LoadToModify { w, .. }
            | Op::LoadReserved { w, .. } => w.bits(),
            Op::Amo { w, .. } | Op::CompareExchange { w, .. } => w.bits(),
            Op::Unary { op: Unary::Sext, .. } => 64,
            Op::Unary { w, .. } => w.bits(),
            Op::Compare { .. } | Op::StoreConditional { .. } => 1,
            _ => 64,
        }
    }

    /// Pushes the result of an operation without effects.
    fn compute_i64(&mut self, op: &Op) {
        match *op {
            Op::Binary { op, w: Width::W64, a, b } => self.binary_i64(op, a, b),
            Op::Binary { op, w, a, b } => {
                self.binary_i32(op, w, a, b);
                self.code.put().i64_extend_i32_u();
            }
            Op::Unary { op, w: Width::W64, a } => self.unary_i64(op, a),
            Op::Unary { op: Unary::Sext, w, a } => {
                self.push_narrow(w, a, Extension::Sign);
                self.code.put().i64_extend_i32_s();
            }
            Op::Unary { op, w, a } => {
                self.unary_i32(op, w, a);
                self.code.put().i64_extend_i32_u();
            }
            Op::Compare { cond, w, a, b } => {
                self.compare(cond, w, a, b);
                self.code.put().i64_extend_i32_u();
            }
            Op::Select { cond, a, b } => {
                self.push_i64(a);
                self.push_i64(b);
                self.push_bool(cond);
                self.code.put().select();
            }
            _ => unreachable!("operations with effects have their place"),
        }
    }

    fn compare(&mut self, cond: Cond, w: Width, a: Value, b: Value) {
        if w == Width::W64 {
            self.push_i64(a);
            self.push_i64(b);
            let mut put = self.code.put();
            match cond {
                Cond::Eq => put.i64_eq(),
                Cond::Ne => put.i64_ne(),
                Cond::LtS => put.i64_lt_s(),
                Cond::LtU => put.i64_lt_u(),
                Cond::GeS => put.i64_ge_s(),
                Cond::GeU => put.i64_ge_u(),
            };
            return;
        }
        let signed = matches!(cond, Cond::LtS | Cond::GeS);
        let extension = if signed { Extension::Sign } else { Extension::Zero };
        self.push_narrow(w, a, extension);
        self.push_narrow(w, b, extension);
        let mut put = self.code.put();
        match cond {
            Cond::Eq => put.i32_eq(),
            Cond::Ne => put.i32_ne(),
            Cond::LtS => put.i32_lt_s(),
            Cond::LtU => put.i32_lt_u(),
            Cond::GeS => put.i32_ge_s(),
            Cond::GeU => put.i32_ge_u(),
        };
    }

    fn unary_i64(&mut self, op: Unary, a: Value) {
        self.push_i64(a);
        match op {
            Unary::Zext | Unary::Sext => {}
            Unary::Clz => {
                self.code.put().i64_clz();
            }
            Unary::Ctz => {
                self.code.put().i64_ctz();
            }
            Unary::Popcnt => {
                self.code.put().i64_popcnt();
            }
            Unary::Bswap => {
                let value = self.code.temporary(ValType::I64);
                let mut put = self.code.put();
                for (shift, mask) in [(8, 0x00ff_00ff_00ff_00ff), (16, 0x0000_ffff_0000_ffff)] {
                    put.local_tee(value).i64_const(shift).i64_shr_u().i64_const(mask).i64_and();
                    put.local_get(value).i64_const(mask).i64_and().i64_const(shift).i64_shl().i64_or();
                }
                put.i64_const(32).i64_rotl();
                self.code.release(value);
            }
        }
    }

    fn unary_i32(&mut self, op: Unary, w: Width, a: Value) {
        let extension = match op {
            Unary::Sext => Extension::Sign,
            Unary::Ctz | Unary::Bswap => Extension::Any,
            _ => Extension::Zero,
        };
        self.push_narrow(w, a, extension);
        let unused = 32 - w.bits() as i32;
        match op {
            Unary::Zext | Unary::Sext => {}
            Unary::Clz => {
                self.code.put().i32_clz();
                if unused != 0 {
                    self.code.put().i32_const(unused).i32_sub();
                }
            }
            Unary::Ctz => {
                let mut put = self.code.put();
                if unused != 0 {
                    put.i32_const(1 << w.bits()).i32_or();
                }
                put.i32_ctz();
            }
            Unary::Popcnt => {
                self.code.put().i32_popcnt();
            }
            Unary::Bswap => {
                let value = self.code.temporary(ValType::I32);
                let mut put = self.code.put();
                put.local_tee(value).i32_const(8).i32_rotl().i32_const(0x00ff_00ff).i32_and();
                put.local_get(value)
                    .i32_const(8)
                    .i32_rotr()
                    .i32_const(0xff00_ff00_u32 as i32)
                    .i32_and()
                    .i32_or();
                if unused != 0 {
                    put.i32_const(unused).i32_shr_u();
                }
                self.code.release(value);
            }
        }
    }

    fn binary_i64(&mut self, op: Binary, a: Value, b: Value) {
        match op {
            Binary::DivU | Binary::DivS | Binary::RemU | Binary::RemS => {
                let [a, b] = [a, b].map(|operand| {
                    self.push_i64(operand);
                    self.hold(ValType::I64)
                });
                divide(&mut self.code, op, &I64, a, b);
                return self.release_both(a, b);
            }
            Binary::MulHighU | Binary::MulHighS | Binary::MulHighSu => return self.multiply_high(op, a, b),
            Binary::ClMul => {
                self.push_i64(a);
                self.push_i64(b);
                return self.call_multiply_polynomials();
            }
            Binary::ClMulHigh => return self.multiply_polynomials_high(a, b),
            _ => {}
        }
        self.push_i64(a);
        self.push_i64(b);
        let mut put = self.code.put();
        match op {
            Binary::Add => put.i64_add(),
            Binary::Sub => put.i64_sub(),
            Binary::Mul => put.i64_mul(),
            Binary::And => put.i64_and(),
            Binary::Or => put.i64_or(),
            Binary::Xor => put.i64_xor(),
            Binary::Shl => put.i64_shl(),
            Binary::ShrU => put.i64_shr_u(),
            Binary::ShrS => put.i64_shr_s(),
            Binary::Rotl => put.i64_rotl(),
            Binary::Rotr => put.i64_rotr(),
            _ => unreachable!("written above"),
        };
    }

    fn binary_i32(&mut self, op: Binary, w: Width, a: Value, b: Value) {
        use Extension::{Any, Sign, Zero};
        let narrow = w != Width::W32;
        let (of_a, of_b) = match op {
            Binary::MulHighS | Binary::DivS | Binary::RemS => (Sign, Sign),
            Binary::MulHighSu => (Sign, Zero),
            Binary::MulHighU | Binary::DivU | Binary::RemU | Binary::ClMul | Binary::ClMulHigh => {
                (Zero, Zero)
            }
            Binary::ShrU | Binary::Rotl | Binary::Rotr => (Zero, Any),
            Binary::ShrS => (Sign, Any),
            _ => (Any, Any),
        };
        let clean = (self.bits(a) <= w.bits(), self.bits(b) <= w.bits());
        self.push_narrow(w, a, of_a);
        let mut cleans = narrow;
        match op {
            Binary::DivU | Binary::DivS | Binary::RemU | Binary::RemS => {
                let a = self.hold(ValType::I32);
                self.push_narrow(w, b, of_b);
                let b = self.hold(ValType::I32);
                divide(&mut self.code, op, &I32, a, b);
                self.release_both(a, b);
            }
            Binary::MulHighU | Binary::MulHighS | Binary::MulHighSu => {
                let extend = |put: &mut InstructionSink<'_>, extension| {
                    if extension == Sign {
                        put.i64_extend_i32_s()
                    } else {
                        put.i64_extend_i32_u()
                    };
                };
                extend(&mut self.code.put(), of_a);
                self.push_narrow(w, b, of_b);
                let mut put = self.code.put();
                extend(&mut put, of_b);
                put.i64_mul().i64_const(i64::from(w.bits())).i64_shr_u().i32_wrap_i64();
            }
            Binary::ClMul | Binary::ClMulHigh => {
                self.code.put().i64_extend_i32_u();
                self.push_narrow(w, b, of_b);
                self.code.put().i64_extend_i32_u();
                self.call_multiply_polynomials();
                let mut put = self.code.put();
                if op == Binary::ClMulHigh {
                    put.i64_const(i64::from(w.bits())).i64_shr_u();
                }
                put.i32_wrap_i64();
            }
            Binary::Rotl | Binary::Rotr => {
                // Copies side by side: rotating all of them by any count rotates each.
                if narrow {
                    let copies = if w == Width::W8 { 0x0101_0101 } else { 0x0001_0001 };
                    self.code.put().i32_const(copies).i32_mul();
                }
                self.push_i32(b);
                let mut put = self.code.put();
                if op == Binary::Rotl {
                    put.i32_rotl()
                } else {
                    put.i32_rotr()
                };
            }
            Binary::Shl | Binary::ShrU | Binary::ShrS => {
                self.push_i32(b);
                let mut put = self.code.put();
                if narrow {
                    put.i32_const(w.bits() as i32 - 1).i32_and();
                }
                match op {
                    Binary::Shl => put.i32_shl(),
                    Binary::ShrU => put.i32_shr_u(),
                    _ => put.i32_shr_s(),
                };
                cleans &= op != Binary::ShrU;
            }
            _ => {
                self.push_narrow(w, b, of_b);
                let mut put = self.code.put();
                match op {
                    Binary::Add => put.i32_add(),
                    Binary::Sub => put.i32_sub(),
                    Binary::Mul => put.i32_mul(),
                    Binary::And => put.i32_and(),
                    Binary::Or => put.i32_or(),
                    _ => put.i32_xor(),
                };
                match op {
                    Binary::And => cleans &= !(clean.0 || clean.1),
                    Binary::Or | Binary::Xor => cleans &= !(clean.0 && clean.1),
                    _ => {}
                }
            }
        }
        if cleans {
            self.code.put().i32_const(w.mask() as i32).i32_and();
        }
    }

    /// Takes what was pushed into a local, to be released.
    pub(super) fn hold(&mut self, ty: ValType) -> u32 {
        let local = self.code.temporary(ty);
        self.code.put().local_set(local);
        local
    }

    pub(super) fn release_both(&mut self, a: u32, b: u32) {
        self.code.release(a);
        self.code.release(b);
    }
}

/// The integer type that a division is computed in.
struct Integers {
    ty: ValType,
    constant: fn(&mut InstructionSink<'_>, i64),
    equals_zero: fn(&mut InstructionSink<'_>),
    subtract: fn(&mut InstructionSink<'_>),
    divide: [fn(&mut InstructionSink<'_>); 4],
    is_minus_one: fn(&mut InstructionSink<'_>),
}

const I64: Integers = Integers {
    ty: ValType::I64,
    constant: |put, number| {
        put.i64_const(number);
    },
    equals_zero: |put| {
        put.i64_eqz();
    },
    subtract: |put| {
        put.i64_sub();
    },
    divide: [
        |put| {
            put.i64_div_u();
        },
        |put| {
            put.i64_div_s();
        },
        |put| {
            put.i64_rem_u();
        },
        |put| {
            put.i64_rem_s();
        },
    ],
    is_minus_one: |put| {
        put.i64_const(-1).i64_eq();
    },
};

const I32: Integers = Integers {
    ty: ValType::I32,
    constant: |put, number| {
        put.i32_const(number as i32);
    },
    equals_zero: |put| {
        put.i32_eqz();
    },
    subtract: |put| {
        put.i32_sub();
    },
    divide: [
        |put| {
            put.i32_div_u();
        },
        |put| {
            put.i32_div_s();
        },
        |put| {
            put.i32_rem_u();
        },
        |put| {
            put.i32_rem_s();
        },
    ],
    is_minus_one: |put| {
        put.i32_const(-1).i32_eq();
    },
};

/// Pushes the quotient or remainder of two locals. wasm's division traps where ours has a result: a zero divisor, and
/// the lowest number by minus one, of which the negative is the quotient.
fn divide(code: &mut Code, op: Binary, kind: &Integers, a: u32, b: u32) {
    let result = BlockType::Result(kind.ty);
    let by = kind.divide[match op {
        Binary::DivU => 0,
        Binary::DivS => 1,
        Binary::RemU => 2,
        _ => 3,
    }];
    code.put().local_get(b);
    (kind.equals_zero)(&mut code.put());
    code.expect_if(false, result);
    match op {
        Binary::DivU | Binary::DivS => (kind.constant)(&mut code.put(), -1),
        _ => {
            code.put().local_get(a);
        }
    }
    code.put().else_();
    if op == Binary::DivS {
        code.put().local_get(b);
        (kind.is_minus_one)(&mut code.put());
        code.expect_if(false, result);
        (kind.constant)(&mut code.put(), 0);
        code.put().local_get(a);
        (kind.subtract)(&mut code.put());
        code.put().else_();
    }
    code.put().local_get(a).local_get(b);
    by(&mut code.put());
    if op == Binary::DivS {
        code.put().end();
    }
    code.put().end();
}
