//! Slots in locals: which are there when a block begins.
//!
//! Each slot that a region uses has a local. Where a local is *valid* it holds the slot's value; where it is *dirty*, memory
//! does not, and whoever may leave writes it there first. Inside a block both follow from its operations. Between blocks
//! this file decides: in a loop, the slots that it uses stay valid and those that it sets may stay dirty, so that a loop
//! neither loads nor stores them; elsewhere nothing is kept. A way between blocks brings one state into the other.

use super::shape::Part;
use crate::emit::Slot;
use crate::guest::HelperInfo;
use crate::ir::block::{Block, Op};
use crate::ir::region::Region;

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotSet([u64; 4]);

impl SlotSet {
    pub(super) const EMPTY: Self = Self([0; 4]);

    pub(super) fn insert(&mut self, slot: Slot) {
        self.0[usize::from(slot.0 >> 6)] |= 1 << (slot.0 & 63);
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        self.0[usize::from(slot.0 >> 6)] &= !(1 << (slot.0 & 63));
    }

    pub(super) fn contains(&self, slot: Slot) -> bool {
        self.0[usize::from(slot.0 >> 6)] >> (slot.0 & 63) & 1 != 0
    }

    pub(super) fn union(self, other: Self) -> Self {
        self.combine(other, |a, b| a | b)
    }

    pub(super) fn without(self, other: Self) -> Self {
        self.combine(other, |a, b| a & !b)
    }

    fn combine(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    /// Lowest first.
    pub(super) fn iter(self) -> impl Iterator<Item = Slot> {
        (0..4u8).flat_map(move |word| {
            let mut left = self.0[usize::from(word)];
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as u8;
                left &= left.wrapping_sub(1);
                (bit < 64).then_some(Slot(word << 6 | bit))
            })
        })
    }
}

/// What locals are at some place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotState {
    /// Locals that hold the slot's value.
    pub valid: SlotSet,
    /// Slots whose value is in the local only; all of them are valid.
    pub dirty: SlotSet,
}

impl SlotState {
    pub(super) fn set(&mut self, slot: Slot) {
        self.valid.insert(slot);
        self.dirty.insert(slot);
    }

    /// The dirty slots of the pairs that an operation on vectors names. It finds them in memory, so that the caller writes
    /// them there: they are not dirty any more.
    pub(super) fn take_dirty(&mut self, op: &Op) -> SlotSet {
        let mut taken = SlotSet::EMPTY;
        op.for_each_vector(|Slot(first)| {
            for slot in [Slot(first), Slot(first | 1)] {
                if self.dirty.contains(slot) {
                    taken.insert(slot);
                }
            }
        });
        self.dirty = self.dirty.without(taken);
        taken
    }

    /// After an operation on vectors: what it wrote is in memory only.
    pub(super) fn forget_written(&mut self, op: &Op) {
        if let Some(Slot(first)) = op.vector_written() {
            self.valid.remove(Slot(first));
            self.valid.remove(Slot(first | 1));
        }
    }
}

/// What a block does with slots.
#[derive(Clone, Copy, Default)]
struct Use {
    read: SlotSet,
    set: SlotSet,
    /// It calls a function that may write any slot.
    forgets: bool,
}

/// Whether an operation is a call of a helper that may write slots.
pub(super) fn writes_slots(op: &Op, helpers: &[HelperInfo]) -> bool {
    matches!(op, Op::Helper { id, .. } if helpers[usize::from(id.0)].effects.writes_state)
}

impl Use {
    fn of(block: &Block, helpers: &[HelperInfo]) -> Self {
        let mut found = Self::default();
        for op in &block.ops {
            match *op {
                Op::Get(slot) => found.read.insert(slot),
                Op::Set { slot, .. } => found.set.insert(slot),
                _ => found.forgets |= writes_slots(op, helpers),
            }
        }
        found
    }

    fn join(self, other: Self) -> Self {
        Self {
            read: self.read.union(other.read),
            set: self.set.union(other.set),
            forgets: self.forgets | other.forgets,
        }
    }
}

/// The state of locals at the start of each block, and all slots that are used.
pub(super) fn at_entries(
    region: &Region,
    shape: &[Part],
    helpers: &[HelperInfo],
) -> (Vec<SlotState>, SlotSet) {
    let uses: Vec<Use> = region.blocks.iter().map(|block| Use::of(&block.block, helpers)).collect();
    let mut states = vec![SlotState::default(); uses.len()];
    in_loops(shape, &uses, SlotSet::EMPTY, SlotSet::EMPTY, &mut states);
    let all = uses.iter().fold(SlotSet::EMPTY, |all, one| all.union(one.read).union(one.set));
    (states, all)
}

/// `valid` is what the loops around these parts keep valid, `dirty` what the innermost of them keeps dirty.
fn in_loops(parts: &[Part], uses: &[Use], valid: SlotSet, dirty: SlotSet, states: &mut [SlotState]) {
    for part in parts {
        match part {
            Part::Block(block) => states[*block] = SlotState { valid, dirty },
            Part::Loop(inner) => {
                let mut all = Use::default();
                part.for_each_block(&mut |block| all = all.join(uses[block]));
                // A loop that calls what may write slots would load them again and again.
                let (valid, dirty) = if all.forgets {
                    (SlotSet::EMPTY, SlotSet::EMPTY)
                } else {
                    (valid.union(all.read).union(all.set), all.set)
                };
                in_loops(&inner.body, uses, valid, dirty, states);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_slots() {
        let mut set = SlotSet::EMPTY;
        for slot in [0, 63, 64, 200, 255] {
            set.insert(Slot(slot));
        }
        assert!(set.contains(Slot(200)) && !set.contains(Slot(201)));
        assert_eq!(set.iter().map(|slot| slot.0).collect::<Vec<_>>(), [0, 63, 64, 200, 255]);
        let mut other = SlotSet::EMPTY;
        other.insert(Slot(64));
        assert_eq!(set.without(other).iter().count(), 4);
        assert_eq!(set.without(other).union(other), set);
    }
}
