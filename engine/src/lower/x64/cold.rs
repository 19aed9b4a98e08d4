//! What is rarely needed of a block, written behind everything else: call-outs, second looks in the TLB, and accesses that go
//! by themselves because what they would share is not there.

use super::asm::{Asm, Cc, Fixed, Label, Mem, Reg, Xmm};
use super::block::spill;
use super::memory::ALONE;
use crate::addr::Width::{self, W64};

/// How many distances to the host's addresses may be kept at a time.
pub(super) const KEPT: usize = 4;

/// Where the distance from a guest page to the host's is kept, for accesses that share a look at the TLB; 0 there says that
/// they cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nowhere.
    #[default]
    Nowhere,
    /// In a register.
    Reg(Reg),
    /// A number of [`crate::vcpu::Vcpu::spill`].
    Spill(u16),
}

impl Kept {
    /// Keeps what is in RAX.
    pub fn set(self, asm: &mut Asm) {
        match self {
            Kept::Nowhere => {}
            Kept::Reg(reg) => asm.mov(reg, Reg::RAX),
            Kept::Spill(place) => asm.store(W64, spill(place), Reg::RAX),
        }
    }

    /// Nothing is known any more.
    fn forget(self, asm: &mut Asm) {
        match self {
            Kept::Nowhere => {}
            Kept::Reg(reg) => asm.mov_imm(reg, 0),
            Kept::Spill(place) => asm.store_imm(W64, spill(place), 0),
        }
    }
}

/// An address in the guest: that in a register, and so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub base: Reg,
    pub disp: i32,
}

/// What is done with memory.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    Load { w: Width, to: Reg, signed: bool },
    Store { w: Width, from: Reg },
    StoreNumber { w: Width, number: i32 },
    LoadVector { len_bytes: u8, to: Xmm },
    StoreVector { len_bytes: u8, from: Xmm },
}

impl Access {
    pub fn len_bytes(self) -> i32 {
        match self {
            Access::Load { w, .. } | Access::Store { w, .. } | Access::StoreNumber { w, .. } => {
                w.bytes() as i32
            }
            Access::LoadVector { len_bytes, .. } | Access::StoreVector { len_bytes, .. } => len_bytes.into(),
        }
    }

    /// Accesses the host's memory.
    pub fn emit(self, asm: &mut Asm, at: Mem) {
        match self {
            Access::Load { w, to, signed: true } => asm.sext(w, to, at),
            Access::Load { w, to, signed: false } => asm.load(w, to, at),
            Access::Store { w, from } => asm.store(w, at, from),
            Access::StoreNumber { w, number } => asm.store_imm(w, at, number),
            Access::LoadVector { len_bytes: 4, to } => asm.sse(Some(0x66), &[0x0f, 0x6e], to, at),
            Access::LoadVector { len_bytes: 8, to } => asm.sse(Some(0xf3), &[0x0f, 0x7e], to, at),
            Access::LoadVector { to, .. } => asm.sse(None, &[0x0f, 0x10], to, at),
            Access::StoreVector { len_bytes: 4, from } => asm.sse(Some(0x66), &[0x0f, 0x7e], from, at),
            Access::StoreVector { len_bytes: 8, from } => asm.sse(Some(0x66), &[0x0f, 0xd6], from, at),
            Access::StoreVector { from, .. } => asm.sse(None, &[0x0f, 0x11], from, at),
        }
    }

    /// The register of a load that is extended by its sign.
    pub fn extended(self) -> Option<(Width, Reg)> {
        match self {
            Access::Load { w, to, signed: true } => Some((w, to)),
            _ => None,
        }
    }
}

/// What calls out.
#[derive(Clone, Copy)]
pub(super) struct Cold {
    pub label: Label,
    pub site: u32,
    /// Where to go on; `None` if the site always leaves.
    pub back: Option<Label>,
    /// The address that the site finds in RCX.
    pub address: Option<Address>,
    /// What the site gives is extended by its sign.
    pub extended: Option<(Width, Reg)>,
    /// What may not hold any more when the run loop has looked at memory.
    pub kept: [Kept; KEPT],
}

impl Cold {
    /// What always leaves.
    pub fn leaving(label: Label, site: u32) -> Self {
        Self { label, site, back: None, address: None, extended: None, kept: [Kept::Nowhere; KEPT] }
    }
}

/// A number that a register of vectors gets, with zeros above.
#[derive(Clone, Copy)]
pub(super) struct Fix {
    pub label: Label,
    pub register: Xmm,
    pub number: u64,
    /// Where to go on.
    pub back: Label,
}

/// What is tried before a site.
#[derive(Clone, Copy)]
pub(super) struct Look {
    /// Where a page is not in its own place: RAX is the distance of that, RCX the tag that is wanted.
    pub other: Option<Other>,
    /// Where an access goes by itself.
    pub alone: Option<Alone>,
    /// Label of the site.
    pub miss: Label,
}

/// A look at a page's other place in the TLB.
#[derive(Clone, Copy)]
pub(super) struct Other {
    pub label: Label,
    /// What looks.
    pub look: Fixed,
    /// Where to go on with the addend in RAX.
    pub found: Label,
    pub keep: Kept,
}

/// An access that could not share a look.
#[derive(Clone, Copy)]
pub(super) struct Alone {
    pub label: Label,
    /// What looks.
    pub look: Fixed,
    pub address: Address,
    pub access: Access,
    /// Where to go on.
    pub done: Label,
}

/// Writes it all.
pub(super) fn emit(
    asm: &mut Asm,
    call_out: Fixed,
    fixes: impl Iterator<Item = Fix>,
    looks: impl Iterator<Item = Look>,
    cold: impl Iterator<Item = Cold>,
) {
    for Fix { label, register, number, back } in fixes {
        asm.bind(label);
        asm.mov_imm(Reg::RAX, number);
        asm.sse_wide(Some(0x66), &[0x0f, 0x6e], register, Reg::RAX);
        asm.jmp(back);
    }
    let mut looks = looks.peekable();
    for Cold { label, site, back, address, extended, kept } in cold {
        if let Some(look) = looks.next_if(|look| look.miss == label) {
            emit_look(asm, look);
        }
        asm.bind(label);
        if let Some(Address { base, disp }) = address {
            asm.lea(W64, Reg::RCX, Mem::at(base, disp));
        }
        asm.call_fixed(call_out);
        asm.note(site);
        let Some(back) = back else { continue };
        kept.into_iter().for_each(|kept| kept.forget(asm));
        if let Some((w, reg)) = extended {
            asm.sext(w, reg, reg);
        }
        asm.jmp(back);
    }
}

fn emit_look(asm: &mut Asm, look: Look) {
    if let Some(Other { label, look, found, keep }) = look.other {
        asm.bind(label);
        asm.call_fixed(look);
        if keep == Kept::Nowhere {
            asm.jcc(Cc::E, found);
        } else {
            let nowhere = asm.label();
            asm.jcc(Cc::NE, nowhere);
            keep.set(asm);
            asm.jmp(found);
            asm.bind(nowhere);
            keep.forget(asm);
        }
    }
    if let Some(Alone { label, look: at, address, access, done }) = look.alone {
        asm.bind(label);
        asm.lea(W64, Reg::RCX, Mem::at(address.base, address.disp));
        asm.mov_imm(Reg::RAX, u64::from(ALONE | (access.len_bytes() as u32 - 1)));
        asm.call_fixed(at);
        asm.jcc(Cc::NE, look.miss);
        access.emit(asm, Mem::sum(address.base, Reg::RAX, address.disp));
        asm.jmp(done);
    }
}
