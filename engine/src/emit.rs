//! The words instruction meanings are written in.
//!
//! A lift is a function generic over [`Emit`]. Run over live state it executes at once (`Eager`); run over a
//! recorder it writes IR. Decode-time facts are Rust values in a lift; run-time facts are [`Emit::Val`], which
//! cannot be branched on. In one instruction every access that may trap precedes every register write.
//!
//! Values are 64 bits. An operation of width `w` reads the low `w` bits of its operands and gives a result whose
//! higher bits are zero; the exact meaning of each is in [`crate::ir::eval`].

use crate::addr::Width;
use crate::guest::{HelperId, TrapCause};
pub use crate::ir::ops::{Amo, Binary, Cond, Unary};
pub use crate::ir::vector::{VectorExtract, VectorInsert, VectorOp};
use serde::{Deserialize, Serialize};

/// Number of guest register slots in the vCPU state.
pub const SLOTS: usize = 256;

/// A 64-bit cell of the vCPU state: a guest register. What each holds is the guest's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u8);

macro_rules! binary_words {
    ($($(#[$doc:meta])* $name:ident = $op:ident;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        fn $name(&mut self, w: Width, a: Self::Val, b: Self::Val) -> Self::Val {
            self.binary(Binary::$op, w, a, b)
        }
    )*};
}

macro_rules! unary_words {
    ($($(#[$doc:meta])* $name:ident = $op:ident;)*) => {$(
        $(#[$doc])*
        #[inline(always)]
        fn $name(&mut self, w: Width, a: Self::Val) -> Self::Val {
            self.unary(Unary::$op, w, a)
        }
    )*};
}

/// A builder that instruction meanings are written against.
pub trait Emit {
    /// A run-time value of the guest.
    type Val: Copy;
    /// Why an instruction ended early. Lifts only pass it on with `?`.
    type Stop;
    /// True for builders that record rather than execute: lets shared words fold decode-time facts that the
    /// interpreter is faster without.
    const RECORDS: bool;

    /// The number that a value is in every run of the code, if the builder can tell. A lift may use it to say the same
    /// thing in fewer words (which operation the flags are of), never to say another thing.
    #[inline(always)]
    fn known(&self, _value: Self::Val) -> Option<u64> {
        None
    }

    /// A constant.
    fn imm(&mut self, value: u64) -> Self::Val;
    /// Reads a guest register.
    fn get(&mut self, slot: Slot) -> Self::Val;
    /// Writes a guest register.
    fn set(&mut self, slot: Slot, value: Self::Val);
    /// Address of this instruction.
    fn pc(&mut self) -> Self::Val;

    /// A two-operand operation.
    fn binary(&mut self, op: Binary, w: Width, a: Self::Val, b: Self::Val) -> Self::Val;
    /// A one-operand operation.
    fn unary(&mut self, op: Unary, w: Width, a: Self::Val) -> Self::Val;
    /// 1 if the condition holds between the low `w` bits of `a` and `b`, else 0.
    fn compare(&mut self, cond: Cond, w: Width, a: Self::Val, b: Self::Val) -> Self::Val;
    /// `a` if `cond` is not 0, else `b`.
    fn select(&mut self, cond: Self::Val, a: Self::Val, b: Self::Val) -> Self::Val;

    /// Reads memory, zero-extended.
    fn load(&mut self, w: Width, addr: Self::Val) -> Result<Self::Val, Self::Stop>;
    /// Reads memory that this instruction will write, zero-extended: it must be writable now. A lift that may still
    /// end otherwise says this instead of a store that comes too late.
    fn load_to_modify(&mut self, w: Width, addr: Self::Val) -> Result<Self::Val, Self::Stop>;
    /// Traps if a write of `len_bytes` (at most a page) that goes beyond the page of `addr` cannot be made. An instruction
    /// that stores in pieces says this before the first one, which answers for its own page if there is only that.
    fn check_crossing_write(&mut self, addr: Self::Val, len_bytes: u16) -> Result<(), Self::Stop>;
    /// Writes the low bits of `value` to memory.
    fn store(&mut self, w: Width, addr: Self::Val, value: Self::Val) -> Result<(), Self::Stop>;
    /// Atomically combines memory with `value`; gives the old content, zero-extended.
    fn amo(&mut self, op: Amo, w: Width, addr: Self::Val, value: Self::Val) -> Result<Self::Val, Self::Stop>;
    /// Atomically replaces memory by `new` if it equals `expected`; gives the old content, zero-extended. Memory
    /// must be writable even when it differs.
    fn compare_exchange(
        &mut self,
        w: Width,
        addr: Self::Val,
        expected: Self::Val,
        new: Self::Val,
    ) -> Result<Self::Val, Self::Stop>;
    /// Reads memory, zero-extended, and reserves it for [`Emit::store_conditional`].
    fn load_reserved(&mut self, w: Width, addr: Self::Val) -> Result<Self::Val, Self::Stop>;
    /// Writes memory if the reservation still holds; gives 0 if it did and 1 if not. Ends the reservation.
    fn store_conditional(
        &mut self,
        w: Width,
        addr: Self::Val,
        value: Self::Val,
    ) -> Result<Self::Val, Self::Stop>;
    /// Orders every earlier memory access before every later one.
    fn fence(&mut self);

    /// Reads 4, 8 or 16 bytes of memory at any alignment into a pair of slots, `to` and the next one, zero-extended. Where
    /// it goes beyond a page both are read as a whole.
    fn vector_load(&mut self, len_bytes: u8, to: Slot, addr: Self::Val) -> Result<(), Self::Stop>;
    /// Writes the low 4, 8 or 16 bytes of a pair of slots to memory at any alignment, all or nothing.
    fn vector_store(&mut self, len_bytes: u8, addr: Self::Val, from: Slot) -> Result<(), Self::Stop>;
    /// The pair of slots from `to` on becomes the result of an operation on the pairs from `a` and `b` on. Pairs start at even
    /// numbers.
    fn vector(&mut self, op: VectorOp, imm: u8, to: Slot, a: Slot, b: Slot);
    /// The pair of slots from `to` on becomes the result of an operation on it and a number.
    fn vector_insert(&mut self, op: VectorInsert, imm: u8, to: Slot, value: Self::Val);
    /// The result of an operation on two pairs of slots that is a number.
    fn vector_extract(&mut self, op: VectorExtract, a: Slot, b: Slot) -> Self::Val;

    /// The guest's [`crate::guest::Guest::FLOAT_ENVIRONMENT`], as the operations before have left it.
    fn float_environment(&mut self) -> Self::Val;

    /// Calls a guest-defined function over the whole state; at most four arguments.
    fn helper(&mut self, id: HelperId, args: &[Self::Val]) -> Result<Self::Val, Self::Stop>;
    /// Has the run loop look at interrupts behind this instruction, which ends a block, if `cond` is not 0.
    fn look_if(&mut self, cond: Self::Val);
    /// Ends the instruction with a guest exception.
    fn trap(&mut self, cause: TrapCause, value: Self::Val) -> Self::Stop;
    /// Ends the instruction with a guest exception if `cond` is not 0.
    fn trap_if(&mut self, cond: Self::Val, cause: TrapCause, value: Self::Val) -> Result<(), Self::Stop>;

    /// Continues at `target`: an indirect jump. The last word of a block's last instruction.
    fn jump(&mut self, target: Self::Val);
    /// Continues at this instruction's address plus `displacement`.
    fn jump_relative(&mut self, displacement: i64);
    /// Continues at this instruction's address plus `displacement` if `cond` is not 0, else at the next one.
    fn branch_relative(&mut self, cond: Self::Val, displacement: i64);

    binary_words! {
        /// Sum.
        add = Add;
        /// Difference.
        sub = Sub;
        /// Low half of the product.
        mul = Mul;
        /// Bitwise and.
        and = And;
        /// Bitwise or.
        or = Or;
        /// Bitwise exclusive or.
        xor = Xor;
        /// Left shift; the count is taken modulo the width.
        shl = Shl;
        /// Right shift that shifts in zeros; the count is taken modulo the width.
        shr = ShrU;
        /// Right shift that shifts in the sign; the count is taken modulo the width.
        sar = ShrS;
        /// Left rotation; the count is taken modulo the width.
        rotl = Rotl;
        /// Right rotation; the count is taken modulo the width.
        rotr = Rotr;
    }
    unary_words! {
        /// The low `w` bits, zero-extended.
        zext = Zext;
        /// The low `w` bits, sign-extended to 64.
        sext = Sext;
    }
}
