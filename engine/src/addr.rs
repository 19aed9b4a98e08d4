//! Address and size types of the guest: which kind of number a `u64` is.
//!
//! Guest arithmetic wraps, so the operators here wrap; checked variants return `Option`.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Number of bits of a page offset. Both guests have 4 KiB base pages.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes of a base page.
pub const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;
/// The page offset bits of an address.
pub const PAGE_MASK: u64 = PAGE_BYTES - 1;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on, wrapping at 2^64 as guest arithmetic does.
            #[inline]
            pub const fn offset(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }

            /// The address `bytes` further on, or `None` past the end of the address space.
            #[inline]
            pub const fn checked_offset(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The first byte of the page that holds this address.
            #[inline]
            pub const fn page_start(self) -> Self {
                Self(self.0 & !PAGE_MASK)
            }

            /// Offset inside the page, below [`PAGE_BYTES`].
            #[inline]
            pub const fn page_offset(self) -> u64 {
                self.0 & PAGE_MASK
            }

            /// Bytes from this address to the end of its page, 1 to [`PAGE_BYTES`].
            #[inline]
            pub const fn bytes_to_page_end(self) -> u64 {
                PAGE_BYTES - self.page_offset()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address!(
    /// Guest virtual address: what guest code computes with.
    Gva
);
address!(
    /// Guest physical address: what the bus and the devices see.
    Gpa
);

/// Number of a guest physical page: its address divided by [`PAGE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Page(pub u64);

impl Page {
    /// The page that holds `gpa`.
    #[inline]
    pub const fn of(gpa: Gpa) -> Self {
        Self(gpa.0 >> PAGE_SHIFT)
    }

    /// Address of the page's first byte.
    #[inline]
    pub const fn start(self) -> Gpa {
        Gpa(self.0 << PAGE_SHIFT)
    }
}

/// Width of an access or of an operation, in powers of two of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Width {
    /// 8 bits.
    W8 = 0,
    /// 16 bits.
    W16 = 1,
    /// 32 bits.
    W32 = 2,
    /// 64 bits.
    W64 = 3,
}

impl Width {
    /// Every width, narrowest first.
    pub const ALL: [Width; 4] = [Width::W8, Width::W16, Width::W32, Width::W64];

    /// Size in bytes: 1, 2, 4 or 8.
    #[inline]
    pub const fn bytes(self) -> u64 {
        1 << self as u8
    }

    /// Size in bits: 8, 16, 32 or 64.
    #[inline]
    pub const fn bits(self) -> u32 {
        8 << self as u8
    }

    /// All ones in the low [`Width::bits`] bits.
    #[inline]
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The width that is `bytes` wide, if there is one.
    pub const fn from_bytes(bytes: u64) -> Option<Width> {
        match bytes {
            1 => Some(Width::W8),
            2 => Some(Width::W16),
            4 => Some(Width::W32),
            8 => Some(Width::W64),
            _ => None,
        }
    }
}
