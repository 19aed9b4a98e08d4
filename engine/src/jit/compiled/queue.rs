//! Blocks that wait until the compiler has room: those that have become hot, and those whose code is worth being made anew.

use crate::cache::{BlockId, Renumbered};
use std::cmp::Reverse;
use std::collections::VecDeque;

/// Blocks that wait at most; others ask again after as many runs.
const MAX_WAITING: usize = 1 << 10;
/// The same for code that is to be made anew.
const MAX_AGAIN: usize = 64;

/// What waits.
#[derive(Default)]
pub(super) struct Queue {
    hot: Vec<BlockId>,
    again: Vec<Again>,
    /// The last one that was taken was hot, so that it is the other ones' turn.
    took_hot: bool,
}

/// Code that is worth being made anew.
struct Again {
    id: BlockId,
    /// Context of the data accesses that it is for.
    context: usize,
    /// How often it was found to run.
    samples: u32,
}

impl Queue {
    /// A block has become hot.
    pub(super) fn add_hot(&mut self, id: BlockId) {
        if self.hot.len() < MAX_WAITING && !self.hot.contains(&id) {
            self.hot.push(id);
        }
    }

    /// Code of a block for a context was found to run.
    pub(super) fn add_again(&mut self, id: BlockId, context: usize) {
        let waits = self.again.iter_mut().find(|again| (again.id, again.context) == (id, context));
        if let Some(again) = waits {
            again.samples += 1;
            return;
        }
        if self.again.len() == MAX_AGAIN {
            // What was found long ago counts less.
            self.again.iter_mut().for_each(|again| again.samples /= 2);
            self.again.retain(|again| again.samples > 0);
        }
        if self.again.len() < MAX_AGAIN {
            self.again.push(Again { id, context, samples: 1 });
        }
    }

    /// Hot blocks that are not wanted any longer need not wait.
    pub(super) fn retain_hot(&mut self, is_wanted: impl FnMut(&BlockId) -> bool) {
        self.hot.retain(is_wanted);
    }

    /// The block whose code was found to run most often, if that was as often as this and it is its turn.
    pub(super) fn take_again(&mut self, least: u32) -> Option<(BlockId, usize)> {
        if !self.hot.is_empty() && !self.took_hot {
            return None;
        }
        self.took_hot = false;
        let (at, most) = self.again.iter().enumerate().max_by_key(|(_, again)| again.samples)?;
        if most.samples < least {
            return None;
        }
        let Again { id, context, .. } = self.again.swap_remove(at);
        Some((id, context))
    }

    /// All hot blocks, the hottest first.
    pub(super) fn take_hot(&mut self, heat: impl Fn(BlockId) -> u32) -> VecDeque<BlockId> {
        self.took_hot = true;
        let mut hot = std::mem::take(&mut self.hot);
        hot.sort_by_key(|&id| Reverse(heat(id)));
        hot.into()
    }

    /// Those of them that are still to wait.
    pub(super) fn put_back(&mut self, rest: impl IntoIterator<Item = BlockId>) {
        self.hot.extend(rest);
    }

    /// Blocks have other numbers now.
    pub(super) fn renumber(&mut self, blocks: &Renumbered) {
        self.hot.iter_mut().for_each(|id| *id = blocks.of(*id));
        self.hot.retain(|&id| id != BlockId::NONE);
        self.again.iter_mut().for_each(|again| again.id = blocks.of(again.id));
        self.again.retain(|again| again.id != BlockId::NONE);
    }

    /// Nothing waits any longer.
    pub(super) fn clear(&mut self) {
        self.hot.clear();
        self.again.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_and_what_is_to_be_better_take_turns() {
        let mut queue = Queue::default();
        [1, 2, 3].map(BlockId).into_iter().for_each(|id| queue.add_hot(id));
        for id in [4, 5, 5, 6].map(BlockId) {
            queue.add_again(id, 1);
        }
        assert_eq!(queue.take_again(2), None, "it is the turn of what is hot");
        let mut hot = queue.take_hot(|BlockId(number)| number);
        assert_eq!(hot.pop_front(), Some(BlockId(3)));
        queue.put_back(hot);
        assert_eq!(queue.take_again(2), Some((BlockId(5), 1)));
        assert_eq!(queue.take_again(2), None);
        queue.retain_hot(|_| false);
        assert_eq!(queue.take_again(2), None, "none was found so often");
        assert!(queue.take_again(1).is_some());
    }

    #[test]
    fn what_runs_now_finds_room() {
        let mut queue = Queue::default();
        (0..1000).for_each(|number| queue.add_again(BlockId(number), 0));
        (0..3).for_each(|_| queue.add_again(BlockId(2000), 0));
        assert_eq!(queue.take_again(2), Some((BlockId(2000), 0)));
    }
}
