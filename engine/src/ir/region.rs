//! A region: blocks that are compiled together, with the ways between them.
//!
//! The first block is the entry. Addresses are distances from the start of the guest page that the entry lies in, so that
//! a region may run wherever its pages are mapped. Blocks are in reverse postorder: a way to a block that does not
//! come later is a loop's way back.

use super::block::{Block, Op};

/// How often a block leads to itself for each time that it is entered, at least, if it does so many times.
pub(crate) const REPEATED: u64 = 8;

/// A block of a region.
#[derive(Clone, Debug)]
pub struct RegionBlock {
    /// What it does.
    pub block: Block,
    /// Where its first instruction is, in bytes from the start of the entry's page.
    pub start: i64,
    /// Number of its guest instructions.
    pub insns: u32,
    /// How often it was run for every 256 runs of the entry, as far as the interpreter has seen; at least 1.
    pub weight: u32,
    /// Where it goes.
    pub ways: Ways,
}

/// Where a way leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To a block of the region, by number.
    Block(usize),
    /// Out of the region, to code at this distance from the start of the entry's page.
    Out(i64),
}

/// How a block ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// It traps.
    None,
    /// One way, without a condition.
    One(Way),
    /// The terminator is a [`Op::BranchRelative`].
    Branch {
        /// If its condition holds.
        taken: Way,
        /// If not.
        next: Way,
    },
    /// The terminator is a [`Op::Jump`].
    Indirect,
}

impl Ways {
    /// Calls `f` with each static way.
    pub fn for_each(self, mut f: impl FnMut(Way)) {
        match self {
            Ways::None | Ways::Indirect => {}
            Ways::One(way) => f(way),
            Ways::Branch { taken, next } => {
                f(taken);
                f(next);
            }
        }
    }
}

/// Where a block that starts at `start` goes, all of it out of its region: what a region is grown from.
pub fn ways_out(block: &Block, start: i64) -> Ways {
    let insn = block.ops.iter().rev().find_map(Op::insn_offset).unwrap_or(0);
    let at = start + i64::from(insn);
    let next = Way::Out(start + i64::from(block.len_bytes));
    match block.ops.last() {
        Some(Op::Trap { .. }) => Ways::None,
        Some(Op::Jump { .. }) => Ways::Indirect,
        Some(&Op::JumpRelative { displacement }) => Ways::One(Way::Out(at.wrapping_add(displacement))),
        Some(&Op::BranchRelative { displacement, .. }) => {
            Ways::Branch { taken: Way::Out(at.wrapping_add(displacement)), next }
        }
        _ => Ways::One(next),
    }
}

/// Blocks that are compiled together. Never empty.
#[derive(Clone, Debug)]
pub struct Region {
    /// The entry first, the others in reverse postorder.
    pub blocks: Vec<RegionBlock>,
}

impl Region {
    /// Number of its guest instructions.
    pub fn insns(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.insns)).sum()
    }

    /// For each block, whether a way back leads to it: the heads of the loops.
    pub fn loop_heads(&self) -> Vec<bool> {
        let mut heads = vec![false; self.blocks.len()];
        for (from, block) in self.blocks.iter().enumerate() {
            block.ways.for_each(|way| {
                if let Way::Block(to) = way
                    && to <= from
                {
                    heads[to] = true;
                }
            });
        }
        heads
    }

    /// Whether a block leads to itself.
    pub fn is_loop(&self, index: usize) -> bool {
        let mut leads = false;
        self.blocks[index].ways.for_each(|way| leads |= way == Way::Block(index));
        leads
    }

    /// Whether a block that leads to itself is likely to do so many times when it is entered: it is left as often, and entered
    /// no more often than what leads to it runs. Nobody knows what leads to the region's first block, how often what is out of
    /// the region runs, or how often another loop is entered.
    pub fn turns_often(&self, index: usize) -> bool {
        let block = &self.blocks[index];
        let (mut entered, mut left) = (0, 0);
        for (from, before) in self.blocks.iter().enumerate() {
            before.ways.for_each(|way| {
                if from != index && way == Way::Block(index) {
                    entered += u64::from(before.weight);
                }
            });
        }
        block.ways.for_each(|way| {
            if let Way::Block(to) = way
                && to != index
                && !self.is_loop(to)
            {
                left = u64::from(self.blocks[to].weight);
            }
        });
        let bounds = [(index != 0).then_some(entered), (left != 0).then_some(left)];
        bounds.into_iter().flatten().min().is_none_or(|times| u64::from(block.weight) >= REPEATED * times)
    }
}
