//! A block store in memory, for hosts without files and for tests.

use super::{BlockBackend, check_range, check_writable, total_bytes};
use std::io::{self, IoSlice, IoSliceMut};

/// A store whose contents are a vector.
#[derive(Clone, Debug)]
pub struct MemoryBlock {
    bytes: Vec<u8>,
    read_only: bool,
}

impl MemoryBlock {
    /// A store that holds `bytes`.
    pub fn new(bytes: Vec<u8>, read_only: bool) -> Self {
        Self { bytes, read_only }
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl BlockBackend for MemoryBlock {
    fn capacity_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&mut self, offset: u64, to: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        check_range(self.capacity_bytes(), offset, total_bytes(to.iter().map(|slice| slice.len())))?;
        let mut at = offset as usize;
        for slice in to {
            let end = at + slice.len();
            slice.copy_from_slice(&self.bytes[at..end]);
            at = end;
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, from: &[IoSlice<'_>]) -> io::Result<()> {
        check_writable(self.read_only)?;
        check_range(self.capacity_bytes(), offset, total_bytes(from.iter().map(|slice| slice.len())))?;
        let mut at = offset as usize;
        for slice in from {
            self.bytes[at..at + slice.len()].copy_from_slice(slice);
            at += slice.len();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self, offset: u64, len_bytes: u64) -> io::Result<()> {
        self.write_zeroes(offset, len_bytes, true)
    }

    fn write_zeroes(&mut self, offset: u64, len_bytes: u64, _may_unmap: bool) -> io::Result<()> {
        check_writable(self.read_only)?;
        check_range(self.capacity_bytes(), offset, len_bytes)?;
        self.bytes[offset as usize..(offset + len_bytes) as usize].fill(0);
        Ok(())
    }
}
