//! Segment registers: selector, limit and attributes. The base addresses are in vCPU slots, where lifts add them.

use super::regs;
use c2w_engine::emit::Slot;
use serde::{Deserialize, Serialize};

/// A segment register, as encodings number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of the manual")]
pub enum SegmentRegister {
    Es = 0,
    Cs = 1,
    Ss = 2,
    Ds = 3,
    Fs = 4,
    Gs = 5,
}

impl SegmentRegister {
    /// All six, by number.
    pub const ALL: [Self; 6] = [Self::Es, Self::Cs, Self::Ss, Self::Ds, Self::Fs, Self::Gs];

    /// The register with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        if number < 6 { Some(Self::ALL[number as usize]) } else { None }
    }

    /// Slot of its base address.
    pub const fn base_slot(self) -> Slot {
        Slot(regs::ES_BASE.0 + self as u8)
    }
}

/// Access rights of a descriptor: bits 8 to 15 and 20 to 23 of its upper half, at bits 0 to 7 and 12 to 15
/// (SDM 3A 3.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes(pub u16);

impl Attributes {
    const PRESENT: u16 = 1 << 7;
    const NOT_SYSTEM: u16 = 1 << 4;
    const LONG: u16 = 1 << 13;
    const BIG: u16 = 1 << 14;
    const GRANULARITY: u16 = 1 << 15;

    /// Those in the upper half of a descriptor.
    pub const fn of_descriptor(upper: u32) -> Self {
        Self((upper >> 8 & 0xf0ff) as u16)
    }

    /// The type field.
    pub const fn kind(self) -> u16 {
        self.0 & 15
    }

    /// Present.
    pub const fn is_present(self) -> bool {
        self.0 & Self::PRESENT != 0
    }

    /// A code or data segment, not a system descriptor.
    pub const fn is_code_or_data(self) -> bool {
        self.0 & Self::NOT_SYSTEM != 0
    }

    /// A code segment.
    pub const fn is_code(self) -> bool {
        self.is_code_or_data() && self.0 & 8 != 0
    }

    /// A code segment that may run at a lower privilege than its own.
    pub const fn is_conforming(self) -> bool {
        self.is_code() && self.0 & 4 != 0
    }

    /// Loads are allowed.
    pub const fn is_readable(self) -> bool {
        self.is_code_or_data() && (!self.is_code() || self.0 & 2 != 0)
    }

    /// Stores are allowed.
    pub const fn is_writable(self) -> bool {
        self.is_code_or_data() && !self.is_code() && self.0 & 2 != 0
    }

    /// A data segment that ends where others begin.
    pub const fn is_expand_down(self) -> bool {
        self.is_code_or_data() && !self.is_code() && self.0 & 4 != 0
    }

    /// Privilege level.
    pub const fn dpl(self) -> u8 {
        (self.0 >> 5 & 3) as u8
    }

    /// 64-bit code.
    pub const fn is_long(self) -> bool {
        self.0 & Self::LONG != 0
    }

    /// 32-bit code or stack (D/B).
    pub const fn is_big(self) -> bool {
        self.0 & Self::BIG != 0
    }

    /// The limit counts pages.
    pub const fn has_page_granularity(self) -> bool {
        self.0 & Self::GRANULARITY != 0
    }
}

/// A segment register without its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Segment {
    /// The visible part.
    pub selector: u16,
    /// Offset of the last byte, scaled.
    pub limit: u32,
    /// Access rights; not present means unusable.
    pub attributes: Attributes,
}

impl Segment {
    /// 64-bit code at a privilege level.
    pub const fn code_64(selector: u16, dpl: u8) -> Self {
        Self { selector, limit: u32::MAX, attributes: Attributes(0xa09b | (dpl as u16) << 5) }
    }

    /// Flat 32-bit code at a privilege level.
    pub const fn code_32(selector: u16, dpl: u8) -> Self {
        Self { selector, limit: u32::MAX, attributes: Attributes(0xc09b | (dpl as u16) << 5) }
    }

    /// Flat writable data at a privilege level.
    pub const fn data(selector: u16, dpl: u8) -> Self {
        Self { selector, limit: u32::MAX, attributes: Attributes(0xc093 | (dpl as u16) << 5) }
    }

    /// Whether `len_bytes` from `offset` are inside the limit. Type and presence are not looked at, except that an
    /// expand-down segment holds what its limit leaves out (SDM 3A 5.3).
    pub const fn contains(&self, offset: u32, len_bytes: u32) -> bool {
        let Some(last) = offset.checked_add(len_bytes - 1) else { return false };
        if self.attributes.is_expand_down() {
            let top = if self.attributes.is_big() { u32::MAX } else { 0xffff };
            offset > self.limit && last <= top
        } else {
            last <= self.limit
        }
    }

    /// Whether every 32-bit access through the register is as good as one without it.
    pub const fn is_flat(&self, base: u64) -> bool {
        let a = self.attributes;
        let all = self.limit == u32::MAX && !a.is_expand_down() && a.is_present();
        base == 0 && all && (a.is_writable() || a.is_code() && a.is_readable())
    }
}

/// LDTR or TR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SystemSegment {
    /// The visible part.
    pub selector: u16,
    /// Linear address.
    pub base: u64,
    /// Offset of the last byte, scaled.
    pub limit: u32,
    /// Access rights; not present means unusable.
    pub attributes: Attributes,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TableRegister {
    /// Linear address.
    pub base: u64,
    /// Offset of the last byte.
    pub limit: u16,
}
