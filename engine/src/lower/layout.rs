//! Linear addresses of what generated code reaches.

use crate::mem::jumps::{JUMP_ENTRIES, JumpEntry};
use crate::mem::tlb::{ENTRIES, Entry, Space, Tlb};
use crate::vcpu::Vcpu;
use core::mem::offset_of;

/// Where things lie in the linear memory that a module is lowered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The [`Vcpu`].
    pub vcpu: u32,
    /// The first link cell; each is 4 bytes.
    pub links: u32,
}

/// Binary logarithm of the size of a TLB entry.
pub(super) const ENTRY_SHIFT: u32 = size_of::<Entry>().trailing_zeros();
/// Binary logarithm of the size of an entry of the jump cache.
pub(super) const JUMP_SHIFT: u32 = size_of::<JumpEntry>().trailing_zeros();
const _: () = assert!(size_of::<Entry>() == 1 << ENTRY_SHIFT && size_of::<JumpEntry>() == 1 << JUMP_SHIFT);

/// How far an address is shifted for its TLB entry's distance from the first one.
pub(super) const ENTRY_FROM_ADDRESS: u32 = crate::addr::PAGE_SHIFT - ENTRY_SHIFT;
/// What of the shifted address is that distance.
pub(super) const ENTRY_MASK: u32 = (ENTRIES as u32 - 1) << ENTRY_SHIFT;
/// What of an address, folded, is the number of its entry in the jump cache.
pub(super) const JUMP_MASK: u32 = JUMP_ENTRIES as u32 - 1;

/// Which tag of a TLB entry an access is checked against.
#[derive(Clone, Copy)]
pub(super) enum Tag {
    Read,
    Write,
}

/// What an access demands of the bits of its address inside the page.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// All of it lies in the page.
    Inside,
    /// It is aligned.
    Aligned,
}

impl Layout {
    fn at(&self, offset: usize) -> u32 {
        self.vcpu + offset as u32
    }

    pub(super) fn slot(&self, slot: u8) -> u32 {
        self.at(offset_of!(Vcpu, slots)) + 8 * u32::from(slot)
    }

    pub(super) fn spill(&self, place: u32) -> u32 {
        self.at(offset_of!(Vcpu, spill)) + 8 * place
    }

    pub(super) fn page_base(&self) -> u32 {
        self.at(offset_of!(Vcpu, page_base))
    }

    pub(super) fn pc(&self) -> u32 {
        self.at(offset_of!(Vcpu, pc))
    }

    pub(super) fn countdown(&self) -> u32 {
        self.at(offset_of!(Vcpu, countdown))
    }

    pub(super) fn moved(&self) -> u32 {
        self.at(offset_of!(Vcpu, moved))
    }

    pub(super) fn withheld(&self) -> u32 {
        self.at(offset_of!(Vcpu, withheld))
    }

    pub(super) fn exit(&self) -> u32 {
        self.at(offset_of!(Vcpu, exit))
    }

    pub(super) fn context_tag(&self) -> u32 {
        self.at(offset_of!(Vcpu, context_tag))
    }

    pub(super) fn space(&self, context: usize) -> u32 {
        self.at(offset_of!(Vcpu, tlb) + offset_of!(Tlb, spaces) + context * size_of::<Space>())
    }

    /// A tag of the first TLB entry of a context.
    pub(super) fn tag(&self, context: usize, tag: Tag) -> u32 {
        let tag = match tag {
            Tag::Read => offset_of!(Entry, read),
            Tag::Write => offset_of!(Entry, write),
        };
        self.entries(context) + tag as u32
    }

    /// The addend of the first TLB entry of a context.
    pub(super) fn addend(&self, context: usize) -> u32 {
        self.entries(context) + offset_of!(Entry, addend) as u32
    }

    fn entries(&self, context: usize) -> u32 {
        let context = context * ENTRIES * size_of::<Entry>();
        self.at(offset_of!(Vcpu, tlb) + offset_of!(Tlb, contexts) + context)
    }

    /// The fields of the first entry of the jump cache: address, tag, code.
    pub(super) fn jump(&self) -> (u32, u32, u32) {
        let first = self.at(offset_of!(Vcpu, tlb) + offset_of!(Tlb, jumps));
        let field = |offset: usize| first + offset as u32;
        (
            field(offset_of!(JumpEntry, pc)),
            field(offset_of!(JumpEntry, tag)),
            field(offset_of!(JumpEntry, code)),
        )
    }

    /// A link cell.
    pub fn link(&self, cell: u32) -> u32 {
        self.links + 4 * cell
    }
}
