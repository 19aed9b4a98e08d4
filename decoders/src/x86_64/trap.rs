//! Exceptions and interrupts: their vectors, and how one travels in the engine's [`Trap`] (SDM 3A 6.15).
//!
//! [`TrapCause`] holds the vector (bits 0 to 7), the [`Kind`] (bits 8 and 9), whether there is an error code (bit 10)
//! and the error code (bits 16 to 31). [`Trap::value`] is the linear address of a page fault, what #DB sets in DR6, and
//! the length of a software interrupt's instruction.

use c2w_engine::addr::Gva;
use c2w_engine::guest::{Trap, TrapCause};

/// Of the value of a [`Kind::Software`] trap: length of the instruction in bytes.
pub const LENGTH: u64 = 0xff;
/// Of the same value: the privilege of the gate does not matter. INT1.
pub const NOT_BY_PROGRAM: u64 = 1 << 8;

/// Vectors of the exceptions.
#[allow(missing_docs, reason = "the names are the mnemonics of the manual")]
pub mod vector {
    pub const DE: u8 = 0;
    pub const DB: u8 = 1;
    pub const NMI: u8 = 2;
    pub const BP: u8 = 3;
    pub const OF: u8 = 4;
    pub const BR: u8 = 5;
    pub const UD: u8 = 6;
    pub const NM: u8 = 7;
    pub const DF: u8 = 8;
    pub const TS: u8 = 10;
    pub const NP: u8 = 11;
    pub const SS: u8 = 12;
    pub const GP: u8 = 13;
    pub const PF: u8 = 14;
    pub const MF: u8 = 16;
    pub const AC: u8 = 17;
    pub const MC: u8 = 18;
    pub const XM: u8 = 19;
}

/// How a trap relates to the instruction at `cpu.pc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The instruction did not happen; it can be started again.
    Fault = 0,
    /// Something before the instruction at `cpu.pc` asks for it: single step, data breakpoints.
    Trap = 1,
    /// An interrupt from outside.
    Interrupt = 2,
    /// INT n, INT3, INTO or INT1, whose [`LENGTH`] is in the trap's value: the privilege of the gate is checked unless the
    /// value has [`NOT_BY_PROGRAM`].
    Software = 3,
}

const HAS_ERROR: u32 = 1 << 10;
/// #GP(0) for an address that is not canonical, which is the trap's value.
const NON_CANONICAL: u32 = 1 << 11;

/// #GP(0) for the target of a CALL, which comes after the push.
const CALL: u32 = 1 << 12;

/// A cause without an error code.
pub const fn cause(kind: Kind, vector: u8) -> TrapCause {
    TrapCause(vector as u32 | (kind as u32) << 8)
}

/// A fault without an error code.
pub const fn fault(vector: u8) -> TrapCause {
    cause(Kind::Fault, vector)
}

/// A fault with an error code.
pub const fn fault_with(vector: u8, error: u16) -> TrapCause {
    TrapCause(fault(vector).0 | HAS_ERROR | (error as u32) << 16)
}

/// The vector of a cause.
pub const fn vector_of(cause: TrapCause) -> u8 {
    cause.0 as u8
}

/// The kind of a cause.
pub const fn kind_of(cause: TrapCause) -> Kind {
    match cause.0 >> 8 & 3 {
        0 => Kind::Fault,
        1 => Kind::Trap,
        2 => Kind::Interrupt,
        _ => Kind::Software,
    }
}

/// The error code of a cause, if it has one.
pub const fn error_of(cause: TrapCause) -> Option<u16> {
    if cause.0 & HAS_ERROR != 0 { Some((cause.0 >> 16) as u16) } else { None }
}

/// #UD.
pub const UNDEFINED: TrapCause = fault(vector::UD);
/// #GP(0).
pub const PROTECTION: TrapCause = fault_with(vector::GP, 0);
/// #DE.
pub const DIVIDE: TrapCause = fault(vector::DE);
/// #NM.
pub const NO_FPU: TrapCause = fault(vector::NM);
/// #MF.
pub const X87_ERROR: TrapCause = fault(vector::MF);
/// #AC(0).
pub const ALIGNMENT: TrapCause = fault_with(vector::AC, 0);
/// #XM.
pub const SIMD_ERROR: TrapCause = fault(vector::XM);

/// A trap that has nothing more to say than its cause.
pub const fn plain(cause: TrapCause) -> Trap {
    Trap::new(cause, 0)
}

/// #GP with a selector or 0.
pub const fn protection(error: u16) -> Trap {
    plain(fault_with(vector::GP, error))
}

/// #GP(0) or #SS(0) for a data access to an address that is not canonical: which one is found out at delivery, from how
/// the instruction forms the address.
pub const fn non_canonical(gva: Gva) -> Trap {
    Trap::new(TrapCause(PROTECTION.0 | NON_CANONICAL), gva.0)
}

/// #GP(0) for the target of a near CALL that is not canonical: at delivery what the push would raise comes first, which
/// asks nothing of calls that end well.
pub const CALL_TARGET: TrapCause = TrapCause(PROTECTION.0 | CALL);

/// Whether a trap is a [`CALL_TARGET`].
pub const fn is_call_target(cause: TrapCause) -> bool {
    cause.0 & CALL != 0
}

/// Whether a trap is a [`non_canonical`] one.
pub const fn is_non_canonical(cause: TrapCause) -> bool {
    cause.0 & NON_CANONICAL != 0
}

/// #NP of a selector.
pub const fn not_present(error: u16) -> Trap {
    plain(fault_with(vector::NP, error))
}

/// #SS with a selector or 0.
pub const fn stack_fault(error: u16) -> Trap {
    plain(fault_with(vector::SS, error))
}

/// #TS of a selector.
pub const fn invalid_tss(error: u16) -> Trap {
    plain(fault_with(vector::TS, error))
}

/// Whether a trap is a [`page_fault`].
pub const fn is_page_fault(cause: TrapCause) -> bool {
    matches!(kind_of(cause), Kind::Fault) && vector_of(cause) == vector::PF
}

/// #PF; the error code's bits are those of SDM 3A 4.7.
pub const fn page_fault(gva: Gva, error: u16) -> Trap {
    Trap::new(fault_with(vector::PF, error), gva.0)
}
