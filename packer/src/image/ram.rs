//! The RAM section: those pages of guest RAM that are not zero, one after another. Which they are is told by a list of
//! runs, which the state section holds next to the machine's state, so that starting need not read the pages.

use super::format::PAGE_BYTES;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Zero pages between two runs that are stored rather than made a gap: a mapping costs more than they do.
const SHORT_GAP_PAGES: u64 = 8;

/// Pages of RAM that stand one after another in RAM and in the section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRun {
    /// Number of the first page, counted in RAM.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// Why a list of runs does not fit its machine or its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// Empty, out of order or overlapping.
    #[error("its list of memory pages is out of order")]
    Order,
    /// Past the end of RAM.
    #[error("its list of memory pages goes past the machine's memory")]
    OutsideRam,
    /// The section is longer or shorter.
    #[error("its list of memory pages does not fit the ram section")]
    Length,
}

/// The runs of what is not zero in RAM.
pub fn runs(ram: &[u8]) -> Vec<PageRun> {
    let mut runs: Vec<PageRun> = Vec::new();
    for (page, bytes) in (0..).zip(ram.chunks(PAGE_BYTES as usize)) {
        // Words at a time, without looking at the rest of a page that is not zero.
        if bytes.chunks(256).all(|part| part.iter().fold(0, |all, byte| all | byte) == 0) {
            continue;
        }
        match runs.last_mut() {
            Some(last) if page - (last.first + last.count) <= SHORT_GAP_PAGES => {
                last.count = page + 1 - last.first
            }
            _ => runs.push(PageRun { first: page, count: 1 }),
        }
    }
    runs
}

/// Writes the section at `offset` of `file`; returns its length in bytes.
pub fn write(file: &File, offset: u64, ram: &[u8], runs: &[PageRun]) -> io::Result<u64> {
    let mut done = 0;
    for run in runs {
        let start = (run.first * PAGE_BYTES) as usize;
        let bytes = &ram[start..start + (run.count * PAGE_BYTES) as usize];
        file.write_all_at(bytes, offset + done)?;
        done += bytes.len() as u64;
    }
    Ok(done)
}

/// Checks a list that was read against the machine's memory and the section's length.
pub fn check(runs: &[PageRun], memory_bytes: u64, section_bytes: u64) -> Result<(), RunsError> {
    let (mut end, mut pages) = (0u64, 0u64);
    for run in runs {
        let next = run.first.checked_add(run.count).ok_or(RunsError::OutsideRam)?;
        if run.count == 0 || run.first < end {
            return Err(RunsError::Order);
        }
        if next > memory_bytes / PAGE_BYTES {
            return Err(RunsError::OutsideRam);
        }
        end = next;
        // No overflow: runs do not overlap.
        pages += run.count;
    }
    if pages.checked_mul(PAGE_BYTES) == Some(section_bytes) { Ok(()) } else { Err(RunsError::Length) }
}

/// Reads single pages of a section that fits its list.
pub struct PageReader {
    file: File,
    offset: u64,
    runs: Vec<PageRun>,
    /// How many pages of the section are before each of them.
    before: Vec<u64>,
}

impl PageReader {
    /// One of the section at `offset` of `file`.
    pub fn new(file: File, offset: u64, runs: Vec<PageRun>) -> Self {
        let mut pages = 0u64;
        let mut count = |run: &PageRun| {
            let before = pages;
            pages = pages.saturating_add(run.count);
            before
        };
        let before = runs.iter().map(&mut count).collect();
        Self { file, offset, runs, before }
    }

    /// The contents of a page, by its number in RAM; `None` if it is not in the section, or cannot be read any more.
    pub fn read(&self, page: u64) -> Option<Box<[u8]>> {
        let number = self.runs.partition_point(|run| run.first <= page).checked_sub(1)?;
        let within = page - self.runs[number].first;
        if within >= self.runs[number].count {
            return None;
        }
        let mut contents = vec![0; PAGE_BYTES as usize].into_boxed_slice();
        let place = (self.before[number] + within).checked_mul(PAGE_BYTES)?.checked_add(self.offset)?;
        self.file.read_exact_at(&mut contents, place).ok()?;
        Some(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_all_that_is_not_zero_and_few_zeros() {
        let mut ram = vec![0; 40 * 4096];
        for (page, byte) in [(1, 0), (2, 4095), (4, 7), (20, 300)] {
            ram[page * 4096 + byte] = 1;
        }
        let found = runs(&ram);
        assert_eq!(found, [PageRun { first: 1, count: 4 }, PageRun { first: 20, count: 1 }]);
        let file = tempfile::tempfile().unwrap();
        let len = write(&file, 4096, &ram, &found).unwrap();
        assert_eq!(len, 5 * 4096);
        let mut back = vec![0; len as usize];
        file.read_exact_at(&mut back, 4096).unwrap();
        assert_eq!(back[..4 * 4096], ram[4096..5 * 4096]);
        assert_eq!(back[4 * 4096..], ram[20 * 4096..21 * 4096]);
        let pages = PageReader::new(file, 4096, found.clone());
        for page in 0..41 {
            let contents = ram.get(page * 4096..(page + 1) * 4096);
            let is_there = (1..5).contains(&page) || page == 20;
            assert_eq!(pages.read(page as u64).as_deref(), contents.filter(|_| is_there), "{page}");
        }
        assert_eq!(check(&found, ram.len() as u64, len), Ok(()));
    }

    #[test]
    fn lists_that_do_not_fit_are_refused() {
        let run = |first, count| PageRun { first, count };
        for (list, error) in [
            (vec![run(1, 0)], RunsError::Order),
            (vec![run(2, 1), run(1, 1)], RunsError::Order),
            (vec![run(0, 2), run(1, 1)], RunsError::Order),
            (vec![run(3, 2)], RunsError::OutsideRam),
            (vec![run(1, u64::MAX)], RunsError::OutsideRam),
            (vec![run(0, 1)], RunsError::Length),
            (vec![run(0, 4)], RunsError::Length),
        ] {
            assert_eq!(check(&list, 4 * 4096, 2 * 4096), Err(error), "{list:?}");
        }
    }
}
