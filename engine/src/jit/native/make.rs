//! Making code of a region: what can be done on any thread.

use crate::guest::Guest;
use crate::host::native::Wanted;
use crate::ir::region::Region;
use crate::jit::Origin;
use crate::jit::code_cache::Recorder;
use crate::jit::code_cache::record::{self, Entry};
use crate::lower::x64::{Lowered, Lowering, Request};
use crate::mem::untouched::Untouched;

/// A region that is to be lowered.
pub(super) struct Job {
    /// Records it, and says where it is entered.
    record: Box<dyn FnOnce() -> (Region, Vec<usize>) + Send>,
    request: Request<'static>,
    entry: Entry,
    may_grow: bool,
    /// Where a record of it goes, if it is to be kept.
    keep: Option<Keep>,
}

/// What it takes to keep what was made of a region.
pub(super) struct Keep {
    /// The contents of the pages that it is part of.
    page: Box<[u8]>,
    second: Option<Box<[u8]>>,
    recorder: Recorder,
}

/// A job for another thread.
pub(super) enum Task {
    /// Code is wanted.
    Code(Job),
    /// Only its record is.
    Record(Job),
    /// Memory is, for code to come and for what describes it.
    Memory { code: Option<Wanted>, tables: Vec<Untouched> },
}

/// What became of it.
pub(super) enum Product {
    Code(Made),
    Record(Option<Record>),
    Memory,
}

/// A record, with its keys.
pub(super) type Record = (Vec<u64>, Vec<u8>);

/// What was made of a region.
pub(super) struct Made {
    pub lowered: Lowered,
    /// Where in its page the block is that it was wanted for.
    pub place: u64,
    /// Blocks of the region.
    pub blocks: u64,
    /// Guest instructions in them.
    pub insns: u64,
}

impl Keep {
    pub fn new(page: Box<[u8]>, second: Option<Box<[u8]>>, recorder: &Recorder) -> Self {
        Self { page, second, recorder: recorder.clone() }
    }
}

impl Task {
    /// Does it.
    pub fn make(self, lowering: &mut Lowering) -> Product {
        match self {
            Self::Code(job) => Product::Code(job.make(lowering).0),
            Self::Record(job) => Product::Record(job.make(lowering).1),
            Self::Memory { code, tables } => {
                code.into_iter().for_each(Wanted::make_present);
                tables.into_iter().for_each(Untouched::make_present);
                Product::Memory
            }
        }
    }
}

impl Job {
    /// A region of a guest that begins at a place of its page.
    pub fn new<G: Guest>(
        record: impl FnOnce() -> (Region, Vec<usize>) + Send + 'static,
        origin: Origin,
        place: u64,
        may_grow: bool,
        is_compact: bool,
        keep: Option<Keep>,
    ) -> Self {
        let request = Request {
            helpers: G::HELPERS,
            vector_scratch: G::VECTOR_SCRATCH,
            float_environment: G::FLOAT_ENVIRONMENT,
            transient: G::TRANSIENT_SLOTS,
            small: G::SMALL_SLOTS,
            context: origin.context,
            is_compact,
        };
        let entry = Entry::of(&origin, place);
        Self { record: Box::new(record), request, entry, may_grow, keep }
    }

    /// Does it; gives the record, too, if that is kept.
    pub fn make(self, lowering: &mut Lowering) -> (Made, Option<Record>) {
        let Self { record, request, entry, may_grow, keep } = self;
        let (region, entries) = record();
        let lowered = lowering.lower_entered(&region, &entries, request);
        let record = keep.map(|Keep { page, second, recorder }| {
            let (keys, record) = record::encode(&region, entry, may_grow, &lowered, &page, second.as_deref());
            recorder.add(keys.clone(), &record);
            (keys, record)
        });
        let made = Made {
            lowered,
            place: entry.place.into(),
            blocks: region.blocks.len() as u64,
            insns: region.insns(),
        };
        (made, record)
    }
}
