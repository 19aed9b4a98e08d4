//! Accesses to guest memory: the TLB check in line, everything else at a site.

use super::asm::{Alu, Asm, Cc, Fixed, Label, Mem, Reg, Shift};
use super::block::groups::Share;
use super::block::{Emitter, spill};
use super::cold::{Access, Address, Alone, Kept, Look, Other};
use super::stubs::{LENGTHS, here, saved};
use super::{BIAS, Outcome, Place, STATE, field};
use crate::addr::Width::{self, W8, W32, W64};
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
            Op::Load { w, addr } | Op::LoadToModify { w, addr } => self.load(v, op, w, addr),
            Op::Store { w, addr, value } => self.store(op, w, addr, value),
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
    fn look_up(&mut self, address: Address, len_bytes: i32, tag: usize, aligned: bool) -> Label {
        let [found, miss] = [(); 2].map(|()| self.asm.label());
        let label = self.check(address, [0, len_bytes - 1], tag, aligned);
        self.asm.load(W64, Reg::RAX, entry(self.request.context, offset_of!(Entry, addend)));
        self.asm.bind(found);
        let other = Other { label, look: self.looks(tag), found, keep: Kept::Nowhere };
        self.look_first(Look { other: Some(other), alone: None, miss });
        miss
    }

    /// Compares the tag of the page of the first byte with that of the last one, so far from an address. Goes to the label
    /// where they differ, with the tag in RCX and the distance of the first one's own place in RAX.
    fn check(
        &mut self,
        Address { base, disp }: Address,
        [first, last]: [i32; 2],
        tag: usize,
        aligned: bool,
    ) -> Label {
        let label = self.asm.label();
        let context = self.request.context;
        let shift = (PAGE_SHIFT - ENTRY_SHIFT) as u8;
        if disp + first == 0 && self.features.bmi2 {
            // What comes in above is masked away.
            const _: () =
                assert!(PAGE_SHIFT - ENTRY_SHIFT + ENTRIES.trailing_zeros() + ENTRY_SHIFT <= u32::BITS);
            self.asm.rorx32(Reg::RAX, base, shift);
        } else {
            match disp + first {
                0 => self.asm.mov32(Reg::RAX, base),
                first => self.asm.lea(W32, Reg::RAX, Mem::at(base, first)),
            }
            self.asm.shift_imm(Shift::Shr, W32, Reg::RAX, shift);
        }
        self.asm.alu_imm(Alu::And, W32, Reg::RAX, ((ENTRIES - 1) << ENTRY_SHIFT) as i32);
        let (last, mask) = if aligned { (0, PAGE_BITS | last) } else { (last, PAGE_BITS) };
        match disp + last {
            0 => self.asm.mov(Reg::RCX, base),
            last => self.asm.lea(W64, Reg::RCX, Mem::at(base, last)),
        }
        self.asm.alu_imm(Alu::And, W64, Reg::RCX, mask);
        self.asm.alu(Alu::Or, W64, Reg::RCX, space(context));
        self.asm.alu(Alu::Cmp, W64, Reg::RCX, entry(context, tag));
        self.asm.jcc(Cc::NE, label);
        label
    }

    /// What looks further for a kind of access.
    fn looks(&self, tag: usize) -> Fixed {
        self.stubs.look(self.request.context, tag == offset_of!(Entry, write))
    }

    /// Accesses memory; the site does the same, with these operands behind the address. Gives where that goes on.
    pub(super) fn access(&mut self, op: &Op, address: Address, access: Access, operands: &[Value]) -> Label {
        let tag = match op {
            Op::Load { .. } | Op::VectorLoad { .. } => offset_of!(Entry, read),
            _ => offset_of!(Entry, write),
        };
        if let Some(through) = self.through_window() {
            access.emit(self.asm, Mem::sum(address.base, through, address.disp));
            return self.asm.label();
        }
        if self.request.is_compact {
            return self.access_compactly(op, address, tag, access, operands);
        }
        let result = if let Access::Load { to, .. } = access { Some(to) } else { None };
        let share = self.share();
        let [found, alone, done] = [(); 3].map(|()| self.asm.label());
        let mut other = None;
        let mut through = Reg::RAX;
        let miss = match share {
            Share::None => self.look_up(address, access.len_bytes(), tag, false),
            Share::First { from, to, writes, keep } => {
                let tag = if writes { offset_of!(Entry, write) } else { offset_of!(Entry, read) };
                let label = self.check(address, [from, to], tag, false);
                let addend = entry(self.request.context, offset_of!(Entry, addend));
                match keep {
                    Kept::Reg(reg) => {
                        self.asm.load(W64, reg, addend);
                        through = reg;
                    }
                    _ => {
                        self.asm.load(W64, Reg::RAX, addend);
                        keep.set(self.asm);
                    }
                }
                self.asm.bind(found);
                other = Some(Other { label, look: self.looks(tag), found, keep });
                self.asm.label()
            }
            Share::Next(kept) => {
                match kept {
                    Kept::Spill(place) => self.asm.load(W64, Reg::RAX, spill(place)),
                    Kept::Reg(reg) => through = reg,
                    Kept::Nowhere => unreachable!("a distance that is shared is kept"),
                }
                self.asm.test(W64, through, through);
                self.asm.jcc(Cc::E, alone);
                self.asm.label()
            }
        };
        if !matches!(share, Share::None) {
            let look = self.looks(tag);
            let alone = Some(Alone { label: alone, look, address, access, done });
            self.look_first(Look { other, alone, miss });
        }
        let base = if address.disp == 0 { address.base } else { Reg::RCX };
        let site = self.site_of_access(op, base, operands, result.into());
        access.emit(self.asm, Mem::sum(address.base, through, address.disp));
        self.asm.bind(done);
        self.end_share();
        let wanted = (address.disp != 0).then_some(address);
        self.cold_access(miss, site, wanted, access.extended())
    }

    /// The same in few bytes: code that all regions share looks the address up, and calls out where that misses. What is accessed
    /// then is the host's address in RAX.
    fn access_compactly(
        &mut self,
        op: &Op,
        Address { base, disp }: Address,
        tag: usize,
        access: Access,
        operands: &[Value],
    ) -> Label {
        debug_assert!(!self.plan.has_vectors(), "calls out without saving them");
        match disp {
            0 => self.asm.mov(Reg::RCX, base),
            disp => self.asm.lea(W64, Reg::RCX, Mem::at(base, disp)),
        }
        let writes = tag == offset_of!(Entry, write);
        let look = self.stubs.compact_look(self.request.context, writes, access.len_bytes());
        let site = self.site_of_access(op, Reg::RCX, operands, Outcome::Access);
        self.asm.call_fixed(look);
        self.asm.note(site);
        access.emit(self.asm, Mem::at(Reg::RAX, 0));
        self.asm.label()
    }

    /// Describes the site of an access to the address in a register, with these operands behind it.
    fn site_of_access(&mut self, op: &Op, address: Reg, operands: &[Value], outcome: Outcome) -> u32 {
        let mut places = [Place::Const(0); 4];
        places[0] = Place::Reg(address);
        for (place, &value) in places[1..].iter_mut().zip(operands) {
            *place = self.place(value);
        }
        self.site_at(op, places, 1 + operands.len(), outcome)
    }

    /// The register with the distance of the window that the access at hand is in, if there is one.
    fn through_window(&mut self) -> Option<Reg> {
        match self.windows?.kept(self.number()) {
            Kept::Nowhere => None,
            Kept::Reg(reg) => Some(reg),
            Kept::Spill(place) => {
                self.asm.load(W64, Reg::RAX, spill(place));
                Some(Reg::RAX)
            }
        }
    }

    fn load(&mut self, v: Value, op: &Op, w: Width, addr: Value) {
        let to = self.dest(v, None);
        let signed = self.is_extended(v);
        self.set_bits(v, if signed { 64 } else { w.bits() });
        let address = self.address(addr);
        let back = self.access(op, address, Access::Load { w, to, signed }, &[]);
        self.asm.bind(back);
        self.release_address(addr);
        self.define(v, to);
    }

    fn store(&mut self, op: &Op, w: Width, addr: Value, value: Value) {
        let address = self.address(addr);
        let access = match self.immediate(w, value) {
            Some(number) => Access::StoreNumber { w, number },
            None => Access::Store { w, from: self.fetch(value) },
        };
        let back = self.access(op, address, access, &[value]);
        self.asm.bind(back);
        self.release_operands(&[value]);
        self.release_address(addr);
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
        let miss =
            self.look_up(Address { base: x, disp: 0 }, w.bytes() as i32, offset_of!(Entry, write), true);
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
        let miss =
            self.look_up(Address { base: x, disp: 0 }, w.bytes() as i32, offset_of!(Entry, write), true);
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

/// Writes the look at a page's own place, at the distance in RAX, for the page of the address in RCX: RAX becomes the addend. Goes
/// to a label with the tag that is wanted in RCX if the page is not there.
fn emit_own(asm: &mut Asm, context: usize, tag: usize, other: Label) {
    asm.alu_imm(Alu::And, W64, Reg::RCX, PAGE_BITS);
    asm.alu(Alu::Or, W64, Reg::RCX, space(context));
    asm.alu(Alu::Cmp, W64, Reg::RCX, entry(context, tag));
    asm.jcc(Cc::NE, other);
    asm.load(W64, Reg::RAX, entry(context, offset_of!(Entry, addend)));
}

/// Writes the look at a page's other place for the tag in RCX, if RAX is the distance of its own: RAX becomes the addend. Goes to a
/// label, with flags that say so, if the page is not there, and now and then to another one though it is.
fn emit_other(asm: &mut Asm, context: usize, tag: usize, missed: Label, expired: Label) {
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
    asm.jcc(Cc::NE, missed);
    asm.alu_imm(Alu::Sub, W64, field!(looks_left), 1);
    asm.jcc(Cc::S, expired);
}

/// Writes what looks up accesses at the address in RCX, for one context and one kind of access: for each length, which is where
/// it stands. RAX becomes the host's address. If the page is not there it does, over its return address, what [`Stubs::call_out`]
/// does, with the address in RCX. No other register changes.
pub(super) fn emit_compact_looks(
    asm: &mut Asm,
    context: usize,
    tag: usize,
    call_out: Fixed,
) -> [Fixed; LENGTHS] {
    let [other, missed, expired] = [(); 3].map(|()| asm.label());
    let address = saved(Reg::RCX);
    let looks = std::array::from_fn(|log2_bytes| {
        let at = here(asm);
        asm.store(W64, address, Reg::RCX);
        asm.mov32(Reg::RAX, Reg::RCX);
        asm.shift_imm(Shift::Shr, W32, Reg::RAX, (PAGE_SHIFT - ENTRY_SHIFT) as u8);
        asm.alu_imm(Alu::And, W32, Reg::RAX, ((ENTRIES - 1) << ENTRY_SHIFT) as i32);
        if log2_bytes > 0 {
            asm.alu_imm(Alu::Add, W64, Reg::RCX, (1 << log2_bytes) - 1);
        }
        emit_own(asm, context, tag, other);
        asm.alu(Alu::Add, W64, Reg::RAX, address);
        asm.ret();
        at
    });
    asm.bind(other);
    emit_other(asm, context, tag, missed, expired);
    asm.alu(Alu::Add, W64, Reg::RAX, address);
    asm.ret();
    asm.bind(expired);
    asm.store_imm(W64, field!(looks_left), LOOKS);
    asm.bind(missed);
    asm.load(W64, Reg::RCX, address);
    asm.jmp_fixed(call_out);
    looks
}

/// In RAX instead of the distance of a place, with the number of the last byte of an access: all of it is to be looked up.
pub(super) const ALONE: u32 = 1 << 31;

/// Writes what looks at the other place of a page, as `mem::tlb` numbers it, for one context and one kind of access: RAX is
/// the distance of its own place, RCX the tag that is wanted. Or, with [`ALONE`] in RAX, at both places of the page of the
/// address in RCX. Returns as after a comparison of the tag with what is there: if it is equal, RAX is the addend. RCX may
/// change, no other register does. Now and then what is in the other place is not found: the run loop finds it and moves it
/// to its own place, so that pages that are used much come there.
///
/// An access that crosses into the next page wants that page's tag, and is found nowhere: places of two pages in a row
/// differ in their lowest bit, which no skew changes.
pub(super) fn emit_look(asm: &mut Asm, context: usize, tag: usize) {
    let [alone, other, missed, expired] = [(); 4].map(|()| asm.label());
    asm.test(W32, Reg::RAX, Reg::RAX);
    asm.jcc(Cc::S, alone);
    asm.bind(other);
    emit_other(asm, context, tag, missed, expired);
    asm.alu(Alu::Cmp, W32, Reg::RAX, Reg::RAX);
    asm.bind(missed);
    asm.ret();
    asm.bind(expired);
    // It is not 0, the flags say.
    asm.store_imm(W64, field!(looks_left), LOOKS);
    asm.ret();
    asm.bind(alone);
    asm.push(Reg::RDX);
    asm.zext(W8, Reg::RAX, Reg::RAX);
    asm.lea(W64, Reg::RDX, Mem::sum(Reg::RCX, Reg::RAX, 0));
    asm.mov32(Reg::RAX, Reg::RCX);
    asm.shift_imm(Shift::Shr, W32, Reg::RAX, (PAGE_SHIFT - ENTRY_SHIFT) as u8);
    asm.alu_imm(Alu::And, W32, Reg::RAX, ((ENTRIES - 1) << ENTRY_SHIFT) as i32);
    asm.mov(Reg::RCX, Reg::RDX);
    asm.pop(Reg::RDX);
    emit_own(asm, context, tag, other);
    asm.ret();
}
