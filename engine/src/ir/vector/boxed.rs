//! Floating-point numbers alone in their registers: the low half of a pair of slots, whose high half is zero.
//!
//! A single is in a box: the bits above it are ones, which makes the register a NaN for whoever reads it as a double. What
//! reads a single takes a register without a box for the canonical NaN. Operations whose results are such numbers deliver
//! the canonical NaN wherever their result is a NaN. (RISC-V Unpriv. 20.3 and 21.2.)

use super::Vector;

/// The canonical NaN of singles.
pub const NAN_S: u32 = 0x7fc0_0000;
/// The canonical NaN of doubles.
pub const NAN_D: u64 = 0x7ff8_0000_0000_0000;
/// The bits of a box.
pub const BOX: u64 = 0xffff_ffff_0000_0000;

/// A register with the single in the low bits of a number.
#[inline(always)]
pub const fn boxed(low: u64) -> Vector {
    [low | BOX, 0]
}

/// The single in a register.
#[inline(always)]
pub const fn unboxed(register: u64) -> u32 {
    if register >= BOX { register as u32 } else { NAN_S }
}
