//! Memory for code that is made at run time: mapped twice, once to write and once to run, so that no address is ever both.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Code starts at multiples of this, as processors fetch it.
pub const ALIGNMENT: usize = 16;

/// Bytes that are made present ahead of their use by who needs them now.
const AHEAD_BYTES: usize = 128 << 10;

/// The same for who does not: another thread. Half of them last longer than that takes to be woken and to make them present.
const FAR_AHEAD_BYTES: usize = 512 << 10;

/// Memory for code. Pages cost nothing until they are used.
pub struct CodeMemory {
    mappings: Arc<Mappings>,
    /// What has been made present ahead of its use.
    present: Range<usize>,
    /// The end of what was written last.
    used_end: usize,
    /// The end of what another thread was asked for.
    wanted_end: usize,
}

/// The memory itself.
struct Mappings {
    /// Where it is written.
    write: NonNull<u8>,
    /// Where it runs.
    run: NonNull<u8>,
    len_bytes: usize,
    /// The end of what another thread has made present.
    present_end: AtomicUsize,
}

// SAFETY: both mappings are owned by this value alone, and what it does by shared references neither reads nor writes them.
unsafe impl Send for Mappings {}
// SAFETY: as above.
unsafe impl Sync for Mappings {}

/// Memory that is about to be used: any thread may make it present.
pub struct Wanted {
    mappings: Arc<Mappings>,
    range: Range<usize>,
}

impl Wanted {
    /// Lets the host provide it.
    pub fn make_present(self) {
        self.mappings.make_present(&self.range);
        self.mappings.present_end.store(self.range.end, Ordering::Relaxed);
    }
}

impl CodeMemory {
    /// Room for `len_bytes` of code.
    ///
    /// # Errors
    /// When the host does not give memory that may be run.
    pub fn new(len_bytes: usize) -> Result<Self, Errno> {
        let file = memfd_create(c"c2w-code", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, len_bytes as u64)?;
        let map = |protection| {
            // SAFETY: a new mapping at an address that the system chooses touches nothing that exists.
            let at =
                unsafe { mmap(std::ptr::null_mut(), len_bytes, protection, MapFlags::SHARED, &file, 0) }?;
            NonNull::new(at.cast::<u8>()).ok_or(Errno::NOMEM)
        };
        let write = map(ProtFlags::READ | ProtFlags::WRITE)?;
        let run = map(ProtFlags::READ | ProtFlags::EXEC).inspect_err(|_| {
            // SAFETY: mapped above with this length, and nobody knows of it.
            let _ = unsafe { munmap(write.as_ptr().cast(), len_bytes) };
        })?;
        let mappings = Mappings { write, run, len_bytes, present_end: AtomicUsize::new(0) };
        Ok(Self { mappings: Arc::new(mappings), present: 0..0, used_end: 0, wanted_end: 0 })
    }

    /// Bytes of it all.
    #[cfg(feature = "cranelift")]
    pub fn len_bytes(&self) -> usize {
        self.mappings.len_bytes
    }

    /// Writes code, which may run when `finish` has seen to what is still to be changed. What it overwrites must not run meanwhile.
    ///
    /// # Panics
    /// If it does not fit there.
    pub fn write(&mut self, at: usize, code: &[u8], finish: impl FnOnce(&mut [u8])) {
        self.check(at, code);
        let end = at + code.len();
        if end > self.present.end {
            self.present.end = self.present.end.max(self.mappings.present_end.load(Ordering::Relaxed));
        }
        if at < self.present.start || end > self.present.end {
            self.present = at..(end + AHEAD_BYTES).min(self.mappings.len_bytes);
            self.wanted_end = self.present.end;
            self.mappings.make_present(&self.present);
        }
        self.used_end = end;
        // SAFETY: inside the mapping (checked above), in which there are no other references, and which does not run meanwhile.
        let place =
            unsafe { std::slice::from_raw_parts_mut(self.mappings.write.add(at).as_ptr(), code.len()) };
        place.copy_from_slice(code);
        finish(place);
        self.synchronize(at, code.len());
    }

    /// What is to be made present before long, if nobody was asked to yet.
    pub fn wanted(&mut self) -> Option<Wanted> {
        if self.wanted_end >= self.used_end + FAR_AHEAD_BYTES / 2 {
            return None;
        }
        let start = self.wanted_end.max(self.used_end);
        self.wanted_end = (self.used_end + FAR_AHEAD_BYTES).min(self.mappings.len_bytes);
        let range = start..self.wanted_end;
        (!range.is_empty()).then(|| Wanted { mappings: self.mappings.clone(), range })
    }

    /// Writes over code that was written before.
    ///
    /// # Panics
    /// If it does not fit there.
    pub fn overwrite(&mut self, at: usize, code: &[u8]) {
        self.check(at, code);
        // SAFETY: inside the mapping (checked above), into which there are no references.
        unsafe { self.mappings.write.add(at).as_ptr().copy_from_nonoverlapping(code.as_ptr(), code.len()) };
        self.synchronize(at, code.len());
    }

    fn check(&self, at: usize, code: &[u8]) {
        assert!(
            at.checked_add(code.len()).is_some_and(|end| end <= self.mappings.len_bytes),
            "code fits its memory"
        );
    }

    /// Where code runs that is written at a place.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn code(&self, at: usize) -> NonNull<u8> {
        assert!(at < self.mappings.len_bytes, "code lies in its memory");
        // SAFETY: inside the mapping (checked above).
        unsafe { self.mappings.run.add(at) }
    }

    /// Lets instruction fetches see what was written. x86-64 processors do without.
    #[cfg(target_arch = "aarch64")]
    fn synchronize(&self, at: usize, len_bytes: usize) {
        // The smallest lines that any cache has (Arm ARM, CTR_EL0: at least 16 bytes).
        const LINE_BYTES: usize = 16;
        for offset in (at..at + len_bytes).step_by(LINE_BYTES) {
            // SAFETY: cleans the data cache's line of an address that is mapped.
            unsafe {
                std::arch::asm!("dc cvau, {}", in(reg) self.mappings.write.as_ptr().add(offset), options(nostack))
            };
        }
        // SAFETY: barriers.
        unsafe { std::arch::asm!("dsb ish", options(nostack)) };
        for offset in (at..at + len_bytes).step_by(LINE_BYTES) {
            // SAFETY: invalidates the instruction cache's line of an address that is mapped.
            unsafe {
                std::arch::asm!("ic ivau, {}", in(reg) self.mappings.run.as_ptr().add(offset), options(nostack))
            };
        }
        // SAFETY: barriers.
        unsafe { std::arch::asm!("dsb ish", "isb", options(nostack)) };
    }

    #[cfg(not(target_arch = "aarch64"))]
    fn synchronize(&self, _at: usize, _len_bytes: usize) {}
}

impl Mappings {
    /// Lets the host provide pages that are about to be used, many at a time: one by one, by faults, that costs much more.
    fn make_present(&self, range: &Range<usize>) {
        const PAGE_BYTES: usize = 4096;
        let start = range.start / PAGE_BYTES * PAGE_BYTES;
        for (at, advice) in [(self.write, Advice::LinuxPopulateWrite), (self.run, Advice::LinuxPopulateRead)]
        {
            // SAFETY: inside the mapping, which the makers of ranges see to; the advice changes no contents. Where it is not
            // known nothing is lost.
            let _ = unsafe { madvise(at.add(start).as_ptr().cast(), range.end - start, advice) };
        }
    }
}

impl Drop for Mappings {
    fn drop(&mut self) {
        for at in [self.write, self.run] {
            // SAFETY: mapped in `CodeMemory::new` with this length, and code in it does not run.
            let _ = unsafe { munmap(at.as_ptr().cast(), self.len_bytes) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_wanted_before_it_is_used_and_once() {
        let mut memory = CodeMemory::new(4 * FAR_AHEAD_BYTES).unwrap();
        let code = vec![0x90; 64 << 10];
        let mut wanted = Vec::new();
        for at in (0..3 * FAR_AHEAD_BYTES).step_by(code.len()) {
            memory.write(at, &code, |_| ());
            if let Some(more) = memory.wanted() {
                wanted.push(more.range.clone());
                more.make_present();
            }
            assert!(memory.wanted().is_none());
        }
        assert!(wanted[0].start >= code.len());
        assert!(wanted.windows(2).all(|pair| pair[0].end == pair[1].start), "{wanted:?}");
        assert!(wanted.last().unwrap().end >= 3 * FAR_AHEAD_BYTES + FAR_AHEAD_BYTES / 2);
        // All that is written has been made present by then, and but for the first time not by who wrote it.
        assert_eq!(memory.present.start, 0);
    }

    #[test]
    fn nothing_is_wanted_behind_the_end() {
        let mut memory = CodeMemory::new(64 << 10).unwrap();
        memory.write((64 << 10) - 1, &[0xc3], |_| ());
        assert!(memory.wanted().is_none());
    }
}
