//! Operations that reach guest memory or the host: an inline look into the TLB, and a call-out where that does not do.

use super::function::{Lowering, own};
use super::ops::condition_code;
use super::{GO_ON, LAYOUT};
use crate::addr::{PAGE_BYTES, PAGE_MASK, Width};
use crate::guest::{HelperEffects, HelperId};
use crate::ir::block::{Args, Op, Value};
use crate::ir::ops::{Amo, Cond};
use crate::lower::calls::{CallOut, Site, what_access, what_amo};
use crate::lower::layout::{Demand, ENTRY_FROM_ADDRESS, ENTRY_MASK, Tag};
use crate::lower::slots::SlotSet;
use cranelift_codegen::ir::{self as clif, Endianness, InstBuilder, MemFlagsData, condcodes::IntCC, types};

/// An access to guest memory: of any alignment.
pub(super) fn guest() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_endianness(Endianness::Little)
}

impl Lowering<'_, '_> {
    /// Writes an operation with effects.
    pub(super) fn memory_op(&mut self, value: Value, op: &Op) {
        match *op {
            Op::Load { w, addr } => self.read(value, CallOut::Load, Tag::Read, w, addr),
            Op::LoadToModify { w, addr } => self.read(value, CallOut::LoadToModify, Tag::Write, w, addr),
            Op::Store { w, addr, value } => self.write_memory(w, addr, value),
            Op::CheckCrossingWrite { addr, len_bytes } => self.check_crossing_write(addr, len_bytes),
            Op::Amo { op, w, addr, value: operand } => self.amo(value, op, w, addr, operand),
            Op::CompareExchange { w, addr, expected, new } => {
                self.compare_exchange(value, w, addr, expected, new);
            }
            Op::LoadReserved { w, addr } => {
                let (addr, zero) = (self.value(addr), self.number(0));
                self.flush();
                let old = self.call_out(CallOut::LoadReserved, what_access(w), [addr, zero]);
                self.define(value, old);
            }
            Op::StoreConditional { w, addr, value: stored } => {
                let (addr, stored) = (self.value(addr), self.value(stored));
                self.flush();
                let failed = self.call_out(CallOut::StoreConditional, what_access(w), [addr, stored]);
                self.define(value, failed);
            }
            Op::Helper { id, args } => self.helper(value, id, args),
            _ => self.vector_op(value, op),
        }
    }

    /// Calls the host, which may end the instruction.
    pub(super) fn call_out(&mut self, call: CallOut, what: u16, numbers: [clif::Value; 2]) -> clif::Value {
        let at = i32::try_from(self.at).expect("a region lies within 2 GiB of its page");
        let site = Site { at, unretired: self.unretired() as u16, what };
        self.store_countdown();
        let function = self.number(self.target.call_outs[call as usize]);
        let site = self.number(site.encode());
        let [a, b] = numbers;
        let call =
            self.build.ins().call_indirect(self.call_out_signature, function, &[self.vcpu, site, a, b]);
        let &[result, ended] = self.build.inst_results(call) else {
            unreachable!("the signature has two results")
        };
        let left = self.load_own(LAYOUT.countdown());
        self.build.def_var(self.countdown, left);
        let next = self.build.create_block();
        let ended = self.build.ins().icmp_imm_s(IntCC::NotEqual, ended, GO_ON as i64);
        self.build.ins().brif(ended, self.unwound, &[], next, &[]);
        self.build.switch_to_block(next);
        result
    }

    /// An access: `hit` is given its host address if the page's own place in the TLB allows it, else the host is called,
    /// which looks into the other place, too. Either gives a result.
    pub(super) fn access(
        &mut self,
        (len_bytes, tag, demand): (u64, Tag, Demand),
        addr: clif::Value,
        hit: impl FnOnce(&mut Self, clif::Value) -> clif::Value,
        miss: impl FnOnce(&mut Self) -> clif::Value,
    ) -> clif::Value {
        let last = len_bytes - 1;
        let entry = self.build.ins().ushr_imm_s(addr, i64::from(ENTRY_FROM_ADDRESS));
        let entry = self.build.ins().band_imm_s(entry, i64::from(ENTRY_MASK));
        let entry = self.build.ins().iadd(self.vcpu, entry);
        let tag = LAYOUT.tag(self.plan.data_context, tag) as i32;
        let tag = self.build.ins().load(types::I64, own(), entry, tag);
        let wanted = match demand {
            // The page of the last byte is that of the first.
            Demand::Inside => {
                let end = self.build.ins().iadd_imm_s(addr, last as i64);
                self.build.ins().band_imm_s(end, !PAGE_MASK as i64)
            }
            Demand::Aligned => self.build.ins().band_imm_s(addr, (!PAGE_MASK | last) as i64),
        };
        let space = self.load_own(LAYOUT.space(self.plan.data_context));
        let wanted = self.build.ins().bor(wanted, space);
        let allowed = self.build.ins().icmp(IntCC::Equal, tag, wanted);
        let [inside, outside, next] = [(); 3].map(|()| self.build.create_block());
        self.build.append_block_param(next, types::I64);
        self.build.set_cold_block(outside);
        self.build.ins().brif(allowed, inside, &[], outside, &[]);
        self.build.switch_to_block(inside);
        let addend = LAYOUT.addend(self.plan.data_context) as i32;
        let addend = self.build.ins().load(types::I64, own(), entry, addend);
        let host = self.build.ins().iadd(addr, addend);
        let result = hit(self, host);
        self.build.ins().jump(next, &[result.into()]);
        self.build.switch_to_block(outside);
        // Slots are written to memory here only, so that they stay dirty.
        self.store_dirty();
        let result = miss(self);
        self.reload_pairs();
        self.build.ins().jump(next, &[result.into()]);
        self.build.switch_to_block(next);
        self.build.block_params(next)[0]
    }

    fn read(&mut self, value: Value, call: CallOut, tag: Tag, w: Width, addr: Value) {
        let addr = self.value(addr);
        let result = self.access(
            (w.bytes(), tag, Demand::Inside),
            addr,
            |this, host| this.load(w, host),
            |this| {
                let zero = this.number(0);
                this.call_out(call, what_access(w), [addr, zero])
            },
        );
        self.define(value, result);
    }

    fn write_memory(&mut self, w: Width, addr: Value, value: Value) {
        let (addr, value) = (self.value(addr), self.value(value));
        self.access(
            (w.bytes(), Tag::Write, Demand::Inside),
            addr,
            |this, host| {
                this.store(w, host, value);
                value
            },
            |this| this.call_out(CallOut::Store, what_access(w), [addr, value]),
        );
    }

    fn check_crossing_write(&mut self, addr: Value, len_bytes: u16) {
        let addr = self.value(addr);
        let last_start = PAGE_BYTES.saturating_sub(u64::from(len_bytes));
        let place = self.build.ins().band_imm_s(addr, PAGE_MASK as i64);
        let crosses = self.build.ins().icmp_imm_s(IntCC::UnsignedGreaterThan, place, last_start as i64);
        let [check, next] = [(); 2].map(|()| self.build.create_block());
        self.build.set_cold_block(check);
        self.build.ins().brif(crosses, check, &[], next, &[]);
        self.build.switch_to_block(check);
        self.store_dirty();
        let len_bytes = self.number(len_bytes.into());
        self.call_out(CallOut::CheckCrossingWrite, what_access(Width::W8), [addr, len_bytes]);
        self.reload_pairs();
        self.build.ins().jump(next, &[]);
        self.build.switch_to_block(next);
    }

    fn amo(&mut self, value: Value, op: Amo, w: Width, addr: Value, operand: Value) {
        let (addr, operand) = (self.value(addr), self.value(operand));
        let old = self.access(
            (w.bytes(), Tag::Write, Demand::Aligned),
            addr,
            |this, host| {
                let old = this.load(w, host);
                let new = this.combined(op, w, old, operand);
                this.store(w, host, new);
                old
            },
            |this| this.call_out(CallOut::Amo, what_amo(w, op), [addr, operand]),
        );
        self.define(value, old);
    }

    fn compare_exchange(&mut self, value: Value, w: Width, addr: Value, expected: Value, new: Value) {
        let (addr, expected, new) = (self.value(addr), self.value(expected), self.value(new));
        let old = self.access(
            (w.bytes(), Tag::Write, Demand::Aligned),
            addr,
            |this, host| {
                let old = this.load(w, host);
                let [a, b] = [old, expected].map(|it| this.narrowed(w, it));
                let same = this.build.ins().icmp(IntCC::Equal, a, b);
                let new = this.build.ins().select(same, new, old);
                this.store(w, host, new);
                old
            },
            |this| {
                this.store_own(LAYOUT.spill(0), new);
                this.call_out(CallOut::CompareExchange, what_access(w), [addr, expected])
            },
        );
        self.define(value, old);
    }

    /// What an atomic operation writes; bits above the width do not matter. One vCPU runs, and devices reach RAM only while
    /// it does not, so plain accesses are atomic.
    fn combined(&mut self, op: Amo, w: Width, old: clif::Value, operand: clif::Value) -> clif::Value {
        let cond = match op {
            Amo::Swap => return operand,
            Amo::Add => return self.build.ins().iadd(old, operand),
            Amo::And => return self.build.ins().band(old, operand),
            Amo::Or => return self.build.ins().bor(old, operand),
            Amo::Xor => return self.build.ins().bxor(old, operand),
            Amo::MinS => Cond::LtS,
            Amo::MaxS => Cond::GeS,
            Amo::MinU => Cond::LtU,
            Amo::MaxU => Cond::GeU,
        };
        let [a, b] = [old, operand].map(|it| self.narrowed(w, it));
        let keeps = self.build.ins().icmp(condition_code(cond), a, b);
        self.build.ins().select(keeps, old, operand)
    }

    fn helper(&mut self, value: Value, id: HelperId, args: Args) {
        let effects = self.target.helpers[usize::from(id.0)].effects;
        let args: Vec<clif::Value> =
            self.block.block.helper_args(args).iter().map(|&arg| self.value(arg)).collect();
        for (place, &arg) in args.iter().skip(2).enumerate() {
            self.store_own(LAYOUT.spill(place as u32), arg);
        }
        if effects != HelperEffects::PURE {
            self.flush();
        }
        let first = [0, 1].map(|at| args.get(at).copied());
        let first = first.map(|arg| arg.unwrap_or_else(|| self.number(0)));
        let result = self.call_out(CallOut::Helper, id.0, first);
        if effects.writes_state {
            (self.state.valid, self.state.pairs) = (SlotSet::EMPTY, SlotSet::EMPTY);
            self.floats.known.forget();
        }
        self.must_look |= effects.writes_state || effects.memory;
        self.define(value, result);
    }

    /// Has the run loop look behind the instruction if the condition holds.
    pub(super) fn look_if(&mut self, cond: Value) {
        let cond = self.condition(cond);
        let [asks, next] = [(); 2].map(|()| self.build.create_block());
        self.build.set_cold_block(asks);
        self.build.ins().brif(cond, asks, &[], next, &[]);
        self.build.switch_to_block(asks);
        // Slots are written to memory here only, so that they stay dirty.
        self.store_dirty();
        let zero = self.number(0);
        self.call_out(CallOut::Look, 0, [zero, zero]);
        self.reload_pairs();
        self.build.ins().jump(next, &[]);
        self.build.switch_to_block(next);
        self.must_look = true;
    }

    fn load(&mut self, w: Width, host: clif::Value) -> clif::Value {
        let ins = self.build.ins();
        match w {
            Width::W8 => ins.uload8(types::I64, guest(), host, 0),
            Width::W16 => ins.uload16(types::I64, guest(), host, 0),
            Width::W32 => ins.uload32(guest(), host, 0),
            Width::W64 => ins.load(types::I64, guest(), host, 0),
        }
    }

    fn store(&mut self, w: Width, host: clif::Value, value: clif::Value) {
        let ins = self.build.ins();
        match w {
            Width::W8 => ins.istore8(guest(), value, host, 0),
            Width::W16 => ins.istore16(guest(), value, host, 0),
            Width::W32 => ins.istore32(guest(), value, host, 0),
            Width::W64 => ins.store(guest(), value, host, 0),
        };
    }
}
