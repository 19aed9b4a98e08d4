//! How a function is left: slots to memory, the countdown to memory, and on to another region or to the run loop.

use super::LINKS;
use super::abi::LOOK_UP;
use super::code::aligned;
use super::function::{Frame, Lowering};
use crate::addr::PAGE_MASK;
use crate::emit::Slot;
use crate::guest::TrapCause;
use crate::ir::block::Value;
use crate::lower::calls::{LEFT, Reason};
use crate::lower::layout::{JUMP_MASK, JUMP_SHIFT};
use crate::lower::slots::{SlotSet, pair_of};
use crate::mem::jumps::{JUMP_DROP, JUMP_FACTOR};
use wasm_encoder::{InstructionSink, ValType};

impl Lowering<'_> {
    /// Writes slots to memory.
    pub(super) fn store_slots(&mut self, slots: SlotSet) {
        for slot in slots.iter() {
            let local = self.slots[usize::from(slot.0)];
            self.code.store_i64(self.layout.slot(slot.0), |code| {
                code.put().local_get(local);
            });
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
            let (local, at) = (self.pair_local(pair), aligned(self.layout.slot(pair.0), 4));
            self.code.put().i32_const(0).local_get(local).v128_store(at);
        }
    }

    /// The local of a pair of slots.
    pub(super) fn pair_local(&mut self, Slot(first): Slot) -> u32 {
        let known = &mut self.pairs[usize::from(first / 2)];
        *known.get_or_insert_with(|| self.code.local(ValType::V128))
    }

    /// Makes sure that a pair of slots is in its local.
    pub(super) fn load_pair(&mut self, pair: Slot) {
        if self.state.pairs.contains(pair) {
            return;
        }
        let dirty = self.state.take_dirty_halves(pair);
        self.store_slots(dirty);
        self.reload_pair(pair);
        self.state.pairs.insert(pair);
    }

    /// Reads a pair of slots into its local.
    pub(super) fn reload_pair(&mut self, pair: Slot) {
        let (local, at) = (self.pair_local(pair), aligned(self.layout.slot(pair.0), 4));
        self.code.put().i32_const(0).v128_load(at).local_set(local);
    }

    /// Reads all pairs into their locals again, behind a call-out that is hardly ever made. No host's calls keep registers of
    /// vectors: a local that is needed behind a call lives in memory, as if the call were always made. (The same for slots, of
    /// which calls keep some, was slower by up to a third.)
    pub(super) fn reload_pairs(&mut self) {
        self.state.pairs.iter().for_each(|pair| self.reload_pair(pair));
    }

    /// Reads a slot into its local.
    pub(super) fn load_slot(&mut self, slot: Slot) {
        let pair = pair_of(slot);
        if self.state.pairs.contains(pair) {
            let local = self.pair_local(pair);
            self.code.put().local_get(local).i64x2_extract_lane(slot.0 & 1);
        } else {
            self.code.load_i64(self.layout.slot(slot.0));
        }
        let local = self.slots[usize::from(slot.0)];
        self.code.put().local_set(local);
        self.state.valid.insert(slot);
    }

    pub(super) fn store_countdown(&mut self) {
        let countdown = self.countdown;
        self.code.store_i64(self.layout.countdown(), |code| {
            code.put().local_get(countdown);
        });
    }

    /// Pushes the address `offset` bytes from the page's.
    pub(super) fn push_address(&mut self, offset: i64) {
        self.code.load_i64(self.layout.page_base());
        if offset != 0 {
            self.code.put().i64_const(offset).i64_add();
        }
    }

    pub(super) fn set_target(&mut self, offset: i64) {
        self.push_address(offset);
        let target = self.target;
        self.code.put().local_set(target);
    }

    /// Leaves to the run loop, at an address `offset` bytes from the page's. What follows is never reached, so it is written as
    /// if this had not been.
    pub(super) fn leave_at(&mut self, reason: Reason, offset: i64) {
        self.store_dirty();
        self.set_target(offset);
        self.leave(reason);
    }

    /// Leaves to the run loop, at the target.
    fn leave(&mut self, reason: Reason) {
        let (local, depth) = (self.reason, self.leave_depth());
        self.code.put().i32_const(reason as i32).local_set(local).br(depth);
    }

    /// Leaves if a call-out in this block asked for it, to a distance from the page, else to the target. All slots are
    /// in memory.
    pub(super) fn leave_if_asked(&mut self, offset: Option<i64>) {
        if !self.must_look {
            return;
        }
        let countdown = self.countdown;
        self.code.put().local_get(countdown).i64_const(0).i64_lt_s();
        self.begin_other(false);
        if let Some(offset) = offset {
            self.set_target(offset);
        }
        let depth = self.depth(|frame| matches!(frame, Frame::Asked));
        self.code.put().br(depth);
        self.end_other();
    }

    /// Where all ways lead on which a call-out has asked for it: leaves, or falls through to where the target is looked up,
    /// with what was taken from the countdown given back.
    pub(super) fn leave_unless_moved(&mut self) {
        let (countdown, layout) = (self.countdown, self.layout);
        self.code.load_i64(layout.moved());
        self.code.put().i64_eqz();
        self.begin_other(false);
        self.leave(Reason::Countdown);
        self.end_other();
        self.code.load_i64(layout.withheld());
        self.code.put().local_get(countdown).i64_add().local_set(countdown);
        for field in [layout.moved(), layout.withheld()] {
            self.code.store_i64(field, |code| {
                code.put().i64_const(0);
            });
        }
    }

    /// Ends the instruction with a guest exception.
    pub(super) fn trap(&mut self, cause: TrapCause, value: Value) {
        let layout = self.layout;
        self.code.store_i64(layout.spill(0), |code| {
            code.put().i64_const(i64::from(cause.0));
        });
        self.code.put().i32_const(0);
        self.push_i64(value);
        self.code.put().i64_store(aligned(layout.spill(1), 3));
        self.give_back(self.unretired());
        self.leave_at(Reason::Trap, self.at);
    }

    /// Continues in the region that is linked, or leaves if none is.
    pub(super) fn follow_link(&mut self, link: u32) {
        self.store_countdown();
        let at = aligned(4 * (self.first_link + link), 2);
        self.code.put().global_get(LINKS).i32_load(at).return_();
    }

    /// Continues in the region of the target if the jump cache knows it. It is looked up in its own place here, where that is
    /// predicted better, and in both by the dispatcher.
    pub(super) fn look_up_target(&mut self) {
        if !self.is_brief {
            self.look_up_own_place();
        }
        self.store_target();
        self.store_countdown();
        self.code.put().i32_const(LOOK_UP).return_();
    }

    fn look_up_own_place(&mut self) {
        let target = self.target;
        let entry = self.code.temporary(ValType::I32);
        let (pc, tag, code) = self.layout.jump();
        let mut put = self.code.put();
        push_jump_entry(&mut put, target);
        put.local_tee(entry).i64_load(aligned(pc, 3)).local_get(target).i64_eq();
        put.local_get(entry).i64_load(aligned(tag, 3));
        self.code.load_i64(self.layout.context_tag());
        self.code.put().i64_eq().i32_and();
        self.begin_other(true);
        self.code.store_i64(self.layout.page_base(), |code| {
            code.put().local_get(target).i64_const(!PAGE_MASK as i64).i64_and();
        });
        self.store_countdown();
        self.code.put().local_get(entry).i32_load(aligned(code, 2)).return_();
        self.end_other();
        self.code.release(entry);
    }

    fn store_target(&mut self) {
        let target = self.target;
        self.code.store_i64(self.layout.pc(), |code| {
            code.put().local_get(target);
        });
    }

    /// The end of the function: leaves to the run loop.
    pub(super) fn leave_tail(&mut self) {
        let reason = self.reason;
        self.store_target();
        self.code.store_i64(self.layout.exit(), |code| {
            code.put().local_get(reason).i64_extend_i32_u();
        });
        self.store_countdown();
        self.code.put().i32_const(LEFT);
    }
}

/// Pushes how far from the first entry of the jump cache an address's own one is, which a local has.
pub(super) fn push_jump_entry(put: &mut InstructionSink<'_>, target: u32) {
    put.local_get(target).i32_wrap_i64().i32_const(JUMP_FACTOR as i32).i32_mul();
    put.i32_const((JUMP_DROP - JUMP_SHIFT) as i32).i32_shr_u();
    put.i32_const((JUMP_MASK << JUMP_SHIFT) as i32).i32_and();
}
