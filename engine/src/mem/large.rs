//! Large pages: memory that is all used soon has fewer faults in them, and takes fewer entries of the host processor's TLB. Where
//! the host has none, or is not to be asked, nothing changes.

use std::ptr::NonNull;

/// Bytes of a large page, a power of two: those of x86-64, which other hosts have, too, or can do without.
pub const BYTES: usize = 2 << 20;

/// Asks the host to provide memory in large pages, as far as it holds whole ones.
///
/// # Safety
/// So many bytes from here on are the caller's.
pub unsafe fn advise(at: NonNull<u8>, len_bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        let start = at.as_ptr().align_offset(BYTES);
        if let Some(len_bytes) = len_bytes.checked_sub(start).map(|len| len / BYTES * BYTES)
            && len_bytes > 0
        {
            // SAFETY: the caller's memory, whose contents the advice does not change. Where it is not taken nothing is lost.
            let _ = unsafe { madvise(at.as_ptr().add(start).cast(), len_bytes, Advice::LinuxHugepage) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (at, len_bytes);
}
