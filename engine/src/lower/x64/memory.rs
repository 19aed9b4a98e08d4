//! Accesses to guest memory: the TLB check in line, everything else at a site.

use super::asm::{Alu, Asm, Cc, Label, Mem, Reg, Shift};
use super::block::{Emitter, SecondLook};
use super::{BIAS, STATE, field};
use crate::addr::Width::{self, W32, W64};
use crate::addr::{PAGE_MASK, PAGE_SHIFT};
use crate::emit::Amo;
use crate::ir::block::{Op, Value};
use crate::mem::tlb::{ENTRIES, Entry, OTHER_PLACE, SKEW_MASK, SKEW_SHIFT, SKEW_TO, Space, Tlb};
use crate::vcpu::Vcpu;
use core::mem::{offset_of, size_of};

/// log2 of the size of a TLB entry.
const ENTRY_SHIFT: u32 = size_of::<Entry>().trailing_zeros();
const _: () = assert!(size_of::<Entry>() == 1 << ENTRY_SHIFT);
/// Accesses that find their page in its other place for each that moves it to its own.
const LOOKS: i32 = 63;
/// The bits of a page's address, as an immediate.
const PAGE_BITS: i32 = !(PAGE_MASK as i32);

impl Emitter<'_> {
    pub(super) fn memory(&mut self, v: Value, op: &Op) {
        match *op {
            Op::Load { w, addr } => self.load(v, op, w, addr, offset_of!(Entry, read)),
            Op::LoadToModify { w, addr } => self.load(v, op, w, addr, offset_of!(Entry, write)),
            Op::Store { w, addr, value } => self.store(v, op, w, addr, value),
            Op::CheckCrossingWrite { addr, len_bytes } => self.check_crossing(op, addr, len_bytes),
            Op::Amo { op: amo, w, addr, value } => self.amo(v, op, amo, w, addr, value),
            Op::CompareExchange { w, addr, expected, new } => {
                self.compare_exchange(v, op, w, [addr, expected, new])
            }
            Op::VectorLoad { len_bytes, to, addr } => self.vector_load(op, len_bytes, to, addr),
            Op::VectorStore { len_bytes, addr, from } => self.vector_store(op, len_bytes, addr, from),
            _ => unreachable!("no other operation accesses memory in line"),
        }
    }

    /// Looks an address up; where it misses, goes to a label. The host's address is then that of the guest plus RAX.
    /// `aligned` accesses miss where they are misaligned, others where they cross into another page. The label is that of the
    /// next site.
    pub(super) fn look_up(&mut self, addr: Reg, len_bytes: u64, tag: usize, aligned: bool) -> Label {
        let [label, found, miss] = [(); 3].map(|()| self.asm.label());
        let context = self.request.context;
        let entry = |field| entry(context, field);
        self.asm.mov32(Reg::RAX, addr);
        self.asm.shift_imm(Shift::Shr, W32, Reg::RAX, (PAGE_SHIFT - ENTRY_SHIFT) as u8);
        self.asm.alu_imm(Alu::And, W32, Reg::RAX, ((ENTRIES - 1) << ENTRY_SHIFT) as i32);
        let last = len_bytes as i32 - 1;
        let (last, mask) = if aligned { (0, PAGE_BITS | last) } else { (last, PAGE_BITS) };
        match last {
            0 => self.asm.mov(Reg::RCX, addr),
            last => self.asm.lea(W64, Reg::RCX, Mem::at(addr, last)),
        }
        self.asm.alu_imm(Alu::And, W64, Reg::RCX, mask);
        self.asm.alu(Alu::Or, W64, Reg::RCX, space(context));
        self.asm.alu(Alu::Cmp, W64, Reg::RCX, entry(tag));
        self.asm.jcc(Cc::NE, label);
        self.asm.load(W64, Reg::RAX, entry(offset_of!(Entry, addend)));
        self.asm.bind(found);
        let looks =
            if tag == offset_of!(Entry, read) { field!(links.look_read) } else { field!(links.look_write) };
        let look = Mem { disp: looks.disp + (context * size_of::<u64>()) as i32, ..looks };
        self.second_look(SecondLook { label, look, found, miss });
        miss
    }

    fn load(&mut self, v: Value, op: &Op, w: Width, addr: Value, tag: usize) {
        let to = self.dest(v, None);
        self.set_bits(v, w.bits());
        let x = self.fetch(addr);
        let miss = self.look_up(x, w.bytes(), tag, false);
        let site = self.site(op, &[addr], Some(to));
        self.asm.load(w, to, Mem::sum(x, Reg::RAX, 0));
        let back = self.cold(miss, site);
        self.asm.bind(back);
        self.release_operands(&[addr]);
        self.define(v, to);
    }

    fn store(&mut self, _v: Value, op: &Op, w: Width, addr: Value, value: Value) {
        let x = self.fetch(addr);
        let immediate = self.immediate(w, value);
        let y = if immediate.is_none() { Some(self.fetch(value)) } else { None };
        let miss = self.look_up(x, w.bytes(), offset_of!(Entry, write), false);
        let site = self.site(op, &[addr, value], None);
        let to = Mem::sum(x, Reg::RAX, 0);
        match (immediate, y) {
            (Some(number), _) => self.asm.store_imm(w, to, number),
            (None, Some(y)) => self.asm.store(w, to, y),
            (None, None) => unreachable!("a value that is no constant is in a register"),
        }
        let back = self.cold(miss, site);
        self.asm.bind(back);
        self.release_operands(&[addr, value]);
    }

    fn check_crossing(&mut self, op: &Op, addr: Value, len_bytes: u16) {
        let x = self.fetch(addr);
        let cold = self.asm.label();
        self.asm.lea(W64, Reg::RAX, Mem::at(x, i32::from(len_bytes) - 1));
        self.asm.alu(Alu::Xor, W64, Reg::RAX, x);
        self.asm.test_imm(W64, Reg::RAX, PAGE_BITS);
        self.asm.jcc(Cc::NE, cold);
        let site = self.site(op, &[addr], None);
        let back = self.cold(cold, site);
        self.asm.bind(back);
        self.release_operands(&[addr]);
    }

    /// Guest atomics are plain accesses: one vCPU runs, and devices access RAM only while it does not.
    fn amo(&mut self, v: Value, op: &Op, amo: Amo, w: Width, addr: Value, value: Value) {
        let alu = match amo {
            Amo::Swap => None,
            Amo::Add => Some(Alu::Add),
            Amo::And => Some(Alu::And),
            Amo::Or => Some(Alu::Or),
            Amo::Xor => Some(Alu::Xor),
            Amo::MinS | Amo::MaxS | Amo::MinU | Amo::MaxU => {
                return self.call_out(v, op, &[addr, value]);
            }
        };
        self.set_bits(v, w.bits());
        let to = self.result_register(v);
        let (x, y) = (self.fetch(addr), self.fetch(value));
        let miss = self.look_up(x, w.bytes(), offset_of!(Entry, write), true);
        let site = self.site(op, &[addr, value], to);
        // The address in one register: the destination may be an operand's.
        self.asm.alu(Alu::Add, W64, Reg::RAX, x);
        let at = Mem::at(Reg::RAX, 0);
        self.asm.load(w, Reg::RCX, at);
        match alu {
            Some(alu) => self.asm.alu_mem(alu, w, at, y),
            None => self.asm.store(w, at, y),
        }
        if let Some(to) = to {
            self.asm.mov(to, Reg::RCX);
        }
        let back = self.cold(miss, site);
        self.asm.bind(back);
        self.release_operands(&[addr, value]);
        if let Some(to) = to {
            self.define(v, to);
        }
    }

    fn compare_exchange(&mut self, v: Value, op: &Op, w: Width, operands: [Value; 3]) {
        self.set_bits(v, w.bits());
        let to = self.result_register(v);
        let [x, expected, new] = operands.map(|value| self.fetch(value));
        let miss = self.look_up(x, w.bytes(), offset_of!(Entry, write), true);
        let site = self.site(op, &operands, to);
        self.asm.alu(Alu::Add, W64, Reg::RAX, x);
        let at = Mem::at(Reg::RAX, 0);
        self.asm.load(w, Reg::RCX, at);
        let differs = self.asm.label();
        self.asm.alu(Alu::Cmp, w, Reg::RCX, expected);
        self.asm.jcc(Cc::NE, differs);
        self.asm.store(w, at, new);
        self.asm.bind(differs);
        if let Some(to) = to {
            self.asm.mov(to, Reg::RCX);
        }
        let back = self.cold(miss, site);
        self.asm.bind(back);
        self.release_operands(&operands);
        if let Some(to) = to {
            self.define(v, to);
        }
    }
}

/// The place of a context's space number.
fn space(context: usize) -> Mem {
    let first = field!(tlb.spaces);
    Mem { disp: first.disp + (context * size_of::<Space>()) as i32, ..first }
}

/// The entry at a distance of RAX in the table of a context.
fn entry(context: usize, field: usize) -> Mem {
    let table = offset_of!(Vcpu, tlb) + offset_of!(Tlb, contexts) - BIAS;
    Mem::sum(STATE, Reg::RAX, (table + context * size_of::<[Entry; ENTRIES]>() + field) as i32)
}

/// Writes what looks at the other place of a page, as `mem::tlb` numbers it, for one context and one kind of access: RAX is
/// the distance of its own place, RCX the tag that is wanted. Returns as after a comparison of it with what is there: if it
/// is equal, RAX is the addend. No other register changes. Now and then what is there is not found: the run loop finds it and
/// moves it to its own place, so that pages that are used much come there.
///
/// An access that crosses into the next page wants that page's tag, and is found nowhere: places of two pages in a row
/// differ in their lowest bit, which no skew changes.
pub(super) fn emit_look(asm: &mut Asm, context: usize, tag: usize) {
    const SKEW: u32 = SKEW_TO + ENTRY_SHIFT;
    const _: () = assert!(SKEW_TO > 0 && OTHER_PLACE > 1);
    asm.push(Reg::RDX);
    asm.mov(Reg::RDX, Reg::RCX);
    asm.shift_imm(Shift::Shr, W64, Reg::RDX, (SKEW_SHIFT - SKEW) as u8);
    asm.alu_imm(Alu::And, W32, Reg::RDX, (SKEW_MASK << SKEW) as i32);
    asm.alu(Alu::Xor, W32, Reg::RAX, Reg::RDX);
    asm.alu_imm(Alu::Xor, W32, Reg::RAX, (OTHER_PLACE << ENTRY_SHIFT) as i32);
    asm.pop(Reg::RDX);
    asm.alu(Alu::Cmp, W64, Reg::RCX, entry(context, tag));
    asm.load(W64, Reg::RAX, entry(context, offset_of!(Entry, addend)));
    let (missed, expired) = (asm.label(), asm.label());
    asm.jcc(Cc::NE, missed);
    asm.alu_imm(Alu::Sub, W64, field!(looks_left), 1);
    asm.jcc(Cc::S, expired);
    asm.alu(Alu::Cmp, W32, Reg::RAX, Reg::RAX);
    asm.bind(missed);
    asm.ret();
    asm.bind(expired);
    // It is not 0, the flags say.
    asm.store_imm(W64, field!(looks_left), LOOKS);
    asm.ret();
}
