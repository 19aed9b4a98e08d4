//! Memory for code that is made at run time: mapped twice, once to write and once to run, so that no address is ever both.

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ptr::NonNull;

/// Code starts at multiples of this, as processors fetch it.
const ALIGNMENT: usize = 16;

/// Memory for code. Pages cost nothing until they are used.
pub struct CodeMemory {
    /// Where it is written.
    write: NonNull<u8>,
    /// Where it runs.
    run: NonNull<u8>,
    len_bytes: usize,
    used: usize,
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
        Ok(Self { write, run, len_bytes, used: 0 })
    }

    /// Adds code, which may run from now on, and tells where it starts, or `None` if the memory is full.
    pub fn add(&mut self, code: &[u8]) -> Option<usize> {
        let at = self.used.next_multiple_of(ALIGNMENT);
        if code.len() > self.len_bytes.checked_sub(at)? {
            return None;
        }
        // SAFETY: inside the mapping (checked above), and no reference into it exists; what runs is not written by this.
        unsafe { self.write.add(at).as_ptr().copy_from_nonoverlapping(code.as_ptr(), code.len()) };
        self.used = at + code.len();
        self.synchronize(at, code.len());
        Some(at)
    }

    /// Forgets the code from a place on. It must not run any more.
    pub fn truncate(&mut self, at: usize) {
        assert!(at <= self.used, "only what was added can be forgotten");
        self.used = at;
    }

    /// Bytes of code.
    pub fn used_bytes(&self) -> usize {
        self.used
    }

    /// Where code runs that was added at a place.
    pub fn code(&self, at: usize) -> NonNull<u8> {
        assert!(at < self.used, "it was added");
        // SAFETY: inside the mapping (checked above).
        unsafe { self.run.add(at) }
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
