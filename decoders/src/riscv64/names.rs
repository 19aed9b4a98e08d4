//! How assembly spells registers, rounding modes, fence sets and floating-point constants: shared by the
//! disassembler and the assembler.

use super::lift::f::{CONSTANTS, SMALLEST_NORMAL};
use super::regs;
use c2w_engine::emit::Slot;

/// Integer registers by number (psABI "Register Convention").
pub const X: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6",
    "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

/// Floating-point registers by number.
pub const F: [&str; 32] = [
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4",
    "fa5", "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8",
    "ft9", "ft10", "ft11",
];

/// Rounding modes by number; the empty ones are reserved (Unpriv. 20.2).
pub const ROUNDING: [&str; 8] = ["rne", "rtz", "rdn", "rup", "rmm", "", "", "dyn"];

/// Suffixes of atomic instructions by their two ordering bits.
pub const ORDERING: [&str; 4] = ["", ".rl", ".aq", ".aqrl"];

/// Kinds of access that a fence orders, from bit 3 to bit 0.
pub const FENCE: [char; 4] = ['i', 'o', 'r', 'w'];

/// Name of the register in a slot.
pub fn register(slot: Slot) -> &'static str {
    match regs::f_number(slot) {
        Some(number) => F[usize::from(number)],
        None => X[usize::from(slot.0) & 31],
    }
}

/// A set of access kinds.
pub fn fence_set(bits: u32) -> String {
    let set: String =
        FENCE.iter().zip([8, 4, 2, 1]).filter(|(_, bit)| bits & bit != 0).map(|(c, _)| c).collect();
    if set.is_empty() { "0".to_owned() } else { set }
}

/// A constant of FLI.
pub fn constant(index: usize) -> String {
    if index == SMALLEST_NORMAL { "min".to_owned() } else { CONSTANTS[index].to_string().to_lowercase() }
}
