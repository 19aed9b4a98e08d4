//! What is written to RAM while it may have to be undone, by page: what each page held before, so that everything can be
//! put back, and what it held when it was, so that two runs from one state can be compared.
//!
//! Invariant: as long as a journal is kept, no page is written that is not in it. [`super::ram::Ram`] notes a page with its
//! first write and with its first write tag, whichever comes first; who starts a journal takes the tags away that were
//! given before.

use crate::addr::PAGE_BYTES;
use std::collections::HashMap;
use std::ops::Range;

/// The bytes of a page.
type Bytes = Box<[u8; PAGE_BYTES as usize]>;
/// Pages noted at the start because the last journal had them: code that stores to them again does so as fast as ever, by
/// the same way as without a journal.
const MAX_EXPECTED: usize = 16;

/// A page that was written.
struct Noted {
    index: usize,
    before: Bytes,
    /// What it held when all was put back, if it was noted before that.
    undone: Option<Bytes>,
}

/// The pages that were written, by their numbers in RAM.
#[derive(Default)]
pub struct Journal {
    pages: Vec<Noted>,
    numbers: HashMap<usize, usize>,
    /// What page walks wrote, as offsets in RAM.
    walked: Vec<Range<u64>>,
    /// A page walk is under way.
    walking: bool,
    spare: Vec<Bytes>,
    expected: Vec<usize>,
}

/// Bytes that differ between what was undone and what is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Offset in RAM of the first.
    pub offset: u64,
    /// What was undone.
    pub undone: Vec<u8>,
    /// What is there now.
    pub now: Vec<u8>,
}

impl Journal {
    /// Pages that are likely to be written.
    pub fn expected(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.expected)
    }

    /// Whether a page has been noted.
    pub fn has(&self, index: usize) -> bool {
        self.numbers.contains_key(&index)
    }

    /// A page is about to be written, or may be from now on; it holds `bytes`.
    pub fn note(&mut self, index: usize, bytes: &[u8]) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.numbers.entry(index) {
            entry.insert(self.pages.len());
            let before = copy(&mut self.spare, bytes);
            self.pages.push(Noted { index, before, undone: None });
        }
    }

    /// Bytes are about to be written, in pages that have been noted.
    pub fn note_write(&mut self, offset: u64, len_bytes: u64) {
        if self.walking {
            self.walked.push(offset..offset + len_bytes);
        }
    }

    /// A page walk begins or ends. What it writes, accessed and dirty bits, depends on what the TLB still knows, which is
    /// nobody's business.
    pub fn walk(&mut self, is_on: bool) {
        self.walking = is_on;
    }

    /// The pages that were noted, each with what it is to hold again; `bytes` gives what it holds.
    pub fn undo<'a>(&'a mut self, bytes: impl Fn(usize) -> &'a [u8]) -> Vec<(usize, &'a [u8])> {
        let Self { pages, spare, .. } = self;
        for page in &mut *pages {
            spare.extend(page.undone.take());
            page.undone = Some(copy(spare, bytes(page.index)));
        }
        pages.iter().map(|page| (page.index, page.before.as_slice())).collect()
    }

    /// What was undone and is not the same now; `bytes` gives what a page holds.
    pub fn differences<'a>(&self, bytes: impl Fn(usize) -> &'a [u8]) -> Vec<Difference> {
        let mut found: Vec<Difference> = Vec::new();
        for Noted { index, before, undone } in &self.pages {
            let (undone, now) = (undone.as_ref().unwrap_or(before).as_slice(), bytes(*index));
            if undone == now {
                continue;
            }
            for at in (0..now.len()).filter(|&at| undone[at] != now[at]) {
                let offset = *index as u64 * PAGE_BYTES + at as u64;
                if self.walked.iter().any(|range| range.contains(&offset)) {
                    continue;
                }
                match found.last_mut() {
                    Some(last) if last.offset + last.now.len() as u64 == offset => {
                        last.undone.push(undone[at]);
                        last.now.push(now[at]);
                    }
                    _ => found.push(Difference { offset, undone: vec![undone[at]], now: vec![now[at]] }),
                }
            }
        }
        found
    }

    /// Forgets everything but which pages to expect.
    pub fn clear(&mut self) {
        self.expected = self.pages.iter().rev().take(MAX_EXPECTED).map(|page| page.index).collect();
        for page in self.pages.drain(..) {
            self.spare.push(page.before);
            self.spare.extend(page.undone);
        }
        self.spare.truncate(4 * MAX_EXPECTED);
        self.numbers.clear();
        self.walked.clear();
    }
}

fn copy(spare: &mut Vec<Bytes>, bytes: &[u8]) -> Bytes {
    let mut copy = spare.pop().unwrap_or_else(|| Box::new([0; PAGE_BYTES as usize]));
    copy.copy_from_slice(bytes);
    copy
}
