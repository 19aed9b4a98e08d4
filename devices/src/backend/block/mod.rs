//! Storage behind a block device: bytes at offsets, in memory, in a file, or as changes over another store.

mod memory;
mod overlay;

#[cfg(feature = "native")]
mod file;

pub use memory::MemoryBlock;
pub use overlay::{OverlayBlock, OverlayState};

#[cfg(feature = "native")]
pub use file::FileBlock;

use std::io::{self, IoSlice, IoSliceMut};

/// A store of a fixed number of bytes.
///
/// Offsets and lengths are in bytes. A range that is not wholly inside the store is an error and changes nothing.
/// Errors are failures of the host; the device reports them to the guest as I/O errors.
pub trait BlockBackend: Send {
    /// Size of the store; it never changes.
    fn capacity_bytes(&self) -> u64;

    /// Whether every change is refused.
    fn is_read_only(&self) -> bool;

    /// Fills `to` with the bytes from `offset` on.
    fn read_at(&mut self, offset: u64, to: &mut [IoSliceMut<'_>]) -> io::Result<()>;

    /// Replaces the bytes from `offset` on.
    fn write_at(&mut self, offset: u64, from: &[IoSlice<'_>]) -> io::Result<()>;

    /// Returns when everything written is durable, as far as the store can be.
    fn flush(&mut self) -> io::Result<()>;

    /// The guest no longer needs the range; what it reads there afterwards is undefined.
    fn discard(&mut self, offset: u64, len_bytes: u64) -> io::Result<()>;

    /// Makes the range read as zeroes; `may_unmap` allows giving its storage back.
    fn write_zeroes(&mut self, offset: u64, len_bytes: u64, may_unmap: bool) -> io::Result<()>;

    /// The changes that would be lost with the machine: part of its state. None for stores that keep them.
    fn changes(&self) -> OverlayState {
        OverlayState::default()
    }
}

/// Fails unless the range lies inside `capacity_bytes`.
fn check_range(capacity_bytes: u64, offset: u64, len_bytes: u64) -> io::Result<()> {
    match offset.checked_add(len_bytes) {
        Some(end) if end <= capacity_bytes => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "range outside the block store")),
    }
}

fn check_writable(read_only: bool) -> io::Result<()> {
    if read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
}

fn total_bytes(slices: impl Iterator<Item = usize>) -> u64 {
    slices.map(|len| len as u64).sum()
}
