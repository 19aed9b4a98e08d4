//! Growing a region: from a block that has become hot along its static ways to blocks that have run, too.
//!
//! First its code is gathered from the block cache, then a region is recorded from that, which may be done on another thread.

pub mod pieces;

use super::hot::{HotBlock, HotRegion};
use crate::addr::Gva;
use crate::cache::{BlockCache, BlockId, MAX_INSN_BYTES, decode_run};
use crate::emit::Slot;
use crate::guest::Guest;
use crate::ir::block::{Block, Op};
use crate::ir::region::{Region, RegionBlock, Way, Ways, ways_out};
use std::collections::VecDeque;
use std::ops::Range;

/// Most blocks of a region.
pub const MAX_BLOCKS: usize = 64;
/// Most guest instructions of a region.
const MAX_INSNS: usize = 600;
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
    Code::gather::<G>(cache, entry, context, extent).region::<G>()
}

/// The same over all that is reached, where the region also grows over blocks that its indirect jumps have led to: in ascending
/// order, the numbers of those that any of them may lead to.
pub fn grow_over_jumps<G: Guest>(
    cache: &BlockCache<G::Insn>,
    entry: BlockId,
    context: usize,
) -> (Region, Vec<usize>) {
    let mut gathering = Gathering::new::<G>(cache, entry, context, Extent::Whole);
    let mut done = 0;
    loop {
        // Static ways first: what they lead to is needed most.
        gathering.go::<G>();
        let Some(&id) = gathering.ids.get(done) else { break };
        if gathering.code.parts[done].ways == Ways::Indirect {
            cache.continued_at(id).for_each(|to| gathering.jump::<G>(to));
        }
        done += 1;
    }
    gathering.heat_up_repeated();
    gathering.code.region_over_jumps::<G>()
}

/// Code that a region is recorded from.
pub struct Code<I> {
    insns: Vec<I>,
    offsets: Vec<u16>,
    /// The entry first.
    parts: Vec<Part>,
    /// Where in the page each of them starts.
    starts: Vec<i64>,
    /// Numbers of those that may be come to otherwise than by static ways, besides the first one.
    entered: Vec<usize>,
}

/// A block of it.
struct Part {
    /// Its instructions.
    insns: Range<usize>,
    len_bytes: u16,
    heat: u32,
    /// Where it goes.
    ways: Ways,
}

impl<I: Copy> Code<I> {
    /// What the region of the block `entry`, which lies in one page, is made from.
    pub fn gather<G: Guest<Insn = I>>(
        cache: &BlockCache<I>,
        entry: BlockId,
        context: usize,
        extent: Extent,
    ) -> Self {
        let mut gathering = Gathering::new::<G>(cache, entry, context, extent);
        gathering.go::<G>();
        gathering.code
    }

    /// What a region that was hot in another run is made from where this is its page; `None` if nothing can be made of it.
    pub fn of_page<G: Guest<Insn = I>>(page: &[u8], region: &HotRegion) -> Option<Self> {
        let mut code = Self::new();
        for (number, &HotBlock { start, heat }) in region.blocks.iter().enumerate() {
            let first = code.insns.len();
            let bytes = page.get(usize::from(start)..)?;
            // Where another one begins it ends, unless that begins in the middle of an instruction.
            let others = region.blocks.iter().filter(|other| other.start > start);
            let room = others.map(|other| usize::from(other.start - start)).min().unwrap_or(bytes.len());
            let before = &bytes[..room.min(bytes.len())];
            let mut len_bytes = decode_run::<G>(before, region.mode, &mut code.insns, &mut code.offsets);
            if len_bytes < room && room < len_bytes + MAX_INSN_BYTES {
                code.insns.truncate(first);
                code.offsets.truncate(first);
                len_bytes = decode_run::<G>(bytes, region.mode, &mut code.insns, &mut code.offsets);
            }
            if len_bytes == 0 || code.insns.len() > pieces::MAX_INSNS || code.part_at(start.into()).is_some()
            {
                code.insns.truncate(first);
                code.offsets.truncate(first);
                // Without its entry it is none.
                if first == 0 {
                    return None;
                }
                continue;
            }
            if (1..usize::from(region.entries)).contains(&number) {
                code.entered.push(code.parts.len());
            }
            code.add_part::<G>(first, start.into(), len_bytes as u16, heat);
        }
        (!code.parts.is_empty()).then_some(code)
    }

    fn new() -> Self {
        Code {
            insns: Vec::new(),
            offsets: Vec::new(),
            parts: Vec::new(),
            starts: Vec::new(),
            entered: Vec::new(),
        }
    }

    fn add<G: Guest<Insn = I>>(&mut self, cache: &BlockCache<I>, id: BlockId) {
        let block = cache.block(id);
        self.add_first::<G>(cache, id, block.count(), block.len_bytes() as u16);
    }

    /// Adds the first instructions of a block, so many of so many bytes.
    fn add_first<G: Guest<Insn = I>>(
        &mut self,
        cache: &BlockCache<I>,
        id: BlockId,
        count: usize,
        len_bytes: u16,
    ) {
        let (block, first) = (cache.block(id), self.insns.len());
        let (insns, offsets) = cache.code(id);
        self.insns.extend_from_slice(&insns[..count]);
        self.offsets.extend_from_slice(&offsets[..count]);
        self.add_part::<G>(first, block.page_offset() as i64, len_bytes, block.heat());
    }

    /// Adds a block of the instructions from this one on.
    fn add_part<G: Guest<Insn = I>>(&mut self, first: usize, start: i64, len_bytes: u16, heat: u32) {
        // The last instruction alone says where it goes.
        let last = self.insns.len() - 1;
        let alone = G::record(&self.insns[last..], &self.offsets[last..], len_bytes, &[]);
        self.starts.push(start);
        self.parts.push(Part {
            insns: first..self.insns.len(),
            len_bytes,
            heat,
            ways: ways_out(&alone, start),
        });
    }

    /// Where in the page its blocks start, the entry first.
    pub fn starts(&self) -> impl Iterator<Item = u64> {
        self.starts.iter().map(|&start| start as u64)
    }

    /// What it takes to make the same region in another run: its blocks, those first where it is entered, and how many these are.
    pub fn blocks(&self) -> (Vec<HotBlock>, u16) {
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by_key(|&part| part != 0 && !self.entered.contains(&part));
        let block = |part: usize| HotBlock { start: self.starts[part] as u16, heat: self.parts[part].heat };
        (order.into_iter().map(block).collect(), 1 + self.entered.len() as u16)
    }

    /// The part that starts at a place.
    fn part_at(&self, place: i64) -> Option<usize> {
        self.starts.iter().position(|&start| start == place)
    }

    /// Records a region from it.
    pub fn region<G: Guest<Insn = I>>(&self) -> Region {
        self.region_over_jumps::<G>().0
    }

    /// The same, and the numbers of all blocks where it is entered.
    pub fn region_and_entries<G: Guest<Insn = I>>(&self) -> (Region, Vec<usize>) {
        let (region, mut entries) = self.region_over_jumps::<G>();
        entries.extend(region.blocks.iter().position(|block| block.start == self.starts[0]));
        entries.sort_unstable();
        entries.dedup();
        (region, entries)
    }

    /// The same, and the numbers of blocks that indirect jumps may lead to.
    fn region_over_jumps<G: Guest<Insn = I>>(&self) -> (Region, Vec<usize>) {
        let mut growth = Growth::<G>::new(self);
        growth.go();
        for &part in &self.entered {
            // Nothing is known where they lead.
            growth.reach(self.starts[part], &Known::new());
            growth.go();
        }
        growth.finish()
    }
}

/// Code while it is gathered.
struct Gathering<'a, I> {
    cache: &'a BlockCache<I>,
    entry: BlockId,
    context: usize,
    extent: Extent,
    code: Code<I>,
    /// The block of each part.
    ids: Vec<BlockId>,
    /// The first part of which the ways have not been gone.
    next: usize,
}

impl<'a, I: Copy> Gathering<'a, I> {
    fn new<G: Guest<Insn = I>>(
        cache: &'a BlockCache<I>,
        entry: BlockId,
        context: usize,
        extent: Extent,
    ) -> Self {
        let code = Code::new();
        let mut gathering = Self { cache, entry, context, extent, code, ids: Vec::new(), next: 0 };
        gathering.add::<G>(entry);
        gathering
    }

    fn add<G: Guest<Insn = I>>(&mut self, id: BlockId) {
        self.code.add::<G>(self.cache, id);
        self.ids.push(id);
    }

    /// Gathers along static ways.
    fn go<G: Guest<Insn = I>>(&mut self) {
        let least_heat = self.cache.block(self.entry).heat().div_ceil(RARE);
        while self.next < self.ids.len() {
            self.code.parts[self.next].ways.for_each(|way| {
                if let Way::Out(to) = way
                    && self.code.part_at(to).is_none()
                    && let Some(id) = self.fitting(to)
                    && self.wants(id, least_heat)
                {
                    self.add::<G>(id);
                }
            });
            self.next += 1;
        }
    }

    /// The block at a place, if there is room for it.
    fn fitting(&self, to: i64) -> Option<BlockId> {
        let id = self.cache.neighbour(self.entry, to)?;
        let fits =
            self.ids.len() < MAX_BLOCKS && self.code.insns.len() + self.cache.block(id).count() <= MAX_INSNS;
        fits.then_some(id)
    }

    fn wants(&self, id: BlockId, least_heat: u32) -> bool {
        match self.extent {
            Extent::Whole => true,
            Extent::Sparing => {
                let block = self.cache.block(id);
                block.translated(self.context).is_none() && block.heat() >= least_heat
            }
        }
    }

    /// Blocks that are translated have not been counted since: those that turned many times are taken to run without end.
    fn heat_up_repeated(&mut self) {
        for ((part, &start), &id) in self.code.parts.iter_mut().zip(&self.code.starts).zip(&self.ids) {
            part.ways.for_each(|way| {
                let block = self.cache.block(id);
                if way == Way::Out(start) && block.translated(self.context).is_some() && block.turns_often() {
                    part.heat = u32::MAX;
                }
            });
        }
    }

    /// An indirect jump has led to a place.
    fn jump<G: Guest<Insn = I>>(&mut self, to: i64) {
        if self.code.part_at(to).is_none()
            && let Some(id) = self.fitting(to)
            && self.cache.block(id).heat() >= self.cache.block(self.entry).heat().div_ceil(RARE_JUMP)
        {
            self.add::<G>(id);
        }
        if let Some(part) = self.code.part_at(to)
            && self.code.entered.len() < MAX_JUMPED
            && !self.code.entered.contains(&part)
        {
            self.code.entered.push(part);
        }
    }
}

/// Slots of [`Guest::KNOWN_SLOTS`] that hold the same in every run, and what.
type Known = Vec<(Slot, u64)>;

/// A block on its way into a region.
struct Member {
    /// Number of its code.
    part: usize,
    block: RegionBlock,
    /// What is known at its start, whichever way it is reached.
    known: Known,
}

struct Growth<'a, G: Guest> {
    code: &'a Code<G::Insn>,
    blocks: Vec<Member>,
    /// Number of the block that is made of each part.
    numbers: Vec<Option<usize>>,
    /// Blocks whose ways have not been gone since they were recorded.
    changed: VecDeque<usize>,
}

impl<'a, G: Guest> Growth<'a, G> {
    fn new(code: &'a Code<G::Insn>) -> Self {
        let (parts, numbers) = (code.parts.len(), vec![None; code.parts.len()]);
        let mut growth = Self { code, blocks: Vec::with_capacity(parts), numbers, changed: VecDeque::new() };
        growth.add(0, Vec::new());
        growth
    }

    /// Grows along static ways.
    fn go(&mut self) {
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

    /// Numbers of the blocks that may be come to otherwise than by static ways.
    fn entered(&self) -> impl Iterator<Item = usize> {
        self.code.entered.iter().filter_map(|&part| self.numbers[part])
    }

    /// Number of the block that starts at a place.
    fn number(&self, place: i64) -> Option<usize> {
        self.numbers[self.code.part_at(place)?]
    }

    /// A way leads to a place, and these slots are known there.
    fn reach(&mut self, to: i64, known: &Known) {
        let Some(part) = self.code.part_at(to) else { return };
        match self.numbers[part] {
            Some(number) => {
                let member = &mut self.blocks[number];
                let before = member.known.len();
                member.known.retain(|fact| known.contains(fact));
                if member.known.len() != before {
                    self.record(number);
                }
            }
            None => self.add(part, known.clone()),
        }
    }

    fn add(&mut self, part: usize, known: Known) {
        let Part { insns, heat, .. } = &self.code.parts[part];
        let entry_heat = u64::from(self.code.parts[0].heat).max(1);
        let weight = (u64::from(*heat) * ONCE / entry_heat).clamp(1, MAX_WEIGHT) as u32;
        let (start, insns) = (self.code.starts[part], insns.len() as u32);
        self.numbers[part] = Some(self.blocks.len());
        let block = RegionBlock { block: Block::default(), start, insns, weight, ways: Ways::None };
        self.blocks.push(Member { part, block, known });
        self.record(self.blocks.len() - 1);
    }

    /// Records a block for what is known at its start.
    fn record(&mut self, number: usize) {
        let Member { part, block, known } = &mut self.blocks[number];
        let Part { insns, len_bytes, .. } = &self.code.parts[*part];
        let (code, offsets) = (&self.code.insns[insns.clone()], &self.code.offsets[insns.clone()]);
        block.block = G::record(code, offsets, *len_bytes, known);
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
    fn finish(mut self) -> (Region, Vec<usize>) {
        let order = self.reverse_postorder();
        let mut places = vec![0; self.blocks.len()];
        for (place, &number) in order.iter().enumerate() {
            places[number] = place;
        }
        let blocks = std::mem::take(&mut self.blocks);
        let join = |way| match way {
            Way::Out(to) => match self.number(to) {
                Some(number) => Way::Block(places[number]),
                None => way,
            },
            way => way,
        };
        let mut blocks: Vec<Option<RegionBlock>> =
            blocks.into_iter().map(|member| Some(member.block)).collect();
        let blocks = order.iter().map(|&number| {
            let mut block = blocks[number].take().expect("an order has every number once");
            block.ways = match block.ways {
                Ways::One(way) => Ways::One(join(way)),
                Ways::Branch { taken, next } => Ways::Branch { taken: join(taken), next: join(next) },
                ways => ways,
            };
            block
        });
        let region = Region { blocks: blocks.collect() };
        let mut entered: Vec<usize> = self.entered().map(|number| places[number]).collect();
        entered.sort_unstable();
        (region, entered)
    }

    fn reverse_postorder(&self) -> Vec<usize> {
        let mut seen = vec![false; self.blocks.len()];
        let mut order = Vec::with_capacity(self.blocks.len());
        for root in std::iter::once(0).chain(self.entered()) {
            if std::mem::replace(&mut seen[root], true) {
                continue;
            }
            // Each with the ways that are still to be gone; the likelier one is gone last, to come next in the order.
            let mut stack = vec![(root, self.successors(root))];
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
        }
        order.reverse();
        order
    }

    /// Blocks that a block may go to, the likeliest first.
    fn successors(&self, number: usize) -> Vec<usize> {
        let mut to = Vec::new();
        self.blocks[number].block.ways.for_each(|way| {
            if let Way::Out(place) = way
                && let Some(number) = self.number(place)
            {
                to.push(number);
            }
        });
        if self.blocks[number].block.ways == Ways::Indirect {
            to.extend(self.entered());
        }
        to.sort_by_key(|&number| std::cmp::Reverse(self.blocks[number].block.weight));
        to
    }
}

/// The address of a place of a region that was entered with this page.
pub fn address(page_base: u64, to: i64) -> Gva {
    Gva(page_base.wrapping_add_signed(to))
}
