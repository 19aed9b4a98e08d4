//! Where everything goes in RAM, and the memory map that says so: what is small below 640 KiB, programs where they
//! want to be, the initial RAM disk at the top.

use super::BootError;
use crate::x86_64::board::map::DEVICES;
use c2w_engine::addr::PAGE_BYTES;
use std::ops::Range;

/// Where RAM that everyone may use ends below 1 MiB, as a BIOS has it.
pub const LOW_END: u64 = 0x9_fc00;
/// What firmware keeps, ACPI's tables among it: up to 1 MiB.
pub const FIRMWARE: Range<u64> = LOW_END..HIGH_START;
/// Where RAM goes on.
pub const HIGH_START: u64 = 0x10_0000;
/// ACPI's tables: where software looks for their root pointer (ACPI 6.4, 5.2.5.1).
pub const ACPI_BASE: u64 = 0xe_0000;

/// A part of the memory map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Physical addresses.
    pub range: Range<u64>,
    /// It is usable RAM, not reserved.
    pub is_ram: bool,
}

impl Region {
    /// Type of the region as BIOS, PVH and Multiboot number them.
    pub fn kind(&self) -> u32 {
        if self.is_ram { 1 } else { 2 }
    }
}

/// The RAM of a machine while it is being filled.
pub struct Layout {
    /// Length of RAM.
    memory_bytes: u64,
    /// RAM below the devices: everything is placed there.
    low_bytes: u64,
    /// What is in use, in no order.
    taken: Vec<Range<u64>>,
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Layout {
    /// Empty RAM, but for the first page and for what firmware keeps.
    pub fn new(memory_bytes: u64) -> Self {
        let low_bytes = memory_bytes.min(DEVICES.start.0);
        Self { memory_bytes, low_bytes, taken: vec![0..PAGE_BYTES, FIRMWARE] }
    }

    /// The memory map.
    pub fn memory_map(&self) -> Vec<Region> {
        let region = |range, is_ram| Region { range, is_ram };
        let mut map =
            vec![region(0..LOW_END, true), region(FIRMWARE, false), region(HIGH_START..self.low_bytes, true)];
        if self.memory_bytes > self.low_bytes {
            let behind_bytes = self.memory_bytes - self.low_bytes;
            map.push(region(DEVICES.end.0..DEVICES.end.0 + behind_bytes, true));
        }
        map
    }

    fn does_not_fit(&self, what: &'static str) -> BootError {
        BootError::DoesNotFit { what, memory_bytes: self.memory_bytes }
    }

    /// Takes a place that something wants to be at.
    pub fn take(&mut self, what: &'static str, range: Range<u64>) -> Result<(), BootError> {
        if range.end > self.low_bytes {
            return Err(BootError::OutsideMemory {
                what,
                start: range.start,
                end: range.end,
                memory_bytes: self.low_bytes,
            });
        }
        if let Some(taken) = self.taken.iter().find(|taken| overlap(taken, &range)) {
            return Err(BootError::Overlaps {
                what,
                start: range.start,
                end: range.end,
                taken_start: taken.start,
                taken_end: taken.end,
            });
        }
        self.taken.push(range);
        Ok(())
    }

    /// Places `len_bytes` at the lowest free address that is a multiple of `align_bytes` from `from` on.
    pub fn take_bottom(
        &mut self,
        what: &'static str,
        len_bytes: u64,
        align_bytes: u64,
        from: u64,
    ) -> Result<u64, BootError> {
        let no = self.does_not_fit(what);
        let aligned = |at: u64| at.checked_next_multiple_of(align_bytes);
        // The lowest place begins where it may first, or behind something else.
        let starts = self.taken.iter().map(|taken| taken.end).filter(|&end| end >= from).chain([from]);
        let fits = |&start: &u64| self.is_free(start, len_bytes, self.low_bytes);
        let start = starts.filter_map(aligned).filter(fits).min().ok_or(no)?;
        self.taken.push(start..start + len_bytes);
        Ok(start)
    }

    /// Places `len_bytes` at the highest free page that lets it end at `limit` or before.
    pub fn take_top(&mut self, what: &'static str, len_bytes: u64, limit: u64) -> Result<u64, BootError> {
        let no = self.does_not_fit(what);
        let limit = limit.min(self.low_bytes);
        let ends = self.taken.iter().map(|taken| taken.start).filter(|&start| start <= limit).chain([limit]);
        let start_of = |end: u64| Some(end.checked_sub(len_bytes)? & !(PAGE_BYTES - 1));
        let fits = |&start: &u64| start >= HIGH_START && self.is_free(start, len_bytes, limit);
        let start = ends.filter_map(start_of).filter(fits).max().ok_or(no)?;
        self.taken.push(start..start + len_bytes);
        Ok(start)
    }

    fn is_free(&self, start: u64, len_bytes: u64, limit: u64) -> bool {
        let Some(end) = start.checked_add(len_bytes) else { return false };
        end <= limit && !self.taken.iter().any(|taken| overlap(taken, &(start..end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_goes_on_behind_the_devices() {
        const GIB: u64 = 1 << 30;
        let regions = |memory_bytes| {
            let map = Layout::new(memory_bytes).memory_map();
            map.into_iter().map(|region| region.range).skip(2).collect::<Vec<_>>()
        };
        assert_eq!(regions(3 * GIB), std::slice::from_ref(&(MIB..3 * GIB)));
        assert_eq!(regions(3 * GIB + 4096), [MIB..3 * GIB, 4 * GIB..4 * GIB + 4096]);
        let mut layout = Layout::new(8 * GIB);
        assert_eq!(layout.take_top("a", MIB, u64::MAX), Ok(3 * GIB - MIB));
        assert!(matches!(layout.take("b", 4 * GIB..5 * GIB), Err(BootError::OutsideMemory { .. })));
    }

    #[test]
    fn places_do_not_overlap() {
        let mut layout = Layout::new(16 * MIB);
        assert_eq!(layout.take_bottom("a", 0x1800, 0x1000, 0), Ok(0x1000));
        assert_eq!(layout.take_bottom("b", 0x10, 8, 0), Ok(0x2800));
        assert_eq!(layout.take_bottom("c", 0xa_0000, 0x1000, 0), Ok(MIB));
        assert_eq!(layout.take("d", 8 * MIB..9 * MIB), Ok(()));
        assert_eq!(layout.take_top("e", 0x1001, 9 * MIB), Ok(8 * MIB - 0x2000));
        assert_eq!(layout.take_top("f", 7 * MIB, u64::MAX), Ok(9 * MIB));
        assert_eq!(layout.take_bottom("g", MIB, MIB, 3 * MIB), Ok(3 * MIB));
        assert!(matches!(layout.take("h", 0..1), Err(BootError::Overlaps { taken_end: 0x1000, .. })));
        assert!(matches!(layout.take("i", 0xf_0000..0xf_0001), Err(BootError::Overlaps { .. })));
        assert!(matches!(layout.take("j", 16 * MIB - 1..16 * MIB + 1), Err(BootError::OutsideMemory { .. })));
        let no = Err(BootError::DoesNotFit { what: "k", memory_bytes: 16 * MIB });
        assert_eq!(layout.take_top("k", 8 * MIB, u64::MAX), no);
        assert_eq!(layout.take_bottom("k", u64::MAX, 1, MIB), no);
        assert_eq!(layout.take_bottom("k", 1, MIB, u64::MAX), no);
    }
}
