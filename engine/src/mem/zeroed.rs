//! Zeroed memory from the global allocator, which every host has.

use super::large;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Memory that begins as zeros. What is never touched of a large one costs nothing: the host's system allocator zeroes large
/// requests when they are used; but only without an alignment of their own, for which the allocator would write every byte.
/// So more is asked for, and the start aligned here: to large pages if it fills some.
pub struct Zeroed {
    allocation: NonNull<u8>,
    layout: Layout,
    start: NonNull<u8>,
}

// SAFETY: the pointers are owned by this value alone, like a Box's.
unsafe impl Send for Zeroed {}

impl Zeroed {
    /// So much, aligned so; `None` if the host has not got that much.
    pub fn new(layout: Layout) -> Option<Self> {
        let (len_bytes, align) = (layout.size(), layout.align());
        let align = if len_bytes >= large::BYTES { align.max(large::BYTES) } else { align };
        let layout = Layout::from_size_align(layout.size().checked_add(align)?, 1).ok()?;
        // SAFETY: `layout` has a size: no alignment is 0.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        let skip = allocation.as_ptr().align_offset(align);
        // SAFETY: less than an alignment is skipped, and one more than the size was allocated.
        let start = unsafe { allocation.add(skip) };
        // SAFETY: the size from the start on was allocated.
        unsafe { large::advise(start, len_bytes) };
        Some(Self { allocation, layout, start })
    }

    /// Where it starts.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }
}

impl Drop for Zeroed {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout and not freed before.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_all_there() {
        for (size, align) in [(0, 1), (1, 64), (100, 4096), (1 << 20, 4096)] {
            let memory = Zeroed::new(Layout::from_size_align(size, align).unwrap()).unwrap();
            assert_eq!(memory.start().addr().get() % align, 0);
            // SAFETY: so many bytes from the start, which nobody else uses.
            let bytes = unsafe { std::slice::from_raw_parts_mut(memory.start().as_ptr(), size) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            bytes.fill(1);
        }
        assert!(Zeroed::new(Layout::from_size_align(isize::MAX as usize & !63, 64).unwrap()).is_none());
    }
}
