//! What a start touches: pages of RAM that are written soon after a machine goes on, learnt when the image is packed.
//! A second thread copies them while the machine already runs.

use c2w_engine::host::mapped::Prefetcher;
use c2w_engine::mem::ram::Ram;
use c2w_packer::image::ram::PageRun;
use serde::{Deserialize, Serialize};

/// Pages between two written ones that are taken along: fewer calls, and neighbours are often next.
const SHORT_GAP_PAGES: u64 = 2;
/// Pages made ready by one call, so that none takes long.
const STEP_PAGES: u64 = 256;

/// Pages that a start writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkingSet {
    /// Pages of RAM.
    pub written: Vec<PageRun>,
}

impl WorkingSet {
    /// What was written in this RAM since the machine went on.
    pub fn of(ram: &Ram) -> Self {
        let mut written: Vec<PageRun> = Vec::new();
        for page in ram.dirty_indices() {
            match written.last_mut() {
                Some(last) if page - (last.first + last.count) <= SHORT_GAP_PAGES => {
                    last.count = page + 1 - last.first;
                }
                _ => written.push(PageRun { first: page, count: 1 }),
            }
        }
        Self { written }
    }

    /// Makes the pages ready on a thread of its own.
    pub fn fetch(self, prefetcher: Prefetcher) {
        std::thread::spawn(move || {
            for run in self.written {
                let end = run.first.saturating_add(run.count);
                let mut at = run.first;
                while at < end {
                    let next = at.saturating_add(STEP_PAGES).min(end);
                    prefetcher.write(at..next);
                    at = next;
                }
            }
        });
    }
}
