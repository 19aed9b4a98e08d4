//! Pieces: regions over all warm code of a page that have no code in common. What runs seldom is not worth being translated
//! for each place where it is entered. A block that leads into another one ends there.

use super::Code;
use crate::addr::Page;
use crate::cache::{BlockCache, BlockId};
use crate::guest::{Guest, Mode};
use crate::ir::region::{Way, Ways, ways_out};

/// Most blocks of a piece.
pub const MAX_BLOCKS: usize = 128;
/// Most guest instructions of a piece.
pub const MAX_INSNS: usize = 1200;

/// What pieces are made from over those blocks of a page that are wanted, which were decoded for a mode: of each the block that it
/// begins with, and its code. Blocks are in one piece if a static way leads from one to the other, or if one stands behind the
/// other: what stands behind a call is most likely come back to.
///
/// A piece is entered wherever it may be come to otherwise than from itself by static ways.
pub fn pieces<G: Guest>(
    cache: &BlockCache<G::Insn>,
    page: Page,
    mode: Mode,
    is_wanted: impl Fn(BlockId) -> bool,
) -> Vec<(BlockId, Code<G::Insn>)> {
    let mut blocks = Blocks::of::<G>(cache, page, mode, is_wanted);
    let pieces = blocks.cut();
    pieces.into_iter().map(|piece| blocks.code::<G>(cache, piece)).collect()
}

/// The blocks of a page, in ascending order.
struct Blocks(Vec<Candidate>);

struct Candidate {
    id: BlockId,
    start: i64,
    end: i64,
    insns: usize,
    ways: Ways,
    is_wanted: bool,
    /// It may be come to otherwise than from its piece by static ways.
    is_entered: bool,
    /// A block with a lower number that it is joined with, or itself.
    joined: usize,
}

impl Blocks {
    fn of<G: Guest>(
        cache: &BlockCache<G::Insn>,
        page: Page,
        mode: Mode,
        is_wanted: impl Fn(BlockId) -> bool,
    ) -> Self {
        let candidate = |id: BlockId| {
            let block = cache.block(id);
            let (insns, offsets) = cache.code(id);
            let (last, start) = (insns.len() - 1, block.page_offset() as i64);
            // The last instruction alone says where it goes.
            let alone = G::record(&insns[last..], &offsets[last..], block.len_bytes() as u16, &[]);
            Candidate {
                id,
                start,
                end: start + block.len_bytes() as i64,
                insns: insns.len(),
                ways: ways_out(&alone, start),
                is_wanted: is_wanted(id),
                is_entered: block.was_entered(),
                joined: 0,
            }
        };
        let mut all: Vec<Candidate> = cache.decoded_in(page, mode).map(candidate).collect();
        all.sort_by_key(|block| block.start);
        all.iter_mut().enumerate().for_each(|(number, block)| block.joined = number);
        let mut blocks = Self(all);
        for from in 0..blocks.0.len() {
            if blocks.0[from].ways == Ways::Indirect {
                for to in cache.continued_at(blocks.0[from].id) {
                    if let Some(to) = blocks.at(to) {
                        blocks.0[to].is_entered = true;
                    }
                }
            }
        }
        blocks.end_at_others(cache);
        blocks
    }

    /// Ends blocks where another one begins.
    fn end_at_others<I: Copy>(&mut self, cache: &BlockCache<I>) {
        for number in 0..self.0.len() {
            let (Candidate { id, start, end, is_wanted, .. }, behind) =
                (&self.0[number], &self.0[number + 1..]);
            let (_, offsets) = cache.code(*id);
            let inside = behind.iter().take_while(|other| other.start < *end && *is_wanted);
            let other = inside.filter(|other| other.is_wanted).find_map(|other| {
                // Unless that begins in the middle of an instruction.
                let insns = offsets.iter().position(|&offset| start + i64::from(offset) == other.start)?;
                Some((other.start, insns))
            });
            if let Some((end, insns)) = other {
                let block = &mut self.0[number];
                (block.end, block.insns, block.ways) = (end, insns, Ways::One(Way::Out(end)));
            }
        }
    }

    /// Number of the block that starts at a place.
    fn at(&self, place: i64) -> Option<usize> {
        self.0.binary_search_by_key(&place, |block| block.start).ok()
    }

    /// Pairs of blocks of which the first leads to the second by a static way.
    fn ways(&self) -> Vec<(usize, usize)> {
        let mut ways = Vec::new();
        for (from, block) in self.0.iter().enumerate() {
            block.ways.for_each(|way| {
                if let Way::Out(to) = way {
                    ways.extend(self.at(to).map(|to| (from, to)));
                }
            });
        }
        ways
    }

    /// The first block of all that one is joined with.
    fn root(&self, mut number: usize) -> usize {
        while self.0[number].joined != number {
            number = self.0[number].joined;
        }
        number
    }

    fn join(&mut self, a: usize, b: usize) {
        if self.0[a].is_wanted && self.0[b].is_wanted {
            let (a, b) = (self.root(a), self.root(b));
            self.0[a.max(b)].joined = a.min(b);
        }
    }

    /// Numbers of the blocks of each piece, in ascending order. Finds out where they are entered.
    fn cut(&mut self) -> Vec<Vec<usize>> {
        let ways = self.ways();
        ways.iter().for_each(|&(from, to)| self.join(from, to));
        for number in 0..self.0.len() {
            if let Some(behind) = self.at(self.0[number].end) {
                self.join(number, behind);
            }
        }
        let wanted = (0..self.0.len()).filter(|&number| self.0[number].is_wanted);
        let mut order: Vec<(usize, usize)> = wanted.map(|number| (self.root(number), number)).collect();
        order.sort_unstable();
        let mut pieces: Vec<Vec<usize>> = Vec::new();
        let mut piece_of = vec![None; self.0.len()];
        let (mut last_root, mut insns) = (None, 0);
        for (root, number) in order {
            let count = self.0[number].insns;
            let is_full = pieces.last().is_some_and(|piece| piece.len() == MAX_BLOCKS);
            if last_root != Some(root) || is_full || insns + count > MAX_INSNS {
                pieces.push(Vec::new());
                (last_root, insns) = (Some(root), 0);
            }
            insns += count;
            piece_of[number] = Some(pieces.len() - 1);
            pieces.last_mut().expect("one was begun").push(number);
        }
        let mut is_led_to = vec![false; self.0.len()];
        for (from, to) in ways {
            is_led_to[to] = true;
            self.0[to].is_entered |= piece_of[from] != piece_of[to];
        }
        for (block, is_led_to) in self.0.iter_mut().zip(is_led_to) {
            block.is_entered |= !is_led_to;
        }
        pieces
    }

    /// The code of a piece, and the block that it begins with.
    fn code<G: Guest>(&self, cache: &BlockCache<G::Insn>, mut piece: Vec<usize>) -> (BlockId, Code<G::Insn>) {
        // A loop that nothing is known to lead to is entered somewhere.
        let first = piece.iter().position(|&number| self.0[number].is_entered).unwrap_or(0);
        piece[..=first].rotate_right(1);
        let mut code = Code::new();
        for (part, &number) in piece.iter().enumerate() {
            if part > 0 && self.0[number].is_entered {
                code.entered.push(part);
            }
            let Candidate { id, start, end, insns, .. } = self.0[number];
            code.add_first::<G>(cache, id, insns, (end - start) as u16);
        }
        (self.0[piece[0]].id, code)
    }
}
