//! Growing a region: from a block that has become hot along its static ways to blocks that have run, too.

use crate::addr::Gva;
use crate::cache::{BlockCache, BlockId};
use crate::guest::Guest;
use crate::ir::region::{Region, RegionBlock, Way, Ways, ways_out};
use std::collections::HashMap;

/// Most blocks of a region.
const MAX_BLOCKS: usize = 64;
/// Most guest instructions of a region.
const MAX_INSNS: u32 = 600;
/// Weight of a block that runs as often as the entry.
const ONCE: u64 = 256;
/// Highest weight.
const MAX_WEIGHT: u64 = 1 << 20;

/// The region of the block `entry`, which lies in one page.
pub fn grow<G: Guest>(cache: &BlockCache<G::Insn>, entry: BlockId) -> Region {
    let mut growth = Growth { blocks: Vec::new(), numbers: HashMap::new(), insns: 0 };
    let heat = u64::from(cache.block(entry).heat()).max(1);
    growth.add::<G>(cache, entry, heat);
    let mut next = 0;
    while next < growth.blocks.len() {
        let ways = growth.blocks[next].ways;
        ways.for_each(|way| {
            if let Way::Out(to) = way
                && let Some(id) = cache.neighbour(entry, to)
            {
                growth.add::<G>(cache, id, heat);
            }
        });
        next += 1;
    }
    growth.finish()
}

struct Growth {
    blocks: Vec<RegionBlock>,
    /// Number of the block that starts at a place.
    numbers: HashMap<i64, usize>,
    insns: u32,
}

impl Growth {
    fn add<G: Guest>(&mut self, cache: &BlockCache<G::Insn>, id: BlockId, entry_heat: u64) {
        let block = cache.block(id);
        let start = block.page_offset() as i64;
        let insns = block.count() as u32;
        let fits =
            self.blocks.len() < MAX_BLOCKS && self.insns + insns <= MAX_INSNS || self.blocks.is_empty();
        if !fits || self.numbers.contains_key(&start) {
            return;
        }
        let (code, offsets) = cache.code(id);
        let ir = G::record(code, offsets, block.len_bytes() as u16);
        let ways = ways_out(&ir, start);
        let weight = (u64::from(block.heat()) * ONCE / entry_heat).clamp(1, MAX_WEIGHT) as u32;
        self.numbers.insert(start, self.blocks.len());
        self.insns += insns;
        self.blocks.push(RegionBlock { block: ir, start, insns, weight, ways });
    }

    /// Puts the blocks in reverse postorder and joins their ways.
    fn finish(self) -> Region {
        let order = self.reverse_postorder();
        let mut places = vec![0; order.len()];
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
        let mut blocks: Vec<Option<RegionBlock>> = self.blocks.into_iter().map(Some).collect();
        let blocks = order.iter().map(|&number| {
            let mut block = blocks[number].take().expect("an order has every number once");
            block.ways = match block.ways {
                Ways::One(way) => Ways::One(join(way)),
                Ways::Branch { taken, next } => Ways::Branch { taken: join(taken), next: join(next) },
                ways => ways,
            };
            block
        });
        Region { blocks: blocks.collect() }
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
        self.blocks[number].ways.for_each(|way| {
            if let Way::Out(place) = way
                && let Some(&number) = self.numbers.get(&place)
            {
                to.push(number);
            }
        });
        to.sort_by_key(|&number| std::cmp::Reverse(self.blocks[number].weight));
        to
    }
}

/// The address of a place of a region that was entered with this page.
pub(crate) fn address(page_base: u64, to: i64) -> Gva {
    Gva(page_base.wrapping_add_signed(to))
}
