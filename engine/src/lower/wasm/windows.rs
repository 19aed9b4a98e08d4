//! How loops with windows are written ([`crate::lower::windows`]): the other writing is a loop in the plain one, and both
//! agree on what locals hold where a turn begins.
//!
//! ```text
//! loop plain
//!   block look
//!     (a turn; its way back leads to look)
//!   end
//!   (the windows are looked up; to plain if that is in vain)
//!   loop in_windows
//!     (a turn; its way back leads to in_windows if there is room for one more, else to plain)
//!   end
//! end
//! ```
//!
//! A local for each window has the place of its first byte in linear memory, and moves as it does, so that addresses need not be
//! computed. The countdown also counts these turns: another one may be made while it is not below a limit that the look has
//! set, which is never so low that a turn would not be counted in full. What calls out in them is floating-point operations
//! on unusual numbers, which reach no memory.

use super::code::aligned;
use super::function::{Frame, Lowering};
use super::memory::{push_other_entry, push_own_entry};
use crate::addr::{PAGE_BYTES, PAGE_MASK};
use crate::emit::Slot;
use crate::ir::block::Value;
use crate::lower::layout::Tag;
use crate::lower::slots::SlotSet;
use crate::lower::windows::{self, MOST, PATIENCE, Sum, TURNS, WORTHWHILE, Window};
use wasm_encoder::{BlockType, MemArg, ValType};

/// The windows of a loop that is being written.
#[derive(Clone)]
pub(super) struct Windows {
    /// Number of the block.
    block: usize,
    found: windows::Windows,
    /// Slots that operations on vectors name.
    vectors: SlotSet,
    /// Locals: where each window begins; what the countdown must not be below for another turn in them; and how many turns are
    /// made before they are looked up.
    places: Vec<u32>,
    limit: u32,
    turns: u32,
    /// Whether this is the writing that looks nothing up.
    is_open: bool,
}

impl Lowering<'_> {
    /// Writes a loop of one block if it has windows.
    pub(super) fn loop_with_windows(&mut self, block: usize) -> bool {
        let mut vectors = SlotSet::EMPTY;
        for op in self.region.blocks.iter().flat_map(|block| &block.block.ops) {
            op.for_each_vector(|Slot(first)| {
                [first, first | 1].map(Slot).into_iter().for_each(|slot| vectors.insert(slot))
            });
        }
        let mut found = windows::Windows::default();
        if !found.find(self.region, block, &|slot| vectors.contains(slot)) {
            return false;
        }
        let places: Vec<u32> = found.list.iter().map(|_| self.code.temporary(ValType::I32)).collect();
        let (limit, turns) = (self.code.temporary(ValType::I64), self.code.temporary(ValType::I32));
        self.code.put().i32_const(TURNS).local_set(turns);
        let mut windows = Windows { block, found, vectors, places, limit, turns, is_open: false };
        self.code.put().loop_(BlockType::Empty);
        self.frames.push(Frame::Loop(vec![block]));
        self.code.put().block(BlockType::Empty);
        self.frames.push(Frame::Look);
        self.windows = Some(windows.clone());
        self.block(block);
        self.end_other();
        self.look_windows_up(&windows);
        self.code.put().loop_(BlockType::Empty);
        self.frames.push(Frame::InWindows);
        windows.is_open = true;
        self.windows = Some(windows);
        self.block(block);
        self.end_other();
        self.end_other();
        let windows = self.windows.take();
        windows.iter().flat_map(Windows::locals).for_each(|local| self.code.release(local));
        true
    }

    /// The windows, if the writing at hand is the one that looks nothing up.
    fn open_windows(&self) -> Option<&Windows> {
        self.windows.as_ref().filter(|windows| windows.is_open)
    }

    /// Whether a way is one to another turn without looks.
    pub(super) fn turns_in_windows(&self, to: usize) -> bool {
        self.open_windows().is_some_and(|windows| windows.block == to)
    }

    /// Whether the writing at hand looks nothing up.
    pub(super) fn is_in_windows(&self) -> bool {
        self.open_windows().is_some()
    }

    /// Whether an operation does nothing in the writing at hand.
    pub(super) fn is_void(&self, at: usize) -> bool {
        self.open_windows().is_some_and(|windows| windows.found.is_void(at))
    }

    /// The label of a way to a block.
    pub(super) fn depth_on_way(&self, to: usize) -> u32 {
        match &self.windows {
            Some(windows) if windows.block == to && !windows.is_open => {
                self.depth(|frame| matches!(frame, Frame::Look))
            }
            _ => self.depth_of(to),
        }
    }

    /// Pushes where the window of an access begins, if that is not to be looked up, and gives how far behind the access is.
    pub(super) fn push_window(&mut self, Value(at): Value, addr: Value) -> Option<MemArg> {
        let windows = self.open_windows()?;
        let is_vector = |slot| windows.vectors.contains(slot);
        let (number, offset) = windows.found.place(self.block, at as usize, addr, &is_vector)?;
        let place = windows.places[number];
        self.code.put().local_get(place);
        Some(aligned(offset, 0))
    }

    /// Between two turns in windows: makes another one if there is room.
    pub(super) fn next_in_windows(&mut self) {
        let Some(windows) = self.windows.take() else { return };
        for (window, &place) in windows.found.list.iter().zip(&windows.places) {
            if window.step != 0 {
                self.code.put().local_get(place).i32_const(window.step as i32).i32_add().local_set(place);
            }
        }
        self.code.put().local_get(self.countdown).local_get(windows.limit).i64_ge_s();
        let depth = self.depth(|frame| matches!(frame, Frame::InWindows));
        self.code.put().br_if(depth);
        self.windows = Some(windows);
    }

    /// Between two turns of the plain writing: falls through to the other one if there is room for enough turns.
    fn look_windows_up(&mut self, windows: &Windows) {
        self.state = self.entries[windows.block];
        let (turns, limit) = (windows.turns, windows.limit);
        let plain = self.depth_of(windows.block);
        let mut put = self.code.put();
        put.local_get(turns).i32_const(1).i32_sub().local_tee(turns).i32_const(0).i32_ge_s().br_if(plain);
        put.i32_const(PATIENCE).local_set(turns);
        let room = self.code.temporary(ValType::I32);
        self.code.put().i32_const(MOST as i32).local_set(room);
        for (window, &place) in windows.found.list.iter().zip(&windows.places) {
            self.look_window_up(window, place, room, plain);
        }
        // With little room, the next look is where a page has been left: after a fixed number of turns it might be as near the end
        // of the next page.
        self.code.put().local_get(room).local_tee(turns).i32_const(WORTHWHILE).i32_lt_u();
        self.code.rarely_br_if(plain);
        // As many turns as there is room for, but not more than are left.
        let (countdown, insns) = (self.countdown, i64::from(self.region.blocks[windows.block].insns));
        let mut put = self.code.put();
        put.local_get(countdown).local_get(room).i64_extend_i32_u().i64_const(insns).i64_mul().i64_sub();
        put.local_tee(limit).i64_const(insns).local_get(limit).i64_const(insns).i64_gt_s().select();
        put.local_set(limit).local_get(countdown).local_get(limit).i64_lt_s();
        self.code.rarely_br_if(plain);
        self.code.put().i32_const(0).local_set(turns);
        self.code.release(room);
    }

    /// Finds where a window begins, and lowers `room` to how many turns behind the next one leave it in its page; to `plain` if it
    /// is in two pages, or the TLB has not that page.
    fn look_window_up(&mut self, window: &Window, place: u32, room: u32, plain: u32) {
        let (addr, wanted) = (self.code.temporary(ValType::I64), self.code.temporary(ValType::I64));
        self.push_sum(&window.address);
        let mut put = self.code.put();
        // The page of the last byte is that of the first.
        put.local_tee(addr).i64_const(window.len_bytes - 1).i64_add();
        put.i64_const(!PAGE_MASK as i64).i64_and();
        self.code.load_i64(self.layout.space(self.data_context));
        self.code.put().i64_or().local_set(wanted);
        let tag = if window.writes { Tag::Write } else { Tag::Read };
        let tag = aligned(self.layout.tag(self.data_context, tag), 3);
        let mut put = self.code.put();
        push_own_entry(&mut put, addr);
        put.local_tee(place).i64_load(tag).local_get(wanted).i64_ne();
        self.begin_other(false);
        let mut put = self.code.put();
        push_other_entry(&mut put, addr);
        put.local_tee(place).i64_load(tag).local_get(wanted).i64_ne();
        self.code.rarely_br_if(plain + 1);
        self.end_other();
        let addend = aligned(self.layout.addend(self.data_context), 2);
        let mut put = self.code.put();
        put.local_get(place).i32_load(addend).local_get(addr).i32_wrap_i64().i32_add().local_tee(place);
        if window.step == 0 {
            put.drop();
        } else {
            // Places in linear memory are as far into a page as addresses.
            put.i32_const(PAGE_MASK as i32).i32_and();
            let turns = self.code.temporary(ValType::I32);
            let mut put = self.code.put();
            put.local_set(turns);
            if window.step > 0 {
                put.i32_const((PAGE_BYTES as i64 - window.len_bytes) as i32)
                    .local_get(turns)
                    .i32_sub()
                    .local_set(turns);
            }
            put.local_get(turns).i32_const(window.step.unsigned_abs() as i32).i32_div_u().local_tee(turns);
            put.local_get(room).local_get(turns).local_get(room).i32_lt_u().select().local_set(room);
            self.code.release(turns);
        }
        self.code.release(addr);
        self.code.release(wanted);
    }

    /// Pushes a sum, of what slots hold now.
    fn push_sum(&mut self, sum: &Sum) {
        if sum.of_code {
            self.push_address(sum.number);
        } else {
            self.code.put().i64_const(sum.number);
        }
        for (slot, shift) in sum.terms.into_iter().flatten() {
            if !self.state.valid.contains(slot) {
                self.load_slot(slot);
            }
            let local = self.slots[usize::from(slot.0)];
            self.code.put().local_get(local).i64_const(shift.into()).i64_shl().i64_add();
        }
    }
}

impl Windows {
    fn locals(&self) -> impl Iterator<Item = u32> {
        self.places.iter().copied().chain([self.limit, self.turns])
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Target, lower};
    use super::*;
    use crate::addr::Width::W64;
    use crate::emit::Binary;
    use crate::ir::block::{Block, Op};
    use crate::ir::region::{Region, RegionBlock, Way, Ways};
    use crate::lower::calls::CallOut;
    use crate::lower::layout::Layout;
    use crate::lower::links::{Plan, links};

    /// The module of a loop that reads memory and moves on by 8 as often as this for each time that it is left.
    fn module(weight: u32) -> Vec<u8> {
        let slot = Slot(3);
        let ops = vec![
            Op::Insn { offset: 0, len_bytes: 4 },
            Op::Get(slot),
            Op::Load { w: W64, addr: Value(1) },
            Op::Const(8),
            Op::Binary { op: Binary::Add, w: W64, a: Value(1), b: Value(3) },
            Op::Set { slot, value: Value(4) },
            Op::BranchRelative { cond: Value(2), displacement: 0 },
        ];
        let after = vec![Op::Insn { offset: 0, len_bytes: 4 }, Op::JumpRelative { displacement: 0x100 }];
        let block = |ops: Vec<Op>, start, weight, ways| {
            let block = Block { ops, args: Vec::new(), len_bytes: 4 };
            RegionBlock { block, start, insns: 1, weight, ways }
        };
        let ways = Ways::Branch { taken: Way::Block(0), next: Way::Block(1) };
        let blocks = vec![block(ops, 0, weight, ways), block(after, 4, 1, Ways::One(Way::Out(0x104)))];
        let region = Region { blocks };
        let layout = Layout { vcpu: 0x1000, links: 0x10_0000 };
        let target = Target { layout, helpers: &[], float_environment: None };
        let plan = Plan {
            data_context: 0,
            links: links(&region),
            first_link: 0,
            jumps: Vec::new(),
            is_brief: false,
        };
        lower(&region, &target, &plan)
    }

    fn count(module: &[u8], code: [u8; 2]) -> usize {
        module.windows(2).filter(|bytes| **bytes == code).count()
    }

    /// Behind the operation code of a loop is that it has no result, behind that of a call which function is called.
    #[test]
    fn a_loop_that_walks_is_written_twice_and_calls_out_in_one_writing() {
        let [often, rarely] = [100, 1].map(module);
        const LOOP: [u8; 2] = [0x03, 0x40];
        const LOAD: [u8; 2] = [0x10, CallOut::Load as u8];
        assert_eq!((count(&often, LOOP), count(&rarely, LOOP)), (2, 1));
        assert_eq!((count(&often, LOAD), count(&rarely, LOAD)), (1, 1));
    }
}
