//! Windows: the memory that a loop walks through, looked up once for as many turns as stay in it.
//!
//! A loop that is one block is written twice if each of its accesses moves by what is known from turn to turn. After a few
//! turns of the plain writing all windows are looked up: the bytes of accesses that keep their distance. Where each lies
//! in one page, that says how many turns leave it there, and so many are made by the other writing. Its accesses neither
//! look anything up nor call out. Then one turn is made by the plain writing, whatever it meets, and so on.
//!
//! Invariant: between a look and the last turn that it was made for nothing runs that could change the TLB. An operation that
//! only computes may call out for that.
//!
//! Here is which loops have windows, and which these are. How they are written is each lowering's.

mod sum;
#[cfg(test)]
mod tests;

use crate::emit::{Binary, Slot};
use crate::ir::block::{Op, Value};
use crate::ir::region::{Region, RegionBlock, Way, Ways};
pub(super) use sum::Sum;
use sum::Walk;

/// Turns in front of the first look: many loops make no more.
pub(super) const TURNS: i32 = 3;
/// Turns in front of the next look after one that was in vain.
pub(super) const PATIENCE: i32 = 8;
/// Turns behind the next one that are worth a look.
pub(super) const WORTHWHILE: i32 = 4;
/// Turns without a further look if nothing moves.
pub(super) const MOST: u32 = 1 << 20;
/// Most windows of a loop.
pub(super) const WINDOWS: usize = 8;
/// Most bytes of a window.
const REACH: i64 = 256;
/// Most bytes that a window moves in a turn: with more a page is left too soon.
const STEP: i64 = 512;
/// No window.
const NONE: u8 = u8::MAX;
/// A trap that would have occurred in the turn before.
const VOID: u8 = NONE - 1;

/// Bytes of accesses that keep their distance from each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Of the first byte.
    pub address: Sum,
    pub len_bytes: i64,
    pub writes: bool,
    /// How far it moves in a turn.
    pub step: i64,
}

/// The windows of a loop.
#[derive(Clone, Default)]
pub(super) struct Windows {
    /// For each operation of the block the number of its window, [`NONE`] or [`VOID`].
    of: Vec<u8>,
    pub list: Vec<Window>,
}

impl Windows {
    /// Finds those of a block; whether it is a loop that is to be written twice. `is_vector` says which slots operations on
    /// vectors name: addresses are not made of those.
    pub fn find(&mut self, region: &Region, index: usize, is_vector: &dyn Fn(Slot) -> bool) -> bool {
        let block = &region.blocks[index];
        is_conditional_loop(block, index)
            && region.turns_often(index)
            && self.find_all(Walk { of: block, is_vector }).is_some()
    }

    fn find_all(&mut self, walk: Walk<'_>) -> Option<()> {
        self.of.clear();
        self.of.resize(walk.of.block.ops.len(), NONE);
        self.list.clear();
        for (at, op) in walk.of.block.ops.iter().enumerate() {
            let (addr, len_bytes, writes) = match *op {
                Op::Load { w, addr } => (addr, w.bytes() as i64, false),
                Op::LoadToModify { w, addr } | Op::Store { w, addr, .. } => (addr, w.bytes() as i64, true),
                Op::VectorLoad { len_bytes, addr, .. } => (addr, len_bytes.into(), false),
                Op::VectorStore { len_bytes, addr, .. } => (addr, len_bytes.into(), true),
                Op::TrapIf { cond, .. } => {
                    if is_the_same_in_every_turn(walk, cond) {
                        self.of[at] = VOID;
                    }
                    continue;
                }
                Op::LookIf { .. } | Op::Helper { .. } | Op::Trap { .. } => return None,
                op if op.accesses_memory() => return None,
                _ => continue,
            };
            self.of[at] = self.add(walk, addr, len_bytes, writes)?;
        }
        (!self.list.is_empty()).then_some(())
    }

    /// Enters an access; gives the number of its window.
    fn add(&mut self, walk: Walk<'_>, addr: Value, len_bytes: i64, writes: bool) -> Option<u8> {
        let address = walk.sum_of(addr)?;
        // Sums of windows are made with immediates.
        i32::try_from(address.number).ok()?;
        for (number, window) in self.list.iter_mut().enumerate() {
            let first = window.address.number.min(address.number);
            let end = (window.address.number + window.len_bytes).max(address.number + len_bytes);
            if window.address.without_number() == address.without_number() && end - first <= REACH {
                window.address.number = first;
                window.len_bytes = end - first;
                window.writes |= writes;
                return Some(number as u8);
            }
        }
        if self.list.len() == WINDOWS {
            return None;
        }
        let step = walk.step_of(&address).filter(|step| step.abs() <= STEP)?;
        self.list.push(Window { address, len_bytes, writes, step });
        Some(self.list.len() as u8 - 1)
    }

    /// The window of an access of the block, and how far behind its first byte that is.
    pub fn place(
        &self,
        block: &RegionBlock,
        at: usize,
        addr: Value,
        is_vector: &dyn Fn(Slot) -> bool,
    ) -> Option<(usize, u32)> {
        let number = self.of(at)?;
        let address = Walk { of: block, is_vector }.sum_of(addr)?;
        let offset = address.number.wrapping_sub(self.list[number].address.number);
        Some((number, u32::try_from(offset).ok()?))
    }

    /// Number of the window of an access.
    pub fn of(&self, at: usize) -> Option<usize> {
        Some(usize::from(self.of[at])).filter(|&number| number < self.list.len())
    }

    /// Whether an operation does nothing here.
    pub fn is_void(&self, at: usize) -> bool {
        self.of[at] == VOID
    }
}

/// Whether a block leads to itself, on a condition.
fn is_conditional_loop(block: &RegionBlock, index: usize) -> bool {
    matches!(block.ways, Ways::Branch { taken, next } if (taken == Way::Block(index)) != (next == Way::Block(index)))
}

/// Whether a condition for a trap asks for low bits of an address that are the same in every turn: it did not hold in the
/// turn before.
fn is_the_same_in_every_turn(walk: Walk<'_>, cond: Value) -> bool {
    let block = &walk.of.block;
    let Op::Binary { op: Binary::And, a, b, .. } = *block.definition(cond) else { return false };
    let (Some(mask), Some(sum)) = (block.constant(b), walk.sum_of(a)) else { return false };
    let bits = mask.wrapping_add(1);
    bits.is_power_of_two() && walk.step_of(&sum).is_some_and(|step| step as u64 & mask == 0)
}
