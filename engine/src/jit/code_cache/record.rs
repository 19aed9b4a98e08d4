//! What the cache keeps of one region: the guest code that it was made from, and what was made of it.
//!
//! A record is good for any run of the same build on a processor with the same features in which the same bytes of guest
//! code stand at the same place of a page: all of them are compared, so no two guests can come to each other's code by a
//! collision. It is found by each place where the region is entered. Numbers of sites and links in the code are counted from 0;
//! who loads it adds where its own begin.

use crate::addr::PAGE_BYTES;
use crate::emit::Slot;
use crate::guest::Mode;
use crate::ir::region::Region;
use crate::jit::Origin;
use crate::lower::x64::asm::{Reg, Xmm};
use crate::lower::x64::{EntryPoint, Home, LINK_BYTES, Link, Lowered, Site, Translated, VectorHome};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

/// Bytes of guest code that a record is found by; the others are compared.
const KEY_BYTES: usize = 16;

/// What a region is entered with, besides its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The vCPU's mode.
    pub mode: Mode,
    /// Context of data accesses.
    pub context: u8,
    /// Where in its page it starts.
    pub place: u16,
}

impl Entry {
    /// That of code that starts at a place of its page.
    pub(in crate::jit) fn of(origin: &Origin, place: u64) -> Self {
        Self { mode: origin.mode, context: origin.context as u8, place: place as u16 }
    }

    /// What records of regions are found by that are entered here.
    pub fn key(&self, page: &[u8]) -> u64 {
        let mut key = [0; KEY_BYTES + 5];
        let code = &page[usize::from(self.place)..];
        let len = code.len().min(KEY_BYTES);
        key[..len].copy_from_slice(&code[..len]);
        key[KEY_BYTES..KEY_BYTES + 2].copy_from_slice(&self.mode.0.to_le_bytes());
        key[KEY_BYTES + 2..KEY_BYTES + 4].copy_from_slice(&self.place.to_le_bytes());
        key[KEY_BYTES + 4] = self.context;
        XxHash3_64::oneshot(&key)
    }
}

/// Bytes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first one.
    pub start: u16,
    /// How many.
    pub len: u16,
}

/// The guest code that a region was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source<'a> {
    /// How it is entered, at its first block.
    pub entry: Entry,
    /// Where in its page it is, in ascending order.
    pub ranges: Vec<Range>,
    /// Bytes of it at the start of the next page.
    pub tail: u16,
    /// All of it, in this order.
    pub bytes: &'a [u8],
}

impl<'a> Source<'a> {
    /// What a region is made from that is entered so in these pages; its bytes go to `bytes`.
    pub fn of(
        region: &Region,
        entry: Entry,
        page: &[u8],
        second: Option<&[u8]>,
        bytes: &'a mut Vec<u8>,
    ) -> Self {
        let (ranges, tail) = ranges_of(region, page.len());
        for range in &ranges {
            bytes.extend_from_slice(&page[usize::from(range.start)..][..usize::from(range.len)]);
        }
        bytes.extend_from_slice(&second.unwrap_or_default()[..usize::from(tail)]);
        Source { entry, ranges, tail, bytes }
    }

    /// Whether it is what stands in these pages.
    pub fn is_in(&self, page: &[u8], second: Option<&[u8]>) -> bool {
        if (self.tail != 0) != second.is_some() {
            return false;
        }
        let mut rest = self.bytes;
        let mut take = |code: Option<&[u8]>| {
            code.is_some_and(|code| match rest.strip_prefix(code) {
                Some(behind) => {
                    rest = behind;
                    true
                }
                None => false,
            })
        };
        let part = |range: &Range| page.get(usize::from(range.start)..)?.get(..usize::from(range.len));
        self.ranges.iter().all(|range| take(part(range)))
            && second.is_none_or(|second| take(second.get(..usize::from(self.tail))))
            && rest.is_empty()
    }
}

/// The first block of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct First {
    /// Its guest instructions.
    pub insns: u16,
    /// Bytes of guest code.
    pub len_bytes: u16,
}

impl First {
    /// That of this region.
    pub fn of(region: &Region) -> Self {
        let first = &region.blocks[0];
        Self { insns: first.insns as u16, len_bytes: first.block.len_bytes }
    }
}

/// What was made of it. Lists are kept as bytes, so that nothing is taken apart that is not needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made<'a> {
    /// Guest instructions of all blocks.
    pub insns: u32,
    /// It may be made anew over more blocks.
    pub may_grow: bool,
    /// The code.
    pub code: &'a [u8],
    /// Where it is entered: at all of these places in the way that [`Source::entry`] says.
    entries: Vec<EntryPoint>,
    /// How many sites there are.
    pub site_count: u32,
    /// Where in the code their numbers stand: four bytes each.
    site_numbers: &'a [u8],
    /// Where in the code displacements of jumps and calls to stubs stand: four bytes each.
    stub_jumps: &'a [u8],
    /// [`Site`]s, encoded by [`encode_sites`].
    sites: &'a [u8],
    /// Ways out: where the jump is, where it leads while it is not linked, where it leads in the guest, and where its
    /// conditions are or 0; four bytes each.
    links: &'a [u8],
    /// Slots in registers: two bytes each.
    homes: &'a [u8],
    /// Pairs of slots in vector registers: three bytes each.
    vector_homes: &'a [u8],
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("a number is four bytes"))
}

impl<'a> Made<'a> {
    /// Whether all that is said to stand in the code is inside of it.
    pub fn is_sound(&self) -> bool {
        let inside = |at: usize, len: usize| at.checked_add(len).is_some_and(|end| end <= self.code.len());
        let is_inside = |link: Link| {
            inside(link.jump, 4)
                && inside(link.unlinked, LINK_BYTES)
                && link.far.is_none_or(|conditions| inside(conditions, Link::FAR_BYTES))
        };
        let len = self.code.len() as u32;
        let is_entry = |point: &EntryPoint| {
            point.entry < len && point.start < len && u64::from(point.place) < PAGE_BYTES
        };
        self.site_numbers().chain(self.stub_jumps()).all(|at| inside(at as usize, 4))
            && self.links().all(is_inside)
            && !self.entries.is_empty()
            && self.entries.iter().all(is_entry)
    }

    /// What calls out, encoded: [`decode_site`] takes it apart.
    pub fn sites(&self) -> &'a [u8] {
        self.sites
    }
}

impl Translated for Made<'_> {
    fn code(&self) -> &[u8] {
        self.code
    }

    fn entries(&self) -> &[EntryPoint] {
        &self.entries
    }

    fn site_numbers(&self) -> impl Iterator<Item = u32> {
        self.site_numbers.chunks_exact(4).map(word)
    }

    fn stub_jumps(&self) -> impl Iterator<Item = u32> {
        self.stub_jumps.chunks_exact(4).map(word)
    }

    fn links(&self) -> impl Iterator<Item = Link> {
        self.links.chunks_exact(16).map(|link| Link {
            jump: word(&link[..4]) as usize,
            unlinked: word(&link[4..8]) as usize,
            to: i64::from(word(&link[8..12]) as i32),
            far: Some(word(&link[12..]) as usize).filter(|&conditions| conditions != 0),
        })
    }

    fn link_count(&self) -> usize {
        self.links.len() / 16
    }

    fn homes(&self) -> impl ExactSizeIterator<Item = Home> {
        let homes = self.homes.chunks_exact(2);
        homes.map(|home| Home { slot: Slot(home[0]), reg: Reg(home[1] & 0xf) })
    }

    fn vector_homes(&self) -> impl ExactSizeIterator<Item = VectorHome> {
        let homes = self.vector_homes.chunks_exact(3);
        homes.map(|home| VectorHome {
            slot: Slot(home[0]),
            reg: Xmm(home[1] & 0xf),
            is_scratch: home[2] != 0,
        })
    }
}

/// Encodes sites one by one, behind where each of them starts: few are ever taken apart.
fn encode_sites(sites: &[Site]) -> Vec<u8> {
    let mut bytes = vec![0; 4 * sites.len()];
    for (number, site) in sites.iter().enumerate() {
        let start = bytes.len() as u32;
        bytes[4 * number..][..4].copy_from_slice(&start.to_le_bytes());
        bytes = postcard::to_extend(site, bytes).expect("memory is all that encoding needs");
    }
    bytes
}

/// The site of this number.
pub fn decode_site(sites: &[u8], number: usize) -> Option<Site> {
    let start = sites.get(4 * number..)?.first_chunk().copied().map(u32::from_le_bytes)?;
    Some(postcard::take_from_bytes(sites.get(start as usize..)?).ok()?.0)
}

/// The ranges of a page that a region's blocks take, and how much of the next page its entry takes.
fn ranges_of(region: &Region, page_bytes: usize) -> (Vec<Range>, u16) {
    let mut all: Vec<(usize, usize)> = region
        .blocks
        .iter()
        .map(|block| (block.start as usize, block.start as usize + usize::from(block.block.len_bytes)))
        .collect();
    all.sort_unstable();
    let tail = all.iter().map(|&(_, end)| end.saturating_sub(page_bytes)).max().unwrap_or(0);
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (start, end) in all {
        let end = end.min(page_bytes);
        match joined.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    let ranges = joined.iter().map(|&(start, end)| Range { start: start as u16, len: (end - start) as u16 });
    (ranges.collect(), tail as u16)
}

/// The record of a region that was lowered from code of these pages and has not been settled, and its keys.
pub fn encode(
    region: &Region,
    entry: Entry,
    may_grow: bool,
    lowered: &Lowered,
    page: &[u8],
    second: Option<&[u8]>,
) -> (Vec<u64>, Vec<u8>) {
    let mut bytes = Vec::new();
    let source = Source::of(region, entry, page, second, &mut bytes);
    let bytes_of =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let links: Vec<u32> = lowered
        .links
        .iter()
        .flat_map(|link| {
            [link.jump as u32, link.unlinked as u32, link.to as i32 as u32, link.far.unwrap_or(0) as u32]
        })
        .collect();
    let homes: Vec<u8> = lowered.homes.iter().flat_map(|home| [home.slot.0, home.reg.0]).collect();
    let vector_home = |home: &VectorHome| [home.slot.0, home.reg.0, home.is_scratch.into()];
    let vector_homes: Vec<u8> = lowered.vector_homes.iter().flat_map(vector_home).collect();
    let made = Made {
        insns: region.insns() as u32,
        may_grow,
        code: &lowered.code,
        entries: lowered.entries.clone(),
        site_count: lowered.sites.len() as u32,
        site_numbers: &bytes_of(&lowered.site_numbers),
        stub_jumps: &bytes_of(&lowered.stub_jumps),
        sites: &encode_sites(&lowered.sites),
        links: &bytes_of(&links),
        homes: &homes,
        vector_homes: &vector_homes,
    };
    let record = postcard::to_extend(&source, Vec::new())
        .and_then(|record| postcard::to_extend(&made, record))
        .expect("memory is all that encoding needs");
    let keys = lowered.entries.iter().map(|point| Entry { place: point.place, ..entry }.key(page)).collect();
    (keys, record)
}

/// Takes a record apart, if it is of code that stands in these pages and is entered so.
pub fn decode<'a>(
    record: &'a [u8],
    entry: Entry,
    page: &[u8],
    second: Option<&[u8]>,
) -> Option<(Source<'a>, Made<'a>)> {
    let (source, made) = postcard::take_from_bytes::<Source<'_>>(record).ok()?;
    if (Entry { place: entry.place, ..source.entry }) != entry || !source.is_in(page, second) {
        return None;
    }
    let made: Made<'_> = postcard::from_bytes(made).ok()?;
    let is_entered = made.entries.iter().any(|point| point.place == entry.place);
    is_entered.then_some((source, made))
}
