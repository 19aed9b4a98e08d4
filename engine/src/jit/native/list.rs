//! The list of regions that are made ahead of the vCPU, and how it keeps ahead: making a region takes longer than running it
//! once or twice, so where the vCPU has come to is left for later, and what is hot comes before what is not.

use crate::addr::Page;
use crate::guest::Mode;
use crate::jit::code_cache::Segments;
use crate::jit::code_cache::record::Entry;
use crate::jit::hot::{self, HotRegion, ReadPage};
use crate::jit::{Origin, THRESHOLD};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Where a region is entered.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct HotPlace {
    page: Page,
    start: u16,
    mode: Mode,
    context: u8,
}

impl HotPlace {
    pub fn of(origin: &Origin, place: u64) -> Self {
        let &Origin { page, mode, context, .. } = origin;
        Self { page, start: place as u16, mode, context: context as u8 }
    }
}

impl HotRegion {
    pub(super) fn origin(&self) -> Origin {
        Origin { page: self.page, second: None, mode: self.mode, context: self.context.into() }
    }

    pub(super) fn place(&self) -> HotPlace {
        HotPlace::of(&self.origin(), self.blocks[0].start.into())
    }

    /// Where it is entered.
    fn places(&self) -> impl Iterator<Item = HotPlace> {
        let entries = &self.blocks[..self.entries.into()];
        entries.iter().map(|block| HotPlace::of(&self.origin(), block.start.into()))
    }
}

/// What both threads know of a list.
#[derive(Default)]
pub(super) struct Progress {
    /// What is in it, once it has been read.
    places: OnceLock<Places>,
    /// The number behind the place that the vCPU came to last.
    passed: AtomicUsize,
    is_done: AtomicBool,
}

/// The places of a list.
struct Places {
    /// Of each the number of its region, and whether that is entered there alone.
    numbers: HashMap<HotPlace, (usize, bool)>,
    /// Those that need not be made any more, by number.
    taken: Box<[AtomicBool]>,
}

impl Places {
    fn of(regions: &[HotRegion]) -> Self {
        let numbered = |(number, region): (_, &HotRegion)| {
            region.places().map(move |place| (place, (number, region.entries == 1))).collect::<Vec<_>>()
        };
        Self {
            numbers: (0..).zip(regions).flat_map(numbered).collect(),
            taken: regions.iter().map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Whether nobody has made it, who does so now.
    fn take(&self, number: usize) -> bool {
        !self.taken[number].swap(true, Ordering::Relaxed)
    }
}

impl Progress {
    fn find(&self, place: HotPlace) -> Option<(&Places, usize, bool)> {
        let places = self.places.get()?;
        let &(number, is_alone) = places.numbers.get(&place)?;
        Some((places, number, is_alone))
    }

    /// The vCPU has come to a place.
    pub fn pass(&self, place: HotPlace) {
        if let Some((_, number, _)) = self.find(place) {
            self.passed.store(number + 1, Ordering::Relaxed);
        }
    }

    /// What begins at a place is made otherwise. A region that is entered elsewhere, too, is still to be made.
    pub fn take(&self, place: HotPlace) {
        if let Some((places, number, true)) = self.find(place) {
            places.take(number);
        }
    }

    /// Whether all of the list has been made.
    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }
}

/// The regions of a list of which nothing has been made yet, in the order in which they are to be made.
pub(super) struct Missing {
    /// The encoded list, before it is read.
    encoded: Vec<u8>,
    regions: Vec<HotRegion>,
    /// Where the vCPU was when this looked last.
    passed: usize,
    /// Where to look next for each [`Rank`].
    next: [usize; RANKS.len()],
    progress: Arc<Progress>,
    read: ReadPage,
    /// The page that was read last.
    page: Option<(Page, Box<[u8]>)>,
    segments: Segments,
}

/// What comes before what.
#[derive(Clone, Copy)]
enum Rank {
    /// Translated because it was hot, and ahead of the vCPU.
    Hot,
    /// Ahead of it.
    Ahead,
    /// All that was left out: good for later runs.
    Rest,
}

const RANKS: [Rank; 3] = [Rank::Hot, Rank::Ahead, Rank::Rest];

impl Missing {
    /// Those of an encoded list. It is read when the first one is asked for.
    pub fn new(encoded: Vec<u8>, read: ReadPage, segments: Segments, progress: Arc<Progress>) -> Self {
        let (regions, next) = (Vec::new(), [0; RANKS.len()]);
        Self { encoded, regions, passed: 0, next, progress, read, page: None, segments }
    }

    /// The number of the next one that nobody has made in this run.
    fn next_number(&mut self) -> Option<usize> {
        let places = self.progress.places.get_or_init(|| {
            self.regions = hot::decode(&std::mem::take(&mut self.encoded));
            Places::of(&self.regions)
        });
        let passed = self.progress.passed.load(Ordering::Relaxed);
        if passed != self.passed {
            self.passed = passed;
            self.next[Rank::Hot as usize] = passed;
            self.next[Rank::Ahead as usize] = passed;
        }
        for (rank, next) in RANKS.into_iter().zip(&mut self.next) {
            let is_wanted = |&number: &usize| {
                let is_hot = self.regions[number].blocks[0].heat >= THRESHOLD;
                (is_hot || !matches!(rank, Rank::Hot)) && places.take(number)
            };
            let found = (*next..self.regions.len()).find(is_wanted);
            *next = found.map_or(self.regions.len(), |number| number + 1);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The contents of a region's page, if something of it is to be made and can be.
    fn wanted_page(&mut self, region: &HotRegion) -> Option<Box<[u8]>> {
        if self.page.as_ref().is_none_or(|(page, _)| *page != region.page) {
            self.page = Some((region.page, (self.read)(region.page)?));
        }
        let (_, page) = self.page.as_ref()?;
        let entry = Entry::of(&region.origin(), region.blocks[0].start.into());
        (!self.segments.have(entry, page)).then(|| page.clone())
    }
}

impl Iterator for Missing {
    /// A region and its page, or nothing if it need not, or cannot, be made.
    type Item = Option<(HotRegion, Box<[u8]>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(number) = self.next_number() else {
            self.progress.is_done.store(true, Ordering::Release);
            return None;
        };
        let region = self.regions[number].clone();
        Some(self.wanted_page(&region).map(|page| (region, page)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_BYTES;
    use crate::jit::code_cache::CodeCache;
    use crate::jit::hot::HotBlock;

    /// A region in a page of its own.
    fn region(page: u64, heat: u32) -> HotRegion {
        let blocks = vec![HotBlock { start: 8, heat }];
        HotRegion { page: Page(page), mode: Mode(0), context: 0, may_grow: true, blocks, entries: 1 }
    }

    #[test]
    fn what_is_hot_and_ahead_of_the_vcpu_comes_first() {
        let regions: Vec<HotRegion> =
            (0..8).map(|page| region(page, if page % 2 == 0 { THRESHOLD } else { 2 })).collect();
        let progress = Arc::new(Progress::default());
        let read: ReadPage = Box::new(|page| (page.0 != 5).then(|| vec![0; PAGE_BYTES as usize].into()));
        let segments = CodeCache::in_memory().segments();
        let mut missing = Missing::new(hot::encode(regions.iter()), read, segments, progress.clone());
        let mut next = || missing.next().map(|found| found.map(|(region, _)| region.page.0));
        assert_eq!(next(), Some(Some(0)));
        // The vCPU has overtaken this, and had something made itself; what cannot be read is nothing.
        progress.pass(regions[3].place());
        progress.take(regions[6].place());
        assert_eq!([next(), next(), next()], [Some(Some(4)), Some(None), Some(Some(7))]);
        // It has gone back.
        progress.pass(regions[0].place());
        assert_eq!([next(), next(), next()], [2, 1, 3].map(|page| Some(Some(page))));
        assert!(!progress.is_done());
        assert_eq!(next(), None);
        assert!(progress.is_done());
    }
    #[test]
    fn what_is_entered_at_several_places_is_made_though_something_was_for_one_of_them() {
        let mut regions = [region(0, THRESHOLD), region(1, 2), region(2, 2)];
        regions[2].blocks.push(HotBlock { start: 64, heat: 2 });
        regions[2].entries = 2;
        let progress = Arc::new(Progress::default());
        let read: ReadPage = Box::new(|_| Some(vec![0; PAGE_BYTES as usize].into()));
        let segments = CodeCache::in_memory().segments();
        let missing = Missing::new(hot::encode(regions.iter()), read, segments, progress.clone());
        let mut pages = missing.map(|found| found.unwrap().0.page.0);
        assert_eq!(pages.next(), Some(0));
        regions[1..].iter().for_each(|region| progress.take(region.place()));
        assert_eq!(pages.collect::<Vec<_>>(), [2]);
    }
}
