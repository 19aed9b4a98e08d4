//! Operations on floating-point numbers that are alone in their registers ([`crate::ir::vector::boxed`]): an instruction of
//! the processor each, where its result is what is wanted. What rarely happens is found behind it and stands elsewhere: a NaN
//! is replaced by the canonical one, and whatever else differs is done by a call-out, from the operands, once more.

use super::asm::{Alu, Cc, Label, Mem, Reg, Shift, Xmm, XmmRm};
use super::block::Emitter;
use super::encodings::encoding;
use super::slot;
use super::vectors::read_vector_rm;
use crate::addr::Width::{W32, W64};
use crate::emit::{Slot, VectorExtract, VectorInsert, VectorOp};
use crate::ir::block::{Op, Value};
use crate::ir::vector::boxed::{BOX, NAN_D, NAN_S};

const XMM0: Xmm = Xmm(0);
const XMM1: Xmm = Xmm(1);
/// The sign of a single.
const SIGN_S: u64 = 1 << 31;
/// The sign of a double.
const SIGN_D: u64 = 1 << 63;

/// The prefix of scalar instructions.
const fn scalar(single: bool) -> Option<u8> {
    Some(if single { 0xf3 } else { 0xf2 })
}

/// The prefix of UCOMIS.
const fn packed(single: bool) -> Option<u8> {
    if single { None } else { Some(0x66) }
}

/// The canonical NaN in a register.
const fn nan(single: bool) -> u64 {
    if single { NAN_S as u64 | BOX } else { NAN_D }
}

/// An integer that a number is converted to.
#[derive(Clone, Copy)]
struct Integer {
    truncates: bool,
    wide: bool,
    /// For unsigned ones, the first number of the format that is not converted in line, as bits.
    beyond: Option<u64>,
}

impl Emitter<'_> {
    pub(super) fn alone(&mut self, v: Value, op: VectorOp, imm: u8, [to, a, b]: [Slot; 3]) {
        use VectorOp as V;
        let whole = Op::Vector { op, imm, to, a, b };
        match op {
            V::FaddS | V::FsubS | V::FmulS | V::FdivS => self.arithmetic(&whole, op, true, [to, a, b]),
            V::FaddD | V::FsubD | V::FmulD | V::FdivD => self.arithmetic(&whole, op, false, [to, a, b]),
            V::FmaddS | V::FmsubS | V::FnmsubS | V::FnmaddS => {
                self.fused(v, &whole, op, true, [to, a, b, Slot(imm)]);
            }
            V::FmaddD | V::FmsubD | V::FnmsubD | V::FnmaddD => {
                self.fused(v, &whole, op, false, [to, a, b, Slot(imm)]);
            }
            V::FminS | V::FmaxS => self.extremum(&whole, op, true, [to, a, b]),
            V::FminD | V::FmaxD => self.extremum(&whole, op, false, [to, a, b]),
            V::FsqrtS => self.of_one(&whole, op, [true, true], to, b),
            V::FsqrtD => self.of_one(&whole, op, [false, false], to, b),
            V::FcvtDS => self.of_one(&whole, op, [true, false], to, b),
            V::FcvtSD => self.of_one(&whole, op, [false, true], to, b),
            V::Box32 => {
                let work = self.work_on(to, b);
                self.put_into_box(work);
                self.vector_done(to, work);
            }
            V::FmoveS => self.with_sign(to, b, None, nan(true)),
            V::FnegS => self.with_sign(to, b, Some((0x57, SIGN_S)), nan(true) ^ SIGN_S),
            V::FabsS => self.with_sign(to, b, Some((0x54, !SIGN_S)), nan(true)),
            V::FnegD => self.with_sign_bit(to, b, 0x57, SIGN_D),
            V::FabsD => self.with_sign_bit(to, b, 0x54, !SIGN_D),
            _ => unreachable!("{} is written elsewhere", op.name()),
        }
    }

    /// A register with a copy of what is in a pair of slots, in which the new content of one is computed.
    fn work_on(&mut self, to: Slot, from: Slot) -> Xmm {
        let (work, home) = (self.plan.vector_home(to).unwrap_or(XMM0), self.plan.vector_home(from));
        if home != Some(work) {
            read_vector_rm(self.asm, work, home, from);
        }
        work
    }

    /// Looks for the box of a single, unless it is known to have one; without it goes to a label. Whether it looks.
    fn look_for_box(&mut self, of: Slot, cold: Label) -> bool {
        if self.boxed.contains(of) {
            return false;
        }
        match self.plan.vector_home(of) {
            Some(home) => self.box_of_register(home),
            None => {
                let place = slot(of);
                self.asm.alu_imm(Alu::Cmp, W32, Mem { disp: place.disp + 4, ..place }, -1);
            }
        }
        self.asm.jcc(Cc::NE, cold);
        true
    }

    /// Compares the bits above a single with those of a box.
    fn box_of_register(&mut self, register: Xmm) {
        self.asm.sse_wide(Some(0x66), &[0x0f, 0x7e], register, Reg::RAX);
        self.asm.shift_imm(Shift::Sar, W64, Reg::RAX, 32);
        self.asm.alu_imm(Alu::Cmp, W32, Reg::RAX, -1);
    }

    /// The same for each operand. Whether it looks for any.
    fn look_for_boxes(&mut self, operands: &[Slot], cold: Label) -> bool {
        let mut any = false;
        for (at, &operand) in operands.iter().enumerate() {
            any |= !operands[..at].contains(&operand) && self.look_for_box(operand, cold);
        }
        any
    }

    /// Ones above the low 32 bits of a register's low half, zeros in its high half.
    fn put_into_box(&mut self, work: Xmm) {
        self.asm.sse(Some(0x66), &[0x0f, 0x76], XMM1, XMM1);
        self.asm.sse(Some(0x66), &[0x0f, 0x62], work, XMM1);
        self.asm.sse(Some(0xf3), &[0x0f, 0x7e], work, work);
    }

    fn compare_quietly(&mut self, single: bool, a: Xmm, b: impl Into<XmmRm>) {
        self.asm.sse(packed(single), &[0x0f, 0x2e], a, b);
    }

    /// A NaN in a register becomes the canonical one.
    fn canonical(&mut self, single: bool, work: Xmm) {
        self.compare_quietly(single, work, work);
        let cold = self.asm.label();
        self.asm.jcc(Cc::P, cold);
        let back = self.fix(cold, work, nan(single));
        self.asm.bind(back);
    }

    /// What a label leads to is done by a call-out, which does all that the operation does.
    fn redo(&mut self, whole: &Op, operands: &[Value], result: Option<Reg>, cold: Label) {
        let site = self.site(whole, operands, result);
        let back = self.cold(cold, site);
        self.asm.bind(back);
    }

    fn arithmetic(&mut self, whole: &Op, op: VectorOp, single: bool, [to, a, b]: [Slot; 3]) {
        let cold = self.asm.label();
        let looks = single && self.look_for_boxes(&[a, b], cold);
        // Computed in place unless that overwrites the second operand.
        let home = self.plan.vector_home(to);
        let work = home.filter(|_| a == to || b != to).unwrap_or(XMM0);
        if home != Some(work) || a != to {
            read_vector_rm(self.asm, work, self.plan.vector_home(a), a);
        }
        let from = self.vector_rm(b);
        self.asm.sse(scalar(single), encoding(op).opcode, work, from);
        self.canonical(single, work);
        self.vector_done(to, work);
        if looks {
            self.redo(whole, &[], None, cold);
        }
    }

    /// Operations of `b` alone; `singles` says whether it and the result are such.
    fn of_one(&mut self, whole: &Op, op: VectorOp, singles: [bool; 2], to: Slot, b: Slot) {
        let cold = self.asm.label();
        let looks = singles[0] && self.look_for_boxes(&[b], cold);
        let work = self.work_on(to, b);
        self.asm.sse(scalar(singles[0]), encoding(op).opcode, work, work);
        if singles == [false, true] {
            self.put_into_box(work);
        }
        self.canonical(singles[1], work);
        self.vector_done(to, work);
        if looks {
            self.redo(whole, &[], None, cold);
        }
    }

    /// A NaN is looked at once more: for what an infinity times zero plus a NaN raises.
    fn fused(&mut self, v: Value, whole: &Op, op: VectorOp, single: bool, [to, a, b, c]: [Slot; 4]) {
        if !self.features.fma {
            return self.call_out(v, whole, &[]);
        }
        let opcode = match op {
            VectorOp::FmaddS | VectorOp::FmaddD => 0xb9,
            VectorOp::FmsubS | VectorOp::FmsubD => 0xbb,
            VectorOp::FnmsubS | VectorOp::FnmsubD => 0xbd,
            _ => 0xbf,
        };
        let cold = self.asm.label();
        if single {
            self.look_for_boxes(&[a, b, c], cold);
        }
        read_vector_rm(self.asm, XMM0, self.plan.vector_home(c), c);
        let first = self.vector_in(a, XMM1);
        let second = self.vector_rm(b);
        self.asm.fused(!single, opcode, XMM0, first, second);
        self.compare_quietly(single, XMM0, XMM0);
        self.asm.jcc(Cc::P, cold);
        self.vector_done(to, XMM0);
        self.redo(whole, &[], None, cold);
    }

    /// The processor gives the second one of equal numbers, which may be zeros of different signs.
    fn extremum(&mut self, whole: &Op, op: VectorOp, single: bool, [to, a, b]: [Slot; 3]) {
        let is_least = matches!(op, VectorOp::FminS | VectorOp::FminD);
        let (cold, differ, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        if single {
            self.look_for_boxes(&[a, b], cold);
        }
        read_vector_rm(self.asm, XMM0, self.plan.vector_home(a), a);
        let second = self.vector_rm(b);
        self.compare_quietly(single, XMM0, second);
        self.asm.jcc(Cc::P, cold);
        self.asm.jcc(Cc::NE, differ);
        // A negative zero is the lesser one.
        let second = self.vector_rm(b);
        self.asm.sse(None, if is_least { &[0x0f, 0x56] } else { &[0x0f, 0x54] }, XMM0, second);
        self.asm.jmp(done);
        self.asm.bind(differ);
        let second = self.vector_rm(b);
        self.asm.sse(scalar(single), encoding(op).opcode, XMM0, second);
        self.asm.bind(done);
        self.vector_done(to, XMM0);
        self.redo(whole, &[], None, cold);
    }

    /// A single, perhaps with its sign changed by a bitwise operation with a number; what has no box becomes `otherwise`.
    fn with_sign(&mut self, to: Slot, b: Slot, change: Option<(u8, u64)>, otherwise: u64) {
        let work = self.work_on(to, b);
        let mut back = None;
        if !self.boxed.contains(b) {
            self.box_of_register(work);
            let cold = self.asm.label();
            self.asm.jcc(Cc::NE, cold);
            back = Some(self.fix(cold, work, otherwise));
        }
        if let Some((opcode, number)) = change {
            self.bitwise(work, opcode, number);
        }
        if let Some(back) = back {
            self.asm.bind(back);
        }
        self.vector_done(to, work);
    }

    /// The same of a double.
    fn with_sign_bit(&mut self, to: Slot, b: Slot, opcode: u8, number: u64) {
        let work = self.work_on(to, b);
        self.bitwise(work, opcode, number);
        self.vector_done(to, work);
    }

    /// A bitwise operation with a number in the low half and zeros in the high one.
    fn bitwise(&mut self, work: Xmm, opcode: u8, number: u64) {
        self.asm.mov_imm(Reg::RAX, number);
        self.asm.sse_wide(Some(0x66), &[0x0f, 0x6e], XMM1, Reg::RAX);
        self.asm.sse(None, &[0x0f, opcode], work, XMM1);
    }

    pub(super) fn alone_from_integer(&mut self, op: VectorInsert, to: Slot, value: Value) {
        use VectorInsert as V;
        let single = matches!(op, V::FcvtSL | V::FcvtSLu);
        let is_unsigned = matches!(op, V::FcvtSLu | V::FcvtDLu);
        let from = self.fetch(value);
        let work = self.plan.vector_home(to).unwrap_or(XMM0);
        let cold = self.asm.label();
        if is_unsigned {
            self.asm.test(W64, from, from);
            self.asm.jcc(Cc::S, cold);
        }
        // Nothing is left of the old content.
        self.asm.sse(None, &[0x0f, 0x57], work, work);
        self.asm.sse_wide(scalar(single), &[0x0f, 0x2a], work, from);
        if single {
            self.put_into_box(work);
        }
        self.vector_done(to, work);
        if is_unsigned {
            self.redo(&Op::VectorInsert { op, imm: 0, to, value }, &[value], None, cold);
        }
        self.release_operands(&[value]);
    }

    pub(super) fn alone_to_number(&mut self, v: Value, op: VectorExtract, a: Slot, b: Slot) {
        use VectorExtract as V;
        let whole = Op::VectorExtract { op, a, b };
        let integer = |truncates, wide| Integer { truncates, wide, beyond: None };
        // 2^32 and 2^63 in both formats.
        let unsigned = |wide, beyond| Integer { truncates: true, wide, beyond: Some(beyond) };
        match op {
            V::FeqS => self.comparison(v, &whole, true, 0, [a, b]),
            V::FeqD => self.comparison(v, &whole, false, 0, [a, b]),
            V::FltS => self.comparison(v, &whole, true, 1, [a, b]),
            V::FltD => self.comparison(v, &whole, false, 1, [a, b]),
            V::FleS => self.comparison(v, &whole, true, 2, [a, b]),
            V::FleD => self.comparison(v, &whole, false, 2, [a, b]),
            V::FcvtWS => self.rounded_to_integer(v, &whole, true, integer(false, false), b),
            V::FcvtWD => self.rounded_to_integer(v, &whole, false, integer(false, false), b),
            V::FcvtLS => self.rounded_to_integer(v, &whole, true, integer(false, true), b),
            V::FcvtLD => self.rounded_to_integer(v, &whole, false, integer(false, true), b),
            V::FtruncWS => self.rounded_to_integer(v, &whole, true, integer(true, false), b),
            V::FtruncWD => self.rounded_to_integer(v, &whole, false, integer(true, false), b),
            V::FtruncLS => self.rounded_to_integer(v, &whole, true, integer(true, true), b),
            V::FtruncLD => self.rounded_to_integer(v, &whole, false, integer(true, true), b),
            V::FtruncWuS => self.rounded_to_integer(v, &whole, true, unsigned(false, 0x4f80_0000), b),
            V::FtruncWuD => {
                self.rounded_to_integer(v, &whole, false, unsigned(false, 0x41f0_0000_0000_0000), b)
            }
            V::FtruncLuS => self.rounded_to_integer(v, &whole, true, unsigned(true, 0x5f00_0000), b),
            V::FtruncLuD => {
                self.rounded_to_integer(v, &whole, false, unsigned(true, 0x43e0_0000_0000_0000), b)
            }
            _ => unreachable!("{} is written elsewhere", op.name()),
        }
    }

    /// CMPSS and CMPSD with a predicate: equal, which is quiet, less, less or equal, which are not.
    fn comparison(&mut self, v: Value, whole: &Op, single: bool, predicate: u8, [a, b]: [Slot; 2]) {
        self.set_bits(v, 1);
        let to = self.result_register(v);
        let cold = self.asm.label();
        let looks = single && self.look_for_boxes(&[a, b], cold);
        read_vector_rm(self.asm, XMM0, self.plan.vector_home(a), a);
        let second = self.vector_rm(b);
        self.asm.sse(scalar(single), &[0x0f, 0xc2], XMM0, second);
        self.asm.trailing(predicate);
        if let Some(to) = to {
            self.asm.sse(Some(0x66), &[0x0f, 0x7e], XMM0, to);
            self.asm.alu_imm(Alu::And, W32, to, 1);
        }
        if looks {
            self.redo(whole, &[], to, cold);
        }
        if let Some(to) = to {
            self.define(v, to);
        }
    }

    /// The processor gives the least number for whatever is invalid.
    fn rounded_to_integer(&mut self, v: Value, whole: &Op, single: bool, integer: Integer, b: Slot) {
        let Integer { truncates, wide, beyond } = integer;
        self.set_bits(v, if wide { 64 } else { 32 });
        let to = self.result_register(v);
        let target = to.unwrap_or(Reg::RCX);
        let cold = self.asm.label();
        let looks = single && self.look_for_boxes(&[b], cold);
        let from = self.vector_in(b, XMM0);
        if let Some(beyond) = beyond {
            // Negative numbers and NaNs are beyond, too, as unsigned bits.
            self.asm.mov_imm(Reg::RCX, beyond);
            if single {
                self.asm.sse(Some(0x66), &[0x0f, 0x7e], from, Reg::RAX);
            } else {
                self.asm.sse_wide(Some(0x66), &[0x0f, 0x7e], from, Reg::RAX);
            }
            self.asm.alu(Alu::Cmp, W64, Reg::RAX, Reg::RCX);
            self.asm.jcc(Cc::AE, cold);
        }
        let opcode: &[u8] = if truncates { &[0x0f, 0x2c] } else { &[0x0f, 0x2d] };
        if wide || beyond.is_some() {
            self.asm.sse_wide(scalar(single), opcode, Xmm(target.0), from);
        } else {
            self.asm.sse(scalar(single), opcode, Xmm(target.0), from);
        }
        let may_be_invalid = beyond.is_none();
        if may_be_invalid {
            // Only the least number less one overflows.
            self.asm.alu_imm(Alu::Cmp, if wide { W64 } else { W32 }, target, 1);
            self.asm.jcc(Cc::O, cold);
        }
        if looks || beyond.is_some() || may_be_invalid {
            self.redo(whole, &[], to, cold);
        }
        if let Some(to) = to {
            self.define(v, to);
        }
    }
}

impl Emitter<'_> {
    /// Has a register of vectors get a number and zeros where a label leads to; gives the label of where to go on.
    fn fix(&mut self, cold: Label, register: Xmm, number: u64) -> Label {
        let back = self.asm.label();
        self.add_fix(super::cold::Fix { label: cold, register, number, back });
        back
    }
}
