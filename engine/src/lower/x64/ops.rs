//! Operations that compute: what `ir::eval` says, in x86-64 instructions.

use super::asm::{Alu, Cc, Group3, Mem, Reg, Rm, Shift};
use super::block::{Emitter, common_bits};
use crate::addr::Width::{self, W8, W16, W32, W64};
use crate::emit::{Binary, Cond, Unary};
use crate::guest::{HelperFunction, HelperId};
use crate::ir::block::{Op, Value};

/// The width that an operation is carried out in: bytes and words as 32 bits, for whose upper half nobody asks.
fn carried_out_in(w: Width) -> Width {
    w.max(W32)
}

/// Which condition of the flags a comparison asks for.
fn condition_code(cond: Cond) -> Cc {
    match cond {
        Cond::Eq => Cc::E,
        Cond::Ne => Cc::NE,
        Cond::LtS => Cc::L,
        Cond::LtU => Cc::B,
        Cond::GeS => Cc::GE,
        Cond::GeU => Cc::AE,
    }
}

/// The same condition after TEST, where nothing carries or overflows.
fn after_test(cc: Cc) -> Cc {
    match cc {
        Cc::L => Cc::S,
        Cc::GE => Cc::NS,
        cc => cc,
    }
}

impl Emitter<'_> {
    pub(super) fn binary(&mut self, v: Value, op: Binary, w: Width, a: Value, b: Value) {
        self.set_bits(v, w.bits());
        match op {
            Binary::Add => self.add(v, w, a, b),
            Binary::Sub => self.two_operand(v, Alu::Sub, w, a, b),
            Binary::And => self.two_operand(v, Alu::And, w, a, b),
            Binary::Or => self.two_operand(v, Alu::Or, w, a, b),
            Binary::Xor => self.two_operand(v, Alu::Xor, w, a, b),
            Binary::Mul => self.multiply(v, w, a, b),
            Binary::Shl => self.shift(v, Shift::Shl, w, a, b),
            Binary::ShrU => self.shift(v, Shift::Shr, w, a, b),
            Binary::ShrS => self.shift(v, Shift::Sar, w, a, b),
            Binary::Rotl => self.shift(v, Shift::Rol, w, a, b),
            Binary::Rotr => self.shift(v, Shift::Ror, w, a, b),
            Binary::MulHighU => self.high_product(v, w, a, b, false),
            Binary::MulHighS => self.high_product(v, w, a, b, true),
            Binary::DivU => self.divide(v, w, a, b, false, false),
            Binary::DivS => self.divide(v, w, a, b, true, false),
            Binary::RemU => self.divide(v, w, a, b, false, true),
            Binary::RemS => self.divide(v, w, a, b, true, true),
            Binary::MulHighSu | Binary::ClMul | Binary::ClMulHigh => {
                self.call_out(v, &Op::Binary { op, w, a, b }, &[a, b]);
            }
        }
    }

    /// Clears what an operation of fewer than 32 bits left above them.
    fn narrow(&mut self, w: Width, reg: Reg) {
        if w < W32 {
            self.asm.zext(w, reg, reg);
        }
    }

    fn add(&mut self, v: Value, w: Width, a: Value, b: Value) {
        let (a, b) = if self.constant(a).is_some() { (b, a) } else { (a, b) };
        let wide = carried_out_in(w);
        let to = self.dest(v, Some(a));
        let x = self.fetch_or_into(to, a, Some(b));
        match self.immediate(wide, b) {
            Some(number) if to == x => self.asm.alu_imm(Alu::Add, wide, to, number),
            Some(number) => self.asm.lea(wide, to, Mem::at(x, number)),
            None => match self.operand(b) {
                y if to == x => self.asm.alu(Alu::Add, wide, to, y),
                Rm::Reg(y) if to == y => self.asm.alu(Alu::Add, wide, to, x),
                Rm::Reg(y) => self.asm.lea(wide, to, Mem::sum(x, y, 0)),
                y => {
                    self.asm.mov(to, x);
                    self.asm.alu(Alu::Add, wide, to, y);
                }
            },
        }
        self.narrow(w, to);
        self.release_operands(&[a, b]);
        self.define(v, to);
    }

    fn two_operand(&mut self, v: Value, op: Alu, w: Width, a: Value, b: Value) {
        let commutes = op != Alu::Sub;
        let (a, b) = if commutes && self.constant(a).is_some() { (b, a) } else { (a, b) };
        let mut wide = carried_out_in(w);
        let bits = match op {
            Alu::And => self.bits(a).min(self.bits(b)),
            Alu::Or | Alu::Xor => self.bits(a).max(self.bits(b)),
            _ => 64,
        };
        self.set_bits(v, bits.min(w.bits()));
        // What is said of 64 bits may concern fewer.
        if bits <= 32 {
            wide = W32;
        }
        let is_clean = bits <= w.bits();
        let to = self.dest(v, Some(a));
        let immediate = self.immediate(wide, b);
        let x = self.fetch_or_into(to, a, Some(b));
        match immediate {
            Some(number) => {
                self.asm.mov(to, x);
                self.asm.alu_imm(op, wide, to, number);
            }
            None => {
                let y = self.operand(b);
                if to == x {
                    self.asm.alu(op, wide, to, y);
                } else if y == to.into() && commutes {
                    self.asm.alu(op, wide, to, x);
                } else if y == to.into() {
                    self.asm.mov(Reg::RAX, x);
                    self.asm.alu(op, wide, Reg::RAX, y);
                    self.asm.mov(to, Reg::RAX);
                } else {
                    self.asm.mov(to, x);
                    self.asm.alu(op, wide, to, y);
                }
            }
        }
        if !is_clean {
            self.narrow(w, to);
        }
        self.release_operands(&[a, b]);
        self.define(v, to);
    }

    fn multiply(&mut self, v: Value, w: Width, a: Value, b: Value) {
        let (a, b) = if self.constant(a).is_some() { (b, a) } else { (a, b) };
        let wide = carried_out_in(w);
        let to = self.dest(v, Some(a));
        match self.immediate(wide, b) {
            Some(number) => {
                let x = self.operand(a);
                self.asm.imul_imm(wide, to, x, number);
            }
            None => {
                let x = self.fetch_or_into(to, a, Some(b));
                let y = self.operand(b);
                if y == to.into() {
                    self.asm.imul(wide, to, x);
                } else {
                    self.asm.mov(to, x);
                    self.asm.imul(wide, to, y);
                }
            }
        }
        self.narrow(w, to);
        self.release_operands(&[a, b]);
        self.define(v, to);
    }

    fn shift(&mut self, v: Value, op: Shift, w: Width, a: Value, b: Value) {
        let rotates = matches!(op, Shift::Rol | Shift::Ror);
        // Rotations are done in their own width, the others in more.
        let wide = if rotates { w } else { carried_out_in(w) };
        let to = self.dest(v, Some(a));
        let count = self.constant(b);
        let x = self.fetch_or_into(to, a, Some(b));
        let y = if count.is_none() { Some(self.operand(b)) } else { None };
        // The count may be in the register that is written.
        if let Some(y) = y {
            self.asm.zext(W32, Reg::RCX, y);
            if w < W32 && !rotates {
                self.asm.alu_imm(Alu::And, W32, Reg::RCX, w.bits() as i32 - 1);
            }
        }
        match op {
            Shift::Shr if w < W32 => self.asm.zext(w, to, x),
            Shift::Sar if w < W32 => self.asm.sext(w, to, x),
            _ => self.asm.mov(to, x),
        }
        match count {
            Some(count) => {
                let count = count as u32 & (w.bits() - 1);
                if count != 0 {
                    self.asm.shift_imm(op, wide, to, count as u8);
                }
                if op == Shift::Shr {
                    let bits = self.bits(a).min(w.bits());
                    self.set_bits(v, bits.saturating_sub(count).max(1));
                }
            }
            None => self.asm.shift_cl(op, wide, to),
        }
        // A 32-bit shift by nothing leaves what is above.
        if w == W32 && (count.is_none() || count.is_some_and(|count| count & 31 == 0)) {
            self.asm.mov32(to, to);
        }
        self.narrow(w, to);
        self.release_operands(&[a, b]);
        self.define(v, to);
    }

    fn high_product(&mut self, v: Value, w: Width, a: Value, b: Value, signed: bool) {
        if w != W64 {
            // The whole product fits 64 bits.
            let to = self.dest(v, None);
            let (x, y) = (self.fetch(a), self.fetch(b));
            self.extend(w, Reg::RAX, x, signed);
            self.extend(w, Reg::RCX, y, signed);
            self.asm.imul(W64, Reg::RAX, Reg::RCX);
            self.asm.shift_imm(Shift::Shr, W64, Reg::RAX, w.bits() as u8);
            self.asm.zext(w, to, Reg::RAX);
            self.release_operands(&[a, b]);
            return self.define(v, to);
        }
        self.clear_rdx();
        let to = self.dest(v, None);
        let (x, y) = (self.fetch(a), self.fetch(b));
        self.asm.mov(Reg::RAX, x);
        self.asm.group3(if signed { Group3::Imul } else { Group3::Mul }, W64, y);
        self.asm.mov(to, Reg::RDX);
        self.release_operands(&[a, b]);
        self.define(v, to);
    }

    fn extend(&mut self, w: Width, to: Reg, from: impl Into<Rm>, signed: bool) {
        if signed { self.asm.sext(w, to, from) } else { self.asm.zext(w, to, from) }
    }

    /// RDX is written by the processor: nothing else may be in it.
    fn clear_rdx(&mut self) {
        self.clear(Reg::RDX);
    }

    fn divide(&mut self, v: Value, w: Width, a: Value, b: Value, signed: bool, remainder: bool) {
        self.clear_rdx();
        let to = self.dest(v, None);
        let (x, y) = (self.fetch(a), self.fetch(b));
        let wide = carried_out_in(w);
        if w < W32 {
            self.extend(w, Reg::RAX, x, signed);
            self.extend(w, Reg::RCX, y, signed);
        } else {
            self.asm.mov(Reg::RAX, x);
            self.asm.mov(Reg::RCX, y);
        }
        let (special, done) = (self.asm.label(), self.asm.label());
        self.asm.test(wide, Reg::RCX, Reg::RCX);
        self.asm.jcc(Cc::E, special);
        if signed {
            let regular = self.asm.label();
            self.asm.alu_imm(Alu::Cmp, wide, Reg::RCX, -1);
            self.asm.jcc(Cc::NE, regular);
            // The quotient of the least number would overflow; negated, it is itself.
            if remainder {
                self.asm.mov_imm(Reg::RAX, 0);
            } else {
                self.asm.group3(Group3::Neg, wide, Reg::RAX);
            }
            self.asm.jmp(done);
            self.asm.bind(regular);
            self.asm.cwd(wide);
            self.asm.group3(Group3::Idiv, wide, Reg::RCX);
        } else {
            self.asm.mov_imm(Reg::RDX, 0);
            self.asm.group3(Group3::Div, wide, Reg::RCX);
        }
        if remainder {
            self.asm.mov(Reg::RAX, Reg::RDX);
        }
        self.asm.jmp(done);
        self.asm.bind(special);
        // By zero: the quotient is all ones, the remainder the dividend.
        if !remainder {
            self.asm.mov_imm(Reg::RAX, u64::MAX);
        }
        self.asm.bind(done);
        self.asm.zext(w, to, Reg::RAX);
        self.release_operands(&[a, b]);
        self.define(v, to);
    }

    /// Does what a helper does by an instruction, if there is one for it. Whether it has been done.
    pub(super) fn helper_in_line(&mut self, v: Value, id: HelperId, args: &[Value]) -> bool {
        match (self.request.helpers[usize::from(id.0)].function, args) {
            (Some(HelperFunction::Crc32c), &[sum, data, len_bytes]) if self.features.sse42 => {
                let len_bytes = self.constant(len_bytes);
                let Some(w) = Width::ALL.into_iter().find(|w| Some(w.bytes()) == len_bytes) else {
                    return false;
                };
                self.set_bits(v, 32);
                let to = self.dest(v, None);
                let (x, y) = (self.fetch(sum), self.fetch(data));
                // The destination may be the register of the data.
                self.asm.mov32(Reg::RAX, x);
                self.asm.crc32(w, Reg::RAX, y);
                self.asm.mov32(to, Reg::RAX);
                self.release_operands(args);
                self.define(v, to);
                true
            }
            _ => false,
        }
    }

    pub(super) fn unary(&mut self, v: Value, op: Unary, w: Width, a: Value) {
        self.set_bits(v, if op == Unary::Sext { 64 } else { w.bits() });
        match op {
            Unary::Zext if self.bits(a) <= w.bits() => return self.alias(v, a),
            // The sign is 0.
            Unary::Sext if self.bits(a) < w.bits() => return self.alias(v, a),
            Unary::Sext if self.is_extended(a) => return self.alias(v, a),
            Unary::Zext | Unary::Sext => {
                let to = self.dest(v, Some(a));
                let x = self.operand(a);
                self.extend(w, to, x, op == Unary::Sext);
                self.release_operands(&[a]);
                return self.define(v, to);
            }
            Unary::Bswap => {
                let to = self.dest(v, Some(a));
                let x = self.fetch(a);
                match w {
                    W8 => self.asm.zext(W8, to, x),
                    W16 => {
                        self.asm.zext(W16, to, x);
                        self.asm.shift_imm(Shift::Rol, W16, to, 8);
                    }
                    w => {
                        self.asm.mov(to, x);
                        self.asm.bswap(w, to);
                    }
                }
                self.release_operands(&[a]);
                return self.define(v, to);
            }
            Unary::Popcnt if self.features.popcnt => {}
            Unary::Clz if self.features.lzcnt => {}
            Unary::Ctz if self.features.bmi => {}
            Unary::Popcnt | Unary::Clz | Unary::Ctz => {
                return self.call_out(v, &Op::Unary { op, w, a }, &[a]);
            }
        }
        let to = self.dest(v, None);
        let x = self.fetch(a);
        let wide = carried_out_in(w);
        let from = if w < W32 {
            self.asm.zext(w, Reg::RAX, x);
            Reg::RAX
        } else {
            x
        };
        match op {
            Unary::Popcnt => self.asm.popcnt(wide, to, from),
            Unary::Clz => {
                self.asm.lzcnt(wide, to, from);
                if w < W32 {
                    self.asm.alu_imm(Alu::Sub, W32, to, 32 - w.bits() as i32);
                }
            }
            _ => {
                if w < W32 {
                    self.asm.alu_imm(Alu::Or, W32, Reg::RAX, 1 << w.bits());
                }
                self.asm.tzcnt(wide, to, from);
            }
        }
        self.release_operands(&[a]);
        self.define(v, to);
    }

    pub(super) fn compare(&mut self, v: Value) {
        self.set_bits(v, 1);
        // The destination may be an operand's register: it is written last.
        let to = self.dest(v, None);
        let cc = self.flags_of(v);
        self.asm.setcc(cc, Reg::RAX);
        self.asm.zext(W8, to, Reg::RAX);
        self.release_compared(v);
        self.define(v, to);
    }

    /// Makes a comparison, and says which condition of the flags is the one asked for.
    fn flags_of(&mut self, compare: Value) -> Cc {
        let Op::Compare { cond, w, a, b } = *self.block.definition(compare) else {
            unreachable!("only comparisons are compared")
        };
        if let Some(common) = self.tested(compare) {
            self.test_common(common);
            return after_test(condition_code(cond));
        }
        let (mut a, mut b) = (a, b);
        let mut cc = condition_code(cond);
        if self.constant(a).is_some() {
            (a, b) = (b, a);
            cc = match cond {
                Cond::Eq | Cond::Ne => cc,
                // Greater; above; less or equal; below or equal.
                Cond::LtS => Cc(15),
                Cond::LtU => Cc(7),
                Cond::GeS => Cc(14),
                Cond::GeU => Cc(6),
            };
        }
        let x = self.operand(a);
        match (self.immediate(w, b), x) {
            (Some(0), Rm::Reg(x)) => {
                self.asm.test(w, x, x);
                cc = after_test(cc);
            }
            (Some(number), x) => {
                let number = match w {
                    W8 => i32::from(number as i8),
                    W16 => i32::from(number as i16),
                    _ => number,
                };
                self.asm.alu_imm(Alu::Cmp, w, x, number);
            }
            (None, Rm::Reg(x)) => {
                let y = self.operand(b);
                self.asm.alu(Alu::Cmp, w, x, y);
            }
            (None, Rm::Mem(x)) => {
                let y = self.fetch(b);
                self.asm.alu_mem(Alu::Cmp, w, x, y);
            }
        }
        cc
    }

    /// Sets the flags by what two values have in common.
    fn test_common(&mut self, (w, x, y): (Width, Value, Value)) {
        let number = self.immediate(w, y);
        let x = self.fetch(x);
        match number {
            // Fewer bytes, and the sign is 0 either way.
            Some(number) if w == W64 && number >= 0 => self.asm.test_imm(W32, x, number),
            Some(number) => self.asm.test_imm(w, x, number),
            None => {
                let y = self.fetch(y);
                self.asm.test(w, x, y);
            }
        }
    }

    /// Sets the flags by a value that is a condition, and says when it holds.
    pub(super) fn condition(&mut self, cond: Value) -> Cc {
        if self.is_fused(cond) {
            if let Op::Compare { .. } = self.block.definition(cond) {
                return self.flags_of(cond);
            }
            if let Some(common) = common_bits(self.block, cond) {
                self.test_common(common);
                return Cc::NE;
            }
        }
        match self.operand(cond) {
            Rm::Reg(x) => self.asm.test(W64, x, x),
            x => self.asm.alu_imm(Alu::Cmp, W64, x, 0),
        }
        Cc::NE
    }

    /// Lets go of what [`Emitter::condition`] read.
    pub(super) fn release_condition(&mut self, cond: Value) {
        match *self.block.definition(cond) {
            Op::Compare { .. } if self.is_fused(cond) => self.release_compared(cond),
            Op::Binary { a, b, .. } if self.is_fused(cond) => self.release_operands(&[a, b]),
            _ => self.release_operands(&[cond]),
        }
    }

    fn release_compared(&mut self, compare: Value) {
        match (self.tested(compare), self.block.definition(compare)) {
            (Some((_, x, y)), _) => self.release_operands(&[x, y]),
            (None, &Op::Compare { a, b, .. }) => self.release_operands(&[a, b]),
            _ => {}
        }
    }

    pub(super) fn select(&mut self, v: Value, cond: Value, a: Value, b: Value) {
        self.set_bits(v, self.bits(a).max(self.bits(b)));
        let to = self.dest(v, None);
        // What is compared is of no use when the operands are fetched, which leaves the flags alone.
        let locked = self.locked;
        let cc = self.condition(cond);
        self.locked = locked;
        let (x, y) = (self.operand(a), self.operand(b));
        // The destination may be the register of an operand.
        if x == to.into() {
            self.asm.cmov(cc.negated(), to, y);
        } else {
            self.asm.zext(W64, to, y);
            self.asm.cmov(cc, to, x);
        }
        self.release_condition(cond);
        self.release_operands(&[a, b]);
        self.define(v, to);
    }
}
