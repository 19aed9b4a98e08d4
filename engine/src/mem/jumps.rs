//! The jump cache: where the code of recent jump targets is, by guest virtual address. Generated code looks into it.
//!
//! Entries carry a tag that names all that the code of an address depends on besides the translation of its page.

use super::tlb::{MAX_CONTEXTS, SPACE_MASK};
use crate::addr::{Gva, PAGE_MASK, PAGE_SHIFT, Page};

/// Entries of the jump cache, a power of two: a compiler that is compiled for has tens of thousands of places that it
/// returns to. Those that are not used cost nothing.
pub const JUMP_ENTRIES: usize = 1 << 16;
/// What the low half of an address is multiplied with to give the number of its entry, in the highest bits: a factor of
/// MurmurHash3's finalizer. It spreads functions that are a page apart, or a page and a line; the golden ratio does not.
pub const JUMP_FACTOR: u32 = 0x85eb_ca6b;
/// How far the product is shifted down.
pub const JUMP_DROP: u32 = u32::BITS - JUMP_ENTRIES.trailing_zeros();
/// Bits of the filters that tell which pages ways out of other pages may lead to. A kernel's thousand pages of code leave most
/// of them clear: a page of data that seems to be one of them costs all ways.
const FILTER_BITS: u64 = 1 << 15;
/// Words of one.
const FILTER_WORDS: usize = (FILTER_BITS / 64) as usize;
/// Lists of entries by page, a power of two.
const LISTS: usize = 2048;
/// Pairs of entries that a list has room for.
const LISTED: usize = 64;
/// The length of a list that has no room for all.
const FULL: u8 = LISTED as u8 + 1;

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
    /// One more than the number of the page of guest-physical memory that the code was made from; 0 if it was not made from
    /// one alone, or that is not known.
    page: u64,
}

/// An entry that no look-up finds: no context tag is 0. Memory is full of them before it is touched.
const NO_JUMP: JumpEntry = JumpEntry { pc: 0, tag: 0, code: 0, page: 0 };

/// The jump cache. One that knows nothing is zeros.
#[repr(C)]
pub struct Jumps {
    /// By [`jump_place`].
    pub entries: [JumpEntry; JUMP_ENTRIES],
    /// For each context of fetches, which entries are of which pages, so that a page can be forgotten without the others: by
    /// [`list_of`], pairs of entries.
    lists: [[[u16; LISTED]; LISTS]; MAX_CONTEXTS],
    /// How long they are, or [`FULL`].
    lens: [[u8; LISTS]; MAX_CONTEXTS],
    /// For each list the page and the tag, mixed, for which entries of other spaces were taken over last.
    taken_over: [[u64; LISTS]; MAX_CONTEXTS],
    /// Contexts with entries that may be of other address spaces.
    switched: [bool; MAX_CONTEXTS],
    /// For each context of fetches, the bits of every page that ways out of other pages may lead to by links that are not
    /// out of date, by [`filter_places`].
    far: [[u64; FILTER_WORDS]; MAX_CONTEXTS],
}

impl Jumps {
    /// Forgets everything.
    pub fn forget(&mut self) {
        self.entries.fill(NO_JUMP);
        self.lens.as_flattened_mut().fill(0);
        self.far.as_flattened_mut().fill(0);
    }

    /// All entries of a context of fetches are out of date: their tags will not come again.
    pub fn outdated(&mut self, context: usize) {
        self.lens[context].fill(0);
        self.switched[context] = false;
    }

    /// What is fetched in a context is in another address space from now on.
    pub fn switched(&mut self, context: usize) {
        self.switched[context] = true;
    }

    /// The links of a context of fetches that lead to other pages are out of date.
    pub fn links_outdated(&mut self, context: usize) {
        self.far[context].fill(0);
    }

    /// Notes where the code of an address is that is fetched in a context.
    pub fn note(&mut self, pc: Gva, context: usize, tag: u64, code: u64) {
        self.enter(context, JumpEntry { pc: pc.0, tag, code, page: 0 });
    }

    /// The same for code that was made from this page of guest-physical memory alone. Where this page was mapped at the same
    /// address in other address spaces, what was known of it there is known here now, and no longer there.
    pub fn note_in_page(&mut self, pc: Gva, context: usize, tag: u64, code: u64, page: Page) {
        self.enter(context, JumpEntry { pc: pc.0, tag, code, page: page.0 + 1 });
        if self.switched[context] {
            self.take_over(pc, context, tag, page);
        }
    }

    fn enter(&mut self, context: usize, new: JumpEntry) {
        let own = jump_place(new.pc);
        let old = std::mem::replace(&mut self.entries[own], new);
        if (old.pc, old.tag) == (new.pc, new.tag) {
            return;
        }
        // What is of no use now does not drive out what may be.
        if old.pc != new.pc && old.tag == new.tag {
            self.entries[own ^ 1] = old;
        }
        let (list, pair) = (list_of(Gva(new.pc)), (own / 2) as u16);
        let len = &mut self.lens[context][list];
        match self.lists[context][list].split_at_mut_checked((*len).into()) {
            Some((listed, _)) if listed.contains(&pair) => {}
            Some((_, [free, ..])) => {
                *free = pair;
                *len += 1;
            }
            _ => *len = FULL,
        }
    }

    #[inline(never)]
    fn take_over(&mut self, pc: Gva, context: usize, tag: u64, page: Page) {
        let list = list_of(pc);
        let what = (pc.0 >> PAGE_SHIFT).wrapping_mul(PAGE_FACTOR) ^ tag;
        if std::mem::replace(&mut self.taken_over[context][list], what) == what {
            return;
        }
        let pairs = self.lists[context][list].get(..self.lens[context][list].into()).unwrap_or_default();
        for &pair in pairs {
            for entry in &mut self.entries[2 * usize::from(pair)..][..2] {
                let differs_by_space = (entry.tag ^ tag) & !SPACE_MASK == 0;
                if entry.page == page.0 + 1 && (entry.pc ^ pc.0) & !PAGE_MASK == 0 && differs_by_space {
                    entry.tag = tag;
                }
            }
        }
    }

    /// Forgets the entries of a page in a context of fetches, and perhaps some of other contexts.
    pub fn forget_page(&mut self, context: usize, page: Gva) {
        let forget = |entry: &mut JumpEntry| {
            if entry.pc >> PAGE_SHIFT == page.0 >> PAGE_SHIFT {
                *entry = NO_JUMP;
            }
        };
        let list = list_of(page);
        match self.lists[context][list].get(..self.lens[context][list].into()) {
            Some(listed) => {
                for &pair in listed {
                    self.entries[2 * usize::from(pair)..][..2].iter_mut().for_each(forget);
                }
            }
            None => self.entries.iter_mut().for_each(forget),
        }
    }

    /// Notes that a way out of another page is linked to an address that is fetched in a context.
    pub fn note_link(&mut self, context: usize, to: Gva) {
        for (word, bit) in filter_places(to) {
            self.far[context][word] |= bit;
        }
    }

    /// Whether links of other pages may lead to this page in a context of fetches.
    pub fn may_have_links(&self, context: usize, page: Gva) -> bool {
        filter_places(page).iter().all(|&(word, bit)| self.far[context][word] & bit != 0)
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
}

/// What is multiplied with the number of a page to spread it: the golden ratio.
const PAGE_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The list that entries of a page are in.
fn list_of(gva: Gva) -> usize {
    ((gva.0 >> PAGE_SHIFT).wrapping_mul(PAGE_FACTOR) >> (u64::BITS - LISTS.trailing_zeros())) as usize
}

/// Two bits of a filter for a page.
fn filter_places(gva: Gva) -> [(usize, u64); 2] {
    let product = (gva.0 >> PAGE_SHIFT).wrapping_mul(PAGE_FACTOR);
    [product >> 48, product >> 32].map(|number| {
        let number = number % FILTER_BITS;
        ((number / 64) as usize, 1 << (number % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::PAGE_BYTES;
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
            jumps.note_link(0, Gva(0xffff_ffff_8100_0000 + (page << PAGE_SHIFT)));
        }
        for first in [0x40_0000u64, 0x7fff_f000_0000, 0xffff_8880_0000_0000] {
            let pages = (0..4096).map(|page| Gva(first + (page << PAGE_SHIFT)));
            let count = pages.filter(|&page| jumps.may_have_links(0, page)).count();
            assert!(count < 100, "{first:#x}: {count}");
        }
    }

    #[test]
    fn links_are_known_by_page_and_context() {
        let mut tlb = OwnTlb::new();
        let jumps = &mut tlb.jumps;
        jumps.note_link(2, Gva(0x1ffe));
        assert!(jumps.may_have_links(2, Gva(0x1234)) && !jumps.may_have_links(2, Gva(0x3000)));
        assert!(!jumps.may_have_links(1, Gva(0x1234)));
        jumps.links_outdated(1);
        assert!(jumps.may_have_links(2, Gva(0x1234)));
        jumps.links_outdated(2);
        assert!(!jumps.may_have_links(2, Gva(0x1234)));
        jumps.note_link(2, Gva(0x1ffe));
        jumps.forget();
        assert!(!jumps.may_have_links(2, Gva(0x1234)));
    }

    #[test]
    fn a_page_is_forgotten_without_the_others() {
        let mut tlb = OwnTlb::new();
        let jumps = &mut tlb.jumps;
        // As many as a list has room for, and more; the pages next to it have some, too.
        for count in [3, LISTED as u64, 40 * LISTED as u64] {
            let pc = |page: u64, n: u64| page * PAGE_BYTES + (n * 64 + page * 8 + n / 64) % PAGE_BYTES;
            let page = |page: u64| (0..count).map(move |n| pc(page, n));
            let all = [0x4000, 0x4001, 0x4002].map(page);
            for pc in all.clone().into_iter().flatten() {
                jumps.note(Gva(pc), 1, 1, pc);
            }
            let known = |jumps: &Jumps, pc: u64| {
                let own = jump_place(pc);
                [own, own ^ 1]
                    .iter()
                    .any(|&place| jumps.entries[place].pc == pc && jumps.entries[place].tag == 1)
            };
            let before = all.clone().map(|mut page| page.any(|pc| known(jumps, pc)));
            assert_eq!(before, [true; 3]);
            jumps.forget_page(1, Gva(0x400_1000));
            let after = all.map(|mut page| page.any(|pc| known(jumps, pc)));
            assert_eq!(after, [true, false, true]);
            jumps.forget();
            assert!(!known(jumps, 0x400_0000));
        }
    }

    #[test]
    fn a_page_that_is_the_same_in_another_space_is_known_there_at_once() {
        let mut tlb = OwnTlb::new();
        let jumps = &mut tlb.jumps;
        let [tag, other_space, other_mode] = [1 | 8, 1 | 16, 1 | 16 | 1 << 12];
        let known = |jumps: &Jumps, pc: u64, tag: u64| {
            let entry = jumps.entries[jump_place(pc)];
            (entry.pc, entry.tag) == (pc, tag)
        };
        for (pc, page) in [(0x5010, 7), (0x5020, 7), (0x5030, 8), (0x6010, 7)] {
            jumps.note_in_page(Gva(pc), 1, tag, 1, Page(page));
        }
        jumps.note(Gva(0x5040), 1, tag, 1);
        jumps.switched(1);
        // In another mode it would be other code.
        jumps.note_in_page(Gva(0x5050), 1, other_mode, 1, Page(7));
        assert!(known(jumps, 0x5010, tag));
        jumps.note_in_page(Gva(0x5050), 1, other_space, 1, Page(7));
        assert!(known(jumps, 0x5010, other_space) && known(jumps, 0x5020, other_space));
        // Another page, another address, and what depends on more than its page.
        assert!([0x5030, 0x6010, 0x5040].iter().all(|&pc| known(jumps, pc, tag)));
        // What is out of date is not taken over.
        jumps.outdated(1);
        jumps.switched(1);
        jumps.note_in_page(Gva(0x5060), 1, tag, 1, Page(7));
        assert!(known(jumps, 0x5010, other_space));
    }
}
