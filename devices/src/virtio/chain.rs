//! A request as the device sees it: the readable and the writable byte ranges of one descriptor chain.
//!
//! Every segment of a chain lies inside RAM (checked by [`super::queue::Queue::pop`]) and none is empty.

use super::queue::QueueError;
use c2w_engine::addr::Gpa;
use c2w_engine::mem::ram::Ram;
use std::io::{IoSlice, IoSliceMut};

/// Segments handed to the host in one vectored call.
const VECTOR_SEGMENTS: usize = 64;

/// A contiguous byte range of guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Segment {
    /// First byte.
    pub gpa: Gpa,
    /// Length in bytes, not zero in a chain.
    pub len_bytes: u32,
}

/// A descriptor chain taken from a queue. Reused from request to request, so that none allocates.
#[derive(Debug, Default)]
pub struct Chain {
    pub(super) head: u16,
    pub(super) readable: Segments,
    pub(super) writable: Segments,
}

impl Chain {
    /// What the driver wrote for the device.
    pub fn readable(&self) -> &Segments {
        &self.readable
    }

    /// Where the device writes for the driver.
    pub fn writable(&self) -> &Segments {
        &self.writable
    }

    pub(super) fn clear(&mut self, head: u16) {
        self.head = head;
        self.readable.clear();
        self.writable.clear();
    }
}

/// One side of a chain: a list of segments that is addressed as one run of bytes.
#[derive(Debug, Default)]
pub struct Segments {
    list: Vec<Segment>,
    len_bytes: u64,
}

impl Segments {
    /// The segments, in order.
    pub fn list(&self) -> &[Segment] {
        &self.list
    }

    /// Total length in bytes, at most 2^32.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.len_bytes = 0;
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.len_bytes += u64::from(segment.len_bytes);
        self.list.push(segment);
    }

    /// The segments of `len_bytes` bytes from `offset`, clipped to what there is.
    pub fn window(&self, offset: u64, len_bytes: u64) -> impl Iterator<Item = Segment> + '_ {
        let mut skip = offset;
        let mut left = len_bytes;
        self.list.iter().filter_map(move |segment| {
            let whole = u64::from(segment.len_bytes);
            let skipped = skip.min(whole);
            skip -= skipped;
            let taken = left.min(whole - skipped);
            left -= taken;
            (taken > 0).then(|| Segment { gpa: segment.gpa.offset(skipped), len_bytes: taken as u32 })
        })
    }

    /// Copies bytes from `offset` on into `to`; returns how many there were.
    pub fn copy_to(&self, ram: &Ram, offset: u64, to: &mut [u8]) -> Result<usize, QueueError> {
        let mut done = 0;
        for segment in self.window(offset, to.len() as u64) {
            let bytes = ram.slice(segment.gpa, segment.len_bytes.into())?;
            to[done..done + bytes.len()].copy_from_slice(bytes);
            done += bytes.len();
        }
        Ok(done)
    }

    /// Copies `from` to `offset` on; returns how many bytes had room.
    pub fn copy_from(&self, ram: &mut Ram, offset: u64, from: &[u8]) -> Result<usize, QueueError> {
        let mut done = 0;
        for segment in self.window(offset, from.len() as u64) {
            let bytes = ram.slice_mut(segment.gpa, segment.len_bytes.into())?;
            let count = bytes.len();
            bytes.copy_from_slice(&from[done..done + count]);
            done += count;
        }
        Ok(done)
    }

    /// The first `N` bytes, or `None` if there are fewer.
    pub fn header<const N: usize>(&self, ram: &Ram) -> Result<Option<[u8; N]>, QueueError> {
        let mut bytes = [0; N];
        let count = self.copy_to(ram, 0, &mut bytes)?;
        Ok((count == N).then_some(bytes))
    }

    /// Hands the bytes of the window to `sink` as host slices, several at a time. `sink` gets the number of bytes
    /// that earlier calls covered. Stops at the first error of `sink`.
    pub fn gather<E: From<QueueError>>(
        &self,
        ram: &Ram,
        offset: u64,
        len_bytes: u64,
        mut sink: impl FnMut(u64, &[IoSlice<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut segments = self.window(offset, len_bytes).peekable();
        let mut covered = 0;
        while segments.peek().is_some() {
            let mut slices = [IoSlice::new(&[]); VECTOR_SEGMENTS];
            let mut count = 0;
            let mut bytes = 0;
            for (slot, segment) in slices.iter_mut().zip(segments.by_ref()) {
                *slot =
                    IoSlice::new(ram.slice(segment.gpa, segment.len_bytes.into()).map_err(QueueError::from)?);
                bytes += u64::from(segment.len_bytes);
                count += 1;
            }
            sink(covered, &slices[..count])?;
            covered += bytes;
        }
        Ok(())
    }

    /// Has `source` fill the bytes of the window, handed out as host slices, several at a time. `source` gets the
    /// number of bytes that earlier calls covered. Stops at the first error of `source`.
    pub fn scatter<E: From<QueueError>>(
        &self,
        ram: &mut Ram,
        offset: u64,
        len_bytes: u64,
        mut source: impl FnMut(u64, &mut [IoSliceMut<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut segments = self.window(offset, len_bytes).peekable();
        let mut covered = 0;
        let mut batch = [Segment::default(); VECTOR_SEGMENTS];
        while segments.peek().is_some() {
            let mut count = 0;
            for (slot, segment) in batch.iter_mut().zip(segments.by_ref()) {
                *slot = segment;
                count += 1;
            }
            covered += scatter_batch(ram, &batch[..count], covered, &mut source)?;
        }
        Ok(())
    }
}

/// One round of [`Segments::scatter`]; returns the bytes it covered. Segments that overlap, which no sane driver
/// makes, go one by one, because host slices must not alias.
fn scatter_batch<E: From<QueueError>>(
    ram: &mut Ram,
    batch: &[Segment],
    covered: u64,
    source: &mut impl FnMut(u64, &mut [IoSliceMut<'_>]) -> Result<(), E>,
) -> Result<u64, E> {
    let total = batch.iter().map(|segment| u64::from(segment.len_bytes)).sum();
    if batch.len() == 1 || overlap(batch) {
        let mut done = covered;
        for segment in batch {
            let bytes = ram.slice_mut(segment.gpa, segment.len_bytes.into()).map_err(QueueError::from)?;
            source(done, &mut [IoSliceMut::new(bytes)])?;
            done += u64::from(segment.len_bytes);
        }
        return Ok(total);
    }
    let mut slices: [IoSliceMut<'_>; VECTOR_SEGMENTS] = std::array::from_fn(|_| IoSliceMut::new(&mut []));
    for (slot, segment) in slices.iter_mut().zip(batch) {
        let bytes = ram.slice_mut(segment.gpa, segment.len_bytes.into()).map_err(QueueError::from)?;
        let (start, len) = (bytes.as_mut_ptr(), bytes.len());
        // SAFETY: `slice_mut` checked the range and made the pointer from the backing's raw base. The segments of
        // `batch` do not overlap, so the slices are disjoint; `ram` stays exclusively borrowed by this function
        // while they live, and nothing reads RAM through it meanwhile.
        *slot = IoSliceMut::new(unsafe { std::slice::from_raw_parts_mut(start, len) });
    }
    source(covered, &mut slices[..batch.len()])?;
    Ok(total)
}

fn overlap(batch: &[Segment]) -> bool {
    let mut ranges = [(0, 0); VECTOR_SEGMENTS];
    for (range, segment) in ranges.iter_mut().zip(batch) {
        *range = (segment.gpa.0, segment.gpa.0 + u64::from(segment.len_bytes));
    }
    let ranges = &mut ranges[..batch.len()];
    ranges.sort_unstable();
    ranges.windows(2).any(|pair| pair[1].0 < pair[0].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(list: &[(u64, u32)]) -> Segments {
        let mut segments = Segments::default();
        for &(gpa, len_bytes) in list {
            segments.push(Segment { gpa: Gpa(gpa), len_bytes });
        }
        segments
    }

    #[test]
    fn a_window_cuts_both_ends() {
        let all = segments(&[(0x100, 4), (0x200, 4), (0x300, 4)]);
        let cut: Vec<_> = all.window(2, 7).map(|s| (s.gpa.0, s.len_bytes)).collect();
        assert_eq!(cut, [(0x102, 2), (0x200, 4), (0x300, 1)]);
        assert_eq!(all.window(12, 1).count(), 0);
        assert_eq!(all.window(4, 0).count(), 0);
    }

    #[test]
    fn scatter_reaches_every_byte_in_order_even_when_segments_overlap() {
        for list in [&[(0x1000, 3), (0x10, 2), (0x1003, 1)][..], &[(0x10, 4), (0x12, 2)]] {
            let mut ram = Ram::new(Gpa(0), 0x2000);
            let all = segments(list);
            let mut next = 0;
            all.scatter::<QueueError>(&mut ram, 0, 6, |_, slices| {
                for byte in slices.iter_mut().flat_map(|slice| slice.iter_mut()) {
                    next += 1;
                    *byte = next;
                }
                Ok(())
            })
            .unwrap();
            assert_eq!(next, 6);
            let mut last = [0; 2];
            all.copy_to(&ram, 4, &mut last).unwrap();
            assert_eq!(last, [5, 6]);
        }
    }

    #[test]
    fn vectors_are_cut_at_the_batch_size() {
        let list: Vec<_> = (0..150).map(|i| (0x1000 + 8 * i, 5)).collect();
        let all = segments(&list);
        let mut ram = Ram::new(Gpa(0), 0x2000);
        let mut offsets = Vec::new();
        all.scatter::<QueueError>(&mut ram, 0, u64::MAX, |offset, slices| {
            offsets.push((offset, slices.len()));
            Ok(())
        })
        .unwrap();
        assert_eq!(offsets, [(0, 64), (320, 64), (640, 22)]);
        let mut gathered = Vec::new();
        all.gather::<QueueError>(&ram, 0, u64::MAX, |offset, slices| {
            gathered.push((offset, slices.len()));
            Ok(())
        })
        .unwrap();
        assert_eq!(gathered, offsets);
    }
}
