//! Uses of a block's values: what is computed where it is used, what needs a local, and for how long.
//!
//! wasm is a stack machine: a value that is used once is best computed between its neighbours. An operation without
//! effects may move to its only use; its operands then have to live until there. A slot that is written twice before anything may
//! see the first value is written once: flags are, all the time.

use super::memory::may_ask;
use crate::emit::Slot;
use crate::guest::HelperInfo;
use crate::ir::block::{Block, Op, Value};
use crate::lower::slots::{SlotSet, writes_slots};

/// Deepest nesting of operations that are computed where they are used.
const MAX_DEPTH: u8 = 24;
/// No place.
const NEVER: u32 = u32::MAX;

/// How an operation's value comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Not at all: nothing uses it, and it has no effect. Or the write of a slot that nobody sees.
    Unused,
    /// Where it is used.
    AtUse,
    /// The read of a slot whose local keeps the value for as long as it is used.
    InSlot,
    /// At its place in the block, into a local of its own if it is used.
    AtPlace,
}

/// Uses of a block's values.
pub(super) struct Uses {
    how: Vec<How>,
    /// The operation at whose place each value is used last.
    last: Vec<u32>,
}

/// Whether an operation depends on its operands alone.
fn is_pure(op: &Op) -> bool {
    matches!(
        op,
        Op::Const(_) | Op::Pc | Op::Binary { .. } | Op::Unary { .. } | Op::Compare { .. } | Op::Select { .. }
    )
}

/// Whether a helper only looks at state: if nobody wants to know what it found, it need not be called.
fn only_reads(op: &Op, helpers: &[HelperInfo]) -> bool {
    matches!(op, Op::Helper { id, .. } if {
        let effects = helpers[usize::from(id.0)].effects;
        !effects.traps && !effects.writes_state && !effects.memory
    })
}

/// Whether whoever may leave here, or is called, sees all slots. Only what is known not to is not.
fn sees_slots(op: &Op) -> bool {
    match op {
        Op::Insn { .. } | Op::Get(_) | Op::Set { .. } => false,
        Op::Vector { .. } | Op::VectorInsert { .. } | Op::VectorExtract { .. } => false,
        op => !is_pure(op),
    }
}

impl Uses {
    pub(super) fn new(block: &Block, helpers: &[HelperInfo]) -> Self {
        let count = block.ops.len();
        let mut how = vec![How::AtPlace; count];
        let mut last = vec![NEVER; count];
        let mut uses = vec![0u32; count];
        // Of the only use so far: where it is computed, and how deep in nested operations.
        let mut place = vec![(NEVER, 0u8); count];
        // Where the slot of a read is next written.
        let mut next_write = vec![NEVER; crate::emit::SLOTS];
        // Slots that are written before anybody sees them.
        let mut overwritten = SlotSet::EMPTY;
        // Code may be left at an instruction behind what asks for it.
        let is_looked_at = block.ops.iter().any(|op| may_ask(op, helpers));
        for (at, op) in block.ops.iter().enumerate().rev() {
            let here = at as u32;
            let used = uses[at] != 0;
            let (mut at_place, mut depth) = (here, 0);
            match op {
                Op::Const(_) | Op::Pc => how[at] = How::AtUse,
                Op::Get(_) if !used => how[at] = How::Unused,
                Op::Get(slot) if last[at] <= next_write[usize::from(slot.0)] => how[at] = How::InSlot,
                op if (is_pure(op) || only_reads(op, helpers)) && !used => how[at] = How::Unused,
                &Op::Set { slot, .. } if overwritten.contains(slot) => how[at] = How::Unused,
                op if is_pure(op) && uses[at] == 1 && place[at].1 < MAX_DEPTH => {
                    how[at] = How::AtUse;
                    (at_place, depth) = (place[at].0, place[at].1 + 1);
                }
                _ => {}
            }
            if how[at] == How::Unused {
                continue;
            }
            match *op {
                Op::Get(slot) => overwritten.remove(slot),
                Op::Set { slot, .. } => overwritten.insert(slot),
                Op::Insn { .. } if is_looked_at => overwritten = SlotSet::EMPTY,
                ref op if sees_slots(op) => overwritten = SlotSet::EMPTY,
                ref op => op.for_each_vector(|Slot(first)| {
                    overwritten.remove(Slot(first));
                    overwritten.remove(Slot(first | 1));
                }),
            }
            match op {
                Op::Set { slot, .. } => next_write[usize::from(slot.0)] = here,
                op if writes_slots(op, helpers) => next_write.fill(here),
                op => {
                    if let Some(Slot(first)) = op.vector_written() {
                        next_write[usize::from(first)] = here;
                        next_write[usize::from(first | 1)] = here;
                    }
                }
            }
            block.for_each_operand(op, |Value(operand)| {
                let operand = operand as usize;
                uses[operand] += 1;
                place[operand] = (at_place, depth);
                last[operand] = if last[operand] == NEVER { at_place } else { last[operand].max(at_place) };
            });
        }
        Self { how, last }
    }

    pub(super) fn how(&self, value: Value) -> How {
        self.how[value.0 as usize]
    }

    /// Whether anything uses the value of operation `at`.
    pub(super) fn is_used(&self, at: usize) -> bool {
        self.last[at] != NEVER
    }

    /// The values that are used last at operation `at`, in a vector for each.
    pub(super) fn ends(&self) -> Vec<Vec<Value>> {
        let mut ends = vec![Vec::new(); self.last.len()];
        for (value, &last) in self.last.iter().enumerate() {
            if last != NEVER {
                ends[last as usize].push(Value(value as u32));
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Width::W64;
    use crate::ir::ops::Binary;

    #[test]
    fn values_move_to_their_only_use_and_slots_keep_what_is_not_overwritten() {
        let add = |a, b| Op::Binary { op: Binary::Add, w: W64, a: Value(a), b: Value(b) };
        let ops = vec![
            Op::Insn { offset: 0, len_bytes: 4 },
            Op::Get(Slot(1)),
            Op::Get(Slot(2)),
            add(1, 2),
            Op::Set { slot: Slot(1), value: Value(3) },
            add(1, 3),
            add(5, 5),
            Op::Set { slot: Slot(2), value: Value(6) },
            add(2, 2),
        ];
        let uses = Uses::new(&Block { ops, args: Vec::new(), len_bytes: 4 }, &[]);
        let how: Vec<How> = (1..9).map(|value| uses.how(Value(value))).collect();
        use How::*;
        assert_eq!(how, [AtPlace, InSlot, AtPlace, AtPlace, AtPlace, AtUse, AtPlace, Unused]);
        assert_eq!(uses.ends()[5], [Value(1), Value(3)]);
        assert_eq!(uses.ends()[7], [Value(5), Value(6)]);
        assert!(!uses.is_used(8));
    }

    #[test]
    fn a_write_that_nobody_sees_is_none_and_what_only_it_needs_neither() {
        use crate::guest::{HelperEffects, HelperId};
        use crate::ir::block::Args;
        let look = HelperEffects { reads_state: true, ..HelperEffects::PURE };
        let helper = |name, effects| HelperInfo { name, effects, function: None };
        let helpers = [helper("look", look), helper("all", HelperEffects::ALL)];
        let insn = Op::Insn { offset: 0, len_bytes: 4 };
        let call = |id| Op::Helper { id: HelperId(id), args: Args { first: 0, count: 0 } };
        let set = |slot, value| Op::Set { slot: Slot(slot), value: Value(value) };
        // What stands between two writes of a slot, the first of which is of what a helper found, and whether that is seen.
        let load = Op::Load { w: W64, addr: Value(2) };
        let between: [(&[Op], bool); 8] = [
            (&[], false),
            (&[insn], false),
            (&[set(2, 2)], false),
            (&[Op::Get(Slot(2))], false),
            (&[load], true),
            (&[call(1)], true),
            (&[insn, Op::LookIf { cond: Value(2) }], true),
            (&[Op::Fence], true),
        ];
        for (ops, is_seen) in between {
            let all = [&[insn, call(0), Op::Const(1), set(1, 1)], ops, &[set(1, 2), load]].concat();
            let uses = Uses::new(&Block { ops: all, args: Vec::new(), len_bytes: 8 }, &helpers);
            let expected = if is_seen { How::AtPlace } else { How::Unused };
            assert_eq!([1, 3].map(|at| uses.how(Value(at))), [expected; 2], "{ops:?}");
        }
        // A read makes a write worth while; a slot that is read has not been overwritten.
        let ops = vec![insn, call(0), set(1, 1), Op::Get(Slot(1)), set(2, 3), set(1, 3)];
        let uses = Uses::new(&Block { ops, args: Vec::new(), len_bytes: 4 }, &helpers);
        assert_eq!([1, 2, 4, 5].map(|at| uses.how(Value(at))), [How::AtPlace; 4]);
        // Code may be left at an instruction behind a call that asks for it.
        let ops = vec![insn, call(1), set(1, 1), insn, set(1, 1)];
        let uses = Uses::new(&Block { ops, args: Vec::new(), len_bytes: 4 }, &helpers);
        assert_eq!(uses.how(Value(2)), How::AtPlace);
    }
}
