//! Helpers of instructions on MMX and vector registers: what is not an operation of the engine.

mod masked_move;
pub mod strings;

use super::{REGISTERS, helpers};
use c2w_engine::guest::HelperEffects;

helpers! { super::FIRST_VECTOR;
    /// (address, data slot | mask slot << 8, 8 or 16 bytes): stores the bytes whose mask byte is negative.
    MaskedMove = "masked_move", HelperEffects::ALL, masked_move::masked_move;
    /// (first operand | immediate << 8 | flags of [`strings`], second operand low, high): compares strings, writes
    /// the index or mask; gives the arithmetic flags.
    CompareStrings = "compare_strings", REGISTERS, strings::compare_strings;
}
