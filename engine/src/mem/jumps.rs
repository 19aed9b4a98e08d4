//! The jump cache: where the code of recent jump targets is, by guest virtual address. Generated code looks into it.
//!
//! Entries carry a tag that names all that the code of an address depends on besides the translation of its page.

use super::tlb::MAX_CONTEXTS;
use crate::addr::{Gva, PAGE_SHIFT};

/// Entries of the jump cache. A power of two.
pub const JUMP_ENTRIES: usize = 1 << 14;
/// How far an address is shifted over itself to give the number of its entry.
pub const JUMP_FOLD: u32 = 13;
/// Bits of the filters that tell which pages may have entries.
const FILTER_BITS: u64 = 4096;
/// Words of one.
const FILTER_WORDS: usize = (FILTER_BITS / 64) as usize;

/// Number of an address's own entry in the jump cache; the one with the lowest bit changed is its other one, where what
/// was in its own before goes.
#[inline]
pub fn jump_place(pc: u64) -> usize {
    (pc ^ pc >> JUMP_FOLD) as usize & (JUMP_ENTRIES - 1)
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

/// An entry that no look-up finds: context tags are never all ones.
const NO_JUMP: JumpEntry = JumpEntry { pc: 0, tag: u64::MAX, code: 0, _unused: 0 };

/// The jump cache.
#[repr(C)]
pub struct Jumps {
    /// By [`jump_place`].
    pub entries: [JumpEntry; JUMP_ENTRIES],
    /// For each context of fetches, a bit for each page that may have an entry which is not out of date, by its number modulo
    /// their count.
    pages: [[u64; FILTER_WORDS]; MAX_CONTEXTS],
}

impl Default for Jumps {
    fn default() -> Self {
        Self { entries: [NO_JUMP; JUMP_ENTRIES], pages: [[0; FILTER_WORDS]; MAX_CONTEXTS] }
    }
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
        let (word, bit) = filter_place(pc);
        self.pages[context][word] |= bit;
    }

    /// Whether an address of this page may be known in a context of fetches.
    pub fn may_know(&self, context: usize, page: Gva) -> bool {
        let (word, bit) = filter_place(page);
        self.pages[context][word] & bit != 0
    }
}

fn filter_place(gva: Gva) -> (usize, u64) {
    let number = (gva.0 >> PAGE_SHIFT) % FILTER_BITS;
    ((number / 64) as usize, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_drive_each_other_out_only_if_they_must() {
        let mut jumps = Jumps::default();
        let far = 1 << (JUMP_FOLD + 14);
        let known = |jumps: &Jumps, pc: u64| {
            let own = jump_place(pc);
            [own, own ^ 1].iter().any(|&place| jumps.entries[place].pc == pc)
        };
        let places = [0x1000, 0x1001].map(jump_place);
        assert!(places[0] ^ 1 == places[1] && jump_place(far | 0x1000) == places[0]);
        for pc in [0x1000, 0x1001] {
            jumps.note(Gva(pc), 0, 1, 7);
        }
        assert!(known(&jumps, 0x1000) && known(&jumps, 0x1001));
        jumps.note(Gva(far | 0x1000), 0, 1, 7);
        assert!(known(&jumps, 0x1000) && known(&jumps, far | 0x1000) && !known(&jumps, 0x1001));
    }

    #[test]
    fn pages_with_entries_are_known() {
        let mut jumps = Jumps::default();
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
