//! Large pages of the host for what fills up soon: one fault instead of hundreds.

use rustix::mm::{Advice, madvise};
use std::mem::MaybeUninit;

/// Granularity of the host's mappings; a multiple of it on hosts that have smaller ones.
const ALIGN: usize = 1 << 16;

/// Asks for large pages where a vector has room. A host that has none to give goes on as before.
pub(crate) fn advise<T>(room: &Vec<T>) {
    let start = room.as_ptr().cast::<MaybeUninit<u8>>().cast_mut();
    let skipped = start.align_offset(ALIGN);
    let len_bytes = (room.capacity() * size_of::<T>()).saturating_sub(skipped) & !(ALIGN - 1);
    if len_bytes > 0 {
        // SAFETY: whole pages inside the vector's allocation; the advice changes no byte.
        let _ = unsafe { madvise(start.add(skipped).cast(), len_bytes, Advice::LinuxHugepage) };
    }
}
