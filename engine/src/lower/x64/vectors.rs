//! Operations on vectors: an instruction each, on the registers that are homes of pairs of slots or on slots in memory.
//! XMM0 to XMM2 hold nothing between operations.

use super::asm::{Alu, Xmm, XmmRm};
use super::block::Emitter;
use super::cold::Access;
use super::encodings::{Encoding, Form, Outcome, encoding, extract_encoding, insert_encoding};
use super::slot;
use crate::addr::Width::{W32, W64};
use crate::emit::{Slot, VectorExtract, VectorInsert, VectorOp};
use crate::ir::block::{Op, Value};
use crate::ir::vector::{CARRY, PARITY, ZERO};
use crate::lower::x64::asm::{Asm, Reg};

const XMM0: Xmm = Xmm(0);
const XMM1: Xmm = Xmm(1);

/// MOVAPS between registers and slots.
pub(super) fn read_vector(asm: &mut Asm, to: Xmm, from: impl Into<XmmRm>) {
    asm.sse(None, &[0x0f, 0x28], to, from);
}

/// MOVAPS to slots.
pub(super) fn write_vector(asm: &mut Asm, to: Slot, from: Xmm) {
    asm.sse(None, &[0x0f, 0x29], from, slot(to));
}

impl Emitter<'_> {
    /// Where a pair of slots is.
    pub(super) fn vector_rm(&self, of: Slot) -> XmmRm {
        match self.plan.vector_home(of) {
            Some(home) => home.into(),
            None => slot(of).into(),
        }
    }

    /// A register that holds a pair of slots: its home, or `temp`.
    pub(super) fn vector_in(&mut self, of: Slot, temp: Xmm) -> Xmm {
        match self.plan.vector_home(of) {
            Some(home) => home,
            None => {
                read_vector(self.asm, temp, slot(of));
                temp
            }
        }
    }

    /// A pair of slots becomes what is in a register.
    pub(super) fn vector_done(&mut self, to: Slot, from: Xmm) {
        match self.plan.vector_home(to) {
            Some(home) if home == from => {}
            Some(home) => read_vector(self.asm, home, from),
            None => write_vector(self.asm, to, from),
        }
    }

    fn sse(&mut self, encoding: Encoding, imm: u8, to: Xmm, from: impl Into<XmmRm>) {
        self.asm.sse(encoding.prefix, encoding.opcode, to, from);
        if let Some(mask) = encoding.imm {
            self.asm.trailing(imm & mask);
        }
    }

    pub(super) fn vector(&mut self, v: Value, op: VectorOp, imm: u8, [to, a, b]: [Slot; 3]) {
        if op.is_alone() {
            return self.alone(v, op, imm, [to, a, b]);
        }
        let encoding = encoding(op);
        if !self.features.have(encoding.needs) {
            return self.call_out(v, &Op::Vector { op, imm, to, a, b }, &[]);
        }
        let home = self.plan.vector_home(to);
        let work = match encoding.form {
            Form::One => {
                let work = home.unwrap_or(XMM0);
                let from = self.vector_rm(b);
                self.sse(encoding, imm, work, from);
                work
            }
            Form::Implicit => {
                read_vector_rm(self.asm, XMM0, self.plan.vector_home(b), b);
                let work = self.vector_in(to, XMM1);
                let from = self.vector_rm(a);
                self.sse(encoding, imm, work, from);
                work
            }
            Form::Two | Form::TwoRegisters | Form::Shift(_) => {
                // The destination may be computed in place unless that overwrites the second operand.
                let work = home.filter(|_| a == to || b != to).unwrap_or(XMM0);
                if home != Some(work) || a != to {
                    read_vector_rm(self.asm, work, self.plan.vector_home(a), a);
                }
                match encoding.form {
                    Form::Shift(number) => self.sse(encoding, imm, Xmm(number), work),
                    Form::TwoRegisters => {
                        let from = self.vector_in(b, XMM1);
                        self.sse(encoding, imm, work, from);
                    }
                    _ => {
                        let from = self.vector_rm(b);
                        self.sse(encoding, imm, work, from);
                    }
                }
                work
            }
        };
        self.vector_done(to, work);
    }

    pub(super) fn vector_insert(&mut self, v: Value, op: VectorInsert, imm: u8, to: Slot, value: Value) {
        if op.is_alone() {
            return self.alone_from_integer(op, to, value);
        }
        let (encoding, wide) = insert_encoding(op);
        if !self.features.have(encoding.needs) {
            return self.call_out(v, &Op::VectorInsert { op, imm, to, value }, &[value]);
        }
        let from = self.fetch(value);
        let work = match encoding.form {
            Form::One => self.plan.vector_home(to).unwrap_or(XMM0),
            _ => self.vector_in(to, XMM0),
        };
        if wide {
            self.asm.sse_wide(encoding.prefix, encoding.opcode, work, from);
        } else {
            self.asm.sse(encoding.prefix, encoding.opcode, work, from);
        }
        if let Some(mask) = encoding.imm {
            self.asm.trailing(imm & mask);
        }
        self.vector_done(to, work);
        self.release_operands(&[value]);
    }

    pub(super) fn vector_extract(&mut self, v: Value, op: VectorExtract, a: Slot, b: Slot) {
        if op.is_alone() {
            return self.alone_to_number(v, op, a, b);
        }
        let (encoding, outcome) = extract_encoding(op);
        if !self.features.have(encoding.needs) {
            return self.call_out(v, &Op::VectorExtract { op, a, b }, &[]);
        }
        let to = self.result_register(v);
        // A number that nobody uses raises flags all the same.
        let target = Xmm(to.unwrap_or(Reg::RAX).0);
        match outcome {
            Outcome::Number { wide: true } => {
                let from = self.vector_rm(b);
                self.asm.sse_wide(encoding.prefix, encoding.opcode, target, from);
            }
            Outcome::Number { wide: false } => {
                self.set_bits(v, 32);
                let from = self.vector_rm(b);
                self.sse(encoding, 0, target, from);
            }
            Outcome::OfRegister => {
                self.set_bits(v, 16);
                let from = self.vector_in(b, XMM0);
                self.sse(encoding, 0, target, from);
            }
            Outcome::Flags => {
                self.set_bits(v, 7);
                let first = self.vector_in(a, XMM0);
                let from = self.vector_rm(b);
                self.sse(encoding, 0, first, from);
                if let Some(to) = to {
                    self.asm.flags_byte();
                    self.asm.alu_imm(Alu::And, W32, Reg::RAX, (CARRY | PARITY | ZERO) as i32);
                    self.asm.mov32(to, Reg::RAX);
                }
            }
        }
        if let Some(to) = to {
            self.define(v, to);
        }
    }

    pub(super) fn vector_load(&mut self, op: &Op, len_bytes: u8, to: Slot, addr: Value) {
        let address = self.address(addr);
        let work = self.plan.vector_home(to).unwrap_or(XMM0);
        let back = self.access(op, address, Access::LoadVector { len_bytes, to: work }, &[]);
        self.vector_done(to, work);
        self.asm.bind(back);
        self.release_address(addr);
    }

    pub(super) fn vector_store(&mut self, op: &Op, len_bytes: u8, addr: Value, from: Slot) {
        let address = self.address(addr);
        let from = self.vector_in(from, XMM0);
        let back = self.access(op, address, Access::StoreVector { len_bytes, from }, &[]);
        self.asm.bind(back);
        self.release_address(addr);
    }

    pub(super) fn float_environment(&mut self, v: Value) {
        let to = self.dest(v, None);
        match self.request.float_environment {
            Some(environment) => {
                self.asm.store_mxcsr(slot(environment));
                self.asm.load(W64, to, slot(environment));
            }
            None => self.asm.mov_imm(to, 0),
        }
        self.define(v, to);
    }

    /// Half of a vector as a value, where the vector has a home.
    pub(super) fn get_half(&mut self, v: Value, home: Xmm, high: bool) {
        let to = self.dest(v, None);
        let mut from = home;
        if high {
            self.asm.sse(Some(0x66), &[0x0f, 0x70], XMM0, home);
            self.asm.trailing(0b11_10_11_10);
            from = XMM0;
        }
        self.asm.sse_wide(Some(0x66), &[0x0f, 0x7e], from, to);
        self.define(v, to);
    }

    /// Writes half of a vector, where the vector has a home.
    pub(super) fn set_half(&mut self, home: Xmm, high: bool, value: Value) {
        let from = self.fetch(value);
        self.asm.sse_wide(Some(0x66), &[0x0f, 0x6e], XMM0, from);
        if high {
            self.asm.sse(Some(0x66), &[0x0f, 0x6c], home, XMM0);
        } else {
            self.asm.sse(Some(0xf2), &[0x0f, 0x10], home, XMM0);
        }
    }
}

/// Reads a pair of slots, wherever it is.
pub(super) fn read_vector_rm(asm: &mut Asm, to: Xmm, home: Option<Xmm>, from: Slot) {
    match home {
        Some(home) => read_vector(asm, to, home),
        None => read_vector(asm, to, slot(from)),
    }
}
