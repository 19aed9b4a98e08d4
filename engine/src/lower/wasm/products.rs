//! Products whose high half is wanted, and products of polynomials over GF(2), of which wasm has neither.

use super::code::Code;
use super::function::Lowering;
use crate::ir::block::Value;
use crate::ir::ops::Binary;
use wasm_encoder::{Function, InstructionSink, ValType};

impl Lowering<'_> {
    /// High half of a product of 64-bit numbers, from the products of their halves.
    pub(super) fn multiply_high(&mut self, op: Binary, a: Value, b: Value) {
        self.push_i64(a);
        let a = self.hold(ValType::I64);
        self.push_i64(b);
        let b = self.hold(ValType::I64);
        let [low, cross] = [(); 2].map(|()| self.code.temporary(ValType::I64));
        let low_half = |put: &mut InstructionSink<'_>, local| {
            put.local_get(local).i64_const(0xffff_ffff).i64_and();
        };
        let high_half = |put: &mut InstructionSink<'_>, local| {
            put.local_get(local).i64_const(32).i64_shr_u();
        };
        let put = &mut self.code.put();
        // low = high half of al * bl, plus ah * bl; cross = low half of that plus al * bh
        low_half(put, a);
        low_half(put, b);
        put.i64_mul().i64_const(32).i64_shr_u();
        high_half(put, a);
        low_half(put, b);
        put.i64_mul().i64_add().local_set(low);
        low_half(put, a);
        high_half(put, b);
        put.i64_mul();
        low_half(put, low);
        put.i64_add().local_set(cross);
        high_half(put, a);
        high_half(put, b);
        put.i64_mul();
        high_half(put, low);
        put.i64_add();
        high_half(put, cross);
        put.i64_add();
        // A negative operand was taken for one that is 2^64 higher.
        let corrections = match op {
            Binary::MulHighS => &[(a, b), (b, a)][..],
            Binary::MulHighSu => &[(a, b)],
            _ => &[],
        };
        for &(sign, other) in corrections {
            put.local_get(sign).i64_const(63).i64_shr_s().local_get(other).i64_and().i64_sub();
        }
        for local in [a, b, low, cross] {
            self.code.release(local);
        }
    }

    /// Low half of the product of two polynomials that were pushed.
    pub(super) fn call_multiply_polynomials(&mut self) {
        self.multiplies_polynomials = true;
        self.code.put().call(self.polynomials);
    }

    /// High half of a product of polynomials, from three products of their halves.
    pub(super) fn multiply_polynomials_high(&mut self, a: Value, b: Value) {
        self.push_i64(a);
        let a = self.hold(ValType::I64);
        self.push_i64(b);
        let b = self.hold(ValType::I64);
        let high = self.code.temporary(ValType::I64);
        for local in [a, b] {
            self.code.put().local_get(local).i64_const(32).i64_shr_u();
        }
        self.call_multiply_polynomials();
        self.code.put().local_tee(high);
        // The middle product is that of the sums of the halves less the outer ones.
        for local in [a, b] {
            let mut put = self.code.put();
            put.local_get(local).i64_const(32).i64_shr_u().local_get(local).i64_xor();
            put.i64_const(0xffff_ffff).i64_and();
        }
        self.call_multiply_polynomials();
        self.code.put().local_get(high).i64_xor();
        for local in [a, b] {
            self.code.put().local_get(local).i64_const(0xffff_ffff).i64_and();
        }
        self.call_multiply_polynomials();
        self.code.put().i64_xor().i64_const(32).i64_shr_u().i64_xor();
        for local in [a, b, high] {
            self.code.release(local);
        }
    }
}

/// The function that gives the low half of the product of two polynomials: as [`crate::ir::eval`] computes it, by
/// multiplying every fourth bit at a time, so that the bits between take up the carries.
pub(super) fn polynomials() -> Function {
    const EVERY_FOURTH: u64 = 0x1111_1111_1111_1111;
    let mut code = Code::with_parameters(&[ValType::I64; 2]);
    let every_fourth = |put: &mut InstructionSink<'_>, local: u32, from: u32| {
        put.local_get(local).i64_const((EVERY_FOURTH << from) as i64).i64_and();
    };
    let mut put = code.put();
    for column in 0..4 {
        for i in 0..4 {
            every_fourth(&mut put, 0, i);
            every_fourth(&mut put, 1, (column + 4 - i) & 3);
            put.i64_mul();
            if i > 0 {
                put.i64_xor();
            }
        }
        put.i64_const((EVERY_FOURTH << column) as i64).i64_and();
        if column > 0 {
            put.i64_or();
        }
    }
    code.finish().0
}
