//! Which vCPU slot holds which riscv64 register, and what the bits of the code mode mean.

use c2w_engine::emit::Slot;
use c2w_engine::guest::Mode;

/// Where writes to x0 go. Nothing reads it.
pub const SINK: Slot = Slot(32);
/// Accrued exceptions and the direction of rounding, in the form of x86's MXCSR ([`super::float_env`]).
pub const FLOAT_ENVIRONMENT: Slot = Slot(96);
/// Dynamic rounding mode (`frm`, Unpriv. 20.2).
pub const FRM: Slot = Slot(97);
/// The first floating-point register.
const FIRST_F: u8 = 128;

/// Slot of integer register `number`, 0 to 31, for reading. Slot 0 is never written, so x0 reads as zero.
#[inline(always)]
pub const fn x(number: u8) -> Slot {
    Slot(number & 31)
}

/// Slot of floating-point register `number`, 0 to 31. Narrow values are NaN-boxed in it. The next slot makes a pair of it,
/// which operations on vectors may name; it is always zero.
#[inline(always)]
pub const fn f(number: u8) -> Slot {
    Slot(FIRST_F + 2 * (number & 31))
}

/// Number of the floating-point register that lives in `slot`.
pub const fn f_number(slot: Slot) -> Option<u8> {
    if slot.0 >= FIRST_F && slot.0.is_multiple_of(2) && slot.0 < FIRST_F + 64 {
        Some((slot.0 - FIRST_F) / 2)
    } else {
        None
    }
}

/// Privilege level (Priv. 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum Privilege {
    /// User.
    User = 0,
    /// Supervisor.
    Supervisor = 1,
    /// Machine.
    Machine = 3,
}

/// State of the floating-point unit as far as decoded code depends on it (`mstatus.FS`, Priv. 3.1.6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FpState {
    /// Floating-point instructions are illegal.
    Off = 0,
    /// The next floating-point instruction that writes state makes it dirty.
    Clean = 1,
    /// Nothing to note.
    Dirty = 2,
}

/// Mode of code: privilege in bits 0 and 1, floating-point state in bits 2 and 3, `frm` in bits 4 to 6.
pub const fn mode(privilege: Privilege, fp: FpState, frm: u8) -> Mode {
    Mode(privilege as u16 | (fp as u16) << 2 | ((frm & 7) as u16) << 4)
}

/// The dynamic rounding mode in a mode.
pub const fn mode_rounding(mode: Mode) -> u8 {
    (mode.0 >> 4 & 7) as u8
}

/// The privilege in a mode.
pub const fn mode_privilege(mode: Mode) -> Privilege {
    match mode.0 & 3 {
        0 => Privilege::User,
        1 => Privilege::Supervisor,
        _ => Privilege::Machine,
    }
}

/// The floating-point state in a mode.
pub const fn mode_fp(mode: Mode) -> FpState {
    match mode.0 >> 2 & 3 {
        0 => FpState::Off,
        1 => FpState::Clean,
        _ => FpState::Dirty,
    }
}
