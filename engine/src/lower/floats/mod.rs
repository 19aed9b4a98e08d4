//! Floating-point operations in line, for hosts whose code cannot see the processor's flags: which instructions each one is,
//! and how it is known that they give what the guest's operation gives.
//!
//! The guest's environment is *plain* while it rounds to nearest, flushes nothing to zero and has raised inexact already. An
//! operation there raises nothing more as long as its operands and its result are ordinary numbers, which is checked around
//! it. Whatever is not so is done by a call-out, from the operands, once more: nothing is written before every check. The
//! first inexact result of a program is such a case, and makes the environment plain.
//!
//! What a check has found is remembered, so that chains of operations check each number once. It holds as long as no operation
//! has called out: a local says that, too, besides whether the environment is plain, so that the others call out with it
//! ([`Known`]) until it is looked again: in the next block, or, where that begins with what was known before it, at the next
//! head of a loop (`flow`).

mod checks;
mod compute;
mod convert;
mod flow;
mod known;

pub(super) use checks::look_again;
pub(super) use compute::{extract, insert, vector};
pub(super) use flow::known_at_entries;
pub(super) use known::Known;

use super::moves::Bytes;
use crate::emit::Slot;

/// The numbers that an operation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The single in the low 32 bits of a pair of slots.
    S,
    /// The double in the low half.
    D,
    /// Four singles.
    S4,
    /// Two doubles.
    D2,
}

impl Form {
    pub(super) const fn is_vector(self) -> bool {
        matches!(self, Form::S4 | Form::D2)
    }

    pub(super) const fn is_single(self) -> bool {
        matches!(self, Form::S | Form::S4)
    }

    /// The highest exponent field, that of infinities and NaNs.
    const fn highest_exponent(self) -> i64 {
        if self.is_single() { 0xff } else { 0x7ff }
    }

    /// How far the bits without the sign are shifted to the right for the exponent field.
    const fn exponent_shift(self) -> u32 {
        if self.is_single() { 24 } else { 53 }
    }
}

/// Arithmetic on two numbers. All of it rounds to nearest, as every host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Two {
    Add,
    Sub,
    Mul,
    Div,
    /// The first if it is less, else the second.
    Less,
    /// The first if it is greater, else the second.
    Greater,
    /// The lesser of two that are no NaNs; of zeros the negative one. Of scalars only, like the next one.
    Minimum,
    Maximum,
}

/// Arithmetic on one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum One {
    Sqrt,
    Abs,
    Negate,
    Nearest,
    Floor,
    Ceil,
    Truncate,
}

/// Comparisons of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Less,
    LessOrEqual,
    /// Either is a NaN.
    Unordered,
}

/// Conversions of vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    /// Of the two low ones.
    SinglesToDoubles,
    /// To the two low ones; the others become zero.
    DoublesToSingles,
    IntegersToSingles,
    /// Of the two low ones.
    IntegersToDoubles,
    /// By truncation; they are in range.
    SinglesToIntegers,
    /// To the two low ones, likewise.
    DoublesToIntegers,
}

/// The instructions of a host. Conditions are values, too: of scalars one, of vectors one for each lane.
pub(super) trait FloatCode: Sized {
    /// A value that the function being written has computed.
    type Value: Copy;

    /// What is known in this block.
    fn known(&mut self) -> &mut Known;
    /// Whether there are instructions for [`One::Nearest`] and its like.
    fn rounds(&self) -> bool;
    /// Whether there is an instruction that multiplies and adds.
    fn fuses(&self) -> bool;

    /// Sets the block's local to whether the environment, masked, is another number than this.
    fn look(&mut self, mask: u64, plain: u64);
    /// That local.
    fn is_slow(&mut self) -> Self::Value;
    /// Sets that local besides if a condition holds for any lane.
    fn slow_if(&mut self, form: Form, condition: Self::Value);
    /// Calls out for the operation if a condition holds for any lane, which it hardly ever does.
    fn leave_if(&mut self, form: Form, condition: Self::Value);
    /// Writes what is done if a condition holds for any lane, which it hardly ever does.
    fn rarely(&mut self, form: Form, condition: Self::Value, write: impl FnOnce(&mut Self));

    /// Numbers of a pair of slots.
    fn read(&mut self, form: Form, slot: Slot) -> Self::Value;
    /// Writes numbers to the pair `to`; what they leave is that of `rest`.
    fn write(&mut self, form: Form, to: Slot, rest: Slot, value: Self::Value);
    /// Writes a number that is alone in its pair of slots, a single in its box.
    fn write_alone(&mut self, form: Form, to: Slot, value: Self::Value);
    /// Whether what is above a single is no box.
    fn has_no_box(&mut self, slot: Slot) -> Self::Value;

    /// A number in every lane.
    fn constant(&mut self, form: Form, number: f64) -> Self::Value;
    fn two(&mut self, op: Two, form: Form, a: Self::Value, b: Self::Value) -> Self::Value;
    fn one(&mut self, op: One, form: Form, a: Self::Value) -> Self::Value;
    /// `a` times `b` plus `c`, rounded once.
    fn fused(&mut self, form: Form, numbers: [Self::Value; 3]) -> Self::Value;
    fn relation(&mut self, relation: Relation, form: Form, a: Self::Value, b: Self::Value) -> Self::Value;

    /// The bits of numbers, in integers of the same width.
    fn bits(&mut self, form: Form, value: Self::Value) -> Self::Value;
    fn shift_left(&mut self, form: Form, bits: Self::Value, by: u32) -> Self::Value;
    /// Zeros come in.
    fn shift_right(&mut self, form: Form, bits: Self::Value, by: u32) -> Self::Value;
    fn add_integer(&mut self, form: Form, bits: Self::Value, number: i64) -> Self::Value;
    fn and_integer(&mut self, form: Form, bits: Self::Value, number: i64) -> Self::Value;
    fn equals_integer(&mut self, form: Form, bits: Self::Value, number: i64) -> Self::Value;
    /// As signed numbers.
    fn exceeds_integer(&mut self, form: Form, bits: Self::Value, number: i64) -> Self::Value;

    fn either(&mut self, form: Form, a: Self::Value, b: Self::Value) -> Self::Value;
    fn both(&mut self, form: Form, a: Self::Value, b: Self::Value) -> Self::Value;
    fn not(&mut self, form: Form, condition: Self::Value) -> Self::Value;
    /// Numbers of ones where a condition holds, else of zeros.
    fn mask(&mut self, form: Form, condition: Self::Value) -> Self::Value;
    /// The condition as a 64-bit integer with this number for yes.
    fn integer(&mut self, condition: Self::Value, yes: u64) -> Self::Value;
    /// Of 64-bit integers.
    fn or(&mut self, a: Self::Value, b: Self::Value) -> Self::Value;

    fn single_to_double(&mut self, value: Self::Value) -> Self::Value;
    fn double_to_single(&mut self, value: Self::Value) -> Self::Value;
    /// From the low 32 bits, or from all 64 bits, of an integer.
    fn integer_to_number(
        &mut self,
        form: Form,
        wide: bool,
        signed: bool,
        integer: Self::Value,
    ) -> Self::Value;
    /// To a signed integer of 32 bits, zero-extended, or of 64 bits, by truncation; it is in range.
    fn number_to_integer(&mut self, form: Form, wide: bool, value: Self::Value) -> Self::Value;
    fn convert(&mut self, conversion: Conversion, value: Self::Value) -> Self::Value;
    /// Bytes of two vectors.
    fn shuffled(&mut self, form: Form, a: Self::Value, b: Self::Value, bytes: Bytes) -> Self::Value;
}
