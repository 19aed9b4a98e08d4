//! Contents of a regular file in memory: chunks, with holes where nothing was written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Bytes of one chunk: large enough that a sequential read is a few copies, small enough for small files.
const CHUNK_BYTES: u64 = 64 * 1024;

/// Sparse bytes of a file.
///
/// Invariant: a chunk holds no byte at or past `len_bytes` other than zero, so that growing shows zeroes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    len_bytes: u64,
    chunks: BTreeMap<u64, Vec<u8>>,
}

impl Contents {
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Memory taken.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.chunks.len() as u64 * CHUNK_BYTES
    }

    /// Memory that a write of `count` bytes at `offset` would take in addition.
    pub(super) fn growth_bytes(&self, offset: u64, count: u64) -> u64 {
        if count == 0 {
            return 0;
        }
        let (first, last) = (offset / CHUNK_BYTES, (offset + count - 1) / CHUNK_BYTES);
        let present = self.chunks.range(first..=last).count() as u64;
        (last - first + 1 - present) * CHUNK_BYTES
    }

    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let count = self.len_bytes.saturating_sub(offset).min(into.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let (index, within, step) = step(offset + done as u64, count - done);
            let part = &mut into[done..done + step];
            match self.chunks.get(&index) {
                Some(chunk) => part.copy_from_slice(&chunk[within..within + step]),
                None => part.fill(0),
            }
            done += step;
        }
        count
    }

    /// Writes all of `from`; the caller made sure that `offset + from.len()` does not overflow.
    pub(super) fn write(&mut self, offset: u64, from: &[u8]) {
        let mut done = 0;
        while done < from.len() {
            let (index, within, step) = step(offset + done as u64, from.len() - done);
            let chunk = self.chunks.entry(index).or_insert_with(|| vec![0; CHUNK_BYTES as usize]);
            chunk[within..within + step].copy_from_slice(&from[done..done + step]);
            done += step;
        }
        if !from.is_empty() {
            self.len_bytes = self.len_bytes.max(offset + from.len() as u64);
        }
    }

    pub(super) fn set_len(&mut self, len_bytes: u64) {
        if len_bytes < self.len_bytes {
            let (kept, within) = (len_bytes / CHUNK_BYTES, (len_bytes % CHUNK_BYTES) as usize);
            let _ = self.chunks.split_off(&(kept + u64::from(within != 0)));
            if let (true, Some(chunk)) = (within != 0, self.chunks.get_mut(&kept)) {
                chunk[within..].fill(0);
            }
        }
        self.len_bytes = len_bytes;
    }
}

/// The chunk that holds `offset`, the place in it, and how many of `count` bytes lie in that chunk.
fn step(offset: u64, count: usize) -> (u64, usize, usize) {
    let within = (offset % CHUNK_BYTES) as usize;
    (offset / CHUNK_BYTES, within, count.min(CHUNK_BYTES as usize - within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_cut_tails_read_as_zeroes() {
        let mut contents = Contents::default();
        contents.write(3 * CHUNK_BYTES - 2, b"abcd");
        assert_eq!(contents.len_bytes(), 3 * CHUNK_BYTES + 2);
        assert_eq!(contents.stored_bytes(), 2 * CHUNK_BYTES);
        assert_eq!(contents.growth_bytes(0, 4 * CHUNK_BYTES), 2 * CHUNK_BYTES);

        let mut bytes = [9; 8];
        assert_eq!(contents.read(3 * CHUNK_BYTES - 4, &mut bytes), 6);
        assert_eq!(&bytes[..6], b"\0\0abcd");

        contents.set_len(3 * CHUNK_BYTES - 1);
        contents.set_len(3 * CHUNK_BYTES + 2);
        assert_eq!(contents.read(3 * CHUNK_BYTES - 2, &mut bytes), 4);
        assert_eq!(&bytes[..4], b"a\0\0\0");
        contents.set_len(0);
        assert_eq!(contents.stored_bytes(), 0);
        assert_eq!(contents.read(0, &mut bytes), 0);
    }
}
