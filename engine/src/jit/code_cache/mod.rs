//! The code cache: translated code on disk, for the next run of the same code.
//!
//! What is kept is keyed by the guest's code, the vCPU's mode, the build of c2w and the features of the host's processor
//! that were made use of. It comes from a directory of the user's own and from nowhere else: code in an image would run
//! with the rights of who runs the image.

#[cfg(any(feature = "wasmtime", feature = "cranelift"))]
pub mod compiled;
mod directory;
pub mod record;
pub mod segment;

use crate::addr::{Gpa, Page};
use crate::lower::x64::{Features, Site};
use crate::mem::ram::Ram;
use directory::Directory;
use record::{Entry, Made, Source};
use segment::{Fingerprint, Segment};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use twox_hash::XxHash3_128;

/// Most bytes of new records that wait to be written: a guest that writes code for hours must not fill memory.
const MOST_FRESH_BYTES: usize = 64 << 20;

/// A code cache that is open.
pub struct CodeCache {
    directory: Directory,
    segments: Vec<Arc<Segment>>,
    /// Records of this run, each with its key.
    fresh: Vec<(u64, Vec<u8>)>,
    fresh_bytes: usize,
}

/// What was found.
pub struct Found<'a> {
    /// The code that it was made from.
    pub source: Source<'a>,
    /// What was made of it.
    pub made: Made<'a>,
    /// Its sites.
    pub sites: KeptSites,
}

/// Sites that are taken apart when they are needed.
#[derive(Clone)]
pub struct KeptSites {
    segment: Arc<Segment>,
    range: Range<usize>,
}

impl KeptSites {
    /// Takes them apart.
    ///
    /// # Panics
    /// If a record is not what its checksum says that this build wrote.
    pub fn decode(&self) -> Vec<Site> {
        record::decode_sites(&self.segment.bytes()[self.range.clone()])
            .expect("a whole record has whole sites")
    }
}

impl CodeCache {
    /// Opens the cache in a directory, which may not exist yet, for machines of a build: different programs, and different
    /// guests, have different names. All files in it together take about `limit_bytes` ([`crate::jit::CODE_CACHE_BYTES`] is a good
    /// number).
    ///
    /// # Errors
    /// The host's; others than this user may write to the directory.
    pub fn open(directory: &Path, build: &[u8], limit_bytes: u64) -> io::Result<Self> {
        let directory = Directory::open(directory, fingerprint(build), limit_bytes)?;
        let segments = directory.segments().into_iter().map(Arc::new).collect();
        Ok(Self { directory, segments, fresh: Vec::new(), fresh_bytes: 0 })
    }

    /// What was made of the code that a vCPU enters in these pages.
    pub fn find(&self, ram: &Ram, entry: Entry, page: Page, second: Option<Page>) -> Option<Found<'_>> {
        let (segment, (source, made)) = self.find_by(ram, entry, page, second, record::decode)?;
        let sites = KeptSites { segment: segment.clone(), range: segment.range(made.sites())? };
        Some(Found { source, made, sites })
    }

    /// The first record for these pages that a function takes apart, and the segment that it is in.
    fn find_by<'a, T>(
        &'a self,
        ram: &Ram,
        entry: Entry,
        page: Page,
        second: Option<Page>,
        decode: impl Fn(&'a [u8], Entry, &[u8], Option<&[u8]>) -> Option<T>,
    ) -> Option<(&'a Arc<Segment>, T)> {
        let (page, second) = contents(ram, page, second)?;
        let key = entry.key(page);
        self.segments.iter().find_map(|segment| {
            let mut records = segment.find(key);
            Some((segment, records.find_map(|record| decode(record, entry, page, second))?))
        })
    }

    /// Takes in a record, with its key.
    pub fn add(&mut self, key: u64, record: Vec<u8>) {
        if self.fresh_bytes < MOST_FRESH_BYTES {
            self.fresh_bytes += record.len();
            self.fresh.push((key, record));
        }
    }

    /// Writes what was taken in since the last time.
    ///
    /// # Errors
    /// The host's.
    pub fn save(&mut self) -> io::Result<()> {
        let fresh = std::mem::take(&mut self.fresh);
        self.fresh_bytes = 0;
        if fresh.is_empty() {
            return Ok(());
        }
        // What became last, over more blocks perhaps, is to be found first.
        self.directory.add(fresh.iter().rev().map(|(key, record)| (*key, record.as_slice())))
    }
}

/// What stands in pages, if they are RAM.
pub fn contents(ram: &Ram, page: Page, second: Option<Page>) -> Option<(&[u8], Option<&[u8]>)> {
    let content = |at: Gpa| ram.slice(at, crate::addr::PAGE_BYTES).ok();
    let second = match second {
        Some(second) => Some(content(second.start())?),
        None => None,
    };
    Some((content(page.start())?, second))
}

fn fingerprint(build: &[u8]) -> Fingerprint {
    let features = format!("{:?}", Features::detect());
    let mut all = (build.len() as u64).to_le_bytes().to_vec();
    all.extend_from_slice(build);
    all.extend_from_slice(features.as_bytes());
    XxHash3_128::oneshot(&all).to_le_bytes()
}
