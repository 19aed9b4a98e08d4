//! Growing a region: from a block that has become hot along its static ways to blocks that have run, too.

use crate::addr::Gva;
use crate::cache::{BlockCache, BlockId};
use crate::emit::Slot;
use crate::guest::Guest;
use crate::ir::block::{Block, Op};
use crate::ir::region::{Region, RegionBlock, Way, Ways, ways_out};
use std::collections::{HashMap, VecDeque};

/// Most blocks of a region.
const MAX_BLOCKS: usize = 64;
/// Most guest instructions of a region.
const MAX_INSNS: u32 = 600;
/// Weight of a block that runs as often as the entry.
const ONCE: u64 = 256;
/// Highest weight.
const MAX_WEIGHT: u64 = 1 << 20;
/// Most blocks of a region that its indirect jumps may lead to.
const MAX_JUMPED: usize = 32;
/// A block that only an indirect jump leads to stays out of a region if it runs less often than the entry by this factor.
const RARE_JUMP: u32 = 32;
/// A block that runs less often than the entry by this factor stays out of a sparing region.
const RARE: u32 = 8;
/// How often translated code has to be found about to run a block, when time is up for it, for that block to be worth a
/// region that has grown as far as can be.
pub const SAMPLES: u8 = 4;

/// How far a region grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Over all that it reaches: the fastest code, in which much is translated that other regions have, too.
    Whole,
    /// Neither over blocks that code of their own begins with nor over those that hardly run: the least code.
    Sparing,
}

/// The region of the block `entry`, which lies in one page, for data accesses in a context.
pub fn grow<G: Guest>(cache: &BlockCache<G::Insn>, entry: BlockId, context: usize, extent: Extent) -> Region {
    let mut growth = Growth::<G>::new(cache, entry, context, extent);
    growth.grow();
    growth.finish().0
}

/// The same where the region also grows over blocks that its indirect jumps have led to: in ascending order, the numbers of
/// those that any of them may lead to.
pub fn grow_over_jumps<G: Guest>(
    cache: &BlockCache<G::Insn>,
    entry: BlockId,
    context: usize,
    extent: Extent,
) -> (Region, Vec<usize>) {
    let mut growth = Growth::<G>::new(cache, entry, context, extent);
    let mut done = 0;
    loop {
        growth.grow();
        // Static ways first: what they lead to is needed most.
        let Some(member) = growth.blocks.get(done) else { break };
        if member.block.ways == Ways::Indirect {
            let id = member.id;
            cache.continued_at(id).for_each(|to| growth.jump(to));
        }
        done += 1;
    }
    growth.finish()
}

/// Slots of [`Guest::KNOWN_SLOTS`] that hold the same in every run, and what.
type Known = Vec<(Slot, u64)>;

/// A block on its way into a region.
struct Member {
    id: BlockId,
    block: RegionBlock,
    /// What is known at its start, whichever way it is reached.
    known: Known,
}

struct Growth<'a, G: Guest> {
    cache: &'a BlockCache<G::Insn>,
    entry: BlockId,
    context: usize,
    extent: Extent,
    blocks: Vec<Member>,
    /// Number of the block that starts at a place.
    numbers: HashMap<i64, usize>,
    /// Blocks whose ways have not been gone since they were recorded.
    changed: VecDeque<usize>,
    insns: u32,
    /// Blocks that indirect jumps may lead to.
    jumped: Vec<usize>,
}

impl<'a, G: Guest> Growth<'a, G> {
    fn new(cache: &'a BlockCache<G::Insn>, entry: BlockId, context: usize, extent: Extent) -> Self {
        let mut growth = Self {
            cache,
            entry,
            context,
            extent,
            blocks: Vec::new(),
            numbers: HashMap::new(),
            changed: VecDeque::new(),
            insns: 0,
            jumped: Vec::new(),
        };
        growth.add(entry, Vec::new());
        growth
    }

    /// Grows along static ways.
    fn grow(&mut self) {
        while let Some(number) = self.changed.pop_front() {
            let known = self.known_behind(number);
            let ways = self.blocks[number].block.ways;
            ways.for_each(|way| {
                if let Way::Out(to) = way {
                    self.reach(to, &known);
                }
            });
        }
    }

    /// An indirect jump has led to a place; nothing is known there.
    fn jump(&mut self, to: i64) {
        let heat = |id| self.cache.block(id).heat();
        let often = self
            .cache
            .neighbour(self.entry, to)
            .is_some_and(|id| heat(id).saturating_mul(RARE_JUMP) >= heat(self.entry));
        if !often || self.jumped.len() == MAX_JUMPED {
            return;
        }
        self.reach(to, &Vec::new());
        if let Some(&number) = self.numbers.get(&to)
            && !self.jumped.contains(&number)
        {
            self.jumped.push(number);
        }
    }

    /// A way leads to a place, and these slots are known there.
    fn reach(&mut self, to: i64, known: &Known) {
        if let Some(&number) = self.numbers.get(&to) {
            let member = &mut self.blocks[number];
            let before = member.known.len();
            member.known.retain(|fact| known.contains(fact));
            if member.known.len() != before {
                self.record(number);
            }
        } else if let Some(id) = self.cache.neighbour(self.entry, to) {
            let fits = self.blocks.len() < MAX_BLOCKS
                && self.insns + self.cache.block(id).count() as u32 <= MAX_INSNS;
            if fits && self.wants(id) {
                self.add(id, known.clone());
            }
        }
    }

    /// Whether the region is to grow over a block.
    fn wants(&self, id: BlockId) -> bool {
        let [block, entry] = [id, self.entry].map(|id| self.cache.block(id));
        match self.extent {
            Extent::Whole => true,
            Extent::Sparing => {
                block.translated(self.context).is_none() && block.heat().saturating_mul(RARE) >= entry.heat()
            }
        }
    }

    fn add(&mut self, id: BlockId, known: Known) {
        let block = self.cache.block(id);
        let start = block.page_offset() as i64;
        let insns = block.count() as u32;
        let entry_heat = u64::from(self.cache.block(self.entry).heat()).max(1);
        let weight = (u64::from(block.heat()) * ONCE / entry_heat).clamp(1, MAX_WEIGHT) as u32;
        self.numbers.insert(start, self.blocks.len());
        self.insns += insns;
        let block = RegionBlock { block: Block::default(), start, insns, weight, ways: Ways::None };
        self.blocks.push(Member { id, block, known });
        self.record(self.blocks.len() - 1);
    }

    /// Records a block for what is known at its start.
    fn record(&mut self, number: usize) {
        let Member { id, block, known } = &mut self.blocks[number];
        let (code, offsets) = self.cache.code(*id);
        let len_bytes = self.cache.block(*id).len_bytes() as u16;
        block.block = G::record(code, offsets, len_bytes, known);
        block.ways = ways_out(&block.block, block.start);
        if !self.changed.contains(&number) {
            self.changed.push_back(number);
        }
    }

    /// What is known at the end of a block.
    fn known_behind(&self, number: usize) -> Known {
        let Member { block, known, .. } = &self.blocks[number];
        let block = &block.block;
        let at_end = |slot: Slot| {
            for op in block.ops.iter().rev() {
                match *op {
                    Op::Set { slot: to, value } if to == slot => return block.constant(value),
                    Op::Helper { id, .. } if G::HELPERS[usize::from(id.0)].effects.writes_state => {
                        return None;
                    }
                    _ => {}
                }
            }
            known.iter().find(|(of, _)| *of == slot).map(|&(_, number)| number)
        };
        G::KNOWN_SLOTS.iter().filter_map(|&slot| Some((slot, at_end(slot)?))).collect()
    }

    /// Puts the blocks in reverse postorder and joins their ways; gives the numbers of those that indirect jumps may lead to,
    /// too.
    fn finish(self) -> (Region, Vec<usize>) {
        let order = self.reverse_postorder();
        let mut places = vec![0; self.blocks.len()];
        for (place, &number) in order.iter().enumerate() {
            places[number] = place;
        }
        let join = |way| match way {
            Way::Out(to) => match self.numbers.get(&to) {
                Some(&number) => Way::Block(places[number]),
                None => way,
            },
            way => way,
        };
        let mut blocks: Vec<Option<RegionBlock>> =
            self.blocks.into_iter().map(|member| Some(member.block)).collect();
        let blocks = order.iter().map(|&number| {
            let mut block = blocks[number].take().expect("an order has every number once");
            block.ways = match block.ways {
                Ways::One(way) => Ways::One(join(way)),
                Ways::Branch { taken, next } => Ways::Branch { taken: join(taken), next: join(next) },
                ways => ways,
            };
            block
        });
        let mut jumped: Vec<usize> = self.jumped.iter().map(|&number| places[number]).collect();
        jumped.sort_unstable();
        (Region { blocks: blocks.collect() }, jumped)
    }

    fn reverse_postorder(&self) -> Vec<usize> {
        let mut seen = vec![false; self.blocks.len()];
        let mut order = Vec::with_capacity(self.blocks.len());
        // Each with the ways that are still to be gone; the likelier one is gone last, to come next in the order.
        let mut stack = vec![(0, self.successors(0))];
        seen[0] = true;
        while let Some((number, ways)) = stack.last_mut() {
            match ways.pop() {
                Some(to) if !seen[to] => {
                    seen[to] = true;
                    let ways = self.successors(to);
                    stack.push((to, ways));
                }
                Some(_) => {}
                None => {
                    order.push(*number);
                    stack.pop();
                }
            }
        }
        order.reverse();
        order
    }

    /// Blocks that a block may go to, the likeliest first.
    fn successors(&self, number: usize) -> Vec<usize> {
        let mut to = Vec::new();
        self.blocks[number].block.ways.for_each(|way| {
            if let Way::Out(place) = way
                && let Some(&number) = self.numbers.get(&place)
            {
                to.push(number);
            }
        });
        if self.blocks[number].block.ways == Ways::Indirect {
            to.extend(&self.jumped);
        }
        to.sort_by_key(|&number| std::cmp::Reverse(self.blocks[number].block.weight));
        to
    }
}

/// The address of a place of a region that was entered with this page.
pub fn address(page_base: u64, to: i64) -> Gva {
    Gva(page_base.wrapping_add_signed(to))
}
