//! One block: where its values are while code for it is written, in order.
//!
//! A slot write without a home is put off: it stays *pending* as long as its value is at hand, because most writes of
//! lazy flags are overwritten before anybody looks. Sites are told what is pending. It is stored when its value would
//! be lost, when a helper may look, or on the ways out of the block that need it.

mod analysis;
mod calls;
mod ends;
pub(super) mod groups;
mod patterns;
mod values;

use super::asm::{Alu, Asm, Reg};
use super::cold::{Cold, Fix, KEPT, Kept, Look};
use super::plan::{Plan, SlotSet, is_site};
use super::stubs::Stubs;
use super::windows::Windows;
use super::{Features, Request, STATE, Site, boxes, field, slot};
use crate::addr::Width::W64;
use crate::emit::Slot;
use crate::ir::block::{Block, Op, Value};
use crate::ir::region::{Region, Way};
use crate::vcpu::SPILLS;
use groups::Groups;
pub(super) use patterns::common_bits;
use patterns::has_effect;

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
    pub stubs: &'a Stubs,
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
        stubs: &'a Stubs,
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
            stubs,
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
}

/// Where something is put aside.
pub(super) fn spill(place: u16) -> super::asm::Mem {
    let field = field!(spill);
    super::asm::Mem { base: STATE, disp: field.disp + 8 * i32::from(place), ..field }
}
