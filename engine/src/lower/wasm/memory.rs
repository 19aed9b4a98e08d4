//! Operations that reach guest memory or the host: an inline look into the TLB, and a call-out where that does not do.

use super::code::aligned;
use super::function::{Lowering, Place};
use crate::addr::{PAGE_BYTES, PAGE_MASK, Width};
use crate::guest::{HelperEffects, HelperId, HelperInfo};
use crate::ir::block::{Args, Op, Value};
use crate::ir::ops::{Amo, Cond};
use crate::lower::calls::{CallOut, Site, what_access, what_amo, what_plain_access};
use crate::lower::layout::{Demand, ENTRY_FROM_ADDRESS, ENTRY_MASK, ENTRY_SHIFT, Tag};
use crate::lower::slots::SlotSet;
use crate::mem::tlb::{OTHER_PLACE, SKEW_MASK, SKEW_SHIFT, SKEW_TO};
use wasm_encoder::{BlockType, InstructionSink, MemArg, ValType};

/// An operand that is read more than once.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) local: u32,
    /// To be released: it was computed for this.
    owned: bool,
}

/// The address of an access and the TLB entry that it may use, in locals.
pub(super) struct Looked {
    pub(super) addr: Held,
    entry: u32,
}

impl Lowering<'_> {
    /// Writes an operation with effects.
    pub(super) fn memory_op(&mut self, value: Value, op: &Op) {
        match *op {
            Op::Load { w, addr } => self.read(value, CallOut::Load, Tag::Read, w, addr),
            Op::LoadToModify { w, addr } => self.read(value, CallOut::LoadToModify, Tag::Write, w, addr),
            Op::Store { w, addr, value: stored } => self.write_memory(value, w, addr, stored),
            Op::CheckCrossingWrite { addr, len_bytes } => self.check_crossing_write(addr, len_bytes),
            Op::Amo { op, w, addr, value: operand } => self.amo(value, op, w, addr, operand),
            Op::CompareExchange { w, addr, expected, new } => {
                self.compare_exchange(value, w, addr, expected, new);
            }
            Op::LoadReserved { w, addr } => {
                self.flush();
                self.call_out(CallOut::LoadReserved, what_access(w), |this| {
                    this.push_i64(addr);
                    this.code.put().i64_const(0);
                });
                self.keep(value);
            }
            Op::StoreConditional { w, addr, value: stored } => {
                self.flush();
                self.call_out(CallOut::StoreConditional, what_access(w), |this| {
                    this.push_i64(addr);
                    this.push_i64(stored);
                });
                self.keep(value);
            }
            Op::Helper { id, args } => self.helper(value, id, args),
            _ => self.vector_op(value, op),
        }
    }

    pub(super) fn hold_value(&mut self, value: Value) -> Held {
        match self.places[value.0 as usize] {
            Place::Local(local) | Place::Slot(local) => Held { local, owned: false },
            _ => {
                self.push_i64(value);
                Held { local: self.hold(ValType::I64), owned: true }
            }
        }
    }

    pub(super) fn let_go(&mut self, held: Held) {
        if held.owned {
            self.code.release(held.local);
        }
    }

    /// Calls the host. `push` pushes two numbers; the result stays on the stack.
    pub(super) fn call_out(&mut self, call: CallOut, what: u16, push: impl FnOnce(&mut Self)) {
        let at = i32::try_from(self.at).expect("a region lies within 2 GiB of its page");
        let site = Site { at, unretired: self.unretired() as u16, what };
        self.store_countdown();
        self.code.put().i64_const(site.encode() as i64);
        push(self);
        self.code.put().call(call as u32);
        self.code.load_i64(self.layout.countdown());
        let countdown = self.countdown;
        self.code.put().local_set(countdown);
    }

    /// The same where it is hardly ever done: slots are written to memory here only.
    pub(super) fn rare_call_out(&mut self, call: CallOut, what: u16, push: impl FnOnce(&mut Self)) {
        self.store_dirty();
        self.call_out(call, what, push);
        self.reload_pairs();
    }

    /// Looks an access up in its page's own place in the TLB: what is called looks into the other. What is written
    /// next is for a hit, up to [`Self::begin_miss`]; then for a miss, up to [`Self::end_access`]. Either leaves a result.
    pub(super) fn look_up(
        &mut self,
        len_bytes: u64,
        addr: Value,
        tag: Tag,
        demand: Demand,
        result: BlockType,
    ) -> Looked {
        let addr = self.hold_value(addr);
        let entry = self.code.temporary(ValType::I32);
        let tag = aligned(self.layout.tag(self.data_context, tag), 3);
        let last = len_bytes - 1;
        let mut put = self.code.put();
        push_own_entry(&mut put, addr.local);
        put.local_tee(entry).i64_load(tag).local_get(addr.local);
        match demand {
            // The page of the last byte is that of the first.
            Demand::Inside if last != 0 => {
                put.i64_const(last as i64).i64_add().i64_const(!PAGE_MASK as i64).i64_and()
            }
            Demand::Inside => put.i64_const(!PAGE_MASK as i64).i64_and(),
            Demand::Aligned => put.i64_const((!PAGE_MASK | last) as i64).i64_and(),
        };
        self.code.load_i64(self.layout.space(self.data_context));
        self.code.put().i64_or().i64_eq();
        self.code.expect_if(true, result);
        Looked { addr, entry }
    }

    pub(super) fn begin_miss(&mut self) {
        self.code.put().else_();
    }

    pub(super) fn end_access(&mut self, looked: Looked) {
        self.code.put().end();
        self.let_go(looked.addr);
        self.code.release(looked.entry);
    }

    /// Pushes the linear address of an access that the TLB allows.
    pub(super) fn push_linear(&mut self, looked: &Looked) {
        // The low half is enough, and a sum of 32 bits need not be cut off.
        let addend = aligned(self.layout.addend(self.data_context), 2);
        let mut put = self.code.put();
        put.local_get(looked.addr.local).i32_wrap_i64().local_get(looked.entry).i32_load(addend).i32_add();
    }

    fn read(&mut self, value: Value, call: CallOut, tag: Tag, w: Width, addr: Value) {
        if let Some(at) = self.push_window(value, addr) {
            load(&mut self.code.put(), w, at);
            return self.keep(value);
        }
        if self.is_brief {
            self.flush();
            self.call_out(call, what_plain_access(w, self.data_context), |this| {
                this.push_i64(addr);
                this.code.put().i64_const(0);
            });
            return self.keep(value);
        }
        let result = BlockType::Result(ValType::I64);
        let looked = self.look_up(w.bytes(), addr, tag, Demand::Inside, result);
        self.push_linear(&looked);
        load(&mut self.code.put(), w, unaligned());
        self.begin_miss();
        self.rare_call_out(call, what_plain_access(w, self.data_context), |this| {
            this.code.put().local_get(looked.addr.local).i64_const(0);
        });
        self.end_access(looked);
        self.keep(value);
    }

    fn write_memory(&mut self, at: Value, w: Width, addr: Value, value: Value) {
        if let Some(at) = self.push_window(at, addr) {
            self.push_i64(value);
            return store(&mut self.code.put(), w, at);
        }
        if self.is_brief {
            self.flush();
            self.call_out(CallOut::Store, what_plain_access(w, self.data_context), |this| {
                this.push_i64(addr);
                this.push_i64(value);
            });
            self.code.put().drop();
            return;
        }
        // A constant is as good as a local.
        let is_constant = matches!(self.places[value.0 as usize], Place::Const(_));
        let held = if is_constant { None } else { Some(self.hold_value(value)) };
        let push = |this: &mut Self| match held {
            Some(held) => {
                this.code.put().local_get(held.local);
            }
            None => this.push_i64(value),
        };
        let looked = self.look_up(w.bytes(), addr, Tag::Write, Demand::Inside, BlockType::Empty);
        self.push_linear(&looked);
        push(self);
        store(&mut self.code.put(), w, unaligned());
        self.begin_miss();
        self.rare_call_out(CallOut::Store, what_plain_access(w, self.data_context), |this| {
            this.code.put().local_get(looked.addr.local);
            push(this);
        });
        self.code.put().drop();
        self.end_access(looked);
        if let Some(held) = held {
            self.let_go(held);
        }
    }

    fn check_crossing_write(&mut self, addr: Value, len_bytes: u16) {
        let addr = self.hold_value(addr);
        let last_start = PAGE_BYTES.saturating_sub(u64::from(len_bytes));
        let mut put = self.code.put();
        put.local_get(addr.local).i64_const(PAGE_MASK as i64).i64_and();
        put.i64_const(last_start as i64).i64_gt_u();
        self.code.expect_if(false, BlockType::Empty);
        self.rare_call_out(CallOut::CheckCrossingWrite, what_access(Width::W8), |this| {
            this.code.put().local_get(addr.local).i64_const(i64::from(len_bytes));
        });
        self.code.put().drop().end();
        self.let_go(addr);
    }

    fn amo(&mut self, value: Value, op: Amo, w: Width, addr: Value, operand: Value) {
        let operand = self.hold_value(operand);
        let old = self.code.temporary(ValType::I64);
        self.modify(
            value,
            w,
            addr,
            old,
            |this| this.push_combined(op, w, old, operand.local),
            |this, addr| {
                this.rare_call_out(CallOut::Amo, what_amo(w, op), |this| {
                    this.code.put().local_get(addr).local_get(operand.local);
                });
            },
        );
        self.let_go(operand);
    }

    fn compare_exchange(&mut self, value: Value, w: Width, addr: Value, expected: Value, new: Value) {
        let (expected, new) = (self.hold_value(expected), self.hold_value(new));
        let old = self.code.temporary(ValType::I64);
        let replaced = |this: &mut Self| {
            let mut put = this.code.put();
            put.local_get(new.local).local_get(old).local_get(old).local_get(expected.local);
            if w != Width::W64 {
                put.i64_const(w.mask() as i64).i64_and();
            }
            put.i64_eq().select();
        };
        self.modify(value, w, addr, old, replaced, |this, addr| {
            let spill = this.layout.spill(0);
            this.code.store_i64(spill, |code| {
                code.put().local_get(new.local);
            });
            this.rare_call_out(CallOut::CompareExchange, what_access(w), |this| {
                this.code.put().local_get(addr).local_get(expected.local);
            });
        });
        self.let_go(expected);
        self.let_go(new);
    }

    /// Reads memory into `old` and writes what `replaced` pushes, or calls out. One vCPU runs, and devices reach RAM only
    /// while it does not: plain accesses do.
    fn modify(
        &mut self,
        value: Value,
        w: Width,
        addr: Value,
        old: u32,
        replaced: impl FnOnce(&mut Self),
        call: impl FnOnce(&mut Self, u32),
    ) {
        let looked = self.look_up(w.bytes(), addr, Tag::Write, Demand::Aligned, BlockType::Empty);
        let linear = self.code.temporary(ValType::I32);
        self.push_linear(&looked);
        self.code.put().local_tee(linear);
        load(&mut self.code.put(), w, unaligned());
        self.code.put().local_set(old).local_get(linear);
        replaced(self);
        store(&mut self.code.put(), w, unaligned());
        self.begin_miss();
        call(self, looked.addr.local);
        self.code.put().local_set(old);
        self.end_access(looked);
        self.code.put().local_get(old);
        self.code.release(linear);
        self.code.release(old);
        self.keep(value);
    }

    /// Pushes what an atomic operation writes; bits above the width do not matter.
    fn push_combined(&mut self, op: Amo, w: Width, old: u32, operand: u32) {
        let mut put = self.code.put();
        let cond = match op {
            Amo::Swap => {
                put.local_get(operand);
                return;
            }
            Amo::Add | Amo::And | Amo::Or | Amo::Xor => {
                put.local_get(old).local_get(operand);
                match op {
                    Amo::Add => put.i64_add(),
                    Amo::And => put.i64_and(),
                    Amo::Or => put.i64_or(),
                    _ => put.i64_xor(),
                };
                return;
            }
            Amo::MinS => Cond::LtS,
            Amo::MaxS => Cond::GeS,
            Amo::MinU => Cond::LtU,
            Amo::MaxU => Cond::GeU,
        };
        put.local_get(old).local_get(operand);
        // Shifted to the top, numbers of any width compare as 64-bit ones.
        for local in [old, operand] {
            put.local_get(local);
            if w != Width::W64 {
                put.i64_const(i64::from(64 - w.bits())).i64_shl();
            }
        }
        match cond {
            Cond::LtS => put.i64_lt_s(),
            Cond::GeS => put.i64_ge_s(),
            Cond::LtU => put.i64_lt_u(),
            _ => put.i64_ge_u(),
        };
        put.select();
    }

    fn helper(&mut self, value: Value, id: HelperId, args: Args) {
        let effects = self.helpers[usize::from(id.0)].effects;
        let asks = may_ask(&Op::Helper { id, args }, self.helpers);
        let block = &self.block.block;
        let args = block.helper_args(args);
        for (place, &arg) in args.iter().skip(2).enumerate() {
            let spill = self.layout.spill(place as u32);
            self.code.put().i32_const(0);
            self.push_i64(arg);
            self.code.put().i64_store(aligned(spill, 3));
        }
        let push = |this: &mut Self| {
            for at in 0..2 {
                match args.get(at) {
                    Some(&arg) => this.push_i64(arg),
                    None => {
                        this.code.put().i64_const(0);
                    }
                }
            }
        };
        if effects != HelperEffects::PURE {
            self.flush();
        }
        self.call_out(CallOut::Helper, id.0, push);
        if effects.writes_state {
            (self.state.valid, self.state.pairs) = (SlotSet::EMPTY, SlotSet::EMPTY);
            self.floats.known.forget();
        }
        self.must_look |= asks;
        self.keep(value);
    }
}

/// Whether an operation may call out for what asks to leave.
pub(super) fn may_ask(op: &Op, helpers: &[HelperInfo]) -> bool {
    match op {
        Op::LookIf { .. } => true,
        Op::Helper { id, .. } => {
            let effects = helpers[usize::from(id.0)].effects;
            effects.writes_state || effects.memory
        }
        _ => false,
    }
}

/// Pushes how far from the first TLB entry of a context that at the own place of a page is, of which a local has an address.
pub(super) fn push_own_entry(put: &mut InstructionSink<'_>, addr: u32) {
    put.local_get(addr).i64_const(i64::from(ENTRY_FROM_ADDRESS)).i64_shr_u().i32_wrap_i64();
    put.i32_const(ENTRY_MASK as i32).i32_and();
}

/// The same for a page's other place.
pub(super) fn push_other_entry(put: &mut InstructionSink<'_>, addr: u32) {
    put.local_get(addr).i64_const(i64::from(ENTRY_FROM_ADDRESS)).i64_shr_u();
    put.local_get(addr).i64_const(i64::from(SKEW_SHIFT - SKEW_TO - ENTRY_SHIFT)).i64_shr_u();
    put.i64_const((SKEW_MASK as i64) << (SKEW_TO + ENTRY_SHIFT)).i64_and().i64_xor().i32_wrap_i64();
    put.i32_const(ENTRY_MASK as i32).i32_and().i32_const((OTHER_PLACE as i32) << ENTRY_SHIFT).i32_xor();
}

/// An access to RAM, of any alignment.
pub(super) fn unaligned() -> MemArg {
    aligned(0, 0)
}

pub(super) fn load(put: &mut InstructionSink<'_>, w: Width, at: MemArg) {
    match w {
        Width::W8 => put.i64_load8_u(at),
        Width::W16 => put.i64_load16_u(at),
        Width::W32 => put.i64_load32_u(at),
        Width::W64 => put.i64_load(at),
    };
}

pub(super) fn store(put: &mut InstructionSink<'_>, w: Width, at: MemArg) {
    match w {
        Width::W8 => put.i64_store8(at),
        Width::W16 => put.i64_store16(at),
        Width::W32 => put.i64_store32(at),
        Width::W64 => put.i64_store(at),
    };
}
