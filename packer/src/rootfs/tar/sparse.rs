//! Sparse files in tar: four ways to say which parts of a file the archive holds.

use super::header::BLOCK_BYTES;
use super::pax::{MAX_REGIONS, parse_decimal};
use crate::rootfs::store::Region;
use std::io::{self, Read};

/// The layout of one sparse file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SparseMap {
    /// Length of the file in bytes.
    pub(super) real_size: u64,
    /// Parts that have data, in order, none empty.
    pub(super) regions: Vec<Region>,
}

impl SparseMap {
    /// Checks (offset, length) pairs: in order, apart, below the file's end, `data_bytes` in all.
    /// `None` if they are not.
    pub(super) fn new(real_size: u64, pairs: &[(u64, u64)], data_bytes: u64) -> Option<Self> {
        let mut regions = Vec::new();
        let (mut end, mut total) = (0, 0u64);
        for &(offset, len_bytes) in pairs {
            if offset < end {
                return None;
            }
            end = offset.checked_add(len_bytes).filter(|&end| end <= real_size)?;
            total += len_bytes;
            if len_bytes > 0 {
                regions.push(Region { offset, len_bytes });
            }
        }
        (total == data_bytes && i64::try_from(real_size).is_ok()).then_some(SparseMap { real_size, regions })
    }
}

/// Reads the map that stands before the data in version 1.0: decimal numbers, one a line, the
/// first their count; then padding to a whole block. Returns the
/// pairs; `None` if the map is malformed.
pub(super) fn read_map(mut reader: impl Read) -> io::Result<Option<Vec<(u64, u64)>>> {
    let mut block = [0; BLOCK_BYTES];
    let mut numbers: Vec<u64> = Vec::new();
    let mut digits = Vec::new();
    loop {
        reader.read_exact(&mut block)?;
        for &byte in &block {
            if byte != b'\n' {
                digits.push(byte);
                if digits.len() > 20 {
                    return Ok(None);
                }
                continue;
            }
            let Some(number) = parse_decimal(&digits) else { return Ok(None) };
            digits.clear();
            numbers.push(number);
            if numbers[0] > MAX_REGIONS as u64 {
                return Ok(None);
            }
            if numbers.len() as u64 == 1 + 2 * numbers[0] {
                let pairs = numbers[1..].chunks_exact(2).map(|pair| (pair[0], pair[1]));
                return Ok(Some(pairs.collect()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_consistent_maps_pass() {
        for (real_size, pairs, data_bytes, good) in [
            (0, &[][..], 0, true),
            (100, &[(0, 10), (50, 10)], 20, true),
            (100, &[(100, 0)], 0, true),
            (100, &[(0, 10), (10, 5)], 15, true),
            (100, &[(0, 10), (5, 10)], 20, false),
            (100, &[(50, 10), (0, 10)], 20, false),
            (100, &[(95, 10)], 10, false),
            (100, &[(0, 10)], 11, false),
            (u64::MAX, &[(u64::MAX - 1, 5)], 5, false),
            (u64::MAX, &[], 0, false),
        ] {
            assert_eq!(SparseMap::new(real_size, pairs, data_bytes).is_some(), good, "{pairs:?}");
        }
    }
}
