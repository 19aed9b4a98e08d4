//! The end of a block: what is stored on its ways, and how it counts down.

use super::{Emitter, Pending};
use crate::addr::Width::W64;
use crate::emit::Slot;
use crate::ir::block::Op;
use crate::lower::x64::COUNTDOWN;
use crate::lower::x64::asm::{Alu, Cc, Label};
use crate::lower::x64::cold::Cold;
use crate::lower::x64::plan::SlotSet;

impl Emitter<'_> {
    /// The end of the block: stores what is pending if every way needs it.
    pub fn store_for_all(&mut self, live: impl Fn(Slot) -> bool) {
        self.at = self.block.ops.len() as u32 - 1;
        let mut index = 0;
        while let Some(&Pending { slot, value, .. }) = self.s.pending.get(index) {
            if live(slot) {
                self.store_slot(slot, value);
                self.s.pending.swap_remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// Stores what is pending and needed on a way; it stays pending for other ways.
    pub fn store_for_way(&mut self, live: &SlotSet) {
        for index in 0..self.s.pending.len() {
            let Pending { slot, value, .. } = self.s.pending[index];
            if live.contains(slot) {
                self.write_slot(slot, value);
            }
        }
    }

    /// Whether something is pending that is needed on a way.
    pub fn has_pending_for(&self, live: &SlotSet) -> bool {
        self.s.pending.iter().any(|pending| live.contains(pending.slot))
    }

    /// Leaves before the instruction at hand if the count was taken away.
    pub(super) fn check_count(&mut self) {
        self.asm.test(W64, COUNTDOWN, COUNTDOWN);
        let cold = self.asm.label();
        self.asm.jcc(Cc::S, cold);
        let site = self.site(&Op::Fence, &[], None);
        self.s.cold.push(Cold::leaving(cold, site));
    }

    /// Counts down for a block that a way back leads to, and goes there, or leaves through a site if the count is down.
    pub fn go_back(&mut self, to_insns: u32, to_start: i64, body: Label) {
        self.asm.alu_imm(Alu::Sub, W64, COUNTDOWN, to_insns as i32);
        self.asm.jcc(Cc::NS, body);
        let cold = self.asm.label();
        self.asm.jmp(cold);
        self.leave_back(to_insns, to_start, cold);
    }

    /// The same, but what is written next goes on.
    pub fn count_back(&mut self, to_insns: u32, to_start: i64) {
        self.asm.alu_imm(Alu::Sub, W64, COUNTDOWN, to_insns as i32);
        let cold = self.asm.label();
        self.asm.jcc(Cc::S, cold);
        self.leave_back(to_insns, to_start, cold);
    }

    /// Between two turns that look nothing up.
    pub fn next_in_windows(&mut self, fast: Label) {
        if let Some(windows) = self.windows {
            windows.emit_next(self.asm, fast);
        }
    }

    fn leave_back(&mut self, to_insns: u32, to_start: i64, cold: Label) {
        let (insn, before) = (self.insn, self.before);
        self.insn = to_start;
        self.before = self.insns.wrapping_sub(to_insns);
        // A site without an operation leaves for the run loop.
        let site = self.site(&Op::Fence, &[], None);
        (self.insn, self.before) = (insn, before);
        self.s.cold.push(Cold::leaving(cold, site));
    }
}
