//! Making code of a region: what can be done on any thread.

use crate::guest::Guest;
use crate::ir::region::Region;
use crate::jit::Origin;
use crate::jit::code_cache::record::{self, Entry, First};
use crate::lower::x64::{Lowered, Lowering, Request};

/// A region that is to be lowered.
pub(super) struct Job {
    /// Records it.
    record: Box<dyn FnOnce() -> Region + Send>,
    request: Request<'static>,
    entry: Entry,
    may_grow: bool,
    /// What its code is part of, if it is to be kept.
    pages: Option<Pages>,
}

/// The contents of the pages that a region is part of.
pub(super) struct Pages {
    page: Box<[u8]>,
    second: Option<Box<[u8]>>,
}

/// What was made of a region.
pub(super) struct Made {
    pub lowered: Lowered,
    /// For the code cache, with its key.
    pub record: Option<(u64, Vec<u8>)>,
    /// The first block.
    pub first: First,
    /// Where that is in its page.
    pub place: u64,
    /// Blocks of the region.
    pub blocks: u64,
    /// Guest instructions in them.
    pub insns: u64,
}

impl Pages {
    pub fn new(page: &[u8], second: Option<&[u8]>) -> Self {
        Self { page: page.into(), second: second.map(Into::into) }
    }
}

impl Job {
    /// A region of a guest that begins at a place of its page. With the contents of its pages, a record for the code cache is
    /// made, too.
    pub fn new<G: Guest>(
        record: impl FnOnce() -> Region + Send + 'static,
        origin: Origin,
        place: u64,
        may_grow: bool,
        pages: Option<Pages>,
    ) -> Self {
        let request = Request {
            helpers: G::HELPERS,
            vector_scratch: G::VECTOR_SCRATCH,
            float_environment: G::FLOAT_ENVIRONMENT,
            transient: G::TRANSIENT_SLOTS,
            context: origin.context,
        };
        let entry = Entry::of(&origin, place);
        Self { record: Box::new(record), request, entry, may_grow, pages }
    }

    /// Does it.
    pub fn make(self, lowering: &mut Lowering) -> Made {
        let Self { record, request, entry, may_grow, pages } = self;
        let region = record();
        let lowered = lowering.lower(&region, request);
        let record = pages.map(|Pages { page, second }| {
            record::encode(&region, entry, may_grow, &lowered, &page, second.as_deref())
        });
        Made {
            lowered,
            record,
            first: First::of(&region),
            place: entry.place.into(),
            blocks: region.blocks.len() as u64,
            insns: region.blocks.iter().map(|block| u64::from(block.insns)).sum(),
        }
    }
}
