//! Guest RAM that begins with what a file holds: mapped copy on write, so that starting costs no more than the
//! mappings, a page is read when it is touched, and machines from one file share what they have not written.

use crate::addr::PAGE_BYTES;
use crate::mem::ram::RamBacking;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

/// A piece of RAM that is in the file; what is in none is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Distance from the start of RAM, in whole pages.
    pub ram_offset: u64,
    /// Place in the file, in whole pages.
    pub file_offset: u64,
    /// Length, in whole pages.
    pub len_bytes: u64,
}

/// RAM over a file.
pub struct MappedRam(Arc<Mapping>);

struct Mapping {
    base: NonNull<u8>,
    len_bytes: usize,
}

// SAFETY: a range of address space that this value owns; only the one `Ram` that has it reads and writes there.
unsafe impl Send for Mapping {}
// SAFETY: as above; what others do with a shared value is advice to the system.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `MappedRam::new` with this length, and nobody is left who uses it. A failure keeps it mapped.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len_bytes) };
    }
}

// SAFETY: mapped for as long as the value lives, by which alone it is reached; page-aligned as all mappings are.
unsafe impl RamBacking for MappedRam {
    fn base(&self) -> NonNull<u8> {
        self.0.base
    }

    fn len_bytes(&self) -> usize {
        self.0.len_bytes
    }
}

impl MappedRam {
    /// RAM of this length with the pieces of `file` in it. The file must stay as long as it is: pages that are cut off
    /// end the program when they are touched.
    ///
    /// # Errors
    /// The host's, and `InvalidInput` for pieces that are not whole pages, not in ascending order or outside RAM.
    pub fn new(len_bytes: u64, file: &File, pieces: &[Piece]) -> io::Result<Self> {
        let len_bytes = usize::try_from(len_bytes).map_err(|_| ErrorKind::InvalidInput)?;
        check(pieces, len_bytes)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address that the system chooses touches nothing that exists.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), len_bytes, protection, flags) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(ErrorKind::OutOfMemory)?;
        let mapping = Mapping { base, len_bytes };
        // SAFETY: the pieces lie inside the new mapping, which nobody uses yet.
        unsafe { place(base, file, pieces) }?;
        Ok(Self(Arc::new(mapping)))
    }

    /// Fetches pages ahead of the machine, from any thread.
    pub fn prefetcher(&self) -> Prefetcher {
        Prefetcher(Arc::clone(&self.0))
    }
}

/// Fetches pages of a machine's RAM before they are needed.
pub struct Prefetcher(Arc<Mapping>);

impl Prefetcher {
    /// Makes pages, counted in RAM, ready to be written: those of the file are copied now. What cannot be done only costs
    /// the machine time later.
    pub fn write(&self, pages: Range<u64>) {
        self.advise(pages, Advice::LinuxPopulateWrite);
    }

    /// Makes pages ready to be read.
    pub fn read(&self, pages: Range<u64>) {
        self.advise(pages, Advice::LinuxPopulateRead);
    }

    fn advise(&self, pages: Range<u64>, advice: Advice) {
        let most = self.0.len_bytes as u64 / PAGE_BYTES;
        let (start, end) = (pages.start.min(most), pages.end.min(most));
        if start < end {
            let len_bytes = ((end - start) * PAGE_BYTES) as usize;
            // SAFETY: inside the mapping, which `self` keeps; populating pages changes no byte.
            let _ = unsafe {
                let at = self.0.base.add((start * PAGE_BYTES) as usize);
                madvise(at.as_ptr().cast(), len_bytes, advice)
            };
        }
    }
}

/// Whether the pieces are whole pages inside RAM, one after another.
pub(super) fn check(pieces: &[Piece], ram_bytes: usize) -> io::Result<()> {
    let mut end = 0;
    for piece in pieces {
        let whole =
            [piece.ram_offset, piece.file_offset, piece.len_bytes].map(|n| n.is_multiple_of(PAGE_BYTES));
        let next = piece.ram_offset.checked_add(piece.len_bytes);
        let next = next.filter(|next| *next <= ram_bytes as u64 && piece.ram_offset >= end);
        end = match next {
            Some(next) if whole == [true; 3] && piece.len_bytes > 0 => next,
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "pieces of RAM that cannot be")),
        };
    }
    Ok(())
}

/// Maps the pieces over what is there.
///
/// # Safety
/// They lie inside a mapping of the caller's that begins at `base`, whose contents nobody refers to.
pub(super) unsafe fn place(base: NonNull<u8>, file: &File, pieces: &[Piece]) -> io::Result<()> {
    for piece in pieces {
        // SAFETY: the caller's promise; the place is fixed, so nothing else is touched.
        unsafe {
            let at = base.add(piece.ram_offset as usize).as_ptr().cast();
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
            mmap(at, piece.len_bytes as usize, protection, flags, file, piece.file_offset)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Gpa;
    use crate::mem::ram::Ram;
    use std::os::unix::fs::FileExt;

    fn file() -> File {
        let name = rustix::fs::memfd_create(c"test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(name);
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.write_all_at(&[2; 8192], 4096).unwrap();
        file
    }

    #[test]
    fn machines_of_one_file_do_not_see_each_other() {
        let file = file();
        let pieces = [
            Piece { ram_offset: 4096, file_offset: 4096, len_bytes: 8192 },
            Piece { ram_offset: 5 * 4096, file_offset: 0, len_bytes: 4096 },
        ];
        let new = || {
            let backing = MappedRam::new(6 * 4096, &file, &pieces).unwrap();
            let prefetcher = backing.prefetcher();
            (Ram::with_backing(Gpa(0), Box::new(backing)), prefetcher)
        };
        let ((mut one, prefetcher), (two, _)) = (new(), new());
        prefetcher.write(0..u64::MAX);
        prefetcher.read(2..3);
        one.write(Gpa(2 * 4096), &[9]).unwrap();
        let first = |ram: &Ram| [0, 1, 2, 3, 5].map(|page: u64| ram.slice(Gpa(page * 4096), 1).unwrap()[0]);
        assert_eq!(first(&one), [0, 2, 9, 0, 1]);
        assert_eq!(first(&two), [0, 2, 2, 0, 1]);
        drop(one);
        prefetcher.read(0..1);
        let mut byte = [0];
        file.read_exact_at(&mut byte, 8192).unwrap();
        assert_eq!(byte, [2]);
    }

    #[test]
    fn pieces_that_cannot_be_are_refused() {
        let piece = |ram_offset, len_bytes| Piece { ram_offset, file_offset: 0, len_bytes };
        for pieces in [
            vec![piece(1, 4096)],
            vec![piece(0, 0)],
            vec![piece(0, 100)],
            vec![piece(8192, 4096)],
            vec![piece(!4095, 4096)],
            vec![piece(4096, 4096), piece(0, 4096)],
            vec![piece(0, 8192), piece(4096, 4096)],
            vec![Piece { ram_offset: 0, file_offset: 7, len_bytes: 4096 }],
        ] {
            assert!(MappedRam::new(8192, &file(), &pieces).is_err(), "{pieces:?}");
        }
    }
}
