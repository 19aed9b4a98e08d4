//! Operations on vectors, in the variables of pairs of slots: what is an instruction or two of every host is written in
//! line, the rest calls out and finds pairs in memory.

use super::function::Lowering;
use super::memory::guest;
use crate::emit::{Slot, VectorExtract, VectorInsert, VectorOp};
use crate::ir::block::{Op, Value};
use crate::ir::vector::boxed::{BOX, NAN_S};
use crate::lower::calls::{CallOut, VectorSite};
use crate::lower::floats::{self, Form};
use crate::lower::layout::{Demand, Tag};
use crate::lower::moves::{moved_bytes, shifted_bytes};
use cranelift_codegen::ir::{self as clif, InstBuilder, Type, condcodes::IntCC, types};

/// Lanes of a comparison or an addition.
fn lanes(op: VectorOp) -> Type {
    use VectorOp as V;
    match op {
        V::Paddw | V::Psubw | V::Pcmpeqw | V::Pcmpgtw | V::Pmullw | V::Pminsw | V::Pmaxsw => types::I16X8,
        V::Pminuw | V::Pmaxuw => types::I16X8,
        V::Paddd | V::Psubd | V::Pcmpeqd | V::Pcmpgtd | V::Pmulld | V::Pminsd | V::Pmaxsd => types::I32X4,
        V::Pminud | V::Pmaxud => types::I32X4,
        V::Paddq | V::Psubq | V::Pcmpeqq | V::Pcmpgtq => types::I64X2,
        _ => types::I8X16,
    }
}

impl Lowering<'_, '_> {
    /// Writes an operation on vectors.
    pub(super) fn vector_op(&mut self, value: Value, op: &Op) {
        let mut ordinary = None;
        match *op {
            Op::VectorLoad { len_bytes, to, addr } => self.vector_load(len_bytes, to, addr),
            Op::VectorStore { len_bytes, addr, from } => self.vector_store(len_bytes, addr, from),
            Op::Vector { op, imm, to, a, b } => ordinary = self.vector_to_vector(op, imm, [to, a, b]),
            Op::VectorInsert { op, imm, to, value } => ordinary = self.vector_insert(op, imm, to, value),
            Op::VectorExtract { op, a, b } => {
                let result = self.vector_extract(op, a, b);
                self.define(value, result);
            }
            _ => unreachable!("{op:?} is written elsewhere"),
        }
        self.floats.known.after(op, &self.block.block, ordinary);
    }

    /// A pair of slots as a vector.
    pub(super) fn pair(&mut self, ty: Type, slot: Slot) -> clif::Value {
        self.load_pair(slot);
        let variable = self.pair_variable(slot);
        let vector = self.build.use_var(variable);
        self.cast(ty, vector)
    }

    /// Writes the variable of a pair. What is known of the variables changes where this is done in every case.
    pub(super) fn define_pair(&mut self, slot: Slot, value: clif::Value) {
        let (variable, bytes) = (self.pair_variable(slot), self.cast(types::I8X16, value));
        self.build.def_var(variable, bytes);
    }

    fn set_pair(&mut self, slot: Slot, value: clif::Value) {
        self.define_pair(slot, value);
        self.state.set_pair(slot);
    }

    /// A number and zero as a vector.
    pub(super) fn beside_zero(&mut self, low: clif::Value) -> clif::Value {
        self.build.ins().scalar_to_vector(types::I64X2, low)
    }

    /// Writes the pairs that an operation names to memory, where it finds them.
    fn settle(&mut self, pairs: &[Slot]) {
        let (slots, pairs) = self.state.take_unsettled(pairs);
        self.store_slots(slots);
        self.store_pairs(pairs);
    }

    /// Gives the form of the result if no number in it is subnormal.
    fn vector_to_vector(&mut self, op: VectorOp, imm: u8, [to, a, b]: [Slot; 3]) -> Option<Form> {
        let site = VectorSite { op: op as u8, imm, slots: [to, a, b] };
        let operands = op.operands(imm, [to, a, b]);
        if op.is_float() {
            let in_line = |this: &mut Self| Some((floats::vector(this, op, imm, [to, a, b])?, None));
            let (written, _) = self.in_line(&operands, in_line, |this| {
                this.rare_call_out_on(CallOut::Vector, site, None);
                this.reload_pair(to);
                None
            });
            self.state.set_pair(to);
            return written.flatten();
        }
        if let Some(low) = self.alone(op, b) {
            let pair = self.beside_zero(low);
            self.set_pair(to, pair);
        } else if let Some(result) = self.vector(op, imm, [to, a, b]) {
            self.set_pair(to, result);
        } else {
            self.settle(&operands);
            self.call_out_on(CallOut::Vector, site, None);
            self.state.forget_pair(to);
        }
        None
    }

    /// As [`Self::vector_to_vector`].
    fn vector_insert(&mut self, op: VectorInsert, imm: u8, to: Slot, value: Value) -> Option<Form> {
        let number = self.value(value);
        let site = VectorSite { op: op as u8, imm, slots: [to; 3] };
        match op {
            op if op.is_float() => {
                let destination = [to];
                let read: &[Slot] = if op.is_alone() { &[] } else { &destination };
                let in_line = |this: &mut Self| Some((floats::insert(this, op, to, number)?, None));
                let (written, _) = self.in_line(read, in_line, |this| {
                    this.rare_call_out_on(CallOut::VectorInsert, site, Some(number));
                    this.reload_pair(to);
                    None
                });
                self.state.set_pair(to);
                return written.flatten();
            }
            VectorInsert::Movq => {
                let pair = self.beside_zero(number);
                self.set_pair(to, pair);
            }
            VectorInsert::Pinsrq => {
                let pair = self.pair(types::I64X2, to);
                let pair = self.build.ins().insertlane(pair, number, imm & 1);
                self.set_pair(to, pair);
            }
            _ => {
                self.settle(&[to]);
                self.call_out_on(CallOut::VectorInsert, site, Some(number));
                self.state.forget_pair(to);
            }
        }
        None
    }

    fn vector_extract(&mut self, op: VectorExtract, a: Slot, b: Slot) -> clif::Value {
        if op == VectorExtract::Pmovmskb {
            let b = self.pair(types::I8X16, b);
            let bits = self.build.ins().vhigh_bits(types::I32, b);
            return self.build.ins().uextend(types::I64, bits);
        }
        let site = VectorSite { op: op as u8, imm: 0, slots: [a, b, b] };
        let in_line = |this: &mut Self| Some(((), Some(floats::extract(this, op, a, b)?)));
        let (_, result) = self.in_line(&[a, b], in_line, |this| {
            Some(this.rare_call_out_on(CallOut::VectorExtract, site, None))
        });
        result.expect("both ways give a number")
    }

    /// The low half of the result of a move of a number that is alone in its pair of slots, or of a change of its sign;
    /// `None`, and nothing is written, if it is another operation.
    fn alone(&mut self, op: VectorOp, b: Slot) -> Option<clif::Value> {
        use VectorOp as V;
        if !matches!(op, V::Box32 | V::FmoveS | V::FnegS | V::FabsS | V::FnegD | V::FabsD) {
            return None;
        }
        let pair = self.pair(types::I64X2, b);
        let mut low = self.build.ins().extractlane(pair, 0);
        if matches!(op, V::FmoveS | V::FnegS | V::FabsS) {
            let (least, nan) = (self.number(BOX), self.number(BOX | u64::from(NAN_S)));
            let is_boxed = self.build.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, low, least);
            low = self.build.ins().select(is_boxed, low, nan);
        }
        let (change, number) = match op {
            V::Box32 => (V::Or, BOX),
            V::FnegS => (V::Xor, 1 << 31),
            V::FabsS => (V::And, !(1 << 31)),
            V::FnegD => (V::Xor, 1 << 63),
            V::FabsD => (V::And, !(1 << 63)),
            _ => return Some(low),
        };
        let number = self.number(number);
        Some(match change {
            V::Or => self.build.ins().bor(low, number),
            V::Xor => self.build.ins().bxor(low, number),
            _ => self.build.ins().band(low, number),
        })
    }

    fn call_out_on(&mut self, call: CallOut, site: VectorSite, number: Option<clif::Value>) -> clif::Value {
        let number = number.unwrap_or_else(|| self.number(0));
        let site = self.number(site.encode());
        self.call_out(call, 0, [number, site])
    }

    /// The same of an operation that is in line nearly always. It finds pairs in memory, and cannot fail.
    fn rare_call_out_on(
        &mut self,
        call: CallOut,
        site: VectorSite,
        number: Option<clif::Value>,
    ) -> clif::Value {
        self.store_pairs(self.state.dirty_pairs);
        let result = self.call_out_on(call, site, number);
        self.reload_pairs();
        result
    }

    fn vector_load(&mut self, len_bytes: u8, to: Slot, addr: Value) {
        let addr = self.value(addr);
        self.access(
            (len_bytes.into(), Tag::Read, Demand::Inside),
            addr,
            |this, host| {
                let ins = this.build.ins();
                let vector = match len_bytes {
                    4 => {
                        let low = ins.uload32(guest(), host, 0);
                        this.beside_zero(low)
                    }
                    8 => {
                        let low = ins.load(types::I64, guest(), host, 0);
                        this.beside_zero(low)
                    }
                    _ => ins.load(types::I8X16, guest(), host, 0),
                };
                this.define_pair(to, vector);
                this.number(0)
            },
            |this| {
                let site = VectorSite { op: 0, imm: len_bytes, slots: [to; 3] };
                let result = this.call_out_on(CallOut::VectorLoad, site, Some(addr));
                this.reload_pair(to);
                result
            },
        );
        self.state.set_pair(to);
    }

    fn vector_store(&mut self, len_bytes: u8, addr: Value, from: Slot) {
        let addr = self.value(addr);
        let vector = self.pair(types::I64X2, from);
        self.access(
            (len_bytes.into(), Tag::Write, Demand::Inside),
            addr,
            |this, host| {
                match len_bytes {
                    4 => {
                        let low = this.build.ins().extractlane(vector, 0);
                        this.build.ins().istore32(guest(), low, host, 0);
                    }
                    8 => {
                        let low = this.build.ins().extractlane(vector, 0);
                        this.build.ins().store(guest(), low, host, 0);
                    }
                    _ => {
                        this.build.ins().store(guest(), vector, host, 0);
                    }
                }
                this.number(0)
            },
            |this| {
                let site = VectorSite { op: 0, imm: len_bytes, slots: [from; 3] };
                this.call_out_on(CallOut::VectorStore, site, Some(addr))
            },
        );
    }

    fn constant(&mut self, bytes: [u8; 16]) -> clif::Value {
        let constant = self.build.func.dfg.constants.insert(bytes.to_vec().into());
        self.build.ins().vconst(types::I8X16, constant)
    }

    pub(super) fn shuffle(&mut self, a: clif::Value, b: clif::Value, bytes: [u8; 16]) -> clif::Value {
        let places = self.build.func.dfg.immediates.push(bytes.to_vec().into());
        self.build.ins().shuffle(a, b, places)
    }

    /// The result of an operation; `None`, and nothing is written, if it is to call out.
    fn vector(&mut self, op: VectorOp, imm: u8, [to, a, b]: [Slot; 3]) -> Option<clif::Value> {
        use VectorOp as V;
        if let Some(bytes) = moved_bytes(op, imm) {
            let [a, b] = [a, b].map(|slot| self.pair(types::I8X16, slot));
            return Some(self.shuffle(a, b, bytes));
        }
        if let Some(bytes) = shifted_bytes(op, imm) {
            let (a, zero) = (self.pair(types::I8X16, a), self.constant([0; 16]));
            return Some(self.shuffle(a, zero, bytes));
        }
        let blended = match op {
            V::Pblendvb => Some(types::I8X16),
            V::Blendvps => Some(types::I32X4),
            V::Blendvpd => Some(types::I64X2),
            _ => None,
        };
        if let Some(lanes) = blended {
            let [rest, a, b] = [to, a, b].map(|slot| self.pair(lanes, slot));
            let zeros = self.constant([0; 16]);
            let zeros = self.cast(lanes, zeros);
            let negative = self.build.ins().icmp(IntCC::SignedLessThan, b, zeros);
            let result = self.build.ins().bitselect(negative, a, rest);
            return Some(self.cast(types::I8X16, result));
        }
        if !matches!(
            op,
            V::And
                | V::Andn
                | V::Or
                | V::Xor
                | V::Paddb
                | V::Paddw
                | V::Paddd
                | V::Paddq
                | V::Psubb
                | V::Psubw
                | V::Psubd
                | V::Psubq
                | V::Pcmpeqb
                | V::Pcmpeqw
                | V::Pcmpeqd
                | V::Pcmpeqq
                | V::Pcmpgtb
                | V::Pcmpgtw
                | V::Pcmpgtd
                | V::Pcmpgtq
                | V::Pmullw
                | V::Pmulld
                | V::Pminsb
                | V::Pminsw
                | V::Pminsd
                | V::Pminub
                | V::Pminuw
                | V::Pminud
                | V::Pmaxsb
                | V::Pmaxsw
                | V::Pmaxsd
                | V::Pmaxub
                | V::Pmaxuw
                | V::Pmaxud
        ) {
            return None;
        }
        let lanes = lanes(op);
        let [a, b] = [a, b].map(|slot| self.pair(lanes, slot));
        let ins = self.build.ins();
        let result = match op {
            V::And => ins.band(a, b),
            V::Andn => ins.band_not(b, a),
            V::Or => ins.bor(a, b),
            V::Xor => ins.bxor(a, b),
            V::Paddb | V::Paddw | V::Paddd | V::Paddq => ins.iadd(a, b),
            V::Psubb | V::Psubw | V::Psubd | V::Psubq => ins.isub(a, b),
            V::Pcmpeqb | V::Pcmpeqw | V::Pcmpeqd | V::Pcmpeqq => ins.icmp(IntCC::Equal, a, b),
            V::Pcmpgtb | V::Pcmpgtw | V::Pcmpgtd | V::Pcmpgtq => ins.icmp(IntCC::SignedGreaterThan, a, b),
            V::Pmullw | V::Pmulld => ins.imul(a, b),
            V::Pminsb | V::Pminsw | V::Pminsd => ins.smin(a, b),
            V::Pminub | V::Pminuw | V::Pminud => ins.umin(a, b),
            V::Pmaxsb | V::Pmaxsw | V::Pmaxsd => ins.smax(a, b),
            _ => ins.umax(a, b),
        };
        Some(self.cast(types::I8X16, result))
    }
}
