//! Slots in locals: which are there when a block begins.
//!
//! Each slot that a region uses has a local, as has each pair of slots that is a vector. Where a local is *valid* it holds the slot's value; where it is *dirty*, memory
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

    pub(super) fn both(self, other: Self) -> Self {
        self.combine(other, |a, b| a & b)
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

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        let mut set = Self::EMPTY;
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

/// What locals are at some place. A pair of slots that is a vector has a local of its own beside those of the two slots; it
/// goes by the first one. Where the pair's local is valid no slot's local is dirty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotState {
    /// Locals that hold the slot's value.
    pub valid: SlotSet,
    /// Slots whose value is in the local only; all of them are valid.
    pub dirty: SlotSet,
    /// Locals that hold the pair's value.
    pub pairs: SlotSet,
    /// Pairs whose value is in the local only; all of them are valid.
    pub dirty_pairs: SlotSet,
}

/// The pair that a slot is in.
pub(super) const fn pair_of(slot: Slot) -> Slot {
    Slot(slot.0 & !1)
}

/// Both slots of a pair.
fn halves(Slot(first): Slot) -> SlotSet {
    [Slot(first), Slot(first | 1)].into_iter().collect()
}

/// All slots of pairs.
fn all_halves(pairs: SlotSet) -> SlotSet {
    pairs.iter().fold(SlotSet::EMPTY, |all, pair| all.union(halves(pair)))
}

impl SlotState {
    /// A slot's local is written. Its pair is not dirty.
    pub(super) fn set(&mut self, slot: Slot) {
        self.valid.insert(slot);
        self.dirty.insert(slot);
        self.pairs.remove(pair_of(slot));
    }

    /// A pair's local is written.
    pub(super) fn set_pair(&mut self, pair: Slot) {
        self.forget_pair(pair);
        self.pairs.insert(pair);
        self.dirty_pairs.insert(pair);
    }

    /// A pair's value is in memory only.
    pub(super) fn forget_pair(&mut self, pair: Slot) {
        self.valid = self.valid.without(halves(pair));
        self.dirty = self.dirty.without(halves(pair));
        self.pairs.remove(pair);
        self.dirty_pairs.remove(pair);
    }

    /// The dirty slots of a pair: the caller writes them to memory, so that they are not dirty any more.
    pub(super) fn take_dirty_halves(&mut self, pair: Slot) -> SlotSet {
        let taken = self.dirty.both(halves(pair));
        self.dirty = self.dirty.without(taken);
        taken
    }

    /// The pair of a slot if it is dirty, likewise.
    pub(super) fn take_dirty_pair(&mut self, slot: Slot) -> SlotSet {
        let taken = self.dirty_pairs.both(halves(pair_of(slot)));
        self.dirty_pairs = self.dirty_pairs.without(taken);
        taken
    }

    /// What of pairs that an operation finds in memory is to be written there first: slots, which are not dirty any more, and
    /// pairs, which stay so.
    pub(super) fn take_unsettled(&mut self, pairs: &[Slot]) -> (SlotSet, SlotSet) {
        let pairs: SlotSet = pairs.iter().copied().collect();
        let taken = self.dirty.both(all_halves(pairs));
        self.dirty = self.dirty.without(taken);
        (taken, self.dirty_pairs.both(pairs))
    }

    /// What has to be written to memory before a block that expects another state: slots and pairs.
    pub(super) fn unstored(&self, entry: &Self) -> (SlotSet, SlotSet) {
        (self.dirty.without(entry.dirty), self.dirty_pairs.without(entry.dirty_pairs))
    }

    /// What has to be read then: slots and pairs.
    pub(super) fn unloaded(&self, entry: &Self) -> (SlotSet, SlotSet) {
        (entry.valid.without(self.valid), entry.pairs.without(self.pairs))
    }

    /// Whether neither is anything.
    pub(super) fn is_enough_for(&self, entry: &Self) -> bool {
        let nothing = (SlotSet::EMPTY, SlotSet::EMPTY);
        self.unstored(entry) == nothing && self.unloaded(entry) == nothing
    }
}

/// What a block does with slots.
#[derive(Clone, Copy, Default)]
struct Use {
    read: SlotSet,
    set: SlotSet,
    /// Pairs, of which it writes some.
    pairs: SlotSet,
    set_pairs: SlotSet,
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
                _ => {
                    found.forgets |= writes_slots(op, helpers);
                    op.for_each_vector(|pair| found.pairs.insert(pair));
                    op.vector_written().into_iter().for_each(|pair| found.set_pairs.insert(pair));
                }
            }
        }
        found
    }

    fn join(self, other: Self) -> Self {
        Self {
            read: self.read.union(other.read),
            set: self.set.union(other.set),
            pairs: self.pairs.union(other.pairs),
            set_pairs: self.set_pairs.union(other.set_pairs),
            forgets: self.forgets | other.forgets,
        }
    }
}

/// The state of locals at the start of each block and of where its indirect jumps meet, and all slots that are used.
pub(super) fn at_entries(
    region: &Region,
    shape: &[Part],
    helpers: &[HelperInfo],
) -> (Vec<SlotState>, SlotSet) {
    let mut uses: Vec<Use> = region.blocks.iter().map(|block| Use::of(&block.block, helpers)).collect();
    // Where indirect jumps meet slots are in memory: it is in a loop with all that they lead to, whose inner loops would have
    // to keep what they do not use.
    uses.push(Use { forgets: true, ..Use::default() });
    let mut states = vec![SlotState::default(); uses.len()];
    in_loops(shape, &uses, SlotState::default(), &mut states);
    let all = uses.iter().fold(SlotSet::EMPTY, |all, one| all.union(one.read).union(one.set));
    (states, all)
}

/// `around` has as valid what the loops around these parts keep valid, as dirty what the innermost of them keeps dirty.
fn in_loops(parts: &[Part], uses: &[Use], around: SlotState, states: &mut [SlotState]) {
    for part in parts {
        match part {
            Part::Block(block) => states[*block] = around,
            Part::Loop(inner) => {
                let mut all = Use::default();
                part.for_each_block(&mut |block| all = all.join(uses[block]));
                // A loop that calls what may write slots would load them again and again.
                let state = if all.forgets {
                    SlotState::default()
                } else {
                    let pairs = around.pairs.union(all.pairs);
                    let apart = all_halves(pairs);
                    SlotState {
                        valid: around.valid.union(all.read).union(all.set).without(apart),
                        dirty: all.set.without(apart),
                        pairs,
                        dirty_pairs: all.set_pairs,
                    }
                };
                in_loops(&inner.body, uses, state, states);
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
