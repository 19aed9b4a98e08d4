//! Memory for code that is made at run time: mapped twice, once to write and once to run, so that no address is ever both.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::ops::Range;
use std::ptr::NonNull;

/// Code starts at multiples of this, as processors fetch it.
pub const ALIGNMENT: usize = 16;

/// Bytes that are made present ahead of their use.
const AHEAD_BYTES: usize = 128 << 10;

/// Memory for code. Pages cost nothing until they are used.
pub struct CodeMemory {
    /// Where it is written.
    write: NonNull<u8>,
    /// Where it runs.
    run: NonNull<u8>,
    len_bytes: usize,
    /// What has been made present ahead of its use.
    present: Range<usize>,
}

// SAFETY: both mappings are owned by this value alone.
unsafe impl Send for CodeMemory {}

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
        Ok(Self { write, run, len_bytes, present: 0..0 })
    }

    /// Bytes of it all.
    #[cfg(feature = "cranelift")]
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Writes code, which may run from now on. What it overwrites must not run meanwhile.
    ///
    /// # Panics
    /// If it does not fit there.
    pub fn write(&mut self, at: usize, code: &[u8]) {
        self.check(at, code);
        let end = at + code.len();
        if at < self.present.start || end > self.present.end {
            self.present = at..(end + AHEAD_BYTES).min(self.len_bytes);
            self.make_present();
        }
        self.overwrite(at, code);
    }

    /// The same where code was written before: what is present ahead of the next stays so.
    ///
    /// # Panics
    /// If it does not fit there.
    pub fn overwrite(&mut self, at: usize, code: &[u8]) {
        self.check(at, code);
        // SAFETY: inside the mapping (checked above), into which there are no references.
        unsafe { self.write.add(at).as_ptr().copy_from_nonoverlapping(code.as_ptr(), code.len()) };
        self.synchronize(at, code.len());
    }

    fn check(&self, at: usize, code: &[u8]) {
        assert!(at.checked_add(code.len()).is_some_and(|end| end <= self.len_bytes), "code fits its memory");
    }

    /// Where code runs that is written at a place.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn code(&self, at: usize) -> NonNull<u8> {
        assert!(at < self.len_bytes, "code lies in its memory");
        // SAFETY: inside the mapping (checked above).
        unsafe { self.run.add(at) }
    }

    /// Lets the host provide pages that are about to be used, many at a time: one by one, by faults, that costs much more.
    fn make_present(&self) {
        const PAGE_BYTES: usize = 4096;
        let start = self.present.start / PAGE_BYTES * PAGE_BYTES;
        for (at, advice) in [(self.write, Advice::LinuxPopulateWrite), (self.run, Advice::LinuxPopulateRead)]
        {
            // SAFETY: inside the mapping; the advice changes no contents. Where it is not known nothing is lost.
            let _ = unsafe { madvise(at.add(start).as_ptr().cast(), self.present.end - start, advice) };
        }
    }

    /// Lets instruction fetches see what was written. x86-64 processors do without.
    #[cfg(target_arch = "aarch64")]
    fn synchronize(&self, at: usize, len_bytes: usize) {
        // The smallest lines that any cache has (Arm ARM, CTR_EL0: at least 16 bytes).
        const LINE_BYTES: usize = 16;
        for offset in (at..at + len_bytes).step_by(LINE_BYTES) {
            // SAFETY: cleans the data cache's line of an address that is mapped.
            unsafe {
                std::arch::asm!("dc cvau, {}", in(reg) self.write.as_ptr().add(offset), options(nostack))
            };
        }
        // SAFETY: barriers.
        unsafe { std::arch::asm!("dsb ish", options(nostack)) };
        for offset in (at..at + len_bytes).step_by(LINE_BYTES) {
            // SAFETY: invalidates the instruction cache's line of an address that is mapped.
            unsafe {
                std::arch::asm!("ic ivau, {}", in(reg) self.run.as_ptr().add(offset), options(nostack))
            };
        }
        // SAFETY: barriers.
        unsafe { std::arch::asm!("dsb ish", "isb", options(nostack)) };
    }

    #[cfg(not(target_arch = "aarch64"))]
    fn synchronize(&self, _at: usize, _len_bytes: usize) {}
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        for at in [self.write, self.run] {
            // SAFETY: mapped in `new` with this length, and code in it does not run.
            let _ = unsafe { munmap(at.as_ptr().cast(), self.len_bytes) };
        }
    }
}
