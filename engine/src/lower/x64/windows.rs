//! Windows: the memory that a loop walks through, looked up once for as many turns as stay in it.
//!
//! A loop that is one block is written twice if each of its accesses moves by what is known from turn to turn. After a few
//! turns of the plain writing all windows are looked up: the bytes of accesses that keep their distance. Where each lies
//! in one page, that says how many turns leave it there, and so many are made by the other writing. Its accesses neither
//! look anything up nor call out, so that slots need not be right in front of them. Then one turn is made by the plain
//! writing, whatever it meets, and so on.
//!
//! Invariant: between a look and the last turn that it was made for nothing runs that could change the TLB.

mod emit;
mod sum;
#[cfg(test)]
mod tests;

use super::cold::Kept;
use super::plan::{Plan, is_site};
use crate::emit::Binary;
use crate::ir::block::{Op, Value};
use crate::ir::region::{Region, RegionBlock, Way, Ways};
use crate::vcpu::SPILLS;
use sum::{Sum, step_of, sum_of};

/// Most windows of a loop.
const WINDOWS: usize = 8;
/// Most bytes of a window.
const REACH: i64 = 256;
/// Most bytes that a window moves in a turn: with more a page is left too soon.
const STEP: i64 = 512;
/// How often a loop has to turn for each time that it is entered, as far as is known.
const REPEATED: u64 = 8;
/// Number of the place that counts down the turns that are left.
const ROOM_PLACE: u16 = SPILLS as u16 - 2;
/// Places that are not for values while windows are open, from this one on.
const FIRST_PLACE: usize = SPILLS - 2 - WINDOWS;
/// Registers that are left to values.
const TEMPS: usize = 4;
/// No window.
const NONE: u8 = u8::MAX;
/// A trap that would have occurred in the turn before.
const VOID: u8 = NONE - 1;

/// Whether a condition for a trap asks for low bits of an address that are the same in every turn: it did not hold in the
/// turn before.
fn is_the_same_in_every_turn(of: &RegionBlock, plan: &Plan, cond: Value) -> bool {
    let Op::Binary { op: Binary::And, a, b, .. } = *of.block.definition(cond) else { return false };
    let (Some(mask), Some(sum)) = (of.block.constant(b), sum_of(of, plan, a)) else { return false };
    let bits = mask.wrapping_add(1);
    bits.is_power_of_two() && step_of(of, plan, &sum).is_some_and(|step| step as u64 & mask == 0)
}

/// Bytes of accesses that keep their distance from each other.
#[derive(Clone, Copy, Debug)]
struct Window {
    /// Of the first byte.
    address: Sum,
    len_bytes: i64,
    writes: bool,
    /// How far it moves in a turn.
    step: i64,
    /// Where the distance from the guest's address to the host's is.
    kept: Kept,
}

/// The windows of a loop.
#[derive(Default)]
pub(super) struct Windows {
    /// For each operation of the block the number of its window, [`NONE`] or [`VOID`].
    of: Vec<u8>,
    list: Vec<Window>,
    room: Kept,
}

impl Windows {
    /// Finds those of a block; whether it is a loop that is to be written twice.
    pub fn find(&mut self, region: &Region, index: usize, plan: &Plan) -> bool {
        let block = &region.blocks[index];
        is_loop(block, index) && turns_often(region, index) && self.find_all(block, plan).is_some()
    }

    fn find_all(&mut self, of: &RegionBlock, plan: &Plan) -> Option<()> {
        self.of.clear();
        self.of.resize(of.block.ops.len(), NONE);
        self.list.clear();
        for (at, op) in of.block.ops.iter().enumerate() {
            let (addr, len_bytes, writes) = match *op {
                Op::Load { w, addr } => (addr, w.bytes() as i64, false),
                Op::LoadToModify { w, addr } | Op::Store { w, addr, .. } => (addr, w.bytes() as i64, true),
                Op::VectorLoad { len_bytes, addr, .. } => (addr, len_bytes.into(), false),
                Op::VectorStore { len_bytes, addr, .. } => (addr, len_bytes.into(), true),
                Op::TrapIf { cond, .. } => {
                    if is_the_same_in_every_turn(of, plan, cond) {
                        self.of[at] = VOID;
                    }
                    continue;
                }
                Op::LookIf { .. } => return None,
                op if is_site(&op) => return None,
                _ => continue,
            };
            self.of[at] = self.add(of, plan, addr, len_bytes, writes)?;
        }
        if self.list.is_empty() {
            return None;
        }
        self.keep(plan);
        Some(())
    }

    /// Enters an access; gives the number of its window.
    fn add(
        &mut self,
        of: &RegionBlock,
        plan: &Plan,
        addr: Value,
        len_bytes: i64,
        writes: bool,
    ) -> Option<u8> {
        let address = sum_of(of, plan, addr)?;
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
        let step = step_of(of, plan, &address).filter(|step| step.abs() <= STEP)?;
        self.list.push(Window { address, len_bytes, writes, step, kept: Kept::Nowhere });
        Some(self.list.len() as u8 - 1)
    }

    /// Decides where distances and the count of turns are: registers that are nobody's home, or memory.
    fn keep(&mut self, plan: &Plan) {
        let mut registers = plan.temps[TEMPS..].iter().map(|&reg| Kept::Reg(reg));
        for (number, window) in self.list.iter_mut().enumerate() {
            window.kept = registers.next().unwrap_or(Kept::Spill((FIRST_PLACE + number) as u16));
        }
        self.room = registers.next().unwrap_or(Kept::Spill(ROOM_PLACE));
    }

    /// Where the distance of an access is.
    pub fn kept(&self, at: u32) -> Kept {
        self.list.get(usize::from(self.of[at as usize])).map_or(Kept::Nowhere, |window| window.kept)
    }

    /// Whether an operation does not leave here.
    pub fn is_calm(&self, at: usize) -> bool {
        self.of[at] != NONE
    }

    /// Whether an operation does nothing here.
    pub fn is_void(&self, at: usize) -> bool {
        self.of[at] == VOID
    }

    /// Takes registers and places out of those that are for values.
    pub fn reserve(&self, refs: &mut [u8; 16], spills: &mut [u8; SPILLS]) {
        spills[FIRST_PLACE..].fill(1);
        for kept in self.list.iter().map(|window| window.kept).chain([self.room]) {
            if let Kept::Reg(reg) = kept {
                refs[usize::from(reg.0)] = 1;
            }
        }
    }
}

/// Whether a block leads to itself, on a condition.
fn is_loop(block: &RegionBlock, index: usize) -> bool {
    matches!(block.ways, Ways::Branch { taken, next } if (taken == Way::Block(index)) != (next == Way::Block(index)))
}

/// Whether a loop is likely to turn many times when it is entered: it is left as often, and entered no more often than what
/// leads to it runs. Nobody knows what leads to the region's first block, or how often what is out of the region runs.
fn turns_often(region: &Region, index: usize) -> bool {
    let block = &region.blocks[index];
    let (mut entered, mut left) = (0, 0);
    for (from, before) in region.blocks.iter().enumerate() {
        before.ways.for_each(|way| {
            if from != index && way == Way::Block(index) {
                entered += u64::from(before.weight);
            }
        });
    }
    block.ways.for_each(|way| {
        if let Way::Block(to) = way
            && to != index
        {
            left = u64::from(region.blocks[to].weight);
        }
    });
    let bounds = [(index != 0).then_some(entered), (left != 0).then_some(left)];
    bounds.into_iter().flatten().min().is_none_or(|times| u64::from(block.weight) >= REPEATED * times)
}
