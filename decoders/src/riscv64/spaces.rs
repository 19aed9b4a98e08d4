//! Address spaces: from what `satp` says to the space numbers that TLB entries carry.
//!
//! Every value of `satp` (with MXR, on which rights depend) has a number of its own, so that switching back and forth
//! flushes nothing. Flushing a space gives up its number; only when the numbers are used up is the TLB emptied.
//! Invariant: no TLB entry carries a number that has not been given out since the TLB was last empty.

use super::satp;
use c2w_engine::mem::tlb::{SPACES, Space, Tlb};

/// What translations depend on besides the page tables: `satp` and MXR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceKey {
    /// The register.
    pub satp: u64,
    /// Executable pages are readable.
    pub mxr: bool,
}

/// Which space number belongs to which key.
#[derive(Clone, Debug, Default)]
pub struct Spaces {
    /// Number of each key, latest last.
    live: Vec<(SpaceKey, u64)>,
    /// The next number to give out.
    next: u64,
    /// Addresses that pages larger than the TLB's own are mapped at, in the lower and upper half of the address space.
    large: [Option<(u64, u64)>; 2],
}

fn half(gva: u64) -> usize {
    (gva >> 63) as usize
}

impl Spaces {
    /// Makes the TLB use the space of `key`.
    pub fn select(&mut self, tlb: &mut Tlb, key: SpaceKey) {
        let number = match self.live.iter().rev().find(|(live, _)| *live == key) {
            Some(&(_, number)) => number,
            None => self.allocate(tlb, key),
        };
        tlb.set_space(Space::new(number));
    }

    fn allocate(&mut self, tlb: &mut Tlb, key: SpaceKey) -> u64 {
        if self.next == SPACES {
            tlb.flush();
            *self = Self::default();
        }
        let number = self.next;
        self.next += 1;
        self.live.push((key, number));
        number
    }

    /// Forgets all translations.
    pub fn flush(&mut self) {
        self.live.clear();
        self.large = [None; 2];
    }

    /// Forgets the translations of an address space identifier. Those of global pages go, too, which is allowed.
    pub fn flush_asid(&mut self, asid: u64) {
        self.live.retain(|(key, _)| satp::asid(key.satp) != asid);
    }

    /// Notes that a page larger than the TLB's own is mapped at `start..start + len_bytes`.
    pub fn note_large(&mut self, start: u64, len_bytes: u64) {
        let last = start.wrapping_add(len_bytes - 1);
        let range = &mut self.large[half(start)];
        *range = Some(range.map_or((start, last), |(low, high)| (low.min(start), high.max(last))));
    }

    /// Whether `gva` may belong to a large page, of which the TLB may hold other parts.
    pub fn may_be_large(&self, gva: u64) -> bool {
        self.large[half(gva)].is_some_and(|(low, high)| (low..=high).contains(&gva))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use c2w_engine::addr::{Gva, Width};
    use c2w_engine::mem::tlb::{Access, Fill};

    fn key(satp: u64) -> SpaceKey {
        SpaceKey { satp, mxr: false }
    }

    #[test]
    fn spaces_are_kept_until_flushed() {
        let mut tlb = Tlb::new(1);
        let mut spaces = Spaces::default();
        let hit = |tlb: &Tlb| tlb.lookup(0, Gva(0x1000), Width::W8, Access::Read).is_some();
        let fill = Fill { read: true, write: false, execute: false, host_page: 0x5000 };
        let (first, second) = (key(8 << 60 | 1 << 44), key(8 << 60 | 2 << 44));
        spaces.select(&mut tlb, first);
        tlb.fill(0, Gva(0x1000), fill);
        spaces.select(&mut tlb, second);
        assert!(!hit(&tlb));
        spaces.select(&mut tlb, SpaceKey { mxr: true, ..first });
        assert!(!hit(&tlb));
        spaces.select(&mut tlb, first);
        assert!(hit(&tlb));
        spaces.flush_asid(2);
        spaces.select(&mut tlb, first);
        assert!(hit(&tlb));
        spaces.flush_asid(1);
        spaces.select(&mut tlb, first);
        assert!(!hit(&tlb));
    }

    #[test]
    fn reused_numbers_bring_back_no_old_entry() {
        let mut tlb = Tlb::new(1);
        let mut spaces = Spaces::default();
        spaces.select(&mut tlb, key(0));
        let old = tlb.space();
        tlb.fill(0, Gva(0x1000), Fill { read: true, write: true, execute: true, host_page: 0x5000 });
        for satp in 1..=SPACES {
            spaces.select(&mut tlb, key(satp));
        }
        tlb.set_space(old);
        assert_eq!(tlb.lookup(0, Gva(0x1000), Width::W8, Access::Read), None);
    }

    #[test]
    fn large_pages_are_remembered_by_half() {
        let mut spaces = Spaces::default();
        assert!(!spaces.may_be_large(0));
        spaces.note_large(0x20_0000, 0x20_0000);
        spaces.note_large(0xffff_ffff_8000_0000, 0x20_0000);
        for (gva, large) in [
            (0x1f_ffff, false),
            (0x20_0000, true),
            (0x3f_ffff, true),
            (0x40_0000, false),
            (0xffff_ffff_801f_ffff, true),
            (0xffff_ffff_7fff_ffff, false),
        ] {
            assert_eq!(spaces.may_be_large(gva), large, "{gva:#x}");
        }
        spaces.flush();
        assert!(!spaces.may_be_large(0x20_0000));
    }
}
