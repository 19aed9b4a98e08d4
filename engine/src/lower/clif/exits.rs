//! How a function is left: slots to memory, the countdown to memory, and on to another region or to the run loop.

use super::LAYOUT;
use super::function::{Lowering, own};
use crate::addr::PAGE_MASK;
use crate::emit::Slot;
use crate::guest::TrapCause;
use crate::ir::block::Value;
use crate::lower::calls::{LEFT, Reason};
use crate::lower::layout::{JUMP_MASK, JUMP_SHIFT};
use crate::lower::slots::{SlotSet, pair_of};
use crate::mem::jumps::{JUMP_DROP, JUMP_FACTOR};
use cranelift_codegen::ir::{self as clif, InstBuilder, condcodes::IntCC, types};
use cranelift_frontend::Variable;

impl Lowering<'_, '_> {
    /// Writes slots to memory.
    pub(super) fn store_slots(&mut self, slots: SlotSet) {
        for slot in slots.iter() {
            let value = self.build.use_var(self.variable(slot));
            self.store_own(LAYOUT.slot(slot.0), value);
        }
    }

    /// Writes all slots to memory, for what comes next here only.
    pub(super) fn store_dirty(&mut self) {
        self.store_slots(self.state.dirty);
        self.store_pairs(self.state.dirty_pairs);
    }

    /// Writes all slots to memory for whatever comes next.
    pub(super) fn flush(&mut self) {
        self.store_dirty();
        (self.state.dirty, self.state.dirty_pairs) = (SlotSet::EMPTY, SlotSet::EMPTY);
    }

    /// Writes pairs of slots to memory.
    pub(super) fn store_pairs(&mut self, pairs: SlotSet) {
        for pair in pairs.iter() {
            let variable = self.pair_variable(pair);
            let value = self.build.use_var(variable);
            self.build.ins().store(own(), value, self.vcpu, LAYOUT.slot(pair.0) as i32);
        }
    }

    /// The variable of a pair of slots, which has lanes of bytes.
    pub(super) fn pair_variable(&mut self, Slot(first): Slot) -> Variable {
        *self.pairs[usize::from(first / 2)].get_or_insert_with(|| self.build.declare_var(types::I8X16))
    }

    /// Makes sure that a pair of slots is in its variable.
    pub(super) fn load_pair(&mut self, pair: Slot) {
        if self.state.pairs.contains(pair) {
            return;
        }
        let dirty = self.state.take_dirty_halves(pair);
        self.store_slots(dirty);
        self.reload_pair(pair);
        self.state.pairs.insert(pair);
    }

    /// Reads a pair of slots into its variable.
    pub(super) fn reload_pair(&mut self, pair: Slot) {
        let variable = self.pair_variable(pair);
        let value = self.build.ins().load(types::I8X16, own(), self.vcpu, LAYOUT.slot(pair.0) as i32);
        self.build.def_var(variable, value);
    }

    /// Reads all pairs into their variables again, behind a call-out that is hardly ever made. Calls keep no registers of
    /// vectors: a variable that is needed behind a call lives in memory, as if the call were always made.
    pub(super) fn reload_pairs(&mut self) {
        self.state.pairs.iter().for_each(|pair| self.reload_pair(pair));
    }

    /// Reads a slot into its variable.
    pub(super) fn load_slot(&mut self, slot: Slot) {
        let pair = pair_of(slot);
        let value = if self.state.pairs.contains(pair) {
            let vector = self.pair(types::I64X2, pair);
            self.build.ins().extractlane(vector, slot.0 & 1)
        } else {
            self.load_own(LAYOUT.slot(slot.0))
        };
        self.build.def_var(self.variable(slot), value);
        self.state.valid.insert(slot);
    }

    pub(super) fn store_countdown(&mut self) {
        let left = self.build.use_var(self.countdown);
        self.store_own(LAYOUT.countdown(), left);
    }

    /// The address `offset` bytes from the page's.
    pub(super) fn address(&mut self, offset: i64) -> clif::Value {
        let page = self.load_own(LAYOUT.page_base());
        if offset == 0 { page } else { self.build.ins().iadd_imm_s(page, offset) }
    }

    /// Leaves to the run loop, at an address `offset` bytes from the page's.
    pub(super) fn leave_at(&mut self, reason: Reason, offset: i64) {
        self.store_dirty();
        let target = self.address(offset);
        self.leave_to(reason, target);
    }

    fn leave_to(&mut self, reason: Reason, target: clif::Value) {
        let reason = self.number(reason as u64);
        self.build.ins().jump(self.leave, &[target.into(), reason.into()]);
    }

    /// Leaves to an address if a call-out in this block asked for that. All slots are in memory.
    pub(super) fn leave_if_asked(&mut self, target: clif::Value) {
        if self.must_look {
            let left = self.build.use_var(self.countdown);
            let negative = self.is_negative(left);
            let next = self.build.create_block();
            self.build.ins().brif(negative, self.asked, &[target.into()], next, &[]);
            self.build.switch_to_block(next);
        }
    }

    /// Leaves to its parameter, or looks that up, with what was taken from the countdown given back.
    pub(super) fn write_asked(&mut self) {
        self.build.set_cold_block(self.asked);
        self.build.switch_to_block(self.asked);
        let target = self.build.block_params(self.asked)[0];
        let moved = self.load_own(LAYOUT.moved());
        let still = self.build.ins().icmp_imm_s(IntCC::Equal, moved, 0);
        self.rarely(still, |this| this.leave_to(Reason::Countdown, target));
        let withheld = self.load_own(LAYOUT.withheld());
        let left = self.build.use_var(self.countdown);
        let left = self.build.ins().iadd(left, withheld);
        self.build.def_var(self.countdown, left);
        let zero = self.number(0);
        self.store_own(LAYOUT.moved(), zero);
        self.store_own(LAYOUT.withheld(), zero);
        self.build.ins().jump(self.look_up, &[target.into()]);
    }

    /// Ends the instruction with a guest exception.
    pub(super) fn trap(&mut self, cause: TrapCause, value: Value) {
        let (number, value) = (self.number(cause.0.into()), self.value(value));
        self.store_own(LAYOUT.spill(0), number);
        self.store_own(LAYOUT.spill(1), value);
        self.give_back(self.unretired());
        self.leave_at(Reason::Trap, self.at);
    }

    /// Continues in the region that is linked, or leaves if none is.
    pub(super) fn follow_link(&mut self, cell: u32) {
        self.store_countdown();
        let at = self.number(self.target.links + 8 * u64::from(cell));
        let code = self.build.ins().load(types::I64, own(), at, 0);
        let cell = self.number(cell.into());
        self.build.ins().return_call_indirect(self.region_signature, code, &[self.vcpu, cell]);
    }

    /// Continues in the region of the target if the jump cache knows it, else leaves.
    pub(super) fn write_look_up(&mut self) {
        self.build.switch_to_block(self.look_up);
        let target = self.build.block_params(self.look_up)[0];
        let (pc, tag, code) = LAYOUT.jump();
        let ins = |this: &mut Self, offset: u32, entry| {
            this.build.ins().load(types::I64, own(), entry, offset as i32)
        };
        let low = self.build.ins().ireduce(types::I32, target);
        let product = self.build.ins().imul_imm_s(low, i64::from(JUMP_FACTOR as i32));
        let place = self.build.ins().ushr_imm_s(product, i64::from(JUMP_DROP - JUMP_SHIFT));
        let place = self.build.ins().band_imm_s(place, i64::from(JUMP_MASK << JUMP_SHIFT));
        let place = self.build.ins().uextend(types::I64, place);
        let entry = self.build.ins().iadd(self.vcpu, place);
        let known_pc = ins(self, pc, entry);
        let known_tag = ins(self, tag, entry);
        let context = self.load_own(LAYOUT.context_tag());
        let same_pc = self.build.ins().icmp(IntCC::Equal, known_pc, target);
        let same_tag = self.build.ins().icmp(IntCC::Equal, known_tag, context);
        let known = self.build.ins().band(same_pc, same_tag);
        let [hit, miss] = [(); 2].map(|()| self.build.create_block());
        self.build.ins().brif(known, hit, &[], miss, &[]);
        self.build.switch_to_block(hit);
        let page = self.build.ins().band_imm_s(target, !PAGE_MASK as i64);
        self.store_own(LAYOUT.page_base(), page);
        self.store_countdown();
        let code = ins(self, code, entry);
        let no_cell = self.number(0);
        self.build.ins().return_call_indirect(self.region_signature, code, &[self.vcpu, no_cell]);
        self.build.set_cold_block(miss);
        self.build.switch_to_block(miss);
        self.leave_to(Reason::Jump, target);
    }

    /// The end of the function: leaves to the run loop.
    pub(super) fn write_leave(&mut self) {
        self.build.set_cold_block(self.leave);
        self.build.switch_to_block(self.leave);
        let &[target, reason] = self.build.block_params(self.leave) else {
            unreachable!("it was made with two parameters")
        };
        self.store_own(LAYOUT.pc(), target);
        self.store_own(LAYOUT.exit(), reason);
        self.store_countdown();
        self.return_left();
    }

    pub(super) fn write_unwound(&mut self) {
        self.build.set_cold_block(self.unwound);
        self.build.switch_to_block(self.unwound);
        self.return_left();
    }

    fn return_left(&mut self) {
        let left = self.build.ins().iconst(types::I32, i64::from(LEFT));
        self.build.ins().return_(&[left]);
    }
}
