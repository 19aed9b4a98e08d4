//! From a region to one wasm function: its blocks in the order of its shape, the ways between them as branches.

use super::Target;
use super::code::Code;
use super::floats::Floats;
use super::memory::may_ask;
use super::uses::Uses;
use super::windows::Windows;
use crate::emit::{SLOTS, Slot};
use crate::guest::HelperInfo;
use crate::ir::block::{Block, Op, Value};
use crate::ir::region::{Region, RegionBlock, Way, Ways};
use crate::lower::calls::Reason;
use crate::lower::floats::{Known, known_at_entries};
use crate::lower::layout::Layout;
use crate::lower::links::{Plan, is_linked};
use crate::lower::shape::{Loop, Part, shape};
use crate::lower::slots::{SlotState, at_entries};
use wasm_encoder::{BlockType, ValType};

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// It is this number.
    Const(u64),
    /// It is the address this far from the page's.
    Pc(i64),
    /// It is computed where it is used.
    AtUse,
    /// In a local.
    Local(u32),
    /// In a slot's local.
    Slot(u32),
    /// The operation was not reached yet, or defines nothing.
    Nowhere,
}

/// What a branch can lead to, innermost last.
pub(super) enum Frame {
    /// Before the end: the parts that are entered by these blocks follow.
    Block(Vec<usize>),
    /// The start of a loop with these heads.
    Loop(Vec<usize>),
    /// Behind the end the windows of the loop around it are looked up.
    Look,
    /// The start of a loop's writing in windows.
    InWindows,
    /// Any other nesting.
    Other,
    /// Behind the end a jump target is looked up.
    LookUp,
    /// Behind the end the same is done, or the region is left, as a call-out asked for.
    Asked,
    /// Behind the end the region is left.
    Leave,
}

/// A function being written.
pub(super) struct Lowering<'a> {
    pub(super) code: Code,
    pub(super) layout: Layout,
    pub(super) data_context: usize,
    pub(super) helpers: &'static [HelperInfo],
    pub(super) float_environment: Option<Slot>,
    /// Distances from the page of the targets that have link cells.
    pub(super) links: &'a [i64],
    /// Number of the first one's cell, from that of the module's first.
    pub(super) first_link: u32,
    /// Numbers of the blocks that indirect jumps may lead to.
    pub(super) jumps: &'a [usize],
    /// Loads and stores call out, to a function that looks into the TLB.
    pub(super) is_brief: bool,
    /// The block being written, and its operations' values.
    pub(super) block: &'a RegionBlock,
    pub(super) uses: Uses,
    pub(super) places: Vec<Place>,
    /// Address of the current instruction in bytes from the page, and its number in the block.
    pub(super) at: i64,
    pub(super) insn: u32,
    pub(super) state: SlotState,
    pub(super) floats: Floats,
    /// A call-out in this block may ask to leave, and nothing has looked since.
    pub(super) must_look: bool,
    /// Local of each slot.
    pub(super) slots: Box<[u32; SLOTS]>,
    /// Local of each pair of slots that was asked for.
    pub(super) pairs: Box<[Option<u32>; SLOTS / 2]>,
    /// Instructions that may still retire.
    pub(super) countdown: u32,
    /// Where the region is left to, and why.
    pub(super) target: u32,
    pub(super) reason: u32,
    /// Number of the function that multiplies polynomials, and whether it is called.
    pub(super) polynomials: u32,
    pub(super) multiplies_polynomials: bool,
    pub(super) region: &'a Region,
    pub(super) entries: Vec<SlotState>,
    /// What is known of numbers where each block begins.
    pub(super) known: Vec<Known>,
    pub(super) frames: Vec<Frame>,
    /// Those of the loop being written, if it has some.
    pub(super) windows: Option<Windows>,
    /// For each block that is one of a loop's several heads, which.
    head_number: Vec<Option<u32>>,
    is_head: Vec<bool>,
    /// Number of the head that a loop's dispatcher continues at.
    head: Option<u32>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        region: &'a Region,
        target: &Target,
        plan: &'a Plan,
        first_link: u32,
        polynomials: u32,
    ) -> Self {
        let &Target { layout, helpers, float_environment } = target;
        let block = &region.blocks[0];
        let mut code = Code::with_parameters(&[ValType::I32]);
        let [countdown, target] = [(); 2].map(|()| code.local(ValType::I64));
        let reason = code.local(ValType::I32);
        Self {
            code,
            layout,
            data_context: plan.data_context,
            helpers,
            float_environment,
            links: &plan.links,
            first_link,
            jumps: &plan.jumps,
            is_brief: plan.is_brief,
            block,
            uses: Uses::new(&block.block, helpers),
            places: Vec::new(),
            at: 0,
            insn: 0,
            state: SlotState::default(),
            floats: Floats::default(),
            must_look: false,
            slots: Box::new([u32::MAX; SLOTS]),
            pairs: Box::new([None; SLOTS / 2]),
            countdown,
            target,
            reason,
            polynomials,
            multiplies_polynomials: false,
            region,
            entries: Vec::new(),
            known: Vec::new(),
            frames: Vec::new(),
            windows: None,
            head_number: vec![None; region.blocks.len() + 1],
            is_head: vec![false; region.blocks.len() + 1],
            head: None,
        }
    }

    /// Writes the function.
    pub(super) fn write(&mut self) {
        let parts = shape(self.region, self.jumps);
        let (entries, used) = at_entries(self.region, &parts, self.helpers);
        self.known = match self.float_environment {
            Some(_) => known_at_entries(self.region, &parts, self.jumps, self.helpers, &entries),
            None => vec![Known::default(); entries.len()],
        };
        self.entries = entries;
        for slot in used.iter() {
            self.slots[usize::from(slot.0)] = self.code.local(ValType::I64);
        }
        self.find_heads(&parts);
        self.is_head[0] = true;
        self.jumps.iter().for_each(|&block| self.is_head[block] = true);
        let mut ops = self.region.blocks.iter().flat_map(|block| &block.block.ops);
        let asks = ops.any(|op| may_ask(op, self.helpers));
        let looks_up = asks || self.region.blocks.iter().any(|block| self.looks_up(block.ways));
        self.code.put().block(BlockType::Empty);
        self.frames.push(Frame::Leave);
        if looks_up {
            self.code.put().block(BlockType::Empty);
            self.frames.push(Frame::LookUp);
        }
        if asks {
            self.code.put().block(BlockType::Empty);
            self.frames.push(Frame::Asked);
        }
        self.code.load_i64(self.layout.countdown());
        let countdown = self.countdown;
        self.code.put().local_set(countdown);
        self.state = SlotState::default();
        self.pass_to(0);
        self.sequence(&parts, false);
        if asks {
            self.frames.pop();
            self.code.put().end();
            self.leave_unless_moved();
        }
        if looks_up {
            self.frames.pop();
            self.code.put().end();
            self.look_up_target();
        }
        self.frames.pop();
        self.code.put().end();
        self.leave_tail();
    }

    fn find_heads(&mut self, parts: &[Part]) {
        for part in parts {
            if let Part::Loop(inner) = part {
                for (number, &head) in inner.heads.iter().enumerate() {
                    self.is_head[head] = true;
                    if inner.heads.len() > 1 {
                        self.head_number[head] = Some(number as u32);
                    }
                }
                self.find_heads(&inner.body);
            }
        }
    }

    /// Whether a way out leads through the jump cache.
    fn looks_up(&self, ways: Ways) -> bool {
        let mut found = ways == Ways::Indirect;
        ways.for_each(|way| found |= matches!(way, Way::Out(offset) if !is_linked(offset)));
        found
    }

    /// Writes parts that follow each other. What precedes them continues at the first, or dispatches to any of them.
    fn sequence(&mut self, parts: &[Part], dispatches: bool) {
        let followers = if dispatches { parts } else { &parts[1..] };
        for part in followers.iter().rev() {
            self.code.put().block(BlockType::Empty);
            self.frames.push(Frame::Block(part.heads().to_vec()));
        }
        if dispatches {
            self.dispatch();
        }
        for (i, part) in parts.iter().enumerate() {
            if dispatches || i > 0 {
                self.frames.pop();
                self.code.put().end();
            }
            match part {
                Part::Block(block) if *block == self.region.blocks.len() => self.switch(),
                Part::Block(block) => self.block(*block),
                Part::Loop(inner) => self.loop_(inner),
            }
        }
    }

    fn loop_(&mut self, inner: &Loop) {
        if let [Part::Block(block)] = inner.body[..]
            && !self.is_brief
            && self.loop_with_windows(block)
        {
            return;
        }
        self.code.put().loop_(BlockType::Empty);
        self.frames.push(Frame::Loop(inner.heads.clone()));
        self.sequence(&inner.body, inner.heads.len() > 1);
        self.frames.pop();
        self.code.put().end();
    }

    /// Branches to the head of the loop just begun that `head` tells.
    fn dispatch(&mut self) {
        let heads = self.frames.iter().rev().find_map(|frame| match frame {
            Frame::Loop(heads) => Some(heads.clone()),
            _ => None,
        });
        let heads = heads.expect("a dispatcher is the start of a loop");
        let depths: Vec<u32> = heads.iter().map(|&head| self.depth_of(head)).collect();
        let number = self.head_local();
        let last = depths[depths.len() - 1];
        self.code.put().local_get(number).br_table(depths.iter().copied(), last);
    }

    fn head_local(&mut self) -> u32 {
        *self.head.get_or_insert_with(|| self.code.local(ValType::I32))
    }

    pub(super) fn depth(&self, is_it: impl Fn(&Frame) -> bool) -> u32 {
        let found = self.frames.iter().rev().position(is_it);
        found.expect("every way leads forward or to a head of a loop around it") as u32
    }

    pub(super) fn depth_of(&self, block: usize) -> u32 {
        self.depth(
            |frame| matches!(frame, Frame::Block(heads) | Frame::Loop(heads) if heads.contains(&block)),
        )
    }

    pub(super) fn block(&mut self, number: usize) {
        let region = self.region;
        self.block = &region.blocks[number];
        self.state = self.entries[number];
        self.at = self.block.start;
        self.insn = 0;
        self.must_look = false;
        self.floats.known = self.known[number].clone();
        let ops = &self.block.block;
        self.uses = Uses::new(ops, self.helpers);
        self.places.clear();
        self.places.resize(ops.ops.len(), Place::Nowhere);
        self.count_down(self.is_head[number] && !self.is_in_windows());
        if self.is_head[number] {
            self.look_at_head();
        }
        let ends = self.uses.ends();
        let mut first = true;
        for (at, op) in ops.ops.iter().enumerate() {
            if let Op::Insn { offset, .. } = *op {
                self.insn += u32::from(!first);
                first = false;
                self.at = self.block.start + i64::from(offset);
                if self.must_look {
                    self.look_between();
                }
            } else if op.is_terminator() {
                break;
            } else if !self.is_void(at) {
                self.op(Value(at as u32), op);
            }
            self.release_ended(&ends[at]);
        }
        self.terminate(ops, number);
        if let (Some(last), Some(ended)) = (ops.ops.last(), ends.last())
            && last.is_terminator()
        {
            self.release_ended(ended);
        }
    }

    fn release_ended(&mut self, ended: &[Value]) {
        for value in ended {
            if let Place::Local(local) = self.places[value.0 as usize] {
                self.code.release(local);
            }
        }
    }

    /// Takes the block's instructions off the countdown. Heads of loops are not entered when none are left.
    fn count_down(&mut self, leaves: bool) {
        let (countdown, insns) = (self.countdown, i64::from(self.block.insns));
        self.code.put().local_get(countdown).i64_const(insns).i64_sub();
        if !leaves {
            self.code.put().local_set(countdown);
            return;
        }
        self.code.put().local_tee(countdown).i64_const(0).i64_lt_s();
        self.code.expect_if(false, BlockType::Empty);
        self.frames.push(Frame::Other);
        self.code.put().local_get(countdown).i64_const(insns).i64_add().local_set(countdown);
        self.leave_at(Reason::Countdown, self.block.start);
        self.end_other();
    }

    /// Leaves before the current instruction if a call-out before it asked for that.
    fn look_between(&mut self) {
        self.must_look = false;
        let countdown = self.countdown;
        self.code.put().local_get(countdown).i64_const(0).i64_lt_s();
        self.code.expect_if(false, BlockType::Empty);
        self.frames.push(Frame::Other);
        self.give_back(self.unretired());
        self.leave_at(Reason::Countdown, self.at);
        self.end_other();
    }

    /// Instructions of the block from the current one on.
    pub(super) fn unretired(&self) -> u32 {
        self.block.insns - self.insn
    }

    /// Adds instructions to the countdown that do not retire after all.
    pub(super) fn give_back(&mut self, insns: u32) {
        let countdown = self.countdown;
        self.code.put().local_get(countdown).i64_const(i64::from(insns)).i64_add().local_set(countdown);
    }

    /// `if`, of a condition that nearly always or hardly ever holds.
    pub(super) fn begin_other(&mut self, likely: bool) {
        self.code.expect_if(likely, BlockType::Empty);
        self.frames.push(Frame::Other);
    }

    pub(super) fn end_other(&mut self) {
        self.frames.pop();
        self.code.put().end();
    }

    fn terminate(&mut self, block: &'a Block, number: usize) {
        match (block.ops.last(), self.block.ways) {
            (Some(&Op::Trap { cause, value }), _) => self.trap(cause, value),
            (Some(&Op::Jump { target }), _) => {
                self.push_i64(target);
                let local = self.target;
                self.code.put().local_set(local);
                if self.must_look || self.jumps.is_empty() {
                    self.flush();
                    self.leave_if_asked(None);
                }
                self.follow_target();
            }
            (Some(&Op::BranchRelative { cond, .. }), Ways::Branch { taken, next }) => {
                self.push_bool(cond);
                if let Some(depth) = self.plain_branch(taken) {
                    self.code.put().br_if(depth);
                } else {
                    let state = self.state;
                    self.code.put().if_(BlockType::Empty);
                    self.frames.push(Frame::Other);
                    self.go(taken);
                    self.end_other();
                    self.state = state;
                }
                self.go(next);
            }
            (_, Ways::One(way)) => self.go(way),
            (last, ways) => panic!("block {number} ends with {last:?}, but leads {ways:?}"),
        }
    }

    /// The label of a way that asks for nothing but a branch.
    fn plain_branch(&self, way: Way) -> Option<u32> {
        let Way::Block(to) = way else { return None };
        if self.turns_in_windows(to) {
            return None;
        }
        let entry = self.entries[to];
        let is_enough = self.state.is_enough_for(&entry);
        let plain = is_enough && self.told_head(to).is_none() && !self.must_look && !self.knows_less_than(to);
        plain.then(|| self.depth_on_way(to))
    }

    /// Takes a way.
    fn go(&mut self, way: Way) {
        match way {
            Way::Block(to) => {
                if self.must_look {
                    self.flush();
                    self.leave_if_asked(Some(self.region.blocks[to].start));
                }
                self.pass_to(to);
                if self.turns_in_windows(to) {
                    self.next_in_windows();
                }
                let depth = self.depth_on_way(to);
                self.code.put().br(depth);
            }
            Way::Out(offset) => {
                self.flush();
                self.leave_if_asked(Some(offset));
                match self.links.binary_search(&offset) {
                    Ok(link) if is_linked(offset) => self.follow_link(link as u32),
                    _ => {
                        self.set_target(offset);
                        let depth = self.depth(|frame| matches!(frame, Frame::LookUp));
                        self.code.put().br(depth);
                    }
                }
            }
        }
    }

    /// Brings the locals into the state that a block expects, and tells a dispatcher before it where to go.
    pub(super) fn pass_to(&mut self, to: usize) {
        let entry = self.entries[to];
        let (slots, pairs) = self.state.unstored(&entry);
        self.store_slots(slots);
        self.store_pairs(pairs);
        let (slots, pairs) = self.state.unloaded(&entry);
        slots.iter().for_each(|slot| self.load_slot(slot));
        pairs.iter().for_each(|pair| self.load_pair(pair));
        if self.knows_less_than(to) {
            self.demand_look();
        }
        if let Some(number) = self.told_head(to) {
            let local = self.head_local();
            self.code.put().i32_const(number as i32).local_set(local);
        }
    }

    /// What a dispatcher on the way to a block is told.
    fn told_head(&self, to: usize) -> Option<u32> {
        let mut frames = self.frames.iter().rev();
        let heads = frames.find_map(|frame| match frame {
            Frame::Block(heads) | Frame::Loop(heads) if heads.contains(&to) => Some(heads.len()),
            _ => None,
        });
        self.head_number[to].filter(|_| heads != Some(1))
    }

    pub(super) fn leave_depth(&self) -> u32 {
        self.depth(|frame| matches!(frame, Frame::Leave))
    }
}
