//! What is found out about a block before its code is written: what is used where, and what nobody sees.

use super::patterns::{common_bits, has_effect, looked_up, sum, tested};
use super::{END, Loc, Marks, NEAR, NEVER, Scratch, Uses, Write};
use crate::addr::Width::W64;
use crate::emit::{Binary, SLOTS, Unary};
use crate::ir::block::{Block, Op, Value};
use crate::lower::x64::Request;
use crate::lower::x64::plan::{Plan, SlotSet, is_site, touches_state};
use crate::lower::x64::windows::Windows;

impl Scratch {
    /// Finds out what is used where, backwards.
    pub(super) fn analyse(
        &mut self,
        block: &Block,
        plan: &Plan,
        request: Request<'_>,
        live_out: &SlotSet,
        back: bool,
        windows: Option<&Windows>,
    ) {
        let count = block.ops.len();
        self.live.clear();
        self.pending.clear();
        for list in [&mut self.last_use, &mut self.next_site, &mut self.hint] {
            list.clear();
            list.resize(count, NEVER);
        }
        self.uses.clear();
        self.uses.resize(count, Uses::default());
        self.marks.clear();
        self.marks.resize(count, Marks::default());
        if let Some(windows) = windows {
            for (at, marks) in self.marks.iter_mut().enumerate() {
                (marks.calm, marks.void) = (windows.is_calm(at), windows.is_void(at));
            }
        }
        if request.is_compact {
            self.groups.find_none(block);
        } else {
            self.groups.find(block);
        }
        self.loc.clear();
        self.loc.resize(count, Loc::Nowhere);
        self.backing.clear();
        self.backing.resize(count, Loc::Nowhere);
        self.bits.clear();
        self.bits.resize(count, 64);
        self.writes.clear();
        self.writes.resize(count, Write::Dead);
        let mut may_write_code = false;
        for (at, op) in block.ops.iter().enumerate() {
            match op {
                Op::Insn { .. } => self.marks[at].checks = std::mem::take(&mut may_write_code),
                Op::Helper { id, .. } => {
                    may_write_code |= request.helpers[usize::from(id.0)].effects.memory;
                }
                _ => {}
            }
        }
        let mut next_write = [END; SLOTS];
        let (mut next_site, mut next_touch) = (NEVER, NEVER);
        for (at, op) in block.ops.iter().enumerate().rev() {
            self.next_site[at] = next_site;
            if let Op::Set { slot, .. } = *op {
                let until = next_write[usize::from(slot.0)];
                let at_end = until == END && (back || live_out.contains(slot));
                self.writes[at] = if next_touch < until || plan.is_vector(slot) {
                    Write::Now
                } else if next_site < until || at_end || until == END && plan.home(slot).is_some() {
                    Write::Until(until)
                } else {
                    Write::Dead
                };
                next_write[usize::from(slot.0)] = at as u32;
            }
            if is_site(op) && !self.marks[at].calm || self.marks[at].checks {
                next_site = at as u32;
            }
            if touches_state(op, request.helpers) {
                next_touch = at as u32;
            }
            if !self.is_dead(at, op) {
                block.for_each_operand(op, |value| self.uses[value.0 as usize].all += 1);
            }
            if let Some(addr) = looked_up(op) {
                self.uses[addr.0 as usize].as_address += 1;
            }
        }
        // The terminator reads its operands behind everything else, on which ways depend.
        for (at, op) in block.ops.iter().enumerate().rev() {
            if self.is_dead(at, op) || self.marks[at].fused {
                continue;
            }
            let use_at = at as u32;
            if let Op::BranchRelative { cond, .. }
            | Op::TrapIf { cond, .. }
            | Op::LookIf { cond }
            | Op::Select { cond, .. } = *op
                && let Op::Compare { .. } = *block.definition(cond)
                && self.uses[cond.0 as usize].all == 1
            {
                self.marks[cond.0 as usize].fused = true;
                self.compared(block, cond, use_at);
            }
            if let Op::BranchRelative { cond, .. }
            | Op::TrapIf { cond, .. }
            | Op::LookIf { cond }
            | Op::Select { cond, .. } = *op
                && let Some((_, a, b)) = common_bits(block, cond)
                && self.uses[cond.0 as usize].all == 1
            {
                self.marks[cond.0 as usize].fused = true;
                self.used(a, use_at);
                self.used(b, use_at);
            }
            if let Op::Compare { .. } = *op {
                self.compared(block, Value(use_at), use_at);
                continue;
            }
            if let Some(addr) = looked_up(op)
                && let Some((base, _)) = sum(block, addr)
                && self.uses[addr.0 as usize].all == self.uses[addr.0 as usize].as_address
            {
                self.marks[addr.0 as usize].fused = true;
                self.used(base, use_at);
                block.for_each_operand(op, |value| {
                    if value != addr {
                        self.used(value, use_at);
                    }
                });
                continue;
            }
            if let Op::Unary { op: Unary::Sext, w, a } = *op
                && matches!(*block.definition(a), Op::Load { w: of, .. } if of == w)
                && self.uses[a.0 as usize].all == 1
            {
                self.marks[a.0 as usize].extended = true;
            }
            if let Op::Binary { op: Binary::Add, w: W64, a, b } = *op
                && *block.definition(a) == Op::Pc
                && self.uses[a.0 as usize].all == 1
                && block.constant(b).is_some_and(|number| (number as i64).unsigned_abs() < NEAR)
            {
                self.marks[a.0 as usize].fused = true;
                continue;
            }
            block.for_each_operand(op, |value| self.used(value, use_at));
        }
        self.find_hints(block, plan);
    }

    /// Whether nobody sees what an operation does. Those behind it have been looked at.
    #[inline(always)]
    fn is_dead(&self, at: usize, op: &Op) -> bool {
        match op {
            Op::Set { .. } => self.writes[at] == Write::Dead,
            Op::TrapIf { .. } => self.marks[at].void,
            op => self.uses[at].all == 0 && op.result().is_some() && !has_effect(op),
        }
    }

    /// A comparison is made at an operation. Where it asks about bits that two values have in common, these are its operands.
    fn compared(&mut self, block: &Block, cond: Value, at: u32) {
        let Op::Compare { a, b, .. } = *block.definition(cond) else { return };
        let (a, b) = match tested(block, cond) {
            Some((_, x, y)) if self.uses[a.0 as usize].all == 1 => {
                self.marks[a.0 as usize].fused = true;
                (x, y)
            }
            _ => (a, b),
        };
        self.used(a, at);
        self.used(b, at);
    }

    fn used(&mut self, value: Value, at: u32) {
        let last = &mut self.last_use[value.0 as usize];
        if *last == NEVER || *last < at {
            *last = at;
        }
    }

    fn find_hints(&mut self, block: &Block, plan: &Plan) {
        let mut first_of_insn = 0;
        for (at, op) in block.ops.iter().enumerate() {
            match *op {
                Op::Insn { .. } => first_of_insn = at,
                Op::Set { slot, value } if self.writes[at] != Write::Dead && plan.home(slot).is_some() => {
                    let hint = &mut self.hint[value.0 as usize];
                    // What the slot held must not be asked for in between.
                    let between = block.ops.get(value.0 as usize + 1..at).unwrap_or_default();
                    let old_is_read = between.contains(&Op::Get(slot));
                    if value.0 as usize > first_of_insn && *hint == NEVER && !old_is_read {
                        *hint = at as u32;
                    }
                }
                _ => {}
            }
        }
        // Where extending changes nothing, the operand may be computed there as well.
        for (at, op) in block.ops.iter().enumerate().rev() {
            if let Op::Unary { op, w, a } = *op
                && (op == Unary::Zext || op == Unary::Sext && self.marks[a.0 as usize].extended)
                && self.hint[at] != NEVER
                && self.hint[a.0 as usize] == NEVER
                && let Op::Binary { w: from, .. } | Op::Unary { w: from, .. } | Op::Load { w: from, .. } =
                    *block.definition(a)
                && from <= w
                && let Op::Set { slot, .. } = block.ops[self.hint[at] as usize]
            {
                let between = &block.ops[a.0 as usize..at];
                let bars = |op: &Op| op.insn_offset().is_some() || *op == Op::Get(slot);
                self.hint[a.0 as usize] = if between.iter().any(bars) { NEVER } else { self.hint[at] };
            }
        }
    }
}
