//! The jump cache: where the code of recent jump targets is, by guest virtual address. Generated code looks into it.
//!
//! Entries carry a tag that names all that the code of an address depends on besides the translation of its page.

use super::tlb::MAX_CONTEXTS;
use crate::addr::{Gva, PAGE_SHIFT};

/// Entries of the jump cache, a power of two: a compiler that is compiled for has tens of thousands of places that it
/// returns to. Those that are not used cost nothing.
pub const JUMP_ENTRIES: usize = 1 << 16;
/// What the low half of an address is multiplied with to give the number of its entry, in the highest bits: a factor of
/// MurmurHash3's finalizer. It spreads functions that are a page apart, or a page and a line; the golden ratio does not.
pub const JUMP_FACTOR: u32 = 0x85eb_ca6b;
/// How far the product is shifted down.
pub const JUMP_DROP: u32 = u32::BITS - JUMP_ENTRIES.trailing_zeros();
/// Bits of the filters that tell which pages may have entries. A kernel's thousand pages of code leave most of them clear:
/// a page of data that seems to have an entry costs all of them.
const FILTER_BITS: u64 = 1 << 15;
/// Words of one.
const FILTER_WORDS: usize = (FILTER_BITS / 64) as usize;

/// Number of an address's own entry in the jump cache; the one with the lowest bit changed is its other one, where what
/// was in its own before goes.
#[inline]
pub fn jump_place(pc: u64) -> usize {
    ((pc as u32).wrapping_mul(JUMP_FACTOR) >> JUMP_DROP) as usize
}

/// Where the code of a guest address is: an entry of the jump cache.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct JumpEntry {
    /// Guest virtual address of the code.
    pub pc: u64,
    /// What the vCPU's context tag was when it was found.
    pub tag: u64,
    /// What a host jumps to: an address or a table index.
    pub code: u64,
    _unused: u64,
}

/// An entry that no look-up finds: no context tag is 0. Memory is full of them before it is touched.
const NO_JUMP: JumpEntry = JumpEntry { pc: 0, tag: 0, code: 0, _unused: 0 };

/// The jump cache. One that knows nothing is zeros.
#[repr(C)]
pub struct Jumps {
    /// By [`jump_place`].
    pub entries: [JumpEntry; JUMP_ENTRIES],
    /// For each context of fetches, the bits of every page that may have an entry which is not out of date, by
    /// [`filter_places`].
    pages: [[u64; FILTER_WORDS]; MAX_CONTEXTS],
}

impl Jumps {
    /// Forgets everything.
    pub fn forget(&mut self) {
        self.entries.fill(NO_JUMP);
        self.pages.as_flattened_mut().fill(0);
    }

    /// All entries of a context of fetches are out of date: their tags will not come again.
    pub fn outdated(&mut self, context: usize) {
        self.pages[context].fill(0);
    }

    /// Notes where the code of an address is that is fetched in a context.
    pub fn note(&mut self, pc: Gva, context: usize, tag: u64, code: u64) {
        let own = jump_place(pc.0);
        // What is of no use now does not drive out what may be.
        if self.entries[own].pc != pc.0 && self.entries[own].tag == tag {
            self.entries[own ^ 1] = self.entries[own];
        }
        self.entries[own] = JumpEntry { pc: pc.0, tag, code, _unused: 0 };
        for (word, bit) in filter_places(pc) {
            self.pages[context][word] |= bit;
        }
    }

    /// Lets an address lead to other code where it led to this.
    pub fn supersede(&mut self, pc: Gva, old: u64, new: u64) {
        let own = jump_place(pc.0);
        for place in [own, own ^ 1] {
            let entry = &mut self.entries[place];
            if entry.pc == pc.0 && entry.code == old {
                entry.code = new;
            }
        }
    }

    /// Whether an address of this page may be known in a context of fetches.
    pub fn may_know(&self, context: usize, page: Gva) -> bool {
        filter_places(page).iter().all(|&(word, bit)| self.pages[context][word] & bit != 0)
    }
}

/// Two bits of a filter for a page.
fn filter_places(gva: Gva) -> [(usize, u64); 2] {
    let product = (gva.0 >> PAGE_SHIFT).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [product >> 48, product >> 32].map(|number| {
        let number = number % FILTER_BITS;
        ((number / 64) as usize, 1 << (number % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::tlb::tests::OwnTlb;

    #[test]
    fn addresses_drive_each_other_out_only_if_they_must() {
        let mut tlb = OwnTlb::new();
        let jumps = &mut tlb.jumps;
        let known = |jumps: &Jumps, pc: u64| {
            let own = jump_place(pc);
            [own, own ^ 1].iter().any(|&place| jumps.entries[place].pc == pc)
        };
        let with_place =
            |place: usize| (1..).map(|n| 0x1000 + 2 * n).filter(move |pc| jump_place(*pc) == place);
        let own = jump_place(0x1000);
        let (near, far) = (with_place(own ^ 1).next().unwrap(), with_place(own).next().unwrap());
        for pc in [0x1000, near] {
            jumps.note(Gva(pc), 0, 1, 7);
        }
        assert!(known(jumps, 0x1000) && known(jumps, near));
        jumps.note(Gva(far), 0, 1, 7);
        assert!(known(jumps, 0x1000) && known(jumps, far) && !known(jumps, near));
    }

    #[test]
    fn equidistant_addresses_are_spread() {
        for distance in [16, 64, 0x1000, 0x1040, 0x20_0000] {
            let places = (0..2000u64).map(|n| jump_place(0x40_1000 + n * distance) / 2);
            let distinct: std::collections::BTreeSet<_> = places.collect();
            assert!(distinct.len() > 1700, "{distance:#x}: {}", distinct.len());
        }
    }

    #[test]
    fn a_kernel_is_not_taken_for_a_program() {
        let mut tlb = OwnTlb::new();
        let jumps = &mut tlb.jumps;
        for page in 0..1500u64 {
            jumps.note(Gva(0xffff_ffff_8100_0000 + (page << PAGE_SHIFT)), 0, 1, 7);
        }
        for first in [0x40_0000u64, 0x7fff_f000_0000, 0xffff_8880_0000_0000] {
            let pages = (0..4096).map(|page| Gva(first + (page << PAGE_SHIFT)));
            let count = pages.filter(|&page| jumps.may_know(0, page)).count();
            assert!(count < 100, "{first:#x}: {count}");
        }
    }

    #[test]
    fn pages_with_entries_are_known() {
        let mut tlb = OwnTlb::new();
        let jumps = &mut tlb.jumps;
        jumps.note(Gva(0x1ffe), 2, 1, 7);
        assert_eq!(jumps.entries[jump_place(0x1ffe)].code, 7);
        assert!(jumps.may_know(2, Gva(0x1234)) && !jumps.may_know(2, Gva(0x3000)));
        assert!(!jumps.may_know(1, Gva(0x1234)));
        jumps.outdated(1);
        assert!(jumps.may_know(2, Gva(0x1234)));
        jumps.outdated(2);
        assert!(!jumps.may_know(2, Gva(0x1234)));
        jumps.note(Gva(0x1ffe), 2, 1, 7);
        jumps.forget();
        assert!(!jumps.may_know(2, Gva(0x1234)) && jumps.entries[jump_place(0x1ffe)].tag != 1);
    }
}
