//! The code cache: translated code on disk, for the next run of the same code.
//!
//! What is kept is keyed by the guest's code, the vCPU's mode, the build of c2w and the features of the host's processor
//! that were made use of. It comes from a directory of the user's own and from nowhere else: code in an image would run
//! with the rights of who runs the image.

#[cfg(any(feature = "wasmtime", feature = "cranelift"))]
pub mod compiled;
mod directory;
mod fresh;
pub mod record;
mod recorder;
pub mod segment;

use crate::addr::{Gpa, Page};
use crate::lower::x64::{Features, Site};
use crate::mem::ram::Ram;
use directory::Directory;
use fresh::Fresh;
use record::{Entry, Made, Source};
pub use recorder::Recorder;
use segment::{Fingerprint, Segment};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use twox_hash::XxHash3_128;

/// A code cache that is open.
pub struct CodeCache {
    segments: Vec<Arc<Segment>>,
    /// What is of this run.
    fresh: Fresh,
    recorder: Recorder,
}

/// The segments of a cache, for another thread.
pub struct Segments(Vec<Arc<Segment>>);

/// What was found.
pub struct Found<'a> {
    /// The code that it was made from.
    pub source: Source<'a>,
    /// What was made of it.
    pub made: Made<'a>,
    /// Its sites.
    pub sites: KeptSites,
    /// It is of this run.
    pub is_fresh: bool,
}

/// Sites that are taken apart when they are needed.
#[derive(Clone)]
pub struct KeptSites {
    holder: Holder,
    range: Range<usize>,
}

/// What a record is part of.
#[derive(Clone)]
enum Holder {
    Segment(Arc<Segment>),
    Fresh(Arc<Vec<u8>>),
}

impl Holder {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Segment(segment) => segment.bytes(),
            Self::Fresh(record) => record,
        }
    }

    /// Where in it bytes are that are part of it.
    fn range(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = part.as_ptr().addr().checked_sub(self.bytes().as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= self.bytes().len()).then_some(start..end)
    }
}

impl KeptSites {
    /// Takes the one of this number apart.
    ///
    /// # Panics
    /// If a record is not what its checksum says that this build wrote.
    pub fn decode(&self, number: usize) -> Site {
        record::decode_site(&self.holder.bytes()[self.range.clone()], number)
            .expect("a whole record has whole sites")
    }
}

impl<'a> Found<'a> {
    fn new(holder: Holder, source: Source<'a>, made: Made<'a>) -> Option<Self> {
        let range = holder.range(made.sites())?;
        let is_fresh = matches!(holder, Holder::Fresh(_));
        Some(Self { source, made, sites: KeptSites { holder, range }, is_fresh })
    }
}

impl Segments {
    /// Whether something was made of the code that is entered so in a page with these contents.
    pub fn have(&self, entry: Entry, page: &[u8]) -> bool {
        let key = entry.key(page);
        let is_it = |record| record::decode(record, entry, page, None).is_some();
        self.0.iter().any(|segment| segment.find(key).any(is_it))
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
        Ok(Self { segments, fresh: Fresh::default(), recorder: Recorder::new(Some(directory)) })
    }

    /// A cache that ends with this run.
    pub fn in_memory() -> Self {
        Self { segments: Vec::new(), fresh: Fresh::default(), recorder: Recorder::new(None) }
    }

    /// The same cache for a run that is to find out what all it needs: what earlier runs left is not found. All of that comes to
    /// stand in one segment, in the order in which it is needed.
    #[must_use]
    pub fn hide(mut self) -> Self {
        self.segments.clear();
        self
    }

    /// Where records of this run go.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Its segments as they are now.
    pub fn segments(&self) -> Segments {
        Segments(self.segments.clone())
    }

    /// What was made last of the code that a vCPU enters in these pages.
    pub fn find(&self, ram: &Ram, entry: Entry, page: Page, second: Option<Page>) -> Option<Found<'_>> {
        let (holder, (source, made)) = self.find_by(ram, entry, page, second, record::decode)?;
        Found::new(holder, source, made)
    }

    /// The first record for these pages that a function takes apart, and what it is part of.
    fn find_by<'a, T>(
        &'a self,
        ram: &Ram,
        entry: Entry,
        page: Page,
        second: Option<Page>,
        decode: impl Fn(&'a [u8], Entry, &[u8], Option<&[u8]>) -> Option<T>,
    ) -> Option<(Holder, T)> {
        let (page, second) = contents(ram, page, second)?;
        let key = entry.key(page);
        let decode = |record| decode(record, entry, page, second);
        let fresh =
            self.fresh.find(key).find_map(|record| Some((Holder::Fresh(record.clone()), decode(record)?)));
        fresh.or_else(|| {
            self.segments.iter().find_map(|segment| {
                Some((Holder::Segment(segment.clone()), segment.find(key).find_map(decode)?))
            })
        })
    }

    /// Takes in a record, with its own keys, that is of use in this run, too.
    pub fn add_fresh(&mut self, keys: &[u64], record: Vec<u8>) {
        self.fresh.add(keys, record);
    }

    /// Whether an earlier run made this mark ([`Recorder::mark`]).
    pub fn is_marked(&self, what: u64) -> bool {
        self.segments.iter().flat_map(|segment| segment.find(what)).any(<[u8]>::is_empty)
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
