//! Operations on vectors, in the locals of pairs of slots: instructions of 128 bits where there are such, else call-outs,
//! which find pairs in memory.

use super::function::Lowering;
use super::memory::unaligned;
use crate::emit::{Slot, VectorExtract, VectorInsert, VectorOp};
use crate::ir::block::{Op, Value};
use crate::ir::vector::boxed::{BOX, NAN_S};
use crate::ir::vector::{CARRY, ZERO};
use crate::lower::calls::{CallOut, VectorSite};
use crate::lower::floats::{self, Form};
use crate::lower::layout::{Demand, Tag};
use crate::lower::moves::{moved_bytes, shifted_bytes, units};
use wasm_encoder::{BlockType, InstructionSink, MemArg, ValType};

impl Lowering<'_> {
    /// Writes an operation on vectors.
    pub(super) fn vector_op(&mut self, value: Value, op: &Op) {
        let mut ordinary = None;
        match *op {
            Op::VectorLoad { len_bytes, to, addr } => self.vector_load(value, len_bytes, to, addr),
            Op::VectorStore { len_bytes, addr, from } => self.vector_store(value, len_bytes, addr, from),
            Op::Vector { op, imm, to, a, b } => ordinary = self.vector(op, imm, [to, a, b]),
            Op::VectorInsert { op, imm, to, value } => ordinary = self.vector_insert(op, imm, to, value),
            Op::VectorExtract { op, a, b } => self.vector_extract(value, op, a, b),
            _ => unreachable!("{op:?} is written elsewhere"),
        }
        self.floats.known.after(op, &self.block.block, ordinary);
    }

    pub(super) fn push_pair(&mut self, slot: Slot) {
        self.load_pair(slot);
        let local = self.pair_local(slot);
        self.code.put().local_get(local);
    }

    /// Takes the content of a pair from the stack.
    fn take_pair(&mut self, slot: Slot) {
        let local = self.pair_local(slot);
        self.code.put().local_set(local);
        self.state.set_pair(slot);
    }

    /// Writes the pairs that an operation names to memory, where it finds them.
    fn settle(&mut self, pairs: &[Slot]) {
        let (slots, pairs) = self.state.take_unsettled(pairs);
        self.store_slots(slots);
        self.store_pairs(pairs);
    }

    fn vector_load(&mut self, at: Value, len_bytes: u8, to: Slot, addr: Value) {
        if let Some(at) = self.push_window(at, addr) {
            load_vector(&mut self.code.put(), len_bytes, at);
            return self.take_pair(to);
        }
        let local = self.pair_local(to);
        let looked = self.look_up(len_bytes.into(), addr, Tag::Read, Demand::Inside, BlockType::Empty);
        self.push_linear(&looked);
        load_vector(&mut self.code.put(), len_bytes, unaligned());
        self.code.put().local_set(local);
        self.begin_miss();
        let site = VectorSite { op: 0, imm: len_bytes, slots: [to; 3] };
        self.rare_call_out(CallOut::VectorLoad, 0, |this| {
            this.code.put().local_get(looked.addr.local).i64_const(site.encode() as i64);
        });
        self.code.put().drop();
        self.reload_pair(to);
        self.end_access(looked);
        self.state.set_pair(to);
    }

    fn vector_store(&mut self, at: Value, len_bytes: u8, addr: Value, from: Slot) {
        self.load_pair(from);
        if let Some(at) = self.push_window(at, addr) {
            self.push_pair(from);
            return store_vector(&mut self.code.put(), len_bytes, at);
        }
        let looked = self.look_up(len_bytes.into(), addr, Tag::Write, Demand::Inside, BlockType::Empty);
        self.push_linear(&looked);
        self.push_pair(from);
        store_vector(&mut self.code.put(), len_bytes, unaligned());
        self.begin_miss();
        let site = VectorSite { op: 0, imm: len_bytes, slots: [from; 3] };
        self.rare_call_out(CallOut::VectorStore, 0, |this| {
            this.code.put().local_get(looked.addr.local).i64_const(site.encode() as i64);
        });
        self.code.put().drop();
        self.end_access(looked);
    }

    fn call_out_on(&mut self, call: CallOut, site: VectorSite, number: Option<u32>) {
        self.call_out(call, 0, |this| {
            match number {
                Some(local) => this.code.put().local_get(local),
                None => this.code.put().i64_const(0),
            };
            this.code.put().i64_const(site.encode() as i64);
        });
    }

    /// The same of an operation that is in line nearly always. It finds pairs in memory, and cannot fail.
    fn rare_call_out_on(&mut self, call: CallOut, site: VectorSite, number: Option<u32>) {
        self.store_pairs(self.state.dirty_pairs);
        self.call_out_on(call, site, number);
        self.reload_pairs();
    }

    /// Gives the form of the result if no number in it is subnormal.
    fn vector(&mut self, op: VectorOp, imm: u8, [to, a, b]: [Slot; 3]) -> Option<Form> {
        let site = VectorSite { op: op as u8, imm, slots: [to, a, b] };
        let operands = op.operands(imm, [to, a, b]);
        if op.is_float() {
            let in_line = |this: &mut Self| floats::vector(this, op, imm, [to, a, b]);
            let ordinary = self.in_line(&operands, BlockType::Empty, in_line, |this| {
                this.rare_call_out_on(CallOut::Vector, site, None);
                this.code.put().drop();
                this.reload_pair(to);
            });
            self.state.set_pair(to);
            return ordinary.flatten();
        }
        if self.push_vector(op, imm, [to, a, b]) {
            self.take_pair(to);
        } else {
            self.settle(&operands);
            self.call_out_on(CallOut::Vector, site, None);
            self.code.put().drop();
            self.state.forget_pair(to);
        }
        None
    }

    /// Pushes the result of an operation; false, and nothing is pushed, if that takes more than a few instructions.
    fn push_vector(&mut self, op: VectorOp, imm: u8, [to, a, b]: [Slot; 3]) -> bool {
        use VectorOp as V;
        let count = i32::from(imm);
        if let Some(bytes) = moved_bytes(op, imm) {
            match (bytes.iter().all(|at| *at >= 16), bytes == units(16, |_| 1)) {
                (_, true) => self.push_pair(b),
                (true, _) => {
                    self.push_pair(b);
                    self.push_pair(b);
                    self.code.put().i8x16_shuffle(bytes);
                }
                _ => {
                    self.push_pair(a);
                    self.push_pair(b);
                    self.code.put().i8x16_shuffle(bytes);
                }
            }
            return true;
        }
        if let Some(bytes) = shifted_bytes(op, imm) {
            self.push_pair(a);
            self.code.put().v128_const(0).i8x16_shuffle(bytes);
            return true;
        }
        if self.push_shift(op, count, a) || self.push_unary(op, b) || self.push_alone(op, b) {
            return true;
        }
        if op == V::Movq {
            self.code.put().v128_const(0);
            self.push_pair(b);
            self.code.put().f64x2_extract_lane(0).f64x2_replace_lane(0);
            return true;
        }
        // Nothing is pushed before it is known to be used.
        let put = |this: &mut Self, f: &dyn Fn(&mut wasm_encoder::InstructionSink<'_>)| {
            this.push_pair(a);
            this.push_pair(b);
            f(&mut this.code.put());
            true
        };
        macro_rules! binary {
            ($($op:ident => $name:ident,)*) => {
                match op {
                    $(V::$op => put(self, &|put| { put.$name(); }),)*
                    _ => self.push_longer(op, imm, [to, a, b]),
                }
            };
        }
        binary! {
            And => v128_and,
            Or => v128_or,
            Xor => v128_xor,
            Paddb => i8x16_add,
            Paddw => i16x8_add,
            Paddd => i32x4_add,
            Paddq => i64x2_add,
            Psubb => i8x16_sub,
            Psubw => i16x8_sub,
            Psubd => i32x4_sub,
            Psubq => i64x2_sub,
            Pcmpeqb => i8x16_eq,
            Pcmpeqw => i16x8_eq,
            Pcmpeqd => i32x4_eq,
            Pcmpeqq => i64x2_eq,
            Pcmpgtb => i8x16_gt_s,
            Pcmpgtw => i16x8_gt_s,
            Pcmpgtd => i32x4_gt_s,
            Pcmpgtq => i64x2_gt_s,
            Paddsb => i8x16_add_sat_s,
            Paddsw => i16x8_add_sat_s,
            Paddusb => i8x16_add_sat_u,
            Paddusw => i16x8_add_sat_u,
            Psubsb => i8x16_sub_sat_s,
            Psubsw => i16x8_sub_sat_s,
            Psubusb => i8x16_sub_sat_u,
            Psubusw => i16x8_sub_sat_u,
            Pmullw => i16x8_mul,
            Pmulld => i32x4_mul,
            Pmaddwd => i32x4_dot_i16x8_s,
            Pminsb => i8x16_min_s,
            Pminsw => i16x8_min_s,
            Pminsd => i32x4_min_s,
            Pminub => i8x16_min_u,
            Pminuw => i16x8_min_u,
            Pminud => i32x4_min_u,
            Pmaxsb => i8x16_max_s,
            Pmaxsw => i16x8_max_s,
            Pmaxsd => i32x4_max_s,
            Pmaxub => i8x16_max_u,
            Pmaxuw => i16x8_max_u,
            Pmaxud => i32x4_max_u,
            Pavgb => i8x16_avgr_u,
            Pavgw => i16x8_avgr_u,
            Packsswb => i8x16_narrow_i16x8_s,
            Packuswb => i8x16_narrow_i16x8_u,
            Packssdw => i16x8_narrow_i32x4_s,
            Packusdw => i16x8_narrow_i32x4_u,
        }
    }

    /// Shifts by a count that is known: one that reaches the width shifts everything out, which wasm's do not.
    fn push_shift(&mut self, op: VectorOp, count: i32, a: Slot) -> bool {
        use VectorOp as V;
        let width = match op {
            V::PsllwBy | V::PsrlwBy | V::PsrawBy => 16,
            V::PslldBy | V::PsrldBy | V::PsradBy => 32,
            V::PsllqBy | V::PsrlqBy => 64,
            _ => return false,
        };
        let signed = matches!(op, V::PsrawBy | V::PsradBy);
        if count >= width && !signed {
            self.code.put().v128_const(0);
            return true;
        }
        self.push_pair(a);
        let mut put = self.code.put();
        put.i32_const(count.min(width - 1));
        match op {
            V::PsllwBy => put.i16x8_shl(),
            V::PslldBy => put.i32x4_shl(),
            V::PsllqBy => put.i64x2_shl(),
            V::PsrlwBy => put.i16x8_shr_u(),
            V::PsrldBy => put.i32x4_shr_u(),
            V::PsrlqBy => put.i64x2_shr_u(),
            V::PsrawBy => put.i16x8_shr_s(),
            _ => put.i32x4_shr_s(),
        };
        true
    }

    /// Operations on `b` alone, by widening it step by step, or of its lanes' absolute values.
    fn push_unary(&mut self, op: VectorOp, b: Slot) -> bool {
        use VectorOp as V;
        if !matches!(
            op,
            V::Pabsb
                | V::Pabsw
                | V::Pabsd
                | V::Pmovsxbw
                | V::Pmovsxbd
                | V::Pmovsxbq
                | V::Pmovsxwd
                | V::Pmovsxwq
                | V::Pmovsxdq
                | V::Pmovzxbw
                | V::Pmovzxbd
                | V::Pmovzxbq
                | V::Pmovzxwd
                | V::Pmovzxwq
                | V::Pmovzxdq
        ) {
            return false;
        }
        self.push_pair(b);
        let mut put = self.code.put();
        match op {
            V::Pabsb => {
                put.i8x16_abs();
            }
            V::Pabsw => {
                put.i16x8_abs();
            }
            V::Pabsd => {
                put.i32x4_abs();
            }
            _ => {}
        }
        if matches!(op, V::Pmovsxbw | V::Pmovsxbd | V::Pmovsxbq) {
            put.i16x8_extend_low_i8x16_s();
        }
        if matches!(op, V::Pmovsxbd | V::Pmovsxbq | V::Pmovsxwd | V::Pmovsxwq) {
            put.i32x4_extend_low_i16x8_s();
        }
        if matches!(op, V::Pmovsxbq | V::Pmovsxwq | V::Pmovsxdq) {
            put.i64x2_extend_low_i32x4_s();
        }
        if matches!(op, V::Pmovzxbw | V::Pmovzxbd | V::Pmovzxbq) {
            put.i16x8_extend_low_i8x16_u();
        }
        if matches!(op, V::Pmovzxbd | V::Pmovzxbq | V::Pmovzxwd | V::Pmovzxwq) {
            put.i32x4_extend_low_i16x8_u();
        }
        if matches!(op, V::Pmovzxbq | V::Pmovzxwq | V::Pmovzxdq) {
            put.i64x2_extend_low_i32x4_u();
        }
        true
    }

    /// Moves of numbers that are alone in their pairs of slots, and changes of their sign.
    fn push_alone(&mut self, op: VectorOp, b: Slot) -> bool {
        use VectorOp as V;
        const NAN: i64 = (BOX | NAN_S as u64) as i64;
        match op {
            V::Box32 | V::FmoveS | V::FnegS | V::FabsS | V::FnegD | V::FabsD => {}
            _ => return false,
        }
        if let V::Box32 | V::FnegD | V::FabsD = op {
            const LOW: i128 = u64::MAX as i128;
            const SIGN: i128 = 1 << 63;
            self.push_pair(b);
            let mut put = self.code.put();
            match op {
                V::Box32 => put.v128_const(LOW).v128_and().v128_const(BOX.into()).v128_or(),
                V::FnegD => put.v128_const(LOW).v128_and().v128_const(SIGN).v128_xor(),
                _ => put.v128_const(LOW ^ SIGN).v128_and(),
            };
            return true;
        }
        self.load_pair(b);
        let (pair, low) = (self.pair_local(b), self.code.temporary(ValType::I64));
        let mut put = self.code.put();
        put.v128_const(0).local_get(pair).i64x2_extract_lane(0).local_tee(low);
        // What has a box is not less than it, as an unsigned number.
        put.i64_const(NAN).local_get(low).i64_const(BOX as i64).i64_ge_u().select();
        match op {
            V::FnegS => put.i64_const(1 << 31).i64_xor(),
            V::FabsS => put.i64_const(!(1 << 31)).i64_and(),
            _ => &mut put,
        };
        put.i64x2_replace_lane(0);
        self.code.release(low);
        true
    }

    /// As [`Self::vector`].
    fn vector_insert(&mut self, op: VectorInsert, imm: u8, to: Slot, value: Value) -> Option<Form> {
        if op.is_float() {
            let site = VectorSite { op: op as u8, imm, slots: [to; 3] };
            let held = self.hold_value(value);
            let destination = [to];
            let read: &[Slot] = if op.is_alone() { &[] } else { &destination };
            let in_line = |this: &mut Self| floats::insert(this, op, to, held.local);
            let ordinary = self.in_line(read, BlockType::Empty, in_line, |this| {
                this.rare_call_out_on(CallOut::VectorInsert, site, Some(held.local));
                this.code.put().drop();
                this.reload_pair(to);
            });
            self.state.set_pair(to);
            self.let_go(held);
            return ordinary.flatten();
        }
        match op {
            VectorInsert::Movd | VectorInsert::Movq => {
                self.code.put().v128_const(0);
            }
            _ => self.push_pair(to),
        }
        self.push_i64(value);
        let mut put = self.code.put();
        match op {
            VectorInsert::Movq => put.i64x2_replace_lane(0),
            VectorInsert::Pinsrq => put.i64x2_replace_lane(imm & 1),
            VectorInsert::Pinsrb => put.i32_wrap_i64().i8x16_replace_lane(imm & 15),
            VectorInsert::Pinsrw => put.i32_wrap_i64().i16x8_replace_lane(imm & 7),
            VectorInsert::Pinsrd => put.i32_wrap_i64().i32x4_replace_lane(imm & 3),
            _ => put.i32_wrap_i64().i32x4_replace_lane(0),
        };
        self.take_pair(to);
        None
    }

    fn vector_extract(&mut self, value: Value, op: VectorExtract, a: Slot, b: Slot) {
        match op {
            VectorExtract::Pmovmskb | VectorExtract::Movmskps | VectorExtract::Movmskpd => {
                self.push_pair(b);
                let mut put = self.code.put();
                match op {
                    VectorExtract::Pmovmskb => put.i8x16_bitmask(),
                    VectorExtract::Movmskps => put.i32x4_bitmask(),
                    _ => put.i64x2_bitmask(),
                };
                put.i64_extend_i32_u();
            }
            VectorExtract::Ptest => {
                self.push_pair(a);
                self.push_pair(b);
                self.code.put().v128_and().v128_any_true().i32_eqz().i64_extend_i32_u();
                self.code.put().i64_const(ZERO as i64).i64_mul();
                self.push_pair(b);
                self.push_pair(a);
                self.code.put().v128_andnot().v128_any_true().i32_eqz().i64_extend_i32_u();
                self.code.put().i64_const(CARRY as i64).i64_mul().i64_or();
            }
            _ => {
                let site = VectorSite { op: op as u8, imm: 0, slots: [a, b, b] };
                let in_line = |this: &mut Self| {
                    let number = floats::extract(this, op, a, b)?;
                    this.code.put().local_get(number);
                    Some(())
                };
                self.in_line(&[a, b], BlockType::Result(ValType::I64), in_line, |this| {
                    this.rare_call_out_on(CallOut::VectorExtract, site, None);
                });
            }
        }
        self.keep(value);
    }
}

fn load_vector(put: &mut InstructionSink<'_>, len_bytes: u8, at: MemArg) {
    match len_bytes {
        4 => put.v128_load32_zero(at),
        8 => put.v128_load64_zero(at),
        _ => put.v128_load(at),
    };
}

fn store_vector(put: &mut InstructionSink<'_>, len_bytes: u8, at: MemArg) {
    match len_bytes {
        // Not by the stores of lanes, of which hosts make more than one instruction.
        4 => put.f32x4_extract_lane(0).f32_store(at),
        8 => put.f64x2_extract_lane(0).f64_store(at),
        _ => put.v128_store(at),
    };
}
