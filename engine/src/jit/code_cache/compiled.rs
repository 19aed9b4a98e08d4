//! What the cache keeps of a region that an optimizing compiler has compiled: the guest code, as in [`super::record`], and
//! the compiler's bytes, which are good wherever the region's links are.

use super::record::{Entry, First, Source};
use super::{CodeCache, contents};
use crate::addr::Page;
use crate::host::regions::OwnCode;
use crate::ir::region::Region;
use crate::jit::Origin;
use crate::mem::ram::Ram;
use serde::{Deserialize, Serialize};
use std::io;

/// A cache of them.
pub struct CompiledCache(CodeCache);

/// What was made of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made<'a> {
    first: First,
    insns: u32,
    may_grow: bool,
    links: Vec<i64>,
    code: &'a [u8],
}

/// What was found.
pub struct Found<'a> {
    /// Guest instructions of the first block, and bytes of their code.
    pub first: (u16, u16),
    /// Of all of them.
    pub insns: u64,
    /// It may be compiled anew over more blocks.
    pub may_grow: bool,
    /// Targets of its ways out, as [`crate::lower::links::links`] lists them.
    pub links: Vec<i64>,
    /// The compiler's bytes.
    pub code: OwnCode<'a>,
    /// Where code is that it was made from: page, start, bytes.
    pub ranges: Vec<(Page, u64, u64)>,
}

/// A record on its way, while the region is being compiled.
pub struct Begun {
    key: u64,
    source: Vec<u8>,
    first: First,
    insns: u32,
    may_grow: bool,
    links: Vec<i64>,
}

impl CompiledCache {
    /// One in this cache, of which nobody else makes use.
    pub fn new(cache: CodeCache) -> Self {
        Self(cache)
    }

    /// What was compiled of the code that begins at a place of its page.
    pub(in crate::jit) fn find(&self, ram: &Ram, origin: &Origin, place: u64) -> Option<Found<'_>> {
        let decode = |record, entry, page: &[u8], second: Option<&[u8]>| {
            let (source, made) = postcard::take_from_bytes::<Source<'_>>(record).ok()?;
            if !source.is_in(entry, page, second) {
                return None;
            }
            Some((source, postcard::from_bytes::<Made<'_>>(made).ok()?))
        };
        let (_, (source, made)) =
            self.0.find_by(ram, Entry::of(origin, place), origin.page, origin.second, decode)?;
        let first = source.ranges.iter().map(|range| (origin.page, range.start.into(), range.len.into()));
        let second = origin.second.map(|second| (second, 0, source.tail.into()));
        Some(Found {
            first: (made.first.insns, made.first.len_bytes),
            insns: made.insns.into(),
            may_grow: made.may_grow,
            links: made.links,
            // Records come from this user's own directory, by this build, and are whole.
            code: OwnCode(made.code),
            ranges: first.chain(second).collect(),
        })
    }

    /// Begins the record of a region that is to be compiled.
    pub(in crate::jit) fn begin(
        &self,
        ram: &Ram,
        origin: &Origin,
        region: &Region,
        may_grow: bool,
        links: &[i64],
    ) -> Option<Begun> {
        let (page, second) = contents(ram, origin.page, origin.second)?;
        let entry = Entry::of(origin, region.blocks[0].start as u64);
        let mut bytes = Vec::new();
        let source = Source::of(region, entry, page, second, &mut bytes);
        Some(Begun {
            key: entry.key(page),
            source: postcard::to_stdvec(&source).ok()?,
            first: First::of(region),
            insns: region.blocks.iter().map(|block| block.insns).sum(),
            may_grow,
            links: links.to_vec(),
        })
    }

    /// Takes in what was compiled.
    pub fn finish(&mut self, Begun { key, source, first, insns, may_grow, links }: Begun, code: &[u8]) {
        let record = postcard::to_extend(&Made { first, insns, may_grow, links, code }, source);
        self.0.recorder().add(key, &record.expect("memory is all that encoding needs"));
    }

    /// Writes what was taken in since the last time.
    ///
    /// # Errors
    /// The host's.
    pub fn save(&mut self) -> io::Result<()> {
        self.0.recorder().save()
    }
}
