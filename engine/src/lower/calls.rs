//! What generated code that is called through tables and its host agree on: call-outs, and how a region is left.
//!
//! A region returns the number of the region to continue in, or a negative number: [`LEFT`], with the reason in
//! `Vcpu::exit` and where to continue in `Vcpu::pc`, or what an unlinked cell held ([`unlinked`]).
//!
//! A call-out finds all slots and the countdown in memory, where it may change the countdown. If it fails the region is
//! left at once: for the state that [`Site`] tells, which the call-out has seen to.

use crate::addr::Width;
use crate::emit::{Amo, Slot};
use crate::guest::HelperId;
use crate::vcpu::{EXIT_COUNT, EXIT_JUMP, EXIT_SITE};

/// What a region returns when it leaves with its reason in memory.
pub const LEFT: i32 = -1;

/// What a link cell holds while nothing is linked there; a region returns it.
pub const fn unlinked(cell: u32) -> i32 {
    -2 - cell as i32
}

/// The cell that a returned number is the content of, if it is that of an unlinked one.
pub const fn unlinked_cell(returned: i32) -> Option<u32> {
    if returned < LEFT { Some((-2 - returned) as u32) } else { None }
}

/// Why a region was left, in `Vcpu::exit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Reason {
    /// The countdown is below zero.
    Countdown = EXIT_COUNT,
    /// `Vcpu::pc` is not in the jump cache.
    Jump = EXIT_JUMP,
    /// The instruction traps; cause and value are in the first places of `Vcpu::spill`.
    Trap = EXIT_SITE,
}

impl Reason {
    /// The reason with this number.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            EXIT_COUNT => Some(Self::Countdown),
            EXIT_JUMP => Some(Self::Jump),
            EXIT_SITE => Some(Self::Trap),
            _ => None,
        }
    }
}

macro_rules! call_outs {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Functions of the host that a region calls. Each is given its site and two numbers, and gives one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum CallOut { $($(#[$doc])* $name,)* }

        impl CallOut {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [CallOut] = &[$(CallOut::$name,)*];

            /// Name of the import.
            pub const fn name(self) -> &'static str {
                match self { $(CallOut::$name => $text,)* }
            }
        }

        /// Calls a macro with the names of all call-outs, in the order of their numbers.
        #[cfg(any(feature = "wasmtime", feature = "cranelift"))]
        macro_rules! with_call_outs {
            ($then:ident) => { $then![$($name),*] };
        }
    };
}

call_outs! {
    /// Of an address.
    Load = "load",
    /// Of an address and a value.
    Store = "store",
    /// Of an address.
    LoadToModify = "load_to_modify",
    /// Of an address and a number of bytes.
    CheckCrossingWrite = "check_crossing_write",
    /// Of an address and an operand.
    Amo = "amo",
    /// Of an address and what is expected there; what replaces it is in the first place of `Vcpu::spill`.
    CompareExchange = "compare_exchange",
    /// Of an address.
    LoadReserved = "load_reserved",
    /// Of an address and a value.
    StoreConditional = "store_conditional",
    /// Of the first two arguments; the others are in the first places of `Vcpu::spill`.
    Helper = "helper",
    /// Of nothing.
    Look = "look",
    /// Of an address and a [`VectorSite`].
    VectorLoad = "vector_load",
    /// Of an address and a [`VectorSite`].
    VectorStore = "vector_store",
    /// Of nothing and a [`VectorSite`].
    Vector = "vector",
    /// Of a number and a [`VectorSite`].
    VectorInsert = "vector_insert",
    /// Of nothing and a [`VectorSite`].
    VectorExtract = "vector_extract",
}

#[cfg(any(feature = "wasmtime", feature = "cranelift"))]
pub(crate) use with_call_outs;

/// Where in a region a call-out is made, and the constants of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Address of the instruction, in bytes from `Vcpu::page_base`.
    pub at: i32,
    /// Instructions from this one on that the countdown was reduced by.
    pub unretired: u16,
    /// What is done, in the form that the call-out expects.
    pub what: u16,
}

impl Site {
    /// As one number.
    pub const fn encode(self) -> u64 {
        (self.at as u32 as u64) << 32 | (self.unretired as u64) << 16 | self.what as u64
    }

    /// From one number.
    pub const fn decode(number: u64) -> Self {
        Self { at: (number >> 32) as i32, unretired: (number >> 16) as u16, what: number as u16 }
    }

    /// Width of the access.
    pub const fn width(self) -> Width {
        Width::ALL[(self.what & 3) as usize]
    }

    /// How memory is combined.
    pub fn amo(self) -> Amo {
        Amo::ALL[usize::from(self.what >> 2) % Amo::ALL.len()]
    }

    /// The helper.
    pub const fn helper(self) -> HelperId {
        HelperId(self.what)
    }
}

/// The constants of an operation on vectors, whose slots are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorSite {
    /// Number of the operation, if there are several.
    pub op: u8,
    /// The immediate, or the length in bytes of an access.
    pub imm: u8,
    /// Those that the operation names, in its order.
    pub slots: [Slot; 3],
}

impl VectorSite {
    /// As one number.
    pub const fn encode(self) -> u64 {
        let [a, b, c] = self.slots;
        u64::from_le_bytes([self.op, self.imm, a.0, b.0, c.0, 0, 0, 0])
    }

    /// From one number.
    pub const fn decode(number: u64) -> Self {
        let [op, imm, a, b, c, ..] = number.to_le_bytes();
        Self { op, imm, slots: [Slot(a), Slot(b), Slot(c)] }
    }
}

/// [`Site::what`] of an access.
pub const fn what_access(w: Width) -> u16 {
    w as u16
}

/// [`Site::what`] of a load, a store, or a load to modify in a TLB context, for who looks into that TLB's other places.
pub const fn what_plain_access(w: Width, context: usize) -> u16 {
    w as u16 | (context as u16) << CONTEXT_SHIFT
}

/// Where in [`what_plain_access`] the context is.
pub(super) const CONTEXT_SHIFT: u32 = 2;

/// [`Site::what`] of an atomic combination.
pub const fn what_amo(w: Width, op: Amo) -> u16 {
    w as u16 | (op as u16) << 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_numbers() {
        for (at, unretired, op) in [(-4096, 64, Amo::MaxU), (i32::MAX, 1, Amo::Swap), (0, u16::MAX, Amo::Xor)]
        {
            let site = Site { at, unretired, what: what_amo(Width::W32, op) };
            assert_eq!(Site::decode(site.encode()), site);
            assert_eq!((site.width(), site.amo()), (Width::W32, op));
        }
        let site = VectorSite { op: 255, imm: 254, slots: [Slot(253), Slot(252), Slot(251)] };
        assert_eq!(VectorSite::decode(site.encode()), site);
        assert_eq!(
            (unlinked_cell(unlinked(7)), unlinked_cell(LEFT), unlinked_cell(3)),
            (Some(7), None, None)
        );
    }
}
