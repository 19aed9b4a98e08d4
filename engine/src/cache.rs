//! The block cache: pre-decoded code, found by physical address and mode.
//!
//! Blocks are keyed by where their bytes are, not by where they are mapped, so a TLB flush drops no code.
//! Invariants: a block lies in one page, except blocks of a single instruction that crosses into a second one;
//! links lead only to blocks of the same page, which are invalidated together.

use crate::addr::{Gpa, Gva, PAGE_BYTES, PAGE_MASK, Page};
use crate::cpu::Cpu;
use crate::guest::{Guest, Mode, Trap};
use crate::ir::region::REPEATED;
use crate::keys::KeyHasher;
use crate::mem::tlb::MAX_CONTEXTS;
use std::collections::HashMap;

/// Longest block, in instructions.
const MAX_INSNS: usize = 64;
/// Pre-decoded instructions kept before the oldest make room.
const MAX_CACHED_INSNS: usize = 1 << 20;
/// Entries of the direct-mapped front of the index. A power of two.
const FRONT_ENTRIES: usize = 1 << 16;
/// Instructions that there is room for from the start, without moving those that are there: what a short run decodes. Room
/// that is not used is never touched and costs nothing.
const ROOM_INSNS: usize = 1 << 17;
/// The same for blocks.
const ROOM_BLOCKS: usize = 1 << 15;
/// Bytes that hold the longest instruction of any guest.
pub(crate) const MAX_INSN_BYTES: usize = 16;

/// Number of a block; valid until the cache changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub(crate) u32);

impl BlockId {
    /// No block.
    pub const NONE: Self = Self(NONE);
}

/// Which numbers blocks have got.
pub struct Renumbered(Vec<u32>);

impl Renumbered {
    /// The number of the block that had this one. Blocks that were dropped have one that no block has.
    pub fn of(&self, id: BlockId) -> BlockId {
        BlockId(self.0.get(id.0 as usize).copied().unwrap_or(NONE))
    }
}

/// No block: the filler of links and of the index.
const NONE: u32 = u32::MAX;

/// Where a block continued last time: page offset of the target, and its block.
#[derive(Clone, Copy)]
struct Link {
    offset: u16,
    block: u32,
}

/// A block that is found before it is decoded, because code was translated from it: in this run or in an earlier one.
#[derive(Clone, Copy, Debug)]
pub struct Recalled {
    /// Number of the translated code.
    pub number: u32,
    /// Instructions of the block.
    pub count: u16,
    /// Its length in bytes.
    pub len_bytes: u16,
}

/// A run of instructions that is entered at its start only.
pub struct Block {
    /// The first of its instructions; [`NONE`] if they have not been decoded.
    first: u32,
    count: u16,
    /// Length of the code in bytes.
    len_bytes: u16,
    mode: Mode,
    gpa: Gpa,
    /// The page that a crossing instruction continues in.
    second: Option<Page>,
    links: [Link; 2],
    /// Number of the translated code that starts with it, by context of data accesses.
    translated: [u32; MAX_CONTEXTS],
    /// A bit for each of them that has not been run from the run loop yet.
    fresh: u8,
    /// A bit for each context that it is being translated for.
    requested: u8,
    /// How often the interpreter has run it.
    heat: u32,
    /// How often it did so at once after that.
    turns: u32,
    /// Context of data accesses that it did so in.
    context: u8,
    /// It was come to from elsewhere than from its page.
    entered: bool,
    /// How often translated code was found to be about to run it when something interrupted that.
    samples: u8,
}

impl Block {
    /// A block without instructions.
    fn new(mode: Mode, gpa: Gpa, second: Option<Page>) -> Self {
        Self {
            first: NONE,
            count: 0,
            len_bytes: 0,
            mode,
            gpa,
            second,
            links: [Link { offset: 0, block: NONE }; 2],
            translated: [NONE; MAX_CONTEXTS],
            fresh: 0,
            requested: 0,
            heat: 0,
            turns: 0,
            context: 0,
            entered: false,
            samples: 0,
        }
    }

    /// How often the interpreter has run it.
    #[inline]
    pub fn heat(&self) -> u32 {
        self.heat
    }

    /// Whether it is a loop that turns many times when it is entered, as far as the interpreter has run it.
    pub fn turns_often(&self) -> bool {
        u64::from(self.heat) >= REPEATED * u64::from(self.heat - self.turns)
    }

    /// Context of data accesses in which the interpreter ran it last.
    pub fn context(&self) -> usize {
        self.context.into()
    }

    /// Whether it was come to from elsewhere than from its page.
    pub fn was_entered(&self) -> bool {
        self.entered
    }

    /// The mode that its code is for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Physical address of its first byte.
    #[inline]
    pub fn gpa(&self) -> Gpa {
        self.gpa
    }

    /// Where in its page it starts.
    #[inline]
    pub fn page_offset(&self) -> u64 {
        self.gpa.page_offset()
    }

    /// The page that its one instruction ends in, if that is another one than it starts in.
    #[inline]
    pub fn second(&self) -> Option<Page> {
        self.second
    }

    /// Number of the translated code that starts with it, for a context of data accesses.
    #[inline]
    pub fn translated(&self, context: usize) -> Option<u32> {
        let number = self.translated[context];
        (number != NONE).then_some(number)
    }

    /// Number of instructions.
    #[inline]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Length of the code in bytes.
    #[inline]
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes as u64
    }
}

/// All pre-decoded code of a vCPU.
pub struct BlockCache<I> {
    insns: Vec<I>,
    offsets: Vec<u16>,
    blocks: Vec<Block>,
    /// Numbers of blocks plus one, so that memory that has not been touched holds none.
    front: Box<[u32]>,
    index: HashMap<u64, u32, KeyHasher>,
    pages: HashMap<Page, Vec<u32>, KeyHasher>,
    /// The block that was run last of those that are counted.
    heated: BlockId,
    /// Blocks that were not decoded when they were made.
    recalled: usize,
    decoded: u64,
    invalidated_pages: u64,
}

/// Index key of code at `gpa` in `mode`. Physical addresses are below 2^48.
fn key(gpa: Gpa, mode: Mode) -> u64 {
    gpa.0 | (mode.0 as u64) << 48
}

#[inline]
fn front_slot(key: u64) -> usize {
    ((key >> 1) ^ (key >> 13)) as usize & (FRONT_ENTRIES - 1)
}

impl<I: Copy> Default for BlockCache<I> {
    fn default() -> Self {
        Self {
            insns: Vec::with_capacity(ROOM_INSNS),
            offsets: Vec::with_capacity(ROOM_INSNS),
            blocks: Vec::with_capacity(ROOM_BLOCKS),
            front: vec![0; FRONT_ENTRIES].into_boxed_slice(),
            index: HashMap::with_capacity_and_hasher(ROOM_BLOCKS / 2, KeyHasher),
            pages: HashMap::with_hasher(KeyHasher),
            heated: BlockId::NONE,
            recalled: 0,
            decoded: 0,
            invalidated_pages: 0,
        }
    }
}

impl<I: Copy> BlockCache<I> {
    /// A block by number.
    #[inline]
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.0 as usize]
    }

    /// Number of every block, those that are of no use any more included.
    pub fn ids(&self) -> impl Iterator<Item = BlockId> + use<I> {
        (0..self.blocks.len() as u32).map(BlockId)
    }

    /// Whether a block is the one that is found where its code is.
    pub fn is_live(&self, id: BlockId) -> bool {
        let block = self.block(id);
        self.index.get(&key(block.gpa, block.mode)) == Some(&id.0)
    }

    /// Instructions of a block that has been decoded, and their byte offsets from its start.
    #[inline]
    pub fn code(&self, id: BlockId) -> (&[I], &[u16]) {
        let block = self.block(id);
        let range = block.first as usize..block.first as usize + block.count as usize;
        (&self.insns[range.clone()], &self.offsets[range])
    }

    /// Counts a run of a block in a context of data accesses; gives how many there have been.
    #[inline]
    pub fn heat_up(&mut self, id: BlockId, context: usize) -> u32 {
        let block = &mut self.blocks[id.0 as usize];
        block.context = context as u8;
        block.heat = block.heat.saturating_add(1);
        if std::mem::replace(&mut self.heated, id) == id && block.heat > 1 {
            block.turns = block.turns.saturating_add(1);
        }
        block.heat
    }

    /// Notes that a block was come to from elsewhere than from its page.
    pub fn note_entered(&mut self, id: BlockId) {
        self.blocks[id.0 as usize].entered = true;
    }

    /// Counts that translated code was about to run a block when something interrupted it; gives how often that has
    /// been, modulo 256.
    pub fn sample(&mut self, id: BlockId) -> u8 {
        let samples = &mut self.blocks[id.0 as usize].samples;
        *samples = samples.wrapping_add(1);
        *samples
    }

    /// Notes the translated code that starts with a block.
    pub fn set_translated(&mut self, id: BlockId, context: usize, number: u32) {
        let block = &mut self.blocks[id.0 as usize];
        block.translated[context] = number;
        block.fresh |= 1 << context;
    }

    /// Notes that translated code was asked for that starts with a block.
    pub fn request(&mut self, id: BlockId, context: usize) {
        self.blocks[id.0 as usize].requested |= 1 << context;
    }

    /// Whether it was, and is still being made.
    pub fn is_requested(&self, id: BlockId, context: usize) -> bool {
        self.block(id).requested >> context & 1 != 0
    }

    /// Notes that it is no longer being made.
    pub fn forget_request(&mut self, id: BlockId, context: usize) {
        if let Some(block) = self.blocks.get_mut(id.0 as usize) {
            block.requested &= !(1 << context);
        }
    }

    /// Whether this is asked for the first time since [`Self::set_translated`].
    pub fn take_fresh(&mut self, id: BlockId, context: usize) -> bool {
        let fresh = &mut self.blocks[id.0 as usize].fresh;
        let was = *fresh >> context & 1 != 0;
        *fresh &= !(1 << context);
        was
    }

    /// Forgets the translated code that starts with a block if its number is one of these; the block may become hot again.
    pub fn forget_unit(&mut self, id: BlockId, context: usize, is_dropped: impl Fn(u32) -> bool) {
        if let Some(block) = self.blocks.get_mut(id.0 as usize)
            && block.translated(context).is_some_and(is_dropped)
        {
            block.translated[context] = NONE;
            (block.heat, block.turns) = (0, 0);
        }
    }

    /// Forgets all translated code, and how often blocks have run.
    pub fn forget_translated(&mut self) {
        for block in &mut self.blocks {
            block.translated = [NONE; MAX_CONTEXTS];
            block.requested = 0;
            (block.heat, block.turns) = (0, 0);
        }
    }

    /// The block of the same mode `to` bytes from the start of the page of `of`, if it has been decoded and lies in that
    /// page.
    pub fn neighbour(&self, of: BlockId, to: i64) -> Option<BlockId> {
        let offset = u64::try_from(to).ok().filter(|&to| to < PAGE_BYTES)?;
        let of = self.block(of);
        let id = *self.index.get(&key(of.gpa.page_start().offset(offset), of.mode))?;
        let block = &self.blocks[id as usize];
        (block.second.is_none() && block.first != NONE).then_some(BlockId(id))
    }

    /// The blocks of a page that have been decoded for a mode and lie in that page alone.
    pub fn decoded_in(&self, page: Page, mode: Mode) -> impl Iterator<Item = BlockId> {
        let ids = self.pages.get(&page).into_iter().flatten().map(|&id| BlockId(id));
        ids.filter(move |&id| {
            let block = self.block(id);
            block.mode == mode && block.first != NONE && block.second.is_none() && self.is_live(id)
        })
    }

    /// Number of instructions decoded so far.
    pub fn decoded(&self) -> u64 {
        self.decoded
    }

    /// Number of times a page lost its code because it was written.
    pub fn invalidated_pages(&self) -> u64 {
        self.invalidated_pages
    }

    /// The block that followed `from` last time it continued at `next` in the same page.
    #[inline]
    pub fn linked(&self, from: BlockId, from_pc: Gva, next: Gva) -> Option<BlockId> {
        let block = self.block(from);
        let link = block.links[link_slot(block, from_pc, next)];
        let hit = link.offset as u64 == next.page_offset() && link.block != NONE && same_page(from_pc, next);
        hit.then_some(BlockId(link.block))
    }

    /// Remembers that `from` continued at `next`, in block `to`.
    #[inline]
    pub fn link(&mut self, from: BlockId, from_pc: Gva, next: Gva, to: BlockId) {
        let target = self.block(to);
        let (page, mode, crossing) = (Page::of(target.gpa), target.mode, target.second.is_some());
        let block = &mut self.blocks[from.0 as usize];
        // A crossing target depends on the mapping of its second page: it is always looked up.
        let fits = same_page(from_pc, next) && Page::of(block.gpa) == page && block.mode == mode && !crossing;
        if fits && block.second.is_none() {
            let slot = link_slot(block, from_pc, next);
            let link = Link { offset: next.page_offset() as u16, block: to.0 };
            let before = std::mem::replace(&mut block.links[slot], link);
            // A block that ends with an indirect jump goes nowhere else: two places where it continued are known.
            let end = from_pc.page_offset() + block.len_bytes();
            if slot == 0 && before.offset != link.offset && u64::from(block.links[1].offset) != end {
                block.links[1] = before;
            }
        }
    }

    /// Where in its page a block continued in the end, as far as that is known.
    pub fn continued_at(&self, id: BlockId) -> impl Iterator<Item = i64> {
        let links = self.block(id).links;
        links.into_iter().filter(|link| link.block != NONE).map(|link| i64::from(link.offset))
    }

    /// Drops every block with bytes in `page`; gives all pages that lost blocks.
    pub fn invalidate(&mut self, page: Page) -> Vec<Page> {
        let mut pages = vec![page];
        let mut all = pages.clone();
        self.invalidated_pages += 1;
        // A block that crosses out of or into the page is linked from its own first page, which goes with it.
        while let Some(page) = pages.pop() {
            for id in self.pages.remove(&page).unwrap_or_default() {
                let block = &self.blocks[id as usize];
                let key = key(block.gpa, block.mode);
                if self.index.get(&key) == Some(&id) {
                    self.index.remove(&key);
                    let front = &mut self.front[front_slot(key)];
                    if *front == id + 1 {
                        *front = 0;
                    }
                }
                if block.second.is_some() && Page::of(block.gpa) != page {
                    pages.push(Page::of(block.gpa));
                    all.push(Page::of(block.gpa));
                }
            }
        }
        all
    }

    /// Whether the cache has reached its size limit and is to make room.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.insns.len() + self.recalled > MAX_CACHED_INSNS
    }

    /// Drops what is of no use because its page was written, and then what is oldest, until half is free; all other blocks
    /// have new numbers. Translated code of blocks that are dropped stays good.
    pub fn make_room(&mut self) -> Renumbered {
        let mut room = MAX_CACHED_INSNS / 2;
        let mut oldest = self.blocks.len();
        while let Some(id) = oldest.checked_sub(1) {
            // What is not decoded takes memory, too.
            let count = if self.is_live(BlockId(id as u32)) { self.blocks[id].count() } else { 0 };
            if count > room {
                break;
            }
            (room, oldest) = (room - count, id);
        }
        self.recalled = 0;
        let mut numbers = vec![NONE; self.blocks.len()];
        let old = (std::mem::take(&mut self.insns), std::mem::take(&mut self.offsets));
        for (id, mut block) in std::mem::take(&mut self.blocks).into_iter().enumerate() {
            let key = key(block.gpa, block.mode);
            if self.index.get(&key) == Some(&(id as u32)) {
                if id < oldest {
                    self.index.remove(&key);
                    continue;
                }
                if block.first == NONE {
                    self.recalled += 1;
                } else {
                    let range = block.first as usize..block.first as usize + block.count as usize;
                    block.first = self.insns.len() as u32;
                    self.insns.extend_from_slice(&old.0[range.clone()]);
                    self.offsets.extend_from_slice(&old.1[range]);
                }
                numbers[id] = self.blocks.len() as u32;
                self.blocks.push(block);
            }
        }
        let of = |id: u32| numbers.get(id as usize).copied().unwrap_or(NONE);
        for link in self.blocks.iter_mut().flat_map(|block| &mut block.links) {
            link.block = of(link.block);
        }
        self.index.values_mut().for_each(|id| *id = of(*id));
        for entry in &mut self.front {
            // No block is 0, as the number that no block has is the highest.
            *entry = of(entry.wrapping_sub(1)).wrapping_add(1);
        }
        self.pages.retain(|_, ids| {
            ids.iter_mut().for_each(|id| *id = of(*id));
            ids.retain(|&id| id != NONE);
            !ids.is_empty()
        });
        Renumbered(numbers)
    }

    /// Instructions that are kept, of use or not.
    pub fn kept(&self) -> usize {
        self.insns.len()
    }

    /// The block at `gva`, decoded now if need be; the trap is that of fetching its first instruction.
    pub fn find<G: Guest<Insn = I>>(&mut self, cpu: &mut Cpu<G>, gva: Gva) -> Result<BlockId, Trap> {
        let id = self.enter(cpu, gva, |_, _, _| None)?;
        self.ensure_decoded(cpu, id);
        Ok(id)
    }

    /// The block at `gva`, made now if need be, and decoded if `recall`, which is given where it is and the number that it
    /// will have, does not know it; the trap is that of fetching its first instruction.
    #[inline]
    pub fn enter<G: Guest<Insn = I>>(
        &mut self,
        cpu: &mut Cpu<G>,
        gva: Gva,
        recall: impl FnOnce(&mut Cpu<G>, Gpa, BlockId) -> Option<Recalled>,
    ) -> Result<BlockId, Trap> {
        let page = cpu.fetch_page(gva)?;
        let gpa = page.start().offset(gva.page_offset());
        let key = key(gpa, cpu.mode());
        let id = self.front[front_slot(key)].wrapping_sub(1);
        if let Some(block) = self.blocks.get(id as usize)
            && (block.gpa, block.mode) == (gpa, cpu.mode())
            && block.second.is_none()
        {
            return Ok(BlockId(id));
        }
        self.enter_slow(cpu, gva, gpa, key, recall)
    }

    /// Decodes the instructions of a block if that has not been done.
    #[inline]
    pub fn ensure_decoded<G: Guest<Insn = I>>(&mut self, cpu: &Cpu<G>, id: BlockId) {
        if self.blocks[id.0 as usize].first == NONE {
            self.decode_recalled(cpu, id);
        }
    }

    #[cold]
    #[inline(never)]
    fn decode_recalled<G: Guest<Insn = I>>(&mut self, cpu: &Cpu<G>, id: BlockId) {
        let block = &mut self.blocks[id.0 as usize];
        let bytes = cpu.ram.slice(block.gpa, block.gpa.bytes_to_page_end()).expect("recalled code is in RAM");
        let first = self.insns.len();
        let len_bytes = decode_run::<G>(bytes, block.mode, &mut self.insns, &mut self.offsets);
        block.first = first as u32;
        block.count = (self.insns.len() - first) as u16;
        block.len_bytes = len_bytes as u16;
        self.decoded += u64::from(block.count);
    }

    #[cold]
    #[inline(never)]
    fn enter_slow<G: Guest<Insn = I>>(
        &mut self,
        cpu: &mut Cpu<G>,
        gva: Gva,
        gpa: Gpa,
        key: u64,
        recall: impl FnOnce(&mut Cpu<G>, Gpa, BlockId) -> Option<Recalled>,
    ) -> Result<BlockId, Trap> {
        if let Some(&id) = self.index.get(&key) {
            let valid = match self.blocks[id as usize].second {
                None => true,
                Some(second) => cpu.fetch_page(next_page(gva))? == second,
            };
            if valid {
                self.front[front_slot(key)] = id + 1;
                return Ok(BlockId(id));
            }
        }
        let id = match recall(cpu, gpa, BlockId(self.blocks.len() as u32)) {
            Some(recalled) => self.add_recalled(cpu, gpa, recalled),
            None => self.decode(cpu, gva, gpa)?,
        };
        self.index.insert(key, id);
        self.front[front_slot(key)] = id + 1;
        Ok(BlockId(id))
    }

    fn decode<G: Guest<Insn = I>>(&mut self, cpu: &mut Cpu<G>, gva: Gva, gpa: Gpa) -> Result<u32, Trap> {
        let mode = cpu.mode();
        let page = Page::of(gpa);
        let first = self.insns.len();
        let outside = |_| G::bus_error(gva, gpa, crate::mem::tlb::Access::Execute);
        let bytes = cpu.ram.slice(gpa, gpa.bytes_to_page_end()).map_err(outside)?;
        let mut at = decode_run::<G>(bytes, mode, &mut self.insns, &mut self.offsets);
        let mut second = None;
        if at == 0 {
            // The instruction starts in this page and ends in the next.
            let tail = bytes.len();
            let mut joined = [0; 2 * MAX_INSN_BYTES];
            joined[..tail].copy_from_slice(bytes);
            let next = cpu.fetch_page(next_page(gva))?;
            let head = cpu.ram.slice(next.start(), MAX_INSN_BYTES as u64).map_err(outside)?;
            joined[tail..tail + MAX_INSN_BYTES].copy_from_slice(head);
            let decoded = G::decode(&joined, mode).expect("no instruction is longer than MAX_INSN_BYTES");
            self.insns.push(decoded.insn);
            self.offsets.push(0);
            at = decoded.len_bytes as usize;
            cpu.note_code(next, 0, (at - tail) as u64);
            second = Some(next);
        }
        cpu.note_code(page, gpa.page_offset(), (at as u64).min(gpa.bytes_to_page_end()));
        let count = (self.insns.len() - first) as u16;
        self.decoded += count as u64;
        Ok(self.add(Block {
            first: first as u32,
            count,
            len_bytes: at as u16,
            ..Block::new(mode, gpa, second)
        }))
    }

    /// Adds a block that is not decoded, as it is run by translated code.
    fn add_recalled<G: Guest<Insn = I>>(&mut self, cpu: &Cpu<G>, gpa: Gpa, recalled: Recalled) -> u32 {
        let Recalled { number, count, len_bytes } = recalled;
        self.recalled += 1;
        let id = self.add(Block { count, len_bytes, ..Block::new(cpu.mode(), gpa, None) });
        self.set_translated(BlockId(id), cpu.data_context(), number);
        id
    }

    fn add(&mut self, block: Block) -> u32 {
        let id = self.blocks.len() as u32;
        for page in [Some(Page::of(block.gpa)), block.second].into_iter().flatten() {
            self.pages.entry(page).or_default().push(id);
        }
        self.blocks.push(block);
        id
    }
}

/// Decodes instructions to the end of a block or of these bytes; gives how many bytes they take: none if not even the first
/// one is whole.
pub(crate) fn decode_run<G: Guest>(
    bytes: &[u8],
    mode: Mode,
    insns: &mut Vec<G::Insn>,
    offsets: &mut Vec<u16>,
) -> usize {
    let mut at = 0;
    for _ in 0..MAX_INSNS {
        let Some(decoded) = G::decode(&bytes[at..], mode) else { break };
        insns.push(decoded.insn);
        offsets.push(at as u16);
        at += decoded.len_bytes as usize;
        if decoded.ends_block || at == bytes.len() {
            break;
        }
    }
    at
}

fn next_page(gva: Gva) -> Gva {
    gva.page_start().offset(PAGE_BYTES)
}

/// Whether addresses are in one page.
#[inline]
pub fn same_page(a: Gva, b: Gva) -> bool {
    (a.0 ^ b.0) & !PAGE_MASK == 0
}

/// Falling through and jumping have a link each.
#[inline]
fn link_slot(block: &Block, from_pc: Gva, next: Gva) -> usize {
    (next.0 == from_pc.0.wrapping_add(block.len_bytes())) as usize
}
