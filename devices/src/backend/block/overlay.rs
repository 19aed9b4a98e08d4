//! A writable store over one that is never changed: what was written lives in memory, by clusters.

use super::{BlockBackend, check_range, total_bytes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};

/// Bytes that are copied up together.
const CLUSTER_BYTES: u64 = 4096;

type Cluster = Box<[u8; CLUSTER_BYTES as usize]>;

/// A copy-on-write store.
pub struct OverlayBlock {
    base: Box<dyn BlockBackend>,
    limit_bytes: u64,
    /// Changed clusters by number; `None` reads as zeroes.
    clusters: BTreeMap<u64, Option<Cluster>>,
    /// How many of them are not `None`.
    stored: u64,
}

/// What was changed, as it is saved: cluster number to contents, empty for zeroes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayState {
    /// The changed clusters.
    pub clusters: BTreeMap<u64, Vec<u8>>,
}

impl OverlayBlock {
    /// An overlay without changes that will hold at most `limit_bytes` in memory; writes beyond fail.
    pub fn new(base: Box<dyn BlockBackend>, limit_bytes: u64) -> Self {
        Self { base, limit_bytes, clusters: BTreeMap::new(), stored: 0 }
    }

    /// The saved changes over `base`, or `None` if they do not fit it.
    pub fn restore(base: Box<dyn BlockBackend>, limit_bytes: u64, state: &OverlayState) -> Option<Self> {
        let mut overlay = Self::new(base, limit_bytes);
        for (&number, bytes) in &state.clusters {
            if number.checked_mul(CLUSTER_BYTES)? >= overlay.capacity_bytes() {
                return None;
            }
            let cluster = match bytes.is_empty() {
                true => None,
                false => Some(Cluster::try_from(bytes.clone().into_boxed_slice()).ok()?),
            };
            overlay.stored += u64::from(cluster.is_some());
            overlay.clusters.insert(number, cluster);
        }
        Some(overlay)
    }

    fn has_changes(&self, offset: u64, len_bytes: u64) -> bool {
        let end = (offset + len_bytes).div_ceil(CLUSTER_BYTES);
        self.clusters.range(offset / CLUSTER_BYTES..end).next().is_some()
    }

    fn read_slice(&mut self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < to.len() {
            let at = offset + done as u64;
            let number = at / CLUSTER_BYTES;
            let left = to.len() - done;
            match self.clusters.range(number..).next() {
                Some((&changed, cluster)) if changed == number => {
                    let start = (at % CLUSTER_BYTES) as usize;
                    let count = left.min(CLUSTER_BYTES as usize - start);
                    let piece = &mut to[done..done + count];
                    match cluster {
                        Some(bytes) => piece.copy_from_slice(&bytes[start..start + count]),
                        None => piece.fill(0),
                    }
                    done += count;
                }
                next => {
                    let run = next.map_or(u64::MAX, |(&changed, _)| changed * CLUSTER_BYTES - at);
                    let count = left.min(usize::try_from(run).unwrap_or(usize::MAX));
                    self.base.read_at(at, &mut [IoSliceMut::new(&mut to[done..done + count])])?;
                    done += count;
                }
            }
        }
        Ok(())
    }

    /// Copies `from` into one cluster, which it does not leave.
    fn write_piece(&mut self, offset: u64, from: &[u8]) -> io::Result<()> {
        let number = offset / CLUSTER_BYTES;
        let start = (offset % CLUSTER_BYTES) as usize;
        if !matches!(self.clusters.get(&number), Some(Some(_))) {
            if (self.stored + 1) * CLUSTER_BYTES > self.limit_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let mut cluster = Box::new([0; CLUSTER_BYTES as usize]);
            let zero = self.clusters.contains_key(&number);
            if !zero && from.len() < CLUSTER_BYTES as usize {
                let cluster_start = number * CLUSTER_BYTES;
                let count = CLUSTER_BYTES.min(self.capacity_bytes() - cluster_start) as usize;
                self.base.read_at(cluster_start, &mut [IoSliceMut::new(&mut cluster[..count])])?;
            }
            self.clusters.insert(number, Some(cluster));
            self.stored += 1;
        }
        if let Some(Some(bytes)) = self.clusters.get_mut(&number) {
            bytes[start..start + from.len()].copy_from_slice(from);
        }
        Ok(())
    }
}

/// Cuts `len_bytes` from `offset` at cluster boundaries.
fn pieces(offset: u64, len_bytes: u64) -> impl Iterator<Item = (u64, u64)> {
    let end = offset + len_bytes;
    let mut at = offset;
    std::iter::from_fn(move || {
        let next = ((at / CLUSTER_BYTES + 1) * CLUSTER_BYTES).min(end);
        let piece = (at, next - at);
        at = next;
        (piece.1 > 0).then_some(piece)
    })
}

impl BlockBackend for OverlayBlock {
    fn capacity_bytes(&self) -> u64 {
        self.base.capacity_bytes()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, to: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        let len_bytes = total_bytes(to.iter().map(|slice| slice.len()));
        check_range(self.capacity_bytes(), offset, len_bytes)?;
        if !self.has_changes(offset, len_bytes) {
            return self.base.read_at(offset, to);
        }
        let mut at = offset;
        for slice in to {
            self.read_slice(at, slice)?;
            at += slice.len() as u64;
        }
        Ok(())
    }

    fn write_at(&mut self, offset: u64, from: &[IoSlice<'_>]) -> io::Result<()> {
        let len_bytes = total_bytes(from.iter().map(|slice| slice.len()));
        check_range(self.capacity_bytes(), offset, len_bytes)?;
        let mut at = offset;
        for slice in from {
            let slice_start = at;
            for (piece_at, piece_bytes) in pieces(slice_start, slice.len() as u64) {
                let from = (piece_at - slice_start) as usize;
                self.write_piece(piece_at, &slice[from..from + piece_bytes as usize])?;
            }
            at += slice.len() as u64;
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
        check_range(self.capacity_bytes(), offset, len_bytes)?;
        for (at, piece_bytes) in pieces(offset, len_bytes) {
            let whole = piece_bytes == CLUSTER_BYTES || at + piece_bytes == self.capacity_bytes();
            if whole && at.is_multiple_of(CLUSTER_BYTES) {
                if let Some(Some(_)) = self.clusters.insert(at / CLUSTER_BYTES, None) {
                    self.stored -= 1;
                }
            } else {
                self.write_piece(at, &[0; CLUSTER_BYTES as usize][..piece_bytes as usize])?;
            }
        }
        Ok(())
    }

    fn changes(&self) -> OverlayState {
        let bytes = |cluster: &Option<Cluster>| cluster.as_ref().map_or(Vec::new(), |bytes| bytes.to_vec());
        OverlayState { clusters: self.clusters.iter().map(|(&number, c)| (number, bytes(c))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryBlock;
    use super::*;
    use proptest::prelude::*;

    const CAPACITY: usize = 5 * CLUSTER_BYTES as usize + 512;

    fn base() -> Box<MemoryBlock> {
        Box::new(MemoryBlock::new((0..CAPACITY).map(|i| i as u8 | 1).collect(), true))
    }

    fn read_all(store: &mut dyn BlockBackend) -> Vec<u8> {
        let mut bytes = vec![0; CAPACITY];
        let (first, second) = bytes.split_at_mut(1000);
        store.read_at(0, &mut [IoSliceMut::new(first), IoSliceMut::new(second)]).unwrap();
        bytes
    }

    proptest! {
        /// Any writes through the overlay read back as if made to a copy of the base; saving keeps them.
        #[test]
        fn behaves_like_a_private_copy(
            writes in prop::collection::vec((0..CAPACITY, 0..9000usize, 0u8..4), 1..20),
        ) {
            let mut overlay = OverlayBlock::new(base(), u64::MAX);
            let mut copy = MemoryBlock::new(base().bytes().to_vec(), false);
            for (offset, len, kind) in writes {
                let len = len.min(CAPACITY - offset);
                let data = vec![kind; len];
                for store in [&mut overlay as &mut dyn BlockBackend, &mut copy] {
                    match kind {
                        0 => store.write_zeroes(offset as u64, len as u64, false).unwrap(),
                        _ => store.write_at(offset as u64, &[IoSlice::new(&data)]).unwrap(),
                    }
                }
                prop_assert_eq!(read_all(&mut overlay), copy.bytes());
            }
            let saved = overlay.changes();
            let mut restored = OverlayBlock::restore(base(), u64::MAX, &saved).unwrap();
            prop_assert_eq!(restored.changes(), saved);
            prop_assert_eq!(read_all(&mut restored), copy.bytes());
            prop_assert_eq!(restored.stored, overlay.stored);
        }
    }

    #[test]
    fn the_limit_is_an_error_and_zeroes_give_memory_back() {
        let mut overlay = OverlayBlock::new(base(), 2 * CLUSTER_BYTES);
        let write = |overlay: &mut OverlayBlock, offset| overlay.write_at(offset, &[IoSlice::new(&[1])]);
        write(&mut overlay, 0).unwrap();
        write(&mut overlay, CLUSTER_BYTES).unwrap();
        let full = write(&mut overlay, 2 * CLUSTER_BYTES).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        overlay.discard(0, CLUSTER_BYTES).unwrap();
        write(&mut overlay, 2 * CLUSTER_BYTES).unwrap();
    }

    #[test]
    fn foreign_states_are_refused() {
        for (number, bytes) in [(6, vec![]), (u64::MAX, vec![]), (0, vec![1; 100])] {
            let state = OverlayState { clusters: [(number, bytes)].into() };
            assert!(OverlayBlock::restore(base(), u64::MAX, &state).is_none(), "{number}");
        }
    }
}
