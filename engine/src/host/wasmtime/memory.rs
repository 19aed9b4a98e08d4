//! wasmtime is given our memory for the module that defines one.

use super::space::{GUARD_BYTES, REACH_BYTES, Space};
use ::wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Gives out one space, to one store after the other.
pub(super) struct Creator(pub Space);

// SAFETY: what is given out is accessible for `size_bytes` and followed by inaccessible memory up to the reservation
// and guard that the engine is configured with. That it is not zeroed is its purpose: it outlives a store.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let fits = minimum == self.0.size_bytes()
            && reserved_size_in_bytes.is_none_or(|bytes| bytes <= REACH_BYTES)
            && guard_size_in_bytes <= GUARD_BYTES;
        if fits { Ok(Box::new(Given(self.0.clone()))) } else { Err("there is no such memory".into()) }
    }
}

struct Given(Space);

// SAFETY: the pointer is that of the space, which this value keeps, for its accessible size.
unsafe impl LinearMemory for Given {
    fn byte_size(&self) -> usize {
        self.0.size_bytes()
    }

    fn byte_capacity(&self) -> usize {
        self.0.size_bytes()
    }

    fn grow_to(&mut self, _new_size: usize) -> ::wasmtime::Result<()> {
        Err(::wasmtime::Error::msg("guest memory does not grow"))
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.base().as_ptr()
    }
}
