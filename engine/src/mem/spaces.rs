//! Address spaces: from what a guest's MMU is told to translate by (root table, identifier, control bits) to the space
//! numbers that TLB entries carry.
//!
//! Every key has a number of its own, so that switching back and forth flushes nothing. Flushing a space gives up its
//! number; only when the numbers are used up is the TLB emptied. Invariant: no TLB entry carries a number that has not
//! been given out since the TLB was last empty.

use super::tlb::{SPACES, Space, Tlb};
use crate::addr::Gva;

/// Bits of a [`LargePages`] filter, a power of two.
const FILTER_BITS: u64 = 4096;

/// Where pages of one size that is larger than the TLB's own may be mapped.
#[derive(Clone, Debug)]
struct LargePages {
    len_bytes: u64,
    /// A bit for each number of such a page, modulo its length.
    places: Box<[u64; (FILTER_BITS / 64) as usize]>,
}

impl LargePages {
    fn new(len_bytes: u64) -> Self {
        Self { len_bytes, places: Box::new([0; (FILTER_BITS / 64) as usize]) }
    }

    fn place(&self, gva: Gva) -> (usize, u64) {
        let number = gva.0 / self.len_bytes;
        let bit = (number ^ (number / FILTER_BITS)) % FILTER_BITS;
        ((bit / 64) as usize, 1 << (bit % 64))
    }

    fn note(&mut self, gva: Gva) {
        let (word, bit) = self.place(gva);
        self.places[word] |= bit;
    }

    fn may_hold(&self, gva: Gva) -> bool {
        let (word, bit) = self.place(gva);
        self.places[word] & bit != 0
    }
}

/// Which space number belongs to which key. `K` is all that translations depend on besides the page tables; `S` is what
/// those of the TLB's shared contexts depend on.
#[derive(Clone, Debug)]
pub struct Spaces<K, S> {
    /// What was selected last.
    shared: Option<S>,
    /// Number of each key, latest last.
    live: Vec<(K, u64)>,
    /// The next number to give out.
    next: u64,
    large: Vec<LargePages>,
}

impl<K, S> Default for Spaces<K, S> {
    fn default() -> Self {
        Self { shared: None, live: Vec::new(), next: 0, large: Vec::new() }
    }
}

impl<K: PartialEq, S: PartialEq> Spaces<K, S> {
    /// Makes the TLB use the space of `key`, and in its shared contexts only what was entered under `shared`.
    pub fn select(&mut self, tlb: &mut Tlb, key: K, shared: S) {
        if self.shared.as_ref() != Some(&shared) {
            tlb.flush_shared();
            self.shared = Some(shared);
        }
        let number = match self.live.iter().rev().find(|(live, _)| *live == key) {
            Some(&(_, number)) => number,
            None => self.allocate(tlb, key),
        };
        tlb.set_space(Space::new(number));
    }

    fn allocate(&mut self, tlb: &mut Tlb, key: K) -> u64 {
        if self.next == SPACES {
            tlb.flush();
            self.live.clear();
            self.large.clear();
            self.next = 0;
        }
        let number = self.next;
        self.next += 1;
        self.live.push((key, number));
        number
    }

    /// Forgets all translations. As after [`Spaces::flush_where`], the caller selects a space anew.
    pub fn flush(&mut self, tlb: &mut Tlb) {
        tlb.flush_shared();
        self.live.clear();
        self.large.clear();
    }

    /// Forgets the translations of all keys that `given_up` names.
    pub fn flush_where(&mut self, given_up: impl Fn(&K) -> bool) {
        self.live.retain(|(key, _)| !given_up(key));
    }

    /// Notes that a page larger than the TLB's own, of `len_bytes` (a power of two), is mapped around `gva`.
    pub fn note_large(&mut self, gva: Gva, len_bytes: u64) {
        match self.large.iter_mut().find(|pages| pages.len_bytes == len_bytes) {
            Some(pages) => pages.note(gva),
            None => {
                let mut pages = LargePages::new(len_bytes);
                pages.note(gva);
                self.large.push(pages);
            }
        }
    }

    /// Forgets the page of `gva` in every space, and with it all of the larger page that it may be a part of.
    pub fn flush_page(&self, tlb: &mut Tlb, gva: Gva) {
        tlb.flush_page(gva);
        for pages in self.large.iter().filter(|pages| pages.may_hold(gva)) {
            tlb.flush_range(Gva(gva.0 & !(pages.len_bytes - 1)), pages.len_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Width;
    use crate::mem::tlb::tests::OwnTlb;
    use crate::mem::tlb::{Access, Fill};

    const FILL: Fill = Fill { read: true, write: true, execute: true, host_page: 0x5000 };

    fn hit(tlb: &mut Tlb, gva: u64) -> bool {
        tlb.lookup(0, Gva(gva), Width::W8, Access::Read).is_some()
    }

    #[test]
    fn spaces_are_kept_until_flushed() {
        let mut tlb = OwnTlb::new();
        let mut spaces = Spaces::default();
        spaces.select(&mut tlb, 10, ());
        tlb.fill(0, Gva(0x1000), FILL);
        spaces.select(&mut tlb, 11, ());
        assert!(!hit(&mut tlb, 0x1000));
        spaces.select(&mut tlb, 10, ());
        assert!(hit(&mut tlb, 0x1000));
        spaces.flush_where(|&key| key == 11);
        spaces.select(&mut tlb, 10, ());
        assert!(hit(&mut tlb, 0x1000));
        spaces.flush_where(|&key| key == 10);
        spaces.select(&mut tlb, 10, ());
        assert!(!hit(&mut tlb, 0x1000));
        tlb.fill(0, Gva(0x1000), FILL);
        spaces.flush(&mut tlb);
        spaces.select(&mut tlb, 10, ());
        assert!(!hit(&mut tlb, 0x1000));
    }

    #[test]
    fn shared_contexts_are_kept_as_long_as_what_they_depend_on() {
        let mut tlb = OwnTlb::new();
        tlb.share(&[0]);
        let mut spaces = Spaces::default();
        spaces.select(&mut tlb, 10, 'a');
        tlb.fill(0, Gva(0x1000), FILL);
        spaces.select(&mut tlb, 11, 'a');
        spaces.flush_where(|&key| key == 11);
        spaces.select(&mut tlb, 11, 'a');
        assert!(hit(&mut tlb, 0x1000));
        spaces.select(&mut tlb, 11, 'b');
        assert!(!hit(&mut tlb, 0x1000));
        tlb.fill(0, Gva(0x1000), FILL);
        spaces.flush(&mut tlb);
        assert!(!hit(&mut tlb, 0x1000));
    }

    #[test]
    fn reused_numbers_bring_back_no_old_entry() {
        let mut tlb = OwnTlb::new();
        let mut spaces = Spaces::default();
        spaces.select(&mut tlb, 0, ());
        let old = tlb.space();
        tlb.fill(0, Gva(0x1000), FILL);
        for key in 1..=SPACES {
            spaces.select(&mut tlb, key, ());
        }
        tlb.set_space(old);
        assert!(!hit(&mut tlb, 0x1000));
    }

    #[test]
    fn a_part_of_a_large_page_takes_all_of_it_along() {
        const LARGE: u64 = 1 << 21;
        let mut tlb = OwnTlb::new();
        let mut spaces = Spaces::default();
        spaces.select(&mut tlb, 0, ());
        let pages = [0x1f_f000, 0x20_0000, 0x3f_f000, 0x40_0000, 0xffff_ffff_8020_1000];
        // Two of them would share a place: what was looked up before is gone.
        let fill = |tlb: &mut Tlb| pages.iter().for_each(|&gva| tlb.fill(0, Gva(gva), FILL));
        let left = |tlb: &mut Tlb| pages.iter().filter(|&&gva| hit(tlb, gva)).count();
        fill(&mut tlb);
        let all = left(&mut tlb);
        spaces.flush_page(&mut tlb, Gva(0x30_0000));
        assert_eq!(left(&mut tlb), all);
        spaces.note_large(Gva(0x20_0000), LARGE);
        spaces.flush_page(&mut tlb, Gva(0x30_0000));
        assert!(!hit(&mut tlb, 0x20_0000) && !hit(&mut tlb, 0x3f_f000));
        assert_eq!(left(&mut tlb), all - 2);
        spaces.flush_page(&mut tlb, Gva(0x40_0000));
        assert!(!hit(&mut tlb, 0x40_0000) && hit(&mut tlb, 0x1f_f000));
        spaces.note_large(Gva(0xffff_ffff_8000_0000), 1 << 30);
        spaces.flush_page(&mut tlb, Gva(0xffff_ffff_bfff_f000));
        assert!(!hit(&mut tlb, 0xffff_ffff_8020_1000));
    }
}
