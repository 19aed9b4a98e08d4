//! Operations on the lanes of vectors for which there is no single instruction.

use super::function::Lowering;
use crate::emit::{Slot, VectorOp};
use crate::lower::moves::units;
use wasm_encoder::{InstructionSink, ValType};

/// A byte in every place.
const fn every_byte(byte: u8) -> i128 {
    i128::from_le_bytes([byte; 16])
}

/// A number in every lane of 16 bits.
const fn every_word(word: u16) -> i128 {
    word as i128 * 0x0001_0001_0001_0001_0001_0001_0001_0001
}

impl Lowering<'_> {
    /// Pushes the result of an operation of a few instructions; false, and nothing is pushed, if it is none of these.
    pub(super) fn push_longer(&mut self, op: VectorOp, imm: u8, [to, a, b]: [Slot; 3]) -> bool {
        use VectorOp as V;
        match op {
            V::Andn => {
                self.push_pair(b);
                self.push_pair(a);
                self.code.put().v128_andnot();
            }
            // Bits 6 to 4 of a place do not count; wasm gives zero for any place from 16 on.
            V::Pshufb => {
                self.push_pair(a);
                self.push_pair(b);
                self.code.put().v128_const(every_byte(0x8f)).v128_and().i8x16_swizzle();
            }
            V::Pblendvb | V::Blendvps | V::Blendvpd => {
                self.push_pair(a);
                self.push_pair(to);
                self.code.put().v128_const(0);
                self.push_pair(b);
                let mut put = self.code.put();
                match op {
                    V::Pblendvb => put.i8x16_gt_s(),
                    V::Blendvps => put.i32x4_gt_s(),
                    _ => put.i64x2_gt_s(),
                };
                put.v128_bitselect();
            }
            V::Pmuludq => {
                for of in [a, b] {
                    self.push_pair(of);
                    self.code.put().v128_const(0xffff_ffff_0000_0000_ffff_ffff).v128_and();
                }
                self.code.put().i64x2_mul();
            }
            V::Pmulhw | V::Pmulhuw => {
                for high in [false, true] {
                    self.push_pair(a);
                    self.push_pair(b);
                    let mut put = self.code.put();
                    match (op, high) {
                        (V::Pmulhw, false) => put.i32x4_extmul_low_i16x8_s(),
                        (V::Pmulhw, true) => put.i32x4_extmul_high_i16x8_s(),
                        (_, false) => put.i32x4_extmul_low_i16x8_u(),
                        (_, true) => put.i32x4_extmul_high_i16x8_u(),
                    };
                }
                self.code.put().i8x16_shuffle(units(2, |at| 2 * at + 1));
            }
            V::Pmuldq => {
                for of in [a, b] {
                    self.push_pair(of);
                    self.push_pair(of);
                    self.code.put().i8x16_shuffle(units(4, |at| 2 * (at & 1)));
                }
                self.code.put().i64x2_extmul_low_i32x4_s();
            }
            // wasm's saturates the product of the least number by itself, which here is the least number again.
            V::Pmulhrsw => {
                self.push_pair(a);
                self.push_pair(b);
                self.code.put().i16x8_q15mulr_sat_s();
                for of in [a, b] {
                    self.push_pair(of);
                    self.code.put().v128_const(every_word(0x8000)).i16x8_eq();
                }
                self.code.put().v128_and().v128_xor();
            }
            // The products of the even places and those of the odd ones fit.
            V::Pmaddubsw => {
                self.push_pair(a);
                self.code.put().v128_const(every_word(0xff)).v128_and();
                self.push_pair(b);
                self.code.put().i32_const(8).i16x8_shl().i32_const(8).i16x8_shr_s().i16x8_mul();
                self.push_pair(a);
                self.code.put().i32_const(8).i16x8_shr_u();
                self.push_pair(b);
                self.code.put().i32_const(8).i16x8_shr_s().i16x8_mul().i16x8_add_sat_s();
            }
            V::Psadbw => self.push_differences(a, b),
            V::Psignb | V::Psignw | V::Psignd => self.push_signed(op, a, b),
            V::Phaddw | V::Phaddsw | V::Phsubw | V::Phsubsw | V::Phaddd | V::Phsubd => {
                let size = if matches!(op, V::Phaddd | V::Phsubd) { 4 } else { 2 };
                for odd in [0, 1] {
                    self.push_pair(a);
                    self.push_pair(b);
                    self.code.put().i8x16_shuffle(units(size, |at| 2 * at + odd));
                }
                let mut put = self.code.put();
                match op {
                    V::Phaddw => put.i16x8_add(),
                    V::Phaddsw => put.i16x8_add_sat_s(),
                    V::Phsubw => put.i16x8_sub(),
                    V::Phsubsw => put.i16x8_sub_sat_s(),
                    V::Phaddd => put.i32x4_add(),
                    _ => put.i32x4_sub(),
                };
            }
            V::Psllw | V::Psrlw | V::Pslld | V::Psrld | V::Psllq | V::Psrlq | V::Psraw | V::Psrad => {
                self.push_counted_shift(op, a, b);
            }
            // The others select bytes of both operands.
            V::Palignr => {
                self.push_pair(a);
                self.code.put().v128_const(0);
                let from = imm.min(32) - 16;
                self.code.put().i8x16_shuffle(std::array::from_fn(|at| at as u8 + from));
            }
            V::Insertps => {
                self.push_pair(a);
                self.push_pair(b);
                let inserted = units(4, |at| if at == imm >> 4 & 3 { 4 + (imm >> 6) } else { at });
                self.code.put().i8x16_shuffle(inserted);
                let kept = |at: usize| if imm >> (at / 4) & 1 != 0 { 0 } else { 0xff };
                let kept = i128::from_le_bytes(std::array::from_fn(kept));
                self.code.put().v128_const(kept).v128_and();
            }
            _ => return false,
        }
        true
    }

    /// The sums of the absolute differences of eight bytes each.
    fn push_differences(&mut self, a: Slot, b: Slot) {
        for [from, less] in [[a, b], [b, a]] {
            self.push_pair(from);
            self.push_pair(less);
            self.code.put().i8x16_sub_sat_u();
        }
        let sums = self.code.temporary(ValType::V128);
        let mut put = self.code.put();
        put.v128_or().i16x8_extadd_pairwise_i8x16_u().v128_const(every_word(1)).i32x4_dot_i16x8_s();
        put.local_tee(sums).i32_const(32).i64x2_shr_u().local_get(sums).i64x2_add();
        put.v128_const(0xffff_ffff_0000_0000_ffff_ffff).v128_and();
        self.code.release(sums);
    }

    /// Lanes of `a`, negated where those of `b` are negative, or zero where these are.
    fn push_signed(&mut self, op: VectorOp, a: Slot, b: Slot) {
        let by_width = |this: &mut Self, instructions: [fn(&mut InstructionSink<'_>); 3]| {
            let at = match op {
                VectorOp::Psignb => 0,
                VectorOp::Psignw => 1,
                _ => 2,
            };
            instructions[at](&mut this.code.put());
        };
        macro_rules! each_width {
            ($($name:ident)*) => { by_width(self, [$(|put| { put.$name(); }),*]) };
        }
        self.push_pair(a);
        each_width!(i8x16_neg i16x8_neg i32x4_neg);
        self.push_pair(a);
        self.push_pair(b);
        self.code.put().v128_const(0);
        each_width!(i8x16_lt_s i16x8_lt_s i32x4_lt_s);
        self.code.put().v128_bitselect();
        self.push_pair(b);
        self.code.put().v128_const(0);
        each_width!(i8x16_eq i16x8_eq i32x4_eq);
        self.code.put().v128_andnot();
    }

    /// Shifts of `a` by the low half of `b`.
    fn push_counted_shift(&mut self, op: VectorOp, a: Slot, b: Slot) {
        use VectorOp as V;
        let width = match op {
            V::Psllw | V::Psrlw | V::Psraw => 16,
            V::Psllq | V::Psrlq => 64,
            _ => 32,
        };
        let signed = matches!(op, V::Psraw | V::Psrad);
        self.push_pair(b);
        self.code.put().i64x2_extract_lane(0);
        let count = self.hold(ValType::I64);
        self.push_pair(a);
        let mut put = self.code.put();
        put.local_get(count);
        if signed {
            put.i64_const(width - 1).local_get(count).i64_const(width).i64_lt_u().select();
        }
        put.i32_wrap_i64();
        match op {
            V::Psllw => put.i16x8_shl(),
            V::Pslld => put.i32x4_shl(),
            V::Psllq => put.i64x2_shl(),
            V::Psrlw => put.i16x8_shr_u(),
            V::Psrld => put.i32x4_shr_u(),
            V::Psrlq => put.i64x2_shr_u(),
            V::Psraw => put.i16x8_shr_s(),
            _ => put.i32x4_shr_s(),
        };
        // wasm's look at the lowest bits of the count only.
        if !signed {
            put.i64_const(-1).i64_const(0).local_get(count).i64_const(width).i64_lt_u().select();
            put.i64x2_splat().v128_and();
        }
        self.code.release(count);
    }
}
