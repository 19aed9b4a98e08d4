//! What the cache keeps of regions that a compiler of modules has compiled: of each the guest code, as in [`super::record`], and of
//! the module that they are in together the compiler's bytes, which are good wherever the regions' links are.

use super::record::{Entry, First, Source};
use super::{CodeCache, contents};
use crate::addr::Page;
use crate::host::regions::OwnCode;
use crate::ir::region::Region;
use crate::jit::Origin;
use crate::mem::ram::Ram;
use serde::{Deserialize, Serialize};
use std::io;
use twox_hash::XxHash3_128;

/// A cache of them.
pub struct CompiledCache(CodeCache);

/// What was made of a region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    first: First,
    insns: u32,
    may_grow: bool,
    /// The record of the module that it is in, and which of that module's regions it is.
    module: u128,
    number: u32,
}

/// A module, which may have several regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Module<'a> {
    name: u128,
    /// Of each region.
    links: Vec<Vec<i64>>,
    code: &'a [u8],
}

/// What was found of a region.
pub struct Found {
    /// Guest instructions of the first block, and bytes of their code.
    pub first: (u16, u16),
    /// Of all of them.
    pub insns: u64,
    /// It may be compiled anew over more blocks.
    pub may_grow: bool,
    /// Name of the module that it is in.
    pub module: u128,
    /// Its number there.
    pub number: u32,
    /// Where code is that it was made from: page, start, bytes.
    pub ranges: Vec<(Page, u64, u64)>,
}

/// What was found of a module.
pub struct FoundModule<'a> {
    /// Of each of its regions, the targets of the ways out, as [`crate::lower::links::links`] lists them.
    pub links: Vec<Vec<i64>>,
    /// The compiler's bytes.
    pub code: OwnCode<'a>,
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
    pub(in crate::jit) fn find(&self, ram: &Ram, origin: &Origin, place: u64) -> Option<Found> {
        let decode = |record, entry, page: &[u8], second: Option<&[u8]>| {
            let (source, made) = postcard::take_from_bytes::<Source<'_>>(record).ok()?;
            if source.entry != entry || !source.is_in(page, second) {
                return None;
            }
            Some((source, postcard::from_bytes::<Made>(made).ok()?))
        };
        let (_, (source, made)) =
            self.0.find_by(ram, Entry::of(origin, place), origin.page, origin.second, decode)?;
        let first = source.ranges.iter().map(|range| (origin.page, range.start.into(), range.len.into()));
        let second = origin.second.map(|second| (second, 0, source.tail.into()));
        Some(Found {
            first: (made.first.insns, made.first.len_bytes),
            insns: made.insns.into(),
            may_grow: made.may_grow,
            module: made.module,
            number: made.number,
            ranges: first.chain(second).collect(),
        })
    }

    /// The module of a name.
    pub fn module(&self, name: u128) -> Option<FoundModule<'_>> {
        let decode = |record| {
            let module = postcard::from_bytes::<Module<'_>>(record).ok()?;
            (module.name == name).then_some(module)
        };
        let module = self.0.segments.iter().find_map(|segment| segment.find(key(name)).find_map(decode))?;
        // Records come from this user's own directory, by this build, and are whole.
        Some(FoundModule { links: module.links, code: OwnCode(module.code) })
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
            insns: region.insns() as u32,
            may_grow,
            links: links.to_vec(),
        })
    }

    /// Takes in a module that was compiled of these regions, in this order.
    pub fn finish(&mut self, regions: Vec<Begun>, code: &[u8]) {
        let recorder = self.0.recorder();
        let name = XxHash3_128::oneshot(code);
        let links = regions.iter().map(|begun| begun.links.clone()).collect();
        let module = postcard::to_stdvec(&Module { name, links, code });
        recorder.add(vec![key(name)], &module.expect(ENCODES));
        for (number, Begun { key, source, first, insns, may_grow, .. }) in (0..).zip(regions) {
            let made = Made { first, insns, may_grow, module: name, number };
            recorder.add(vec![key], &postcard::to_extend(&made, source).expect(ENCODES));
        }
    }

    /// Writes what was taken in since the last time.
    ///
    /// # Errors
    /// The host's.
    pub fn save(&mut self) -> io::Result<()> {
        self.0.recorder().save()
    }
}

const ENCODES: &str = "memory is all that encoding needs";

/// The key of a module's record.
fn key(name: u128) -> u64 {
    name as u64
}
