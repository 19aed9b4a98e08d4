//! One block: where its values are while code for it is written, in order.
//!
//! A slot write without a home is put off: it stays *pending* as long as its value is at hand, because most writes of
//! lazy flags are overwritten before anybody looks. Sites are told what is pending. It is stored when its value would
//! be lost, when a helper may look, or on the ways out of the block that need it.

pub(super) mod groups;
mod values;

use super::asm::{Alu, Asm, Label, Mem, Reg};
use super::cold::{Address, Cold, Fix, KEPT, Kept, Look};
use super::flow::write_back;
use super::plan::{FIRST_VECTOR, Plan, SlotSet, is_site, touches_state};
use super::vectors::{read_vector, write_vector};
use super::windows::Windows;
use super::{COUNTDOWN, Features, Place, Request, STATE, Site, boxes, field, slot};
use crate::addr::Width::{self, W64};
use crate::emit::{Binary, Cond, SLOTS, Slot, Unary};
use crate::ir::block::{Block, Op, Value};
use crate::ir::region::{Region, Way};
use crate::vcpu::SPILLS;
use groups::Groups;

/// The end of the block, as the number of an operation.
const END: u32 = u32::MAX - 1;
/// Bytes from the address of an instruction that are sure to fit an immediate with the distance from its page.
const NEAR: u64 = 1 << 30;
/// No operation.
const NEVER: u32 = u32::MAX;

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loc {
    /// It is not computed yet, or of no use any more.
    Nowhere,
    /// A constant.
    Const(u64),
    /// A register of its own, which values that are the same may share.
    Temp(Reg),
    /// What is now in the home of a slot.
    Home(Reg),
    /// Put aside.
    Spill(u16),
    /// What a slot holds in memory. Nothing is pending of such a value.
    Slot(Slot),
}

/// What becomes of a slot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// Nobody sees it.
    Dead,
    /// It is made where it is.
    Now,
    /// It is put off, until the operation of this number overwrites it.
    Until(u32),
}

/// A write that was put off.
#[derive(Clone, Copy, Debug)]
struct Pending {
    slot: Slot,
    value: Value,
    until: u32,
}

/// How often a value is used.
#[derive(Clone, Copy, Default)]
struct Uses {
    all: u16,
    /// As the address of what looks up in line.
    as_address: u16,
}

/// What is known of an operation.
#[derive(Clone, Copy, Default)]
struct Marks {
    /// It is part of what uses its result.
    fused: bool,
    /// An instruction behind one whose helper may have overwritten it.
    checks: bool,
    /// A load that is extended by its sign.
    extended: bool,
    /// A write to a home into which the value was computed.
    done: bool,
    /// It does not leave, whatever it is.
    calm: bool,
    /// It does nothing.
    void: bool,
}

/// Memory that is kept from block to block.
#[derive(Default)]
pub(super) struct Scratch {
    uses: Vec<Uses>,
    last_use: Vec<u32>,
    marks: Vec<Marks>,
    writes: Vec<Write>,
    /// For each operation the next site behind it, or [`NEVER`].
    next_site: Vec<u32>,
    /// For each value the write to a home, in the same instruction, that it may be computed into.
    hint: Vec<u32>,
    loc: Vec<Loc>,
    /// For values in registers of their own, where they are in memory, too.
    backing: Vec<Loc>,
    bits: Vec<u8>,
    live: Vec<Value>,
    pending: Vec<Pending>,
    pub cold: Vec<Cold>,
    pub fixes: Vec<Fix>,
    /// In the order of their sites.
    pub looks: Vec<Look>,
    groups: Groups,
}

/// The writer of a block's code.
pub(super) struct Emitter<'a> {
    pub asm: &'a mut Asm,
    pub plan: &'a Plan,
    pub features: Features,
    pub request: Request<'a>,
    pub block: &'a Block,
    /// If this is the writing of a loop that looks nothing up.
    pub windows: Option<&'a Windows>,
    s: &'a mut Scratch,
    sites: &'a mut Vec<Site>,
    /// Values in each register.
    refs: [u8; 16],
    /// Values in each spill place.
    spills: [u8; SPILLS],
    /// Numbers of the groups of accesses whose distances are kept.
    keeps: [u16; KEPT],
    /// The distances that were kept at the last site.
    kept_at_site: [Kept; KEPT],
    /// Registers that the operation at hand uses.
    pub(super) locked: u32,
    /// Homes that may differ from memory anywhere in the block.
    dirty: u32,
    start: i64,
    insns: u32,
    /// Offset of the instruction at hand from the start of the entry's page.
    insn: i64,
    /// How many instructions of the block are before it.
    before: u32,
    /// Number of the operation at hand.
    at: u32,
    /// It is a site that has not been described yet.
    in_site: bool,
    /// Registers that hold a single in its box.
    pub(super) boxed: SlotSet,
}

impl<'a> Emitter<'a> {
    #[allow(clippy::too_many_arguments, reason = "the parts of a lowering, borrowed one by one")]
    pub fn new(
        asm: &'a mut Asm,
        plan: &'a Plan,
        features: Features,
        request: Request<'a>,
        s: &'a mut Scratch,
        sites: &'a mut Vec<Site>,
        region: &'a Region,
        index: usize,
        windows: Option<&'a Windows>,
    ) -> Self {
        let block = &region.blocks[index];
        let mut back = false;
        block.ways.for_each(|way| back |= matches!(way, Way::Block(to) if to <= index));
        s.analyse(&block.block, plan, request, &plan.live_out[index], back, windows);
        let (mut refs, mut spills) = ([0; 16], [0; SPILLS]);
        if let Some(windows) = windows {
            windows.reserve(&mut refs, &mut spills);
        }
        Self {
            asm,
            plan,
            features,
            request,
            block: &block.block,
            windows,
            s,
            sites,
            refs,
            spills,
            keeps: Self::NOTHING_KEPT,
            kept_at_site: [Kept::Nowhere; KEPT],
            locked: 0,
            dirty: plan.dirty_out[index],
            start: block.start,
            insns: block.insns,
            insn: block.start,
            before: 0,
            at: 0,
            in_site: false,
            boxed: plan.boxed_in[index],
        }
    }

    /// Number of the operation at hand.
    pub fn number(&self) -> u32 {
        self.at
    }

    /// Writes the code of everything but a terminator that is no trap.
    pub fn body(&mut self) {
        let block = self.block;
        let mut number = 0;
        for (at, op) in block.ops.iter().enumerate() {
            self.at = at as u32;
            self.locked = 0;
            if let Op::Insn { offset, .. } = *op {
                self.insn = self.start + i64::from(offset);
                self.before = number;
                number += 1;
                if self.s.marks[at].checks {
                    self.check_count();
                }
                continue;
            }
            self.s.pending.retain(|pending| pending.until > at as u32);
            if self.s.marks[at].void {
                continue;
            }
            self.in_site = is_site(op) && !self.s.marks[at].calm;
            self.op(at, op);
            self.in_site = false;
            if self.plan.has_singles {
                boxes::after(op, block, self.request.helpers, &mut self.boxed);
            }
        }
        self.locked = 0;
        self.settle();
    }

    fn op(&mut self, at: usize, op: &Op) {
        let v = Value(at as u32);
        if self.s.last_use[at] == NEVER && op.result().is_some() && !has_effect(op) {
            return;
        }
        match *op {
            Op::Insn { .. } | Op::Fence => {}
            Op::Jump { .. } | Op::JumpRelative { .. } | Op::BranchRelative { .. } => {}
            Op::Const(number) => {
                self.s.loc[at] = Loc::Const(number);
                self.s.bits[at] = (64 - number.leading_zeros()) as u8;
            }
            Op::Get(from) if let Some((home, high)) = self.plan.vector_half(from) => {
                self.get_half(v, home, high)
            }
            Op::Get(from) => match self.plan.home(from) {
                Some(home) => self.define_at(v, Loc::Home(home)),
                None if self.is_plain(from) => self.define_at(v, Loc::Slot(from)),
                None => {
                    let to = self.dest(v, None);
                    self.asm.load(W64, to, slot(from));
                    self.define(v, to);
                }
            },
            Op::Set { slot, value } => self.set(at, slot, value),
            Op::Pc => {
                let to = self.dest(v, None);
                self.pc_into(to, self.insn);
                self.define(v, to);
            }
            // It is part of what accesses memory there, or of a comparison.
            Op::Binary { .. } if self.s.marks[at].fused => {}
            // The address of the instruction is part of the sum.
            Op::Binary { a, b, .. } if self.is_fused(a) && *self.block.definition(a) == Op::Pc => {
                let distance = self.block.constant(b).unwrap_or(0) as i64;
                // That may be of another instruction than the sum.
                let before = self.block.ops[..a.0 as usize].iter();
                let insn = before.rev().find_map(Op::insn_offset).unwrap_or(0);
                let to = self.dest(v, None);
                self.pc_into(to, self.start.wrapping_add(insn.into()).wrapping_add(distance));
                self.define(v, to);
            }
            Op::Binary { op, w, a, b } => self.binary(v, op, w, a, b),
            Op::Unary { op, w, a } => self.unary(v, op, w, a),
            Op::Compare { .. } => {
                if !self.s.marks[at].fused {
                    self.compare(v);
                }
            }
            Op::Select { cond, a, b } => self.select(v, cond, a, b),
            Op::Load { .. }
            | Op::LoadToModify { .. }
            | Op::Store { .. }
            | Op::CheckCrossingWrite { .. }
            | Op::Amo { .. }
            | Op::CompareExchange { .. }
            | Op::VectorLoad { .. }
            | Op::VectorStore { .. } => self.memory(v, op),
            Op::Vector { op, imm, to, a, b } => self.vector(v, op, imm, [to, a, b]),
            Op::VectorInsert { op, imm, to, value } => self.vector_insert(v, op, imm, to, value),
            Op::VectorExtract { op, a, b } => self.vector_extract(v, op, a, b),
            Op::FloatEnvironment => self.float_environment(v),
            Op::LoadReserved { addr, .. } => self.call_out(v, op, &[addr]),
            Op::StoreConditional { addr, value, .. } => self.call_out(v, op, &[addr, value]),
            Op::Helper { args, .. } => {
                let args = self.block.helper_args(args);
                self.helper(v, op, args);
            }
            Op::LookIf { cond } => {
                let cold = self.asm.label();
                let cc = self.condition(cond);
                self.asm.jcc(cc, cold);
                let site = self.site(op, &[], None);
                let back = self.cold(cold, site);
                self.asm.bind(back);
                self.release_condition(cond);
            }
            Op::TrapIf { cond, value, .. } => {
                self.out_of_slot(value);
                let cold = self.asm.label();
                let cc = self.condition(cond);
                self.asm.jcc(cc, cold);
                let site = self.site(op, &[value], None);
                self.s.cold.push(Cold::leaving(cold, site));
                self.release_operands(&[value]);
                self.release_condition(cond);
            }
            Op::Trap { value, .. } => self.call_out(v, op, &[value]),
        }
    }

    /// `to` = the address of the code at a distance from the start of the entry's page.
    pub fn pc_into(&mut self, to: Reg, offset: i64) {
        self.asm.load(W64, to, field!(page_base));
        let offset = i32::try_from(offset).expect("code is near its page");
        if offset != 0 {
            self.asm.alu_imm(Alu::Add, W64, to, offset);
        }
    }

    fn set(&mut self, at: usize, to: Slot, value: Value) {
        let write = self.s.writes[at];
        if write == Write::Dead {
            return;
        }
        if let Some((home, high)) = self.plan.vector_half(to) {
            self.set_half(home, high, value);
            return self.release_operands(&[value]);
        }
        if let Some(home) = self.plan.home(to) {
            if !self.s.marks[at].done {
                self.move_home(home, value);
            }
            self.release_operands(&[value]);
            return;
        }
        // What was put off before is overwritten.
        self.s.pending.retain(|pending| pending.slot != to);
        match write {
            // It is there already.
            Write::Until(_) if self.loc(value) == Loc::Slot(to) => {}
            Write::Until(until) => {
                if let Loc::Slot(_) = self.loc(value) {
                    self.fetch(value);
                }
                self.s.pending.push(Pending { slot: to, value, until });
            }
            _ => self.store_slot(to, value),
        }
        self.release_operands(&[value]);
    }

    /// Puts a value into a home.
    fn move_home(&mut self, home: Reg, value: Value) {
        if self.loc(value) == Loc::Home(home) {
            return;
        }
        self.lock_value(value);
        self.protect(home);
        match self.loc(value) {
            Loc::Const(number) => self.asm.mov_imm(home, number),
            Loc::Temp(reg) | Loc::Home(reg) => self.asm.mov(home, reg),
            Loc::Spill(place) => self.asm.load(W64, home, spill(place)),
            Loc::Slot(from) => self.asm.load(W64, home, slot(from)),
            Loc::Nowhere => unreachable!("values are defined before they are used"),
        }
        if matches!(self.loc(value), Loc::Temp(_) | Loc::Spill(_) | Loc::Slot(_)) {
            // From now on the home is where it is.
            self.leave(value);
            self.s.loc[value.0 as usize] = Loc::Home(home);
        }
    }

    /// Describes a site: what it does and where everything is.
    pub fn site(&mut self, op: &Op, operands: &[Value], result: Option<Reg>) -> u32 {
        let mut places = [Place::Const(0); 4];
        for (place, &value) in places.iter_mut().zip(operands) {
            *place = self.place(value);
        }
        self.site_at(op, places, operands.len(), result)
    }

    /// The same with the places of its operands.
    pub fn site_at(&mut self, op: &Op, operands: [Place; 4], count: usize, result: Option<Reg>) -> u32 {
        self.kept_at_site = self.kept();
        let pending = self.s.pending.iter();
        let pending = pending.map(|pending| (pending.slot, self.place(pending.value))).collect();
        self.in_site = false;
        let unretired = self.insns.wrapping_sub(self.before);
        self.sites.push(Site {
            op: *op,
            operands,
            count: count as u8,
            result,
            insn: self.insn,
            unretired,
            pending,
        });
        self.sites.len() as u32 - 1
    }

    pub fn place(&self, value: Value) -> Place {
        match self.loc(value) {
            Loc::Const(number) => Place::Const(number),
            Loc::Temp(reg) | Loc::Home(reg) => Place::Reg(reg),
            Loc::Spill(place) => Place::Spill(place),
            Loc::Slot(_) | Loc::Nowhere => unreachable!("what a site is told of is where it is found"),
        }
    }

    /// Calls out for all that an operation does.
    pub fn call_out(&mut self, v: Value, op: &Op, operands: &[Value]) {
        let result = match op.result() {
            Some(_) => self.result_register(v),
            None => None,
        };
        operands.iter().for_each(|&value| self.out_of_slot(value));
        let site = self.site(op, operands, result);
        self.asm.call_indirect(self.plan.call_out());
        self.asm.note(site);
        self.release_operands(operands);
        if let Some(reg) = result {
            self.define(v, reg);
        }
    }

    /// Calls a helper. What it may touch is written to memory here and, if it may have changed, read again: so where that is
    /// need not be looked up.
    fn helper(&mut self, v: Value, op: &Op, args: &[Value]) {
        let Op::Helper { id, .. } = *op else { unreachable!("the operation is a call of a helper") };
        if self.helper_in_line(v, id, args) {
            return;
        }
        let effects = self.request.helpers[usize::from(id.0)].effects;
        let touches = touches_state(op, self.request.helpers);
        if touches {
            self.give_up_homes();
        } else if effects.traps {
            return self.call_out(v, op, args);
        }
        if effects.writes_state {
            self.give_up_slots();
        }
        let result = self.result_register(v);
        args.iter().for_each(|&value| self.out_of_slot(value));
        for (number, &arg) in args.iter().enumerate() {
            let field = field!(helper_arguments);
            let place = Mem { disp: field.disp + 8 * number as i32, ..field };
            self.store_value(place, arg);
        }
        if touches {
            // Vector registers are written below, whether they need it or not.
            write_back(self.asm, self.plan, self.dirty & ((1 << FIRST_VECTOR) - 1));
        }
        for home in &self.plan.vector_homes {
            write_vector(self.asm, home.slot, home.reg);
        }
        let site = self.site(op, args, None);
        self.asm.mov_imm(Reg::RCX, id.0.into());
        self.asm.call_indirect(field!(links.helper));
        self.asm.note(site);
        if effects.writes_state {
            for home in &self.plan.homes {
                self.asm.load(W64, home.reg, slot(home.slot));
            }
        }
        for home in &self.plan.vector_homes {
            read_vector(self.asm, home.reg, slot(home.slot));
        }
        if let Some(reg) = result {
            self.asm.mov(reg, Reg::RAX);
        }
        self.release_operands(args);
        if let Some(reg) = result {
            self.define(v, reg);
        }
    }

    /// The register for the result of a site, if anybody uses it.
    pub fn result_register(&mut self, v: Value) -> Option<Reg> {
        (self.s.last_use[v.0 as usize] != NEVER).then(|| self.dest(v, None))
    }

    pub fn add_fix(&mut self, fix: Fix) {
        self.s.fixes.push(fix);
    }

    /// The address of an access.
    pub fn address(&mut self, addr: Value) -> Address {
        match self.sum(addr) {
            Some((base, disp)) => Address { base: self.fetch(base), disp },
            None => Address { base: self.fetch(addr), disp: 0 },
        }
    }

    /// What a comparison asks the common bits of, if nobody else is interested in those.
    pub fn tested(&self, cond: Value) -> Option<(Width, Value, Value)> {
        match *self.block.definition(cond) {
            Op::Compare { a, .. } if self.is_fused(a) => tested(self.block, cond),
            _ => None,
        }
    }

    /// Lets go of an address.
    pub fn release_address(&mut self, addr: Value) {
        let value = self.sum(addr).map_or(addr, |(base, _)| base);
        self.release_operands(&[value]);
    }

    fn sum(&self, addr: Value) -> Option<(Value, i32)> {
        if self.is_fused(addr) { sum(self.block, addr) } else { None }
    }

    /// Whether a load is extended by its sign.
    pub fn is_extended(&self, load: Value) -> bool {
        self.s.marks[load.0 as usize].extended
    }

    /// Has a site that was just described called out to behind the block; gives where that goes on.
    pub fn cold(&mut self, label: Label, site: u32) -> Label {
        self.cold_access(label, site, None, None)
    }

    /// The same for an access to an address, whose result may be extended.
    pub fn cold_access(
        &mut self,
        label: Label,
        site: u32,
        address: Option<Address>,
        extended: Option<(Width, Reg)>,
    ) -> Label {
        let back = self.asm.label();
        let kept = self.kept_at_site;
        self.s.cold.push(Cold { label, site, back: Some(back), address, extended, kept });
        back
    }

    /// The end of the block: stores what is pending if every way needs it.
    pub fn store_for_all(&mut self, live: impl Fn(Slot) -> bool) {
        self.at = self.block.ops.len() as u32 - 1;
        let mut index = 0;
        while let Some(&Pending { slot, value, .. }) = self.s.pending.get(index) {
            if live(slot) {
                self.store_slot(slot, value);
                self.s.pending.swap_remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// Stores what is pending and needed on a way; it stays pending for other ways.
    pub fn store_for_way(&mut self, live: &SlotSet) {
        for index in 0..self.s.pending.len() {
            let Pending { slot, value, .. } = self.s.pending[index];
            if live.contains(slot) {
                self.store_value(super::slot(slot), value);
            }
        }
    }

    /// Has the other place of a page, or by itself, looked at behind the block.
    pub fn look_first(&mut self, look: Look) {
        self.s.looks.push(look);
    }

    /// Whether something is pending that is needed on a way.
    pub fn has_pending_for(&self, live: &SlotSet) -> bool {
        self.s.pending.iter().any(|pending| live.contains(pending.slot))
    }

    /// Leaves before the instruction at hand if the count was taken away.
    fn check_count(&mut self) {
        self.asm.test(W64, COUNTDOWN, COUNTDOWN);
        let cold = self.asm.label();
        self.asm.jcc(super::asm::Cc::S, cold);
        let site = self.site(&Op::Fence, &[], None);
        self.s.cold.push(Cold::leaving(cold, site));
    }

    /// Counts down for a block that a way back leads to, and goes there, or leaves through a site if the count is down.
    pub fn go_back(&mut self, to_insns: u32, to_start: i64, body: Label) {
        self.asm.alu_imm(Alu::Sub, W64, COUNTDOWN, to_insns as i32);
        self.asm.jcc(super::asm::Cc::NS, body);
        let cold = self.asm.label();
        self.asm.jmp(cold);
        self.leave_back(to_insns, to_start, cold);
    }

    /// The same, but what is written next goes on.
    pub fn count_back(&mut self, to_insns: u32, to_start: i64) {
        self.asm.alu_imm(Alu::Sub, W64, COUNTDOWN, to_insns as i32);
        let cold = self.asm.label();
        self.asm.jcc(super::asm::Cc::S, cold);
        self.leave_back(to_insns, to_start, cold);
    }

    /// Between two turns that look nothing up.
    pub fn next_in_windows(&mut self, fast: Label) {
        if let Some(windows) = self.windows {
            windows.emit_next(self.asm, fast);
        }
    }

    fn leave_back(&mut self, to_insns: u32, to_start: i64, cold: Label) {
        let (insn, before) = (self.insn, self.before);
        self.insn = to_start;
        self.before = self.insns.wrapping_sub(to_insns);
        // A site without an operation leaves for the run loop.
        let site = self.site(&Op::Fence, &[], None);
        (self.insn, self.before) = (insn, before);
        self.s.cold.push(Cold::leaving(cold, site));
    }
}

/// Where something is put aside.
pub(super) fn spill(place: u16) -> super::asm::Mem {
    let field = field!(spill);
    super::asm::Mem { base: STATE, disp: field.disp + 8 * i32::from(place), ..field }
}

/// The address of an access that is looked up in line, and may be shared.
fn looked_up(op: &Op) -> Option<Value> {
    match *op {
        Op::Load { addr, .. }
        | Op::LoadToModify { addr, .. }
        | Op::Store { addr, .. }
        | Op::VectorLoad { addr, .. }
        | Op::VectorStore { addr, .. } => Some(addr),
        _ => None,
    }
}

/// What a comparison with 0 asks the common bits of, and in which width.
fn tested(block: &Block, cond: Value) -> Option<(Width, Value, Value)> {
    let Op::Compare { cond, w, a, b } = *block.definition(cond) else { return None };
    let Op::Binary { op: Binary::And, w: of, a: x, b: y } = *block.definition(a) else { return None };
    // The sign of narrower bits is that of the operation.
    let fits = of >= w || matches!(cond, Cond::Eq | Cond::Ne);
    (fits && block.constant(b) == Some(0) && block.constant(x).is_none()).then_some((w.min(of), x, y))
}

/// What a condition asks the common bits of, in which width, where that is all that it does.
pub(super) fn common_bits(block: &Block, cond: Value) -> Option<(Width, Value, Value)> {
    match *block.definition(cond) {
        Op::Binary { op: Binary::And, w, a, b } if block.constant(a).is_none() => Some((w, a, b)),
        _ => None,
    }
}

/// What an address is the sum of, if it is one of something computed and a small number.
fn sum(block: &Block, addr: Value) -> Option<(Value, i32)> {
    match *block.definition(addr) {
        Op::Binary { op: Binary::Add, w: W64, a, b }
            if !matches!(block.definition(a), Op::Pc | Op::Const(_)) =>
        {
            let number = block.constant(b)? as i64;
            (number.unsigned_abs() < NEAR).then_some((a, number as i32))
        }
        _ => None,
    }
}

/// Whether an operation does more than define a value.
fn has_effect(op: &Op) -> bool {
    is_site(op) || op.is_float()
}

impl Scratch {
    /// Finds out what is used where, backwards.
    fn analyse(
        &mut self,
        block: &Block,
        plan: &Plan,
        request: Request<'_>,
        live_out: &SlotSet,
        back: bool,
        windows: Option<&Windows>,
    ) {
        let count = block.ops.len();
        self.live.clear();
        self.pending.clear();
        for list in [&mut self.last_use, &mut self.next_site, &mut self.hint] {
            list.clear();
            list.resize(count, NEVER);
        }
        self.uses.clear();
        self.uses.resize(count, Uses::default());
        self.marks.clear();
        self.marks.resize(count, Marks::default());
        if let Some(windows) = windows {
            for (at, marks) in self.marks.iter_mut().enumerate() {
                (marks.calm, marks.void) = (windows.is_calm(at), windows.is_void(at));
            }
        }
        self.groups.find(block);
        self.loc.clear();
        self.loc.resize(count, Loc::Nowhere);
        self.backing.clear();
        self.backing.resize(count, Loc::Nowhere);
        self.bits.clear();
        self.bits.resize(count, 64);
        self.writes.clear();
        self.writes.resize(count, Write::Dead);
        let mut may_write_code = false;
        for (at, op) in block.ops.iter().enumerate() {
            match op {
                Op::Insn { .. } => self.marks[at].checks = std::mem::take(&mut may_write_code),
                Op::Helper { id, .. } => {
                    may_write_code |= request.helpers[usize::from(id.0)].effects.memory;
                }
                _ => {}
            }
        }
        let mut next_write = [END; SLOTS];
        let (mut next_site, mut next_touch) = (NEVER, NEVER);
        for (at, op) in block.ops.iter().enumerate().rev() {
            self.next_site[at] = next_site;
            if let Op::Set { slot, .. } = *op {
                let until = next_write[usize::from(slot.0)];
                let at_end = until == END && (back || live_out.contains(slot));
                self.writes[at] = if next_touch < until || plan.is_vector(slot) {
                    Write::Now
                } else if next_site < until || at_end || until == END && plan.home(slot).is_some() {
                    Write::Until(until)
                } else {
                    Write::Dead
                };
                next_write[usize::from(slot.0)] = at as u32;
            }
            if is_site(op) && !self.marks[at].calm || self.marks[at].checks {
                next_site = at as u32;
            }
            if touches_state(op, request.helpers) {
                next_touch = at as u32;
            }
            if !self.is_dead(at, op) {
                block.for_each_operand(op, |value| self.uses[value.0 as usize].all += 1);
            }
            if let Some(addr) = looked_up(op) {
                self.uses[addr.0 as usize].as_address += 1;
            }
        }
        // The terminator reads its operands behind everything else, on which ways depend.
        for (at, op) in block.ops.iter().enumerate().rev() {
            if self.is_dead(at, op) || self.marks[at].fused {
                continue;
            }
            let use_at = at as u32;
            if let Op::BranchRelative { cond, .. }
            | Op::TrapIf { cond, .. }
            | Op::LookIf { cond }
            | Op::Select { cond, .. } = *op
                && let Op::Compare { .. } = *block.definition(cond)
                && self.uses[cond.0 as usize].all == 1
            {
                self.marks[cond.0 as usize].fused = true;
                self.compared(block, cond, use_at);
            }
            if let Op::BranchRelative { cond, .. }
            | Op::TrapIf { cond, .. }
            | Op::LookIf { cond }
            | Op::Select { cond, .. } = *op
                && let Some((_, a, b)) = common_bits(block, cond)
                && self.uses[cond.0 as usize].all == 1
            {
                self.marks[cond.0 as usize].fused = true;
                self.used(a, use_at);
                self.used(b, use_at);
            }
            if let Op::Compare { .. } = *op {
                self.compared(block, Value(use_at), use_at);
                continue;
            }
            if let Some(addr) = looked_up(op)
                && let Some((base, _)) = sum(block, addr)
                && self.uses[addr.0 as usize].all == self.uses[addr.0 as usize].as_address
            {
                self.marks[addr.0 as usize].fused = true;
                self.used(base, use_at);
                block.for_each_operand(op, |value| {
                    if value != addr {
                        self.used(value, use_at);
                    }
                });
                continue;
            }
            if let Op::Unary { op: Unary::Sext, w, a } = *op
                && matches!(*block.definition(a), Op::Load { w: of, .. } if of == w)
                && self.uses[a.0 as usize].all == 1
            {
                self.marks[a.0 as usize].extended = true;
            }
            if let Op::Binary { op: Binary::Add, w: W64, a, b } = *op
                && *block.definition(a) == Op::Pc
                && self.uses[a.0 as usize].all == 1
                && block.constant(b).is_some_and(|number| (number as i64).unsigned_abs() < NEAR)
            {
                self.marks[a.0 as usize].fused = true;
                continue;
            }
            block.for_each_operand(op, |value| self.used(value, use_at));
        }
        self.find_hints(block, plan);
    }

    /// Whether nobody sees what an operation does. Those behind it have been looked at.
    #[inline(always)]
    fn is_dead(&self, at: usize, op: &Op) -> bool {
        match op {
            Op::Set { .. } => self.writes[at] == Write::Dead,
            Op::TrapIf { .. } => self.marks[at].void,
            op => self.uses[at].all == 0 && op.result().is_some() && !has_effect(op),
        }
    }

    /// A comparison is made at an operation. Where it asks about bits that two values have in common, these are its operands.
    fn compared(&mut self, block: &Block, cond: Value, at: u32) {
        let Op::Compare { a, b, .. } = *block.definition(cond) else { return };
        let (a, b) = match tested(block, cond) {
            Some((_, x, y)) if self.uses[a.0 as usize].all == 1 => {
                self.marks[a.0 as usize].fused = true;
                (x, y)
            }
            _ => (a, b),
        };
        self.used(a, at);
        self.used(b, at);
    }

    fn used(&mut self, value: Value, at: u32) {
        let last = &mut self.last_use[value.0 as usize];
        if *last == NEVER || *last < at {
            *last = at;
        }
    }

    fn find_hints(&mut self, block: &Block, plan: &Plan) {
        let mut first_of_insn = 0;
        for (at, op) in block.ops.iter().enumerate() {
            match *op {
                Op::Insn { .. } => first_of_insn = at,
                Op::Set { slot, value } if self.writes[at] != Write::Dead && plan.home(slot).is_some() => {
                    let hint = &mut self.hint[value.0 as usize];
                    // What the slot held must not be asked for in between.
                    let between = block.ops.get(value.0 as usize + 1..at).unwrap_or_default();
                    let old_is_read = between.contains(&Op::Get(slot));
                    if value.0 as usize > first_of_insn && *hint == NEVER && !old_is_read {
                        *hint = at as u32;
                    }
                }
                _ => {}
            }
        }
        // Where extending changes nothing, the operand may be computed there as well.
        for (at, op) in block.ops.iter().enumerate().rev() {
            if let Op::Unary { op, w, a } = *op
                && (op == Unary::Zext || op == Unary::Sext && self.marks[a.0 as usize].extended)
                && self.hint[at] != NEVER
                && self.hint[a.0 as usize] == NEVER
                && let Op::Binary { w: from, .. } | Op::Unary { w: from, .. } | Op::Load { w: from, .. } =
                    *block.definition(a)
                && from <= w
                && let Op::Set { slot, .. } = block.ops[self.hint[at] as usize]
            {
                let between = &block.ops[a.0 as usize..at];
                let bars = |op: &Op| op.insn_offset().is_some() || *op == Op::Get(slot);
                self.hint[a.0 as usize] = if between.iter().any(bars) { NEVER } else { self.hint[at] };
            }
        }
    }
}
