//! The TLB: guest virtual page to host address, checked in one compare by every tier.
//!
//! One table per privilege context, in which a page has two places: its own, and another one where what was in its own
//! place before goes. An entry has a tag per kind of access; withholding a tag sends
//! that kind of access to the slow path. Tags carry a space number in the bits between the access size and
//! the page, so that switching address spaces flushes nothing.
//!
//! In a *shared* context nearly all translations hold in every address space: a kernel's. Its entries carry one number for
//! all spaces, and those that are of the present space only are forgotten when that changes ([`Tlb::note_local`]).

use super::jumps::Jumps;
use crate::addr::{Gva, PAGE_BYTES, PAGE_MASK, PAGE_SHIFT, Page, Width};

/// Entries per context. A power of two.
pub const ENTRIES: usize = 4096;
/// Most privilege contexts that a guest may have.
pub const MAX_CONTEXTS: usize = 4;
/// A tag no access compares equal to: its low bits are those of a misaligned address in space 0.
const NO_TAG: u64 = PAGE_MASK;
/// The lowest bit of the space number: above the alignment bits of an 8-byte access.
const SPACE_SHIFT: u32 = 3;
/// The bits of a tag that hold the space number.
pub(crate) const SPACE_MASK: u64 = PAGE_MASK & !((1 << SPACE_SHIFT) - 1);
/// Number of address spaces that can be told apart; the space number is below this.
pub const SPACES: u64 = (1 << (PAGE_SHIFT - SPACE_SHIFT)) - 1;

/// Number of an address space, below [`SPACES`]. The guest's MMU assigns them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Space(u64);

impl Space {
    /// Space `number`.
    ///
    /// # Panics
    /// If `number` is not below [`SPACES`].
    pub fn new(number: u64) -> Self {
        assert!(number < SPACES, "address space numbers fit the tag");
        Self(number << SPACE_SHIFT)
    }
}

/// Kind of access, as paging distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Data read.
    Read,
    /// Data write, or the read half of a read-modify-write.
    Write,
    /// Instruction fetch.
    Execute,
}

/// One translation.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Entry {
    /// Tag of loads.
    pub(crate) read: u64,
    /// Tag of stores.
    pub(crate) write: u64,
    execute: u64,
    /// Host address minus guest virtual address, wrapping. For `execute` alone it has the same meaning.
    pub(crate) addend: u64,
}

const EMPTY: Entry = Entry { read: NO_TAG, write: NO_TAG, execute: NO_TAG, addend: 0 };

/// What the fill puts into an entry.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Loads may use the entry.
    pub read: bool,
    /// Stores may use the entry: the page is writable, dirty and holds no code.
    pub write: bool,
    /// Fetches may use the entry.
    pub execute: bool,
    /// Host address of the page's first byte.
    pub host_page: u64,
}

/// How many pages of the present address space a shared context names one by one.
const LOCAL_PAGES: usize = 32;

/// What is of the present address space only in a shared context.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Locals {
    /// How often pages were noted; beyond [`LOCAL_PAGES`] all may be local.
    count: usize,
    pages: [Gva; LOCAL_PAGES],
    /// Code was fetched from one of them.
    executed: bool,
}

const NO_LOCALS: Locals = Locals { count: 0, pages: [Gva(0); LOCAL_PAGES], executed: false };

/// The TLB of one vCPU: a table for each of the guest's privilege contexts. Generated code reads it. It begins as zeros, which
/// [`Tlb::flush`] makes an empty one of.
#[repr(C, align(32))]
pub struct Tlb {
    /// The space number of each context's lookups and fills, at its place in a tag.
    pub(crate) spaces: [Space; MAX_CONTEXTS],
    pub(crate) contexts: [[Entry; ENTRIES]; MAX_CONTEXTS],
    /// Where the code of virtual addresses is.
    pub(crate) jumps: Jumps,
    /// For each context of fetches, what changes whenever all of its translations of code may have been forgotten.
    generations: [u32; MAX_CONTEXTS],
    /// The same for when those of pages may have been that links of other pages lead to.
    far_generations: [u32; MAX_CONTEXTS],
    /// The address space.
    space: Space,
    /// How often that has changed.
    switches: u64,
    /// Shared contexts, as bits.
    shared: u32,
    locals: [Locals; MAX_CONTEXTS],
}

/// A copy of all translations, and of what says which of them hold.
#[derive(Default)]
pub(crate) struct TlbCopy {
    space: Space,
    switches: u64,
    spaces: [Space; MAX_CONTEXTS],
    locals: [Locals; MAX_CONTEXTS],
    entries: Vec<Entry>,
}

#[inline]
fn slot_of(gva: Gva) -> usize {
    (gva.0 >> PAGE_SHIFT) as usize & (ENTRIES - 1)
}

/// What tells the number of a page's other place from that of its own, besides the bits of [`SKEW_SHIFT`].
pub(crate) const OTHER_PLACE: usize = ENTRIES / 2;
/// Address bits from here on, as many as [`SKEW_MASK`] has, tell it, too: pages that share an own place have different
/// other ones.
pub(crate) const SKEW_SHIFT: u32 = PAGE_SHIFT + ENTRIES.trailing_zeros();
/// See [`SKEW_SHIFT`].
pub(crate) const SKEW_MASK: usize = 15;
/// How far they are shifted into the number of a place. The bits below are those of the own place, so that it is never a
/// place of the next page: an access that crosses into that is to be found nowhere.
pub(crate) const SKEW_TO: u32 = 5;

/// The number of a page's other place.
#[inline]
fn other_slot_of(gva: Gva) -> usize {
    slot_of(gva) ^ OTHER_PLACE ^ ((gva.0 >> SKEW_SHIFT) as usize & SKEW_MASK) << SKEW_TO
}

impl Entry {
    #[inline(always)]
    fn tag(&self, access: Access) -> u64 {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }

    /// The page that it is of, if there is any.
    fn page(&self) -> Option<Gva> {
        let tags = [self.read, self.write, self.execute];
        tags.into_iter().find(|&tag| tag != NO_TAG).map(|tag| Gva(tag).page_start())
    }

    fn is_of(&self, tag: u64) -> bool {
        [self.read, self.write, self.execute].contains(&tag)
    }
}

impl Tlb {
    /// Makes these the shared contexts. Ask before anything is entered.
    pub fn share(&mut self, contexts: &[usize]) {
        self.shared = contexts.iter().fold(0, |all, &context| all | 1 << context);
    }

    fn is_shared(&self, context: usize) -> bool {
        self.shared >> context & 1 != 0
    }

    /// The address space that lookups and fills concern.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Names the translations that are in force for fetches in a context: the same only as long as those of code are, but for
    /// pages of which the jump cache has been made to forget. Never 0; bits 27 to 12 and 29 to 28 are for others to use.
    pub fn tag(&self, context: usize) -> u64 {
        self.tag_of(context, self.generations[context])
    }

    /// The same for links from page to page, which are not forgotten one by one.
    pub fn far_tag(&self, context: usize) -> u64 {
        self.tag_of(context, self.far_generations[context])
    }

    fn tag_of(&self, context: usize, generation: u32) -> u64 {
        u64::from(generation) << 32 | (context as u64) << 30 | self.spaces[context].0 | 1
    }

    /// Forgets where the code of addresses is; translations stay.
    pub fn forget_code(&mut self) {
        (0..MAX_CONTEXTS).for_each(|context| self.forget_code_in(context));
    }

    fn forget_code_in(&mut self, context: usize) {
        self.generations[context] = self.generations[context].wrapping_add(1);
        self.jumps.outdated(context);
        self.forget_links_in(context);
    }

    fn forget_links_in(&mut self, context: usize) {
        self.far_generations[context] = self.far_generations[context].wrapping_add(1);
        self.jumps.links_outdated(context);
    }

    /// Switches to another address space; entries of the old one stay, except for local ones of shared contexts.
    pub fn set_space(&mut self, space: Space) {
        if space == self.space {
            return;
        }
        self.space = space;
        self.switches += 1;
        for context in 0..MAX_CONTEXTS {
            if self.is_shared(context) {
                self.forget_locals(context);
            } else {
                self.spaces[context] = space;
                self.jumps.switched(context);
            }
        }
    }

    /// The page of `gva` is translated in `context` by what other address spaces may translate otherwise. Say this before
    /// the translation is used.
    #[inline]
    pub fn note_local(&mut self, context: usize, gva: Gva, access: Access) {
        if self.is_shared(context) {
            let locals = &mut self.locals[context];
            if let Some(place) = locals.pages.get_mut(locals.count) {
                *place = gva.page_start();
            }
            locals.count = (locals.count + 1).min(LOCAL_PAGES + 1);
            locals.executed |= access == Access::Execute;
        }
    }

    fn forget_locals(&mut self, context: usize) {
        let Locals { count, pages, executed } = self.locals[context];
        if count == 0 {
            return;
        }
        match pages.get(..count) {
            Some(pages) => {
                for &page in pages {
                    forget_page(&mut self.contexts[context], page);
                }
            }
            None => self.contexts[context].fill(EMPTY),
        }
        if executed {
            self.forget_code_in(context);
        }
        self.locals[context] = NO_LOCALS;
    }

    /// Forgets all translations of shared contexts.
    pub fn flush_shared(&mut self) {
        for context in 0..MAX_CONTEXTS {
            if self.is_shared(context) {
                self.flush_context(context);
            }
        }
    }

    /// Host address for an access of `width` at `gva`, if an entry allows it. Misaligned accesses never hit. An entry that is
    /// in its page's other place comes to its own.
    #[inline(always)]
    pub fn lookup(&mut self, context: usize, gva: Gva, width: Width, access: Access) -> Option<u64> {
        let own = slot_of(gva);
        let entry = &self.contexts[context][own];
        let wanted = (gva.0 & (!PAGE_MASK | (width.bytes() - 1))) | self.spaces[context].0;
        if entry.tag(access) == wanted {
            return Some(gva.0.wrapping_add(entry.addend));
        }
        self.look_further(context, gva, wanted, access)
    }

    #[cold]
    #[inline(never)]
    fn look_further(&mut self, context: usize, gva: Gva, wanted: u64, access: Access) -> Option<u64> {
        let table = &mut self.contexts[context];
        let other = other_slot_of(gva);
        if table[other].tag(access) != wanted {
            return None;
        }
        let entry = std::mem::replace(&mut table[other], EMPTY);
        make_way(table, slot_of(gva));
        table[slot_of(gva)] = entry;
        Some(gva.0.wrapping_add(entry.addend))
    }

    /// The same for an access of any alignment that stays inside its page.
    #[inline]
    pub fn lookup_misaligned(
        &mut self,
        context: usize,
        gva: Gva,
        width: Width,
        access: Access,
    ) -> Option<u64> {
        let inside = width.bytes() <= gva.bytes_to_page_end();
        if inside {
            Some(self.lookup(context, gva.page_start(), width, access)? + gva.page_offset())
        } else {
            None
        }
    }

    /// Enters a translation for the page of `gva` in the current space, replacing what shared its place. Rights of
    /// an entry for the same page and host page are kept.
    pub fn fill(&mut self, context: usize, gva: Gva, fill: Fill) {
        let page = gva.page_start().0;
        let tag = page | self.spaces[context].0;
        let addend = fill.host_page.wrapping_sub(page);
        let table = &mut self.contexts[context];
        let own = slot_of(gva);
        let is_same = |entry: &Entry| entry.addend == addend && entry.is_of(tag);
        // Whichever place it is in, it comes to its own, and what is there makes way for it.
        let mut old = EMPTY;
        if table[own].is_of(tag) {
            old = table[own];
        } else {
            let other = other_slot_of(gva);
            if table[other].is_of(tag) {
                old = std::mem::replace(&mut table[other], EMPTY);
            }
            make_way(table, own);
        }
        if !is_same(&old) {
            old = EMPTY;
        }
        table[own] = Entry {
            read: if fill.read { tag } else { old.read },
            write: if fill.write { tag } else { old.write },
            execute: if fill.execute { tag } else { old.execute },
            addend,
        };
    }

    /// Forgets everything.
    pub fn flush(&mut self) {
        (0..MAX_CONTEXTS).for_each(|context| self.flush_context(context));
    }

    /// Forgets the page of `gva` in every context and space.
    pub fn flush_page(&mut self, gva: Gva) {
        // Code that ends in this page may start in the one before.
        let pages = [gva, Gva(gva.0.wrapping_sub(PAGE_BYTES))];
        for context in 0..MAX_CONTEXTS {
            pages.iter().for_each(|&page| self.jumps.forget_page(context, page));
            if pages.iter().any(|&page| self.jumps.may_have_links(context, page)) {
                self.forget_links_in(context);
            }
            forget_page(&mut self.contexts[context], gva);
        }
    }

    /// Forgets the pages of `start..start + len_bytes`, a power of two to which `start` is aligned, in every context and
    /// space.
    pub fn flush_range(&mut self, start: Gva, len_bytes: u64) {
        self.forget_code();
        // Beyond that, pages have the same places again.
        let count = ((len_bytes >> PAGE_SHIFT) as usize).min(ENTRIES * (SKEW_MASK + 1));
        for context in &mut self.contexts {
            for i in 0..count {
                let gva = start.offset((i as u64) << PAGE_SHIFT);
                for place in [slot_of(gva), other_slot_of(gva)] {
                    let entry = &mut context[place];
                    let tags = [entry.read, entry.write, entry.execute];
                    if tags.iter().any(|tag| (tag & !PAGE_MASK).wrapping_sub(start.0) < len_bytes) {
                        *entry = EMPTY;
                    }
                }
            }
        }
    }

    /// Forgets one context.
    pub fn flush_context(&mut self, context: usize) {
        self.forget_code_in(context);
        self.contexts[context].fill(EMPTY);
        self.locals[context] = NO_LOCALS;
    }

    /// Takes the write tags away from every entry that maps the page at host address `host_page`: it now holds code.
    pub fn withhold_writes(&mut self, host_page: u64) {
        for entry in self.contexts.as_flattened_mut() {
            if entry.write != NO_TAG && (entry.write & !PAGE_MASK).wrapping_add(entry.addend) == host_page {
                entry.write = NO_TAG;
            }
        }
    }

    /// Takes the write tags away from all pages but those at host addresses that are named.
    pub(crate) fn withhold_writes_but(&mut self, keeps: impl Fn(u64) -> bool) {
        for entry in self.contexts.as_flattened_mut() {
            if entry.write != NO_TAG && !keeps((entry.write & !PAGE_MASK).wrapping_add(entry.addend)) {
                entry.write = NO_TAG;
            }
        }
    }

    /// Keeps a copy of all translations.
    pub(crate) fn copy_to(&self, copy: &mut TlbCopy) {
        (copy.space, copy.switches) = (self.space, self.switches);
        (copy.spaces, copy.locals) = (self.spaces, self.locals);
        copy.entries.clear();
        copy.entries.extend_from_slice(self.contexts.as_flattened());
    }

    /// Takes a copy of all translations back. What code is known where stays forgotten if it was in between.
    pub(crate) fn take_back(&mut self, copy: &TlbCopy) {
        if self.switches != copy.switches {
            // Space numbers that were given out since then may be given to other spaces.
            self.forget_code();
        }
        (self.space, self.switches) = (copy.space, copy.switches);
        (self.spaces, self.locals) = (copy.spaces, copy.locals);
        self.contexts.as_flattened_mut().copy_from_slice(&copy.entries);
    }

    /// Takes all write tags away: a new dirty epoch begins.
    pub fn withhold_all_writes(&mut self) {
        for entry in self.contexts.as_flattened_mut() {
            entry.write = NO_TAG;
        }
    }
}

/// Moves what is in a place to the other place of its page.
fn make_way(table: &mut [Entry; ENTRIES], place: usize) {
    if let Some(page) = table[place].page() {
        table[other_slot_of(page)] = table[place];
    }
}

/// Forgets a page in one context, whatever space it is of.
fn forget_page(table: &mut [Entry; ENTRIES], gva: Gva) {
    for place in [slot_of(gva), other_slot_of(gva)] {
        let entry = &mut table[place];
        let tags = [entry.read, entry.write, entry.execute];
        if tags.iter().any(|tag| tag & !PAGE_MASK == gva.page_start().0) {
            *entry = EMPTY;
        }
    }
}

/// A physical page for the page of a virtual address, and what may be done there: the result of a page walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The physical page.
    pub page: Page,
    /// Loads are allowed in this context.
    pub read: bool,
    /// Stores are allowed in this context and need no further page-table update (dirty bit set).
    pub write: bool,
    /// Fetches are allowed in this context.
    pub execute: bool,
    /// The rights hold for the whole page, so that the TLB may keep them.
    pub cacheable: bool,
    /// It is the same in every address space until the guest says otherwise.
    pub global: bool,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::mem::jumps::jump_place;
    use crate::vcpu;
    use std::ops::{Deref, DerefMut};

    /// A TLB for itself: too large for stacks.
    pub(crate) struct OwnTlb(vcpu::Parts);

    impl OwnTlb {
        pub(crate) fn new() -> Self {
            Self(vcpu::allocate())
        }
    }

    impl Deref for OwnTlb {
        type Target = Tlb;

        fn deref(&self) -> &Tlb {
            &self.0.tlb
        }
    }

    impl DerefMut for OwnTlb {
        fn deref_mut(&mut self) -> &mut Tlb {
            &mut self.0.tlb
        }
    }

    #[test]
    fn hits_need_tag_space_and_alignment() {
        let mut tlb = OwnTlb::new();
        let fill = Fill { read: true, write: false, execute: false, host_page: 0x7000_0000 };
        tlb.fill(0, Gva(0x1234), fill);
        let hit = |tlb: &mut Tlb, gva, width, access| tlb.lookup(0, Gva(gva), width, access);
        assert_eq!(hit(&mut tlb, 0x1238, Width::W64, Access::Read), Some(0x7000_0238));
        assert_eq!(hit(&mut tlb, 0x1239, Width::W64, Access::Read), None);
        assert_eq!(hit(&mut tlb, 0x1239, Width::W8, Access::Read), Some(0x7000_0239));
        assert_eq!(hit(&mut tlb, 0x1238, Width::W64, Access::Write), None);
        assert_eq!(tlb.lookup(1, Gva(0x1238), Width::W64, Access::Read), None);
        assert_eq!(hit(&mut tlb, 0x1238 + (ENTRIES as u64) * 4096, Width::W64, Access::Read), None);
        // Pages that share their own place have different other ones.
        let far = |n: u64| 0x1238 + n * (ENTRIES as u64) * 4096;
        for n in 1..8 {
            tlb.fill(0, Gva(far(n)), Fill { host_page: 0x7000_0000 + n * 0x1000, ..fill });
        }
        for n in 0..8 {
            assert_eq!(hit(&mut tlb, far(n), Width::W64, Access::Read), Some(0x7000_0238 + n * 0x1000));
        }
        // What was found in its other place is in its own now.
        let own = slot_of(Gva(far(7)));
        assert!(tlb.contexts[0][own].is_of(far(7) & !PAGE_MASK));
        assert!(hit(&mut tlb, far(3), Width::W64, Access::Read).is_some());
        assert!(tlb.contexts[0][own].is_of(far(3) & !PAGE_MASK));
        tlb.flush_page(Gva(far(1)));
        assert!(hit(&mut tlb, far(1), Width::W64, Access::Read).is_none());
        assert!(hit(&mut tlb, far(2), Width::W64, Access::Read).is_some());
        // An access to the last byte of a page and the next page's first is found in no place of the next one.
        for page in (0..1 << 26).step_by(4096).map(Gva) {
            let next = page.offset(4096);
            assert!(![slot_of(next), other_slot_of(next)].contains(&other_slot_of(page)), "{page}");
        }
        tlb.set_space(Space::new(1));
        assert_eq!(hit(&mut tlb, 0x1238, Width::W64, Access::Read), None);
        tlb.set_space(Space::new(0));
        assert_eq!(hit(&mut tlb, 0x1238, Width::W64, Access::Read), Some(0x7000_0238));
        tlb.flush_page(Gva(0x1000));
        assert_eq!(hit(&mut tlb, 0x1238, Width::W64, Access::Read), None);
    }

    #[test]
    fn shared_contexts_keep_what_is_not_local() {
        const FILL: Fill = Fill { read: true, write: true, execute: true, host_page: 0x5000 };
        let hit =
            |tlb: &mut Tlb, context, gva| tlb.lookup(context, Gva(gva), Width::W8, Access::Read).is_some();
        for locals in [1, LOCAL_PAGES, LOCAL_PAGES + 1] {
            let mut tlb = OwnTlb::new();
            tlb.share(&[1]);
            let enter = |tlb: &mut Tlb| {
                tlb.fill(0, Gva(0x1000), FILL);
                tlb.fill(1, Gva(0x1000), FILL);
                for _ in 0..locals {
                    tlb.note_local(1, Gva(0x2000), Access::Read);
                    tlb.fill(1, Gva(0x2000), FILL);
                }
            };
            enter(&mut tlb);
            let tags = [0, 1].map(|context| tlb.tag(context));
            // The same again is no change.
            let same = tlb.space();
            tlb.set_space(same);
            assert!(hit(&mut tlb, 1, 0x2000));
            tlb.set_space(Space::new(1));
            assert!(!hit(&mut tlb, 0, 0x1000) && !hit(&mut tlb, 1, 0x2000));
            // When they are too many, others go with them.
            assert_eq!(hit(&mut tlb, 1, 0x1000), locals <= LOCAL_PAGES);
            assert!(tlb.tag(0) != tags[0] && tlb.tag(1) == tags[1]);
            tlb.set_space(Space::new(0));
            assert!(hit(&mut tlb, 0, 0x1000) && !hit(&mut tlb, 1, 0x2000));
            // Where code is local, where it is is forgotten, too.
            enter(&mut tlb);
            tlb.note_local(1, Gva(0x2000), Access::Execute);
            tlb.set_space(Space::new(1));
            assert_ne!(tlb.tag(1), tags[1]);
            tlb.fill(1, Gva(0x1000), FILL);
            tlb.flush_shared();
            assert!(!hit(&mut tlb, 1, 0x1000));
        }
    }

    #[test]
    fn what_is_taken_back_is_local_and_of_its_space_as_before() {
        const FILL: Fill = Fill { read: true, write: true, execute: true, host_page: 0x5000 };
        let hit =
            |tlb: &mut Tlb, context| tlb.lookup(context, Gva(0x2000), Width::W8, Access::Read).is_some();
        let mut tlb = OwnTlb::new();
        tlb.share(&[1]);
        for context in [0, 1] {
            tlb.note_local(context, Gva(0x2000), Access::Read);
            tlb.fill(context, Gva(0x2000), FILL);
        }
        let tag = tlb.tag(0);
        let mut copy = TlbCopy::default();
        tlb.copy_to(&mut copy);
        tlb.take_back(&copy);
        assert_eq!(tlb.tag(0), tag);
        tlb.set_space(Space::new(1));
        assert!(!hit(&mut tlb, 0) && !hit(&mut tlb, 1));
        tlb.take_back(&copy);
        assert!(hit(&mut tlb, 0) && hit(&mut tlb, 1));
        tlb.set_space(Space::new(1));
        assert!(!hit(&mut tlb, 0) && !hit(&mut tlb, 1));
        // The number of a space that was switched to may become another one's, of which no code is known.
        let other = tlb.tag(0);
        tlb.take_back(&copy);
        tlb.set_space(Space::new(1));
        assert_ne!(tlb.tag(0), other);
    }

    #[test]
    fn code_of_a_page_is_forgotten_without_that_of_others() {
        let mut tlb = OwnTlb::new();
        let tags = |tlb: &Tlb| [0, 1].map(|context| (tlb.tag(context), tlb.far_tag(context)));
        let known = |tlb: &Tlb, pc: u64| tlb.jumps.entries[jump_place(pc)].pc == pc;
        let tag = tlb.tag(1);
        for pc in [0x1010, 0x5010] {
            tlb.jumps.note(Gva(pc), 1, tag, 7);
        }
        let before = tags(&tlb);
        tlb.flush_page(Gva(0x9000));
        assert!(known(&tlb, 0x1010) && known(&tlb, 0x5010));
        // What starts in a page may end in the next.
        tlb.flush_page(Gva(0x2000));
        assert!(!known(&tlb, 0x1010) && known(&tlb, 0x5010));
        assert_eq!(tags(&tlb), before);
        // Links that may lead there are out of date, all of them.
        tlb.jumps.note_link(1, Gva(0x1010));
        tlb.flush_page(Gva(0x2000));
        let after = tags(&tlb);
        assert!(after[0] == before[0] && after[1].0 == before[1].0 && after[1].1 != before[1].1);
        tlb.flush_page(Gva(0x1000));
        assert_eq!(tags(&tlb), after);
    }

    #[test]
    fn no_address_matches_an_empty_entry() {
        let mut tlb = OwnTlb::new();
        for gva in [0, 0xfff, 0xff8, u64::MAX, 7] {
            for width in Width::ALL {
                for access in [Access::Read, Access::Write, Access::Execute] {
                    assert_eq!(tlb.lookup(0, Gva(gva), width, access), None, "{gva:#x} {width:?}");
                }
            }
        }
    }

    #[test]
    fn code_pages_lose_their_write_tags_under_every_alias() {
        let mut tlb = OwnTlb::new();
        let fill = Fill { read: true, write: true, execute: false, host_page: 0x5000 };
        tlb.fill(0, Gva(0x1000), fill);
        tlb.fill(0, Gva(0x2000), fill);
        tlb.withhold_writes(0x5000);
        for gva in [0x1000, 0x2000] {
            assert_eq!(tlb.lookup(0, Gva(gva), Width::W8, Access::Write), None);
            assert!(tlb.lookup(0, Gva(gva), Width::W8, Access::Read).is_some());
        }
    }
}
