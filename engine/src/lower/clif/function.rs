//! A region's blocks, and the ways between them.

use super::floats::Floats;
use super::{LAYOUT, Target};
use crate::emit::{SLOTS, Slot};
use crate::ir::block::{Block, Op, Value};
use crate::ir::region::{Region, RegionBlock, Way, Ways};
use crate::lower::calls::Reason;
use crate::lower::links::{Plan, is_linked};
use crate::lower::shape::{Part, shape};
use crate::lower::slots::{SlotState, at_entries};
use cranelift_codegen::ir::{
    self as clif, AbiParam, InstBuilder, MemFlagsData, SigRef, Signature, condcodes::IntCC, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, Switch, Variable};

/// A function being written.
pub(super) struct Lowering<'a, 'f> {
    pub(super) build: FunctionBuilder<'f>,
    pub(super) target: &'a Target,
    pub(super) plan: &'a Plan,
    /// The block being written, and its operations' values.
    pub(super) block: &'a RegionBlock,
    values: Vec<Option<clif::Value>>,
    /// Of comparisons, what a branch can use.
    conditions: Vec<Option<clif::Value>>,
    /// Address of the current instruction in bytes from the page, and its number in the block.
    pub(super) at: i64,
    pub(super) insn: u32,
    pub(super) state: SlotState,
    pub(super) floats: Floats,
    /// A call-out in this block may ask to leave, and nothing has looked since.
    pub(super) must_look: bool,
    /// Instructions that may still retire.
    pub(super) countdown: Variable,
    pub(super) vcpu: clif::Value,
    /// Leaves to the run loop, given address and reason.
    pub(super) leave: clif::Block,
    /// Leaves to the run loop after a call-out that saw to everything.
    pub(super) unwound: clif::Block,
    /// Looks its parameter up in the jump cache and goes on there.
    pub(super) look_up: clif::Block,
    /// Does the same, or leaves, as a call-out asked for.
    pub(super) asked: clif::Block,
    pub(super) call_out_signature: SigRef,
    pub(super) region_signature: SigRef,
    pub(super) product_signature: SigRef,
    region: &'a Region,
    slots: Box<[Option<Variable>; SLOTS]>,
    /// Of pairs of slots that were asked for.
    pub(super) pairs: Box<[Option<Variable>; SLOTS / 2]>,
    entries: Vec<SlotState>,
    is_head: Vec<bool>,
    /// Of the region's blocks, and where indirect jumps meet.
    blocks: Vec<clif::Block>,
    /// Where an indirect jump leads.
    jump_target: Variable,
}

/// An access to what is the host's: aligned, and it does not trap.
pub(super) fn own() -> MemFlagsData {
    MemFlagsData::trusted()
}

impl<'a, 'f> Lowering<'a, 'f> {
    pub(super) fn new(
        mut build: FunctionBuilder<'f>,
        convention: CallConv,
        region: &'a Region,
        target: &'a Target,
        plan: &'a Plan,
    ) -> Self {
        let countdown = build.declare_var(types::I64);
        let mut signature = |parameters: usize, results: usize| {
            let mut signature = Signature::new(convention);
            signature.params.extend((0..parameters).map(|_| AbiParam::new(types::I64)));
            signature.returns.extend((0..results).map(|_| AbiParam::new(types::I64)));
            build.import_signature(signature)
        };
        let (call_out_signature, product_signature) = (signature(4, 2), signature(2, 1));
        let region_signature = build.import_signature(super::region_signature());
        let start = build.create_block();
        build.append_block_params_for_function_params(start);
        build.switch_to_block(start);
        let vcpu = build.block_params(start)[0];
        let [leave, unwound, look_up, asked] = [(); 4].map(|()| build.create_block());
        build.append_block_param(leave, types::I64);
        build.append_block_param(leave, types::I64);
        build.append_block_param(look_up, types::I64);
        build.append_block_param(asked, types::I64);
        let blocks = (0..=region.blocks.len()).map(|_| build.create_block()).collect();
        let jump_target = build.declare_var(types::I64);
        Self {
            build,
            target,
            plan,
            block: &region.blocks[0],
            values: Vec::new(),
            conditions: Vec::new(),
            at: 0,
            insn: 0,
            state: SlotState::default(),
            floats: Floats::default(),
            must_look: false,
            countdown,
            vcpu,
            leave,
            unwound,
            look_up,
            asked,
            call_out_signature,
            region_signature,
            product_signature,
            region,
            slots: Box::new([None; SLOTS]),
            pairs: Box::new([None; SLOTS / 2]),
            entries: Vec::new(),
            is_head: vec![false; region.blocks.len() + 1],
            blocks,
            jump_target,
        }
    }

    /// Writes the function.
    pub(super) fn write(&mut self) {
        let parts = shape(self.region, &self.plan.jumps);
        let (entries, used) = at_entries(self.region, &parts, self.target.helpers);
        self.entries = entries;
        for slot in used.iter() {
            self.slots[usize::from(slot.0)] = Some(self.build.declare_var(types::I64));
        }
        self.find_heads(&parts);
        self.is_head[0] = true;
        self.plan.jumps.iter().for_each(|&block| self.is_head[block] = true);
        let countdown = self.load_own(LAYOUT.countdown());
        self.build.def_var(self.countdown, countdown);
        self.pass_to(0);
        let mut order = Vec::new();
        parts.iter().for_each(|part| part.for_each_block(&mut |block| order.push(block)));
        for block in order {
            self.build.switch_to_block(self.blocks[block]);
            if block == self.region.blocks.len() {
                self.switch();
            } else {
                self.block(block);
            }
        }
        self.write_asked();
        self.write_look_up();
        self.write_leave();
        self.write_unwound();
    }

    fn find_heads(&mut self, parts: &[Part]) {
        for part in parts {
            if let Part::Loop(inner) = part {
                inner.heads.iter().for_each(|&head| self.is_head[head] = true);
                self.find_heads(&inner.body);
            }
        }
    }

    fn block(&mut self, number: usize) {
        let region = self.region;
        self.block = &region.blocks[number];
        self.state = self.entries[number];
        self.at = self.block.start;
        self.insn = 0;
        self.must_look = false;
        self.floats.known.forget();
        let ops = &self.block.block;
        for list in [&mut self.values, &mut self.conditions] {
            list.clear();
            list.resize(ops.ops.len(), None);
        }
        self.count_down(self.is_head[number]);
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
            } else {
                self.op(Value(at as u32), op);
            }
        }
        self.terminate(ops, number);
    }

    /// Takes the block's instructions off the countdown. Heads of loops are not entered when none are left.
    fn count_down(&mut self, leaves: bool) {
        let before = self.build.use_var(self.countdown);
        let after = self.build.ins().iadd_imm_s(before, -i64::from(self.block.insns));
        if leaves {
            let (start, negative) = (self.block.start, self.is_negative(after));
            self.rarely(negative, |this| this.leave_at(Reason::Countdown, start));
        }
        self.build.def_var(self.countdown, after);
    }

    /// Leaves before the current instruction if a call-out before it asked for that.
    fn look_between(&mut self) {
        self.must_look = false;
        let left = self.build.use_var(self.countdown);
        let (at, negative) = (self.at, self.is_negative(left));
        self.rarely(negative, |this| {
            this.give_back(this.unretired());
            this.leave_at(Reason::Countdown, at);
        });
    }

    pub(super) fn is_negative(&mut self, value: clif::Value) -> clif::Value {
        self.build.ins().icmp_imm_s(IntCC::SignedLessThan, value, 0)
    }

    /// Writes what is done if a condition holds, which it hardly ever does, and does not come back.
    pub(super) fn rarely(&mut self, condition: clif::Value, write: impl FnOnce(&mut Self)) {
        let [rare, next] = [(); 2].map(|()| self.build.create_block());
        self.build.set_cold_block(rare);
        self.build.ins().brif(condition, rare, &[], next, &[]);
        self.build.switch_to_block(rare);
        write(self);
        self.build.switch_to_block(next);
    }

    /// Instructions of the block from the current one on.
    pub(super) fn unretired(&self) -> u32 {
        self.block.insns - self.insn
    }

    /// Adds instructions to the countdown that do not retire after all.
    pub(super) fn give_back(&mut self, insns: u32) {
        let left = self.build.use_var(self.countdown);
        let left = self.build.ins().iadd_imm_s(left, i64::from(insns));
        self.build.def_var(self.countdown, left);
    }

    fn terminate(&mut self, block: &'a Block, number: usize) {
        match (block.ops.last(), self.block.ways) {
            (Some(&Op::Trap { cause, value }), _) => self.trap(cause, value),
            (Some(&Op::Jump { target }), _) => {
                let target = self.value(target);
                let leaves = self.plan.jumps.is_empty();
                if self.must_look || leaves {
                    self.flush();
                    self.leave_if_asked(target);
                }
                if leaves {
                    self.build.ins().jump(self.look_up, &[target.into()]);
                } else {
                    self.build.def_var(self.jump_target, target);
                    self.pass_to(self.region.blocks.len());
                }
            }
            (Some(&Op::BranchRelative { cond, .. }), Ways::Branch { taken, next }) => {
                let condition = self.condition(cond);
                let [to, or] = [taken, next].map(|way| match self.plain(way) {
                    Some(block) => (block, None),
                    None => (self.build.create_block(), Some(way)),
                });
                self.build.ins().brif(condition, to.0, &[], or.0, &[]);
                let (state, must_look) = (self.state, self.must_look);
                for (block, way) in [to, or] {
                    if let Some(way) = way {
                        (self.state, self.must_look) = (state, must_look);
                        self.build.switch_to_block(block);
                        self.go(way);
                    }
                }
            }
            (_, Ways::One(way)) => self.go(way),
            (last, ways) => panic!("block {number} ends with {last:?}, but leads {ways:?}"),
        }
    }

    /// Writes the place where indirect jumps meet: goes on at a block of the region, or out of it.
    fn switch(&mut self) {
        let state = self.entries[self.region.blocks.len()];
        let target = self.build.use_var(self.jump_target);
        let page = self.load_own(LAYOUT.page_base());
        let place = self.build.ins().isub(target, page);
        let mut switch = Switch::new();
        let mut ways = Vec::new();
        for &block in &self.plan.jumps {
            let way = self.build.create_block();
            switch.set_entry(self.region.blocks[block].start as u64 as u128, way);
            ways.push((way, block));
        }
        let out = self.build.create_block();
        switch.emit(&mut self.build, place, out);
        for (way, block) in ways {
            self.build.switch_to_block(way);
            self.state = state;
            self.pass_to(block);
        }
        self.build.switch_to_block(out);
        self.state = state;
        self.flush();
        self.build.ins().jump(self.look_up, &[target.into()]);
    }

    /// The block of a way that asks for nothing but a branch.
    fn plain(&self, way: Way) -> Option<clif::Block> {
        let Way::Block(to) = way else { return None };
        let entry = self.entries[to];
        let is_enough = self.state.is_enough_for(&entry);
        (is_enough && !self.must_look).then(|| self.blocks[to])
    }

    /// Takes a way.
    fn go(&mut self, way: Way) {
        match way {
            Way::Block(to) => {
                if self.must_look {
                    self.flush();
                    let target = self.address(self.region.blocks[to].start);
                    self.leave_if_asked(target);
                }
                self.pass_to(to);
            }
            Way::Out(offset) => {
                self.flush();
                let target = self.address(offset);
                self.leave_if_asked(target);
                match self.plan.links.binary_search(&offset) {
                    Ok(link) if is_linked(offset) => self.follow_link(self.plan.first_link + link as u32),
                    _ => {
                        self.build.ins().jump(self.look_up, &[target.into()]);
                    }
                }
            }
        }
    }

    /// Brings variables into the state that a block expects, and jumps there.
    fn pass_to(&mut self, to: usize) {
        let entry = self.entries[to];
        let (slots, pairs) = self.state.unstored(&entry);
        self.store_slots(slots);
        self.store_pairs(pairs);
        let (slots, pairs) = self.state.unloaded(&entry);
        slots.iter().for_each(|slot| self.load_slot(slot));
        pairs.iter().for_each(|pair| self.load_pair(pair));
        self.build.ins().jump(self.blocks[to], &[]);
    }

    /// The variable of a slot that the region uses.
    pub(super) fn variable(&self, slot: Slot) -> Variable {
        self.slots[usize::from(slot.0)].expect("`at_entries` tells all slots that are used")
    }

    /// A value of the block.
    pub(super) fn value(&self, value: Value) -> clif::Value {
        self.values[value.0 as usize].expect("values are defined before they are used")
    }

    pub(super) fn define(&mut self, value: Value, is: clif::Value) {
        self.values[value.0 as usize] = Some(is);
    }

    /// Something that is not zero if and only if the value is not.
    pub(super) fn condition(&self, value: Value) -> clif::Value {
        self.conditions[value.0 as usize].unwrap_or_else(|| self.value(value))
    }

    pub(super) fn define_condition(&mut self, value: Value, is: clif::Value) {
        self.conditions[value.0 as usize] = Some(is);
    }

    /// A 64-bit number.
    pub(super) fn number(&mut self, number: u64) -> clif::Value {
        self.build.ins().iconst(types::I64, number as i64)
    }

    /// Reads 64 bits of the vCPU.
    pub(super) fn load_own(&mut self, offset: u32) -> clif::Value {
        self.build.ins().load(types::I64, own(), self.vcpu, offset as i32)
    }

    /// Writes 64 bits of the vCPU.
    pub(super) fn store_own(&mut self, offset: u32, value: clif::Value) {
        self.build.ins().store(own(), value, self.vcpu, offset as i32);
    }
}
