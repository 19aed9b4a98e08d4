//! Guest RAM: a range of physical memory that may have a hole, with dirty and code tracking per page.
//!
//! Every write ends here or goes through a TLB entry whose write tag this file allowed: CPU stores and device
//! DMA are tracked alike. Invariant: a page that holds decoded code has a non-zero chunk map, and no TLB entry
//! holds a write tag for such a page.

use super::journal::{Difference, Journal};
use super::zeroed::Zeroed;
use crate::addr::{Gpa, PAGE_BYTES, PAGE_SHIFT, Page};
use std::alloc::Layout;
use std::ops::Range;
use std::ptr::NonNull;

/// Bytes of a code-tracking chunk: 64 chunks a page, one bit each.
const CHUNK_SHIFT: u32 = PAGE_SHIFT - 6;

/// An access that does not lie wholly inside RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len_bytes} bytes at {gpa} are outside RAM")]
pub struct OutsideRam {
    /// First byte of the access.
    pub gpa: Gpa,
    /// Its length.
    pub len_bytes: u64,
}

/// Where the bytes of RAM live on the host.
///
/// # Safety
/// `base()` must stay valid for reads and writes of `len_bytes()` bytes, at the same address and not
/// aliased by any other reference, for as long as the value lives; the address must be page-aligned.
pub unsafe trait RamBacking: Send {
    /// First byte.
    fn base(&self) -> NonNull<u8>;
    /// Length in bytes.
    fn len_bytes(&self) -> usize;
}

/// Memory from the global allocator.
struct HeapBacking {
    memory: Zeroed,
    len_bytes: usize,
}

// SAFETY: `memory` lives as long as the value, is this long and aligned so (`new`), and is never exposed as a Rust reference by
// this type.
unsafe impl RamBacking for HeapBacking {
    fn base(&self) -> NonNull<u8> {
        self.memory.start()
    }
    fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

impl HeapBacking {
    /// `None` if the host has not got that much.
    fn new(len_bytes: u64) -> Option<Self> {
        let len_bytes = usize::try_from(len_bytes).ok()?;
        let layout = Layout::from_size_align(len_bytes, PAGE_BYTES as usize).ok()?;
        Some(Self { memory: Zeroed::new(layout)?, len_bytes })
    }
}

/// Guest RAM at a fixed guest physical address. On the host it is in one piece.
pub struct Ram {
    backing: Box<dyn RamBacking>,
    base: Gpa,
    len_bytes: u64,
    /// Distances from `base` that are not RAM, which goes on behind them. Empty, at the end of RAM, without a hole.
    hole: Range<u64>,
    /// Per page: which 64-byte chunks hold decoded code.
    code: Vec<u64>,
    /// Per page: written since the last `clear_dirty`.
    dirty: Vec<bool>,
    /// Pages whose code was written and has not been invalidated yet.
    written_code: Vec<Page>,
    /// What is written while it may have to be undone.
    journal: Option<Box<Journal>>,
}

impl Ram {
    /// Zeroed RAM of `len_bytes` at `base`.
    ///
    /// # Panics
    /// If the host has not got that much, the length is zero, or either value is not a multiple of [`PAGE_BYTES`].
    pub fn new(base: Gpa, len_bytes: u64) -> Self {
        Self::try_new(base, len_bytes).expect("the host has memory for RAM")
    }

    /// The same for a length that a user chose: `None` if the host has not got that much.
    ///
    /// # Panics
    /// If the length is zero or either value is not a multiple of [`PAGE_BYTES`]: the board checks user input.
    pub fn try_new(base: Gpa, len_bytes: u64) -> Option<Self> {
        assert!(len_bytes > 0, "RAM is not empty");
        Some(Self::with_backing(base, Box::new(HeapBacking::new(len_bytes)?)))
    }

    /// RAM over memory that the caller provides, for instance a copy-on-write file mapping.
    ///
    /// # Panics
    /// If the base or the backing's length is not a multiple of [`PAGE_BYTES`].
    pub fn with_backing(base: Gpa, backing: Box<dyn RamBacking>) -> Self {
        let len_bytes = backing.len_bytes() as u64;
        assert!(
            base.page_offset() == 0 && len_bytes.is_multiple_of(PAGE_BYTES),
            "RAM is made of whole pages"
        );
        let pages = (len_bytes >> PAGE_SHIFT) as usize;
        Self {
            backing,
            base,
            len_bytes,
            hole: len_bytes..len_bytes,
            code: vec![0; pages],
            dirty: vec![false; pages],
            written_code: Vec::new(),
            journal: None,
        }
    }

    /// The same RAM, of which what would be in `hole` or behind it is behind it.
    ///
    /// # Panics
    /// If the hole begins below RAM or is not made of whole pages.
    pub fn with_hole(mut self, hole: Range<Gpa>) -> Self {
        let whole = hole.start.page_offset() == 0 && hole.end.page_offset() == 0 && hole.start <= hole.end;
        assert!(whole && hole.start >= self.base, "holes are made of whole pages of RAM");
        let hole = hole.start.0 - self.base.0..hole.end.0 - self.base.0;
        self.hole = if hole.start < self.len_bytes { hole } else { self.len_bytes..self.len_bytes };
        self
    }

    /// Guest physical address of the first byte.
    pub fn base(&self) -> Gpa {
        self.base
    }

    /// Length in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Offset of `gpa` in RAM if all of `gpa..gpa + len_bytes` is RAM.
    #[inline]
    pub fn offset(&self, gpa: Gpa, len_bytes: u64) -> Result<u64, OutsideRam> {
        let distance = gpa.0.wrapping_sub(self.base.0);
        let (offset, end) = if distance < self.hole.start {
            (distance, self.hole.start)
        } else if distance >= self.hole.end {
            (distance - (self.hole.end - self.hole.start), self.len_bytes)
        } else {
            return Err(OutsideRam { gpa, len_bytes });
        };
        if offset < end && len_bytes <= end - offset {
            Ok(offset)
        } else {
            Err(OutsideRam { gpa, len_bytes })
        }
    }

    /// Guest physical address of an offset in RAM.
    #[inline]
    fn gpa(&self, offset: u64) -> Gpa {
        let skipped = if offset < self.hole.start { 0 } else { self.hole.end - self.hole.start };
        self.base.offset(offset).offset(skipped)
    }

    /// Guest physical address of a page of RAM whose host address a TLB entry gave.
    #[inline]
    pub fn gpa_of_host(&self, host: u64) -> Gpa {
        self.gpa(host.wrapping_sub(self.host_base() as u64))
    }

    /// Whether the page is RAM.
    #[inline]
    pub fn contains_page(&self, page: Page) -> bool {
        self.offset(page.start(), PAGE_BYTES).is_ok()
    }

    /// Host address of RAM's first byte, for TLB entries and generated code.
    #[inline]
    pub fn host_base(&self) -> *mut u8 {
        self.backing.base().as_ptr()
    }

    /// Host address of a page of RAM, as TLB entries hold it.
    #[inline]
    pub fn host_page(&self, page: Page) -> u64 {
        (self.host_base() as u64).wrapping_add((self.index(page) as u64) << PAGE_SHIFT)
    }

    /// The bytes `gpa..gpa + len_bytes`.
    #[inline]
    pub fn slice(&self, gpa: Gpa, len_bytes: u64) -> Result<&[u8], OutsideRam> {
        let offset = self.offset(gpa, len_bytes)?;
        // SAFETY: inside the backing (checked by `offset`); a shared borrow of `self` keeps writers out, since
        // every write needs `&mut Ram` or, in the interpreter's fast path, the exclusive borrow of its owner.
        Ok(unsafe { std::slice::from_raw_parts(self.host_base().add(offset as usize), len_bytes as usize) })
    }

    /// All of RAM, as it lies on the host: without the hole.
    pub fn contents(&self) -> &[u8] {
        // SAFETY: the whole backing; as in `slice`.
        unsafe { std::slice::from_raw_parts(self.host_base(), self.len_bytes as usize) }
    }

    /// The bytes `gpa..gpa + len_bytes` for writing: marks the pages dirty and the code in them written.
    #[inline]
    pub fn slice_mut(&mut self, gpa: Gpa, len_bytes: u64) -> Result<&mut [u8], OutsideRam> {
        let offset = self.offset(gpa, len_bytes)?;
        self.note_write(offset, len_bytes);
        // SAFETY: inside the backing (checked by `offset`); the exclusive borrow of `self` keeps others out.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(self.host_base().add(offset as usize), len_bytes as usize)
        })
    }

    /// Copies guest bytes out.
    pub fn read(&self, gpa: Gpa, to: &mut [u8]) -> Result<(), OutsideRam> {
        to.copy_from_slice(self.slice(gpa, to.len() as u64)?);
        Ok(())
    }

    /// Copies bytes into the guest.
    pub fn write(&mut self, gpa: Gpa, from: &[u8]) -> Result<(), OutsideRam> {
        self.slice_mut(gpa, from.len() as u64)?.copy_from_slice(from);
        Ok(())
    }

    /// Copies guest bytes to another place, which may overlap.
    pub fn copy(&mut self, from: Gpa, to: Gpa, len_bytes: u64) -> Result<(), OutsideRam> {
        let (from, to) = (self.offset(from, len_bytes)?, self.offset(to, len_bytes)?);
        self.note_write(to, len_bytes);
        let base = self.host_base();
        // SAFETY: both are inside the backing (checked by `offset`), which the exclusive borrow of `self` keeps to
        // this function.
        unsafe { std::ptr::copy(base.add(from as usize), base.add(to as usize), len_bytes as usize) };
        Ok(())
    }

    /// Reads a little-endian number.
    #[inline]
    pub fn read_u16(&self, gpa: Gpa) -> Result<u16, OutsideRam> {
        Ok(u16::from_le_bytes(self.array(gpa)?))
    }

    /// Reads a little-endian number.
    #[inline]
    pub fn read_u32(&self, gpa: Gpa) -> Result<u32, OutsideRam> {
        Ok(u32::from_le_bytes(self.array(gpa)?))
    }

    /// Reads a little-endian number.
    #[inline]
    pub fn read_u64(&self, gpa: Gpa) -> Result<u64, OutsideRam> {
        Ok(u64::from_le_bytes(self.array(gpa)?))
    }

    #[inline]
    fn array<const N: usize>(&self, gpa: Gpa) -> Result<[u8; N], OutsideRam> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.slice(gpa, N as u64)?);
        Ok(bytes)
    }

    /// Marks `len_bytes` from `offset` (inside RAM) as written.
    #[inline]
    fn note_write(&mut self, offset: u64, len_bytes: u64) {
        if len_bytes == 0 {
            return;
        }
        let first = offset >> PAGE_SHIFT;
        let last = (offset + len_bytes - 1) >> PAGE_SHIFT;
        if self.journal.is_some() {
            self.journal_write(offset, len_bytes);
        }
        for index in first..=last {
            self.dirty[index as usize] = true;
            let map = self.code[index as usize];
            if map != 0 {
                let page_start = index << PAGE_SHIFT;
                let from = offset.max(page_start) - page_start;
                let to = (offset + len_bytes).min(page_start + PAGE_BYTES) - page_start;
                if map & chunk_mask(from, to - from) != 0 {
                    self.forget_code(index);
                }
            }
        }
    }

    fn forget_code(&mut self, index: u64) {
        self.code[index as usize] = 0;
        self.written_code.push(Page::of(self.gpa(index << PAGE_SHIFT)));
    }

    /// Number of a page of RAM, counted in RAM.
    #[inline]
    fn index(&self, page: Page) -> usize {
        let distance = page.start().0 - self.base.0;
        let skipped = if distance < self.hole.start { 0 } else { self.hole.end - self.hole.start };
        ((distance - skipped) >> PAGE_SHIFT) as usize
    }

    /// Notes that code was decoded from `len_bytes` at `offset` of `page`; true if the page held none before,
    /// in which case the caller removes the page's write tags from its TLBs.
    pub fn note_code(&mut self, page: Page, offset: u64, len_bytes: u64) -> bool {
        let index = self.index(page);
        let map = &mut self.code[index];
        let first = *map == 0;
        *map |= chunk_mask(offset, len_bytes);
        first
    }

    /// Whether code has been decoded from this page of RAM and not been overwritten since.
    #[inline]
    pub fn holds_code(&self, page: Page) -> bool {
        self.code[self.index(page)] != 0
    }

    /// Whether a write of `len_bytes` at `gpa`, in one page, would overwrite code.
    pub fn is_code(&self, gpa: Gpa, len_bytes: u64) -> bool {
        match self.offset(gpa, len_bytes) {
            Ok(offset) => {
                let map = self.code[(offset >> PAGE_SHIFT) as usize];
                map != 0 && map & chunk_mask(gpa.page_offset(), len_bytes) != 0
            }
            Err(_) => false,
        }
    }

    /// Whether written code waits for [`Ram::take_written_code`].
    #[inline]
    pub fn has_written_code(&self) -> bool {
        !self.written_code.is_empty()
    }

    /// Pages whose code was overwritten since the last call.
    pub fn take_written_code(&mut self) -> Vec<Page> {
        std::mem::take(&mut self.written_code)
    }

    /// Whether a page has been marked dirty: every page that has a TLB write tag was.
    pub fn is_dirty(&self, page: Page) -> bool {
        self.dirty[self.index(page)]
    }

    /// Marks a page dirty that gets a TLB write tag.
    #[inline]
    pub fn mark_dirty(&mut self, page: Page) {
        let index = self.index(page);
        self.dirty[index] = true;
        if self.journal.is_some() {
            self.journal_write((index as u64) << PAGE_SHIFT, 0);
        }
    }

    /// Keeps a journal of what is written from now on. The caller takes all write tags of pages away that are not
    /// [`Ram::is_journaled`].
    pub(crate) fn keep_journal(&mut self, mut journal: Box<Journal>) {
        for index in journal.expected() {
            journal.note(index, self.page_bytes(index));
        }
        self.journal = Some(journal);
    }

    /// Ends what [`Ram::keep_journal`] began.
    pub(crate) fn end_journal(&mut self) -> Option<Box<Journal>> {
        self.journal.take()
    }

    /// Whether what a page of RAM held is in the journal, so that it may be written. By its host address.
    pub(crate) fn is_journaled(&self, host_page: u64) -> bool {
        let index = (host_page.wrapping_sub(self.host_base() as u64) >> PAGE_SHIFT) as usize;
        self.journal.as_ref().is_some_and(|journal| journal.has(index))
    }

    /// A page walk begins or ends.
    pub(crate) fn journal_walk(&mut self, is_on: bool) {
        if let Some(journal) = &mut self.journal {
            journal.walk(is_on);
        }
    }

    /// Puts everything back that the journal has.
    pub(crate) fn undo(&mut self) {
        let Some(mut journal) = self.journal.take() else { return };
        let before = journal.undo(|index| self.page_bytes(index));
        for (index, bytes) in before {
            // SAFETY: a whole page inside the backing; the exclusive borrow of `self` keeps others out.
            unsafe {
                let page = self.host_base().add(index << PAGE_SHIFT);
                page.copy_from_nonoverlapping(bytes.as_ptr(), PAGE_BYTES as usize);
            }
        }
        self.journal = Some(journal);
    }

    /// What the journal's pages held when they were put back and do not hold now.
    pub(crate) fn undone_differences(&self) -> Vec<(Gpa, Difference)> {
        let Some(journal) = &self.journal else { return Vec::new() };
        let found = journal.differences(|index| self.page_bytes(index));
        found.into_iter().map(|difference| (self.gpa(difference.offset), difference)).collect()
    }

    /// The bytes of a page by its number in RAM.
    fn page_bytes(&self, index: usize) -> &[u8] {
        debug_assert!(index < self.dirty.len());
        // SAFETY: a whole page inside the backing; as in `slice`, a shared borrow of `self` keeps writers out.
        unsafe {
            let page = self.host_base().add(index << PAGE_SHIFT);
            std::slice::from_raw_parts(page, PAGE_BYTES as usize)
        }
    }

    #[cold]
    #[inline(never)]
    fn journal_write(&mut self, offset: u64, len_bytes: u64) {
        let Some(mut journal) = self.journal.take() else { return };
        let last = offset + len_bytes.max(1) - 1;
        for index in offset >> PAGE_SHIFT..=last >> PAGE_SHIFT {
            journal.note(index as usize, self.page_bytes(index as usize));
        }
        journal.note_write(offset, len_bytes);
        self.journal = Some(journal);
    }

    /// The pages written since the last [`Ram::clear_dirty`], in ascending order.
    pub fn dirty_pages(&self) -> impl Iterator<Item = Page> + '_ {
        let dirty = self.dirty.iter().enumerate().filter(|(_, dirty)| **dirty);
        dirty.map(|(index, _)| Page::of(self.gpa((index as u64) << PAGE_SHIFT)))
    }

    /// The same pages, counted in RAM.
    pub fn dirty_indices(&self) -> impl Iterator<Item = u64> + '_ {
        let dirty = self.dirty.iter().enumerate().filter(|(_, dirty)| **dirty);
        dirty.map(|(index, _)| index as u64)
    }

    /// Starts a new dirty epoch. The caller flushes its TLBs, which hold write tags of the old one.
    pub fn clear_dirty(&mut self) {
        self.dirty.fill(false);
    }
}

/// The chunk bits of `offset..offset + len_bytes` inside a page; at least one bit, clipped to the page.
#[inline]
fn chunk_mask(offset: u64, len_bytes: u64) -> u64 {
    let first = offset >> CHUNK_SHIFT;
    let last = ((offset + len_bytes.max(1) - 1) >> CHUNK_SHIFT).min(63);
    (u64::MAX >> (63 - (last - first))) << first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_outside_are_refused() {
        let mut ram = Ram::new(Gpa(0x8000_0000), 2 * PAGE_BYTES);
        assert!(ram.write(Gpa(0x8000_1fff), &[1]).is_ok());
        for (gpa, len) in
            [(0x7fff_ffffu64, 1usize), (0x8000_1fff, 2), (0x8000_2000, 1), (u64::MAX, 2), (0, 1)]
        {
            assert!(ram.read(Gpa(gpa), &mut vec![0; len]).is_err(), "{gpa:#x}+{len}");
        }
        assert_eq!(ram.dirty_pages().collect::<Vec<_>>(), [Page(0x80001)]);
    }

    #[test]
    fn ram_goes_on_behind_its_hole() {
        let page = |number: u64| Gpa(number * PAGE_BYTES);
        let mut ram = Ram::new(page(1), 4 * PAGE_BYTES).with_hole(page(3)..page(10));
        for (gpa, len_bytes, offset) in [
            (page(2), PAGE_BYTES, Some(PAGE_BYTES)),
            (page(2), PAGE_BYTES + 1, None),
            (page(3), 1, None),
            (Gpa(page(10).0 - 1), 2, None),
            (page(10), 2 * PAGE_BYTES, Some(2 * PAGE_BYTES)),
            (page(10), 2 * PAGE_BYTES + 1, None),
            (page(12), 1, None),
            (page(0), 1, None),
        ] {
            assert_eq!(ram.offset(gpa, len_bytes).ok(), offset, "{gpa}+{len_bytes}");
        }
        for page in [Page(1), Page(2), Page(10), Page(11)] {
            assert_eq!(ram.gpa_of_host(ram.host_page(page)), page.start());
            assert!(ram.note_code(page, 0, 4) && ram.holds_code(page));
            ram.write(page.start(), &[1]).unwrap();
            assert_eq!(ram.take_written_code(), [page]);
        }
        assert_eq!(ram.dirty_pages().map(|page| page.0).collect::<Vec<_>>(), [1, 2, 10, 11]);
        let mut short = Ram::new(page(1), 2 * PAGE_BYTES).with_hole(page(3)..page(10));
        assert!(short.write(page(10), &[1]).is_err() && short.write(page(2), &[1]).is_ok());
    }

    #[test]
    fn only_writes_that_touch_code_chunks_report_the_page() {
        let mut ram = Ram::new(Gpa(0), 2 * PAGE_BYTES);
        assert!(ram.note_code(Page(1), 0x80, 4));
        assert!(!ram.note_code(Page(1), 0xfc0, 64));
        ram.write(Gpa(0x107f), &[0]).unwrap();
        ram.write(Gpa(0x10c0), &[0; 64]).unwrap();
        assert!(!ram.has_written_code());
        ram.write(Gpa(0xfff), &[0; 0x100]).unwrap();
        assert_eq!(ram.take_written_code(), [Page(1)]);
        assert!(!ram.holds_code(Page(1)));
        ram.note_code(Page(1), 0x80, 4);
        assert!(ram.is_code(Gpa(0x107f), 2) && !ram.is_code(Gpa(0x107e), 2) && !ram.is_code(Gpa(0x2000), 1));
        assert_eq!(chunk_mask(0, PAGE_BYTES), u64::MAX);
        assert_eq!(chunk_mask(0xfff, 1), 1 << 63);
    }
}
