//! One block: where its values are while code for it is written, in order.
//!
//! A slot write without a home is put off: it stays *pending* as long as its value is at hand, because most writes of
//! lazy flags are overwritten before anybody looks. Sites are told what is pending. It is stored when its value would
//! be lost, when a helper may look, or on the ways out of the block that need it.

use super::asm::{Alu, Asm, Label, Mem, Reg, Xmm};
use super::flow::write_back;
use super::plan::{FIRST_VECTOR, Plan, SlotSet, is_site, touches_state};
use super::vectors::{read_vector, write_vector};
use super::{COUNTDOWN, Features, Place, Request, STATE, Site, boxes, field, slot};
use crate::addr::Width::{self, W64};
use crate::emit::{Binary, SLOTS, Slot, Unary};
use crate::ir::block::{Block, Op, Value};
use crate::ir::region::{Region, Way};
use crate::vcpu::SPILLS;

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

/// What calls out, to be written behind the block.
#[derive(Clone, Copy)]
pub(super) struct Cold {
    pub label: Label,
    pub site: u32,
    /// Where to go on; `None` if the site always leaves.
    pub back: Option<Label>,
}

/// A number that a register of vectors gets, with zeros above, to be written behind the block.
#[derive(Clone, Copy)]
pub(super) struct Fix {
    pub label: Label,
    pub register: Xmm,
    pub number: u64,
    /// Where to go on.
    pub back: Label,
}

/// A look at a page's other place in the TLB, to be written behind the block, before the site that does without: RAX is the
/// distance of its own place, RCX the tag that is wanted.
#[derive(Clone, Copy)]
pub(super) struct SecondLook {
    pub label: Label,
    /// Where the address of what looks is.
    pub look: Mem,
    /// Where to go on with the addend in RAX.
    pub found: Label,
    /// Label of the site.
    pub miss: Label,
}

/// Memory that is kept from block to block.
#[derive(Default)]
pub(super) struct Scratch {
    uses: Vec<u32>,
    last_use: Vec<u32>,
    fused: Vec<bool>,
    /// Instructions behind one whose helper may have overwritten them.
    checks: Vec<bool>,
    writes: Vec<Write>,
    /// For each operation the next site behind it, or [`NEVER`].
    next_site: Vec<u32>,
    /// For each value the write to a home, in the same instruction, that it may be computed into.
    hint: Vec<u32>,
    done: Vec<bool>,
    loc: Vec<Loc>,
    bits: Vec<u8>,
    live: Vec<Value>,
    pending: Vec<Pending>,
    pub cold: Vec<Cold>,
    pub fixes: Vec<Fix>,
    /// In the order of their sites.
    pub looks: Vec<SecondLook>,
}

/// The writer of a block's code.
pub(super) struct Emitter<'a> {
    pub asm: &'a mut Asm,
    pub plan: &'a Plan,
    pub features: Features,
    pub request: Request<'a>,
    pub block: &'a Block,
    s: &'a mut Scratch,
    sites: &'a mut Vec<Site>,
    /// Values in each register.
    refs: [u8; 16],
    /// Values in each spill place.
    spills: [u8; SPILLS],
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
    ) -> Self {
        let block = &region.blocks[index];
        let mut back = false;
        block.ways.for_each(|way| back |= matches!(way, Way::Block(to) if to <= index));
        s.analyse(&block.block, plan, request, &plan.live_out[index], back);
        Self {
            asm,
            plan,
            features,
            request,
            block: &block.block,
            s,
            sites,
            refs: [0; 16],
            spills: [0; SPILLS],
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
                if self.s.checks[at] {
                    self.check_count();
                }
                continue;
            }
            self.s.pending.retain(|pending| pending.until > at as u32);
            self.in_site = is_site(op);
            self.op(at, op);
            self.in_site = false;
            boxes::after(op, block, self.request.helpers, &mut self.boxed);
        }
        self.locked = 0;
    }

    fn op(&mut self, at: usize, op: &Op) {
        let v = Value(at as u32);
        if op.result().is_some() && !has_effect(op) && self.s.last_use[at] == NEVER {
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
            // The address of the instruction is part of the sum.
            Op::Binary { a, b, .. } if self.is_fused(a) => {
                let distance = self.block.constant(b).unwrap_or(0) as i64;
                let to = self.dest(v, None);
                self.pc_into(to, self.insn.wrapping_add(distance));
                self.define(v, to);
            }
            Op::Binary { op, w, a, b } => self.binary(v, op, w, a, b),
            Op::Unary { op, w, a } => self.unary(v, op, w, a),
            Op::Compare { cond, w, a, b } => {
                if !self.s.fused[at] {
                    self.compare(v, cond, w, a, b);
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
                let cold = self.asm.label();
                let cc = self.condition(cond);
                self.asm.jcc(cc, cold);
                let site = self.site(op, &[value], None);
                self.s.cold.push(Cold { label: cold, site, back: None });
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
            if !self.s.done[at] {
                self.move_home(home, value);
            }
            self.release_operands(&[value]);
            return;
        }
        // What was put off before is overwritten.
        self.s.pending.retain(|pending| pending.slot != to);
        match write {
            Write::Until(until) => self.s.pending.push(Pending { slot: to, value, until }),
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
            Loc::Nowhere => unreachable!("values are defined before they are used"),
        }
        if matches!(self.loc(value), Loc::Temp(_) | Loc::Spill(_)) {
            // From now on the home is where it is.
            self.leave(value);
            self.s.loc[value.0 as usize] = Loc::Home(home);
        }
    }

    /// Writes a slot in memory.
    fn store_slot(&mut self, to: Slot, value: Value) {
        self.store_value(slot(to), value);
    }

    fn store_value(&mut self, to: Mem, value: Value) {
        match self.loc(value) {
            Loc::Const(number) if i32::try_from(number as i64).is_ok() => {
                self.asm.store_imm(W64, to, number as i32);
            }
            Loc::Const(number) => {
                self.asm.mov_imm(Reg::RAX, number);
                self.asm.store(W64, to, Reg::RAX);
            }
            Loc::Temp(reg) | Loc::Home(reg) => self.asm.store(W64, to, reg),
            Loc::Spill(place) => {
                self.asm.load(W64, Reg::RAX, spill(place));
                self.asm.store(W64, to, Reg::RAX);
            }
            Loc::Nowhere => unreachable!("a value that is pending is somewhere"),
        }
    }

    pub fn loc(&self, value: Value) -> Loc {
        self.s.loc[value.0 as usize]
    }

    /// How many low bits of a value may be set.
    pub fn bits(&self, value: Value) -> u32 {
        self.s.bits[value.0 as usize].into()
    }

    pub fn set_bits(&mut self, value: Value, bits: u32) {
        self.s.bits[value.0 as usize] = bits as u8;
    }

    pub fn constant(&self, value: Value) -> Option<u64> {
        match self.loc(value) {
            Loc::Const(number) => Some(number),
            _ => None,
        }
    }

    /// A constant that fits the immediate of an instruction of width `w`.
    pub fn immediate(&self, w: Width, value: Value) -> Option<i32> {
        let number = self.constant(value)?;
        match w {
            Width::W64 => i32::try_from(number as i64).ok(),
            w => Some((number & w.mask()) as i32),
        }
    }

    pub fn is_fused(&self, value: Value) -> bool {
        self.s.fused[value.0 as usize]
    }

    /// Whether this operation is the last that uses a value.
    fn dies(&self, value: Value) -> bool {
        self.s.last_use[value.0 as usize] <= self.at
    }

    /// The register of a value, into which it is brought if it is in none.
    pub fn fetch(&mut self, value: Value) -> Reg {
        let reg = match self.loc(value) {
            Loc::Temp(reg) | Loc::Home(reg) => reg,
            Loc::Const(number) => {
                // Needed again, it is made again.
                let reg = self.temp();
                self.asm.mov_imm(reg, number);
                reg
            }
            Loc::Spill(place) => {
                let reg = self.temp();
                self.asm.load(W64, reg, spill(place));
                self.spills[usize::from(place)] -= 1;
                self.s.loc[value.0 as usize] = Loc::Temp(reg);
                self.refs[usize::from(reg.0)] += 1;
                reg
            }
            Loc::Nowhere => unreachable!("values are defined before they are used"),
        };
        self.locked |= 1 << reg.0;
        reg
    }

    fn lock_value(&mut self, value: Value) {
        if let Loc::Temp(reg) | Loc::Home(reg) = self.loc(value) {
            self.locked |= 1 << reg.0;
        }
    }

    /// A free register for this operation.
    pub fn temp(&mut self) -> Reg {
        let free = |e: &Self, reg: &Reg| e.refs[usize::from(reg.0)] == 0 && e.locked >> reg.0 & 1 == 0;
        let found = self.plan.temps.iter().copied().find(|reg| free(self, reg));
        let reg = found.unwrap_or_else(|| self.evict());
        self.locked |= 1 << reg.0;
        reg
    }

    /// Frees the register of the value that is used last.
    fn evict(&mut self) -> Reg {
        let mut best = None;
        for &value in &self.s.live {
            if let Loc::Temp(reg) = self.loc(value)
                && self.locked >> reg.0 & 1 == 0
            {
                let last = self.s.last_use[value.0 as usize];
                if best.is_none_or(|(_, most)| last > most) {
                    best = Some((reg, last));
                }
            }
        }
        let (reg, _) = best.expect("an operation locks fewer registers than there are");
        self.put_aside(reg);
        reg
    }

    /// Makes a register free that may hold values.
    pub fn clear(&mut self, reg: Reg) {
        if self.refs[usize::from(reg.0)] != 0 {
            self.put_aside(reg);
        }
        self.locked |= 1 << reg.0;
    }

    fn put_aside(&mut self, reg: Reg) {
        let place = self.spills.iter().position(|&refs| refs == 0).expect("there is room for every value");
        self.asm.store(W64, spill(place as u16), reg);
        for &value in &self.s.live {
            let loc = &mut self.s.loc[value.0 as usize];
            if *loc == Loc::Temp(reg) {
                *loc = Loc::Spill(place as u16);
                self.spills[place] += 1;
            }
        }
        self.refs[usize::from(reg.0)] = 0;
    }

    /// The register that a value is to be computed into. It may be that of an operand that `reuse` names if the operand is
    /// of no use afterwards. Ask before operands are fetched.
    pub fn dest(&mut self, v: Value, reuse: Option<Value>) -> Reg {
        if let Some(home) = self.hinted_home(v) {
            self.protect(home);
            self.locked |= 1 << home.0;
            return home;
        }
        if let Some(value) = reuse
            && self.dies(value)
            && let Loc::Temp(reg) = self.loc(value)
            && self.refs[usize::from(reg.0)] == 1
            && !self.s.pending.iter().any(|pending| pending.value == value)
        {
            self.locked |= 1 << reg.0;
            return reg;
        }
        self.temp()
    }

    /// The home that a value is written to next, if it may be computed right there.
    fn hinted_home(&self, v: Value) -> Option<Reg> {
        let set = self.s.hint[v.0 as usize];
        if set == NEVER || self.s.next_site[v.0 as usize] < set {
            return None;
        }
        let Op::Set { slot, .. } = self.block.ops[set as usize] else { return None };
        self.plan.home(slot)
    }

    /// Notes that a value has been computed into the register that [`Emitter::dest`] gave.
    pub fn define(&mut self, v: Value, reg: Reg) {
        if self.plan.homes.iter().any(|home| home.reg == reg) {
            self.s.done[self.s.hint[v.0 as usize] as usize] = true;
            self.define_at(v, Loc::Home(reg));
        } else {
            self.define_at(v, Loc::Temp(reg));
        }
    }

    /// Notes where a value is.
    pub fn define_at(&mut self, v: Value, loc: Loc) {
        if self.s.last_use[v.0 as usize] == NEVER {
            return;
        }
        self.s.loc[v.0 as usize] = loc;
        match loc {
            Loc::Temp(reg) => self.refs[usize::from(reg.0)] += 1,
            Loc::Spill(place) => self.spills[usize::from(place)] += 1,
            Loc::Home(_) => {}
            Loc::Const(_) | Loc::Nowhere => return,
        }
        self.s.live.push(v);
    }

    /// A value that is the same as another.
    pub fn alias(&mut self, v: Value, of: Value) {
        let loc = self.loc(of);
        self.set_bits(v, self.bits(of));
        self.define_at(v, loc);
        self.release_operands(&[of]);
    }

    /// Lets go of operands that are of no use after this operation.
    pub fn release_operands(&mut self, values: &[Value]) {
        for &value in values {
            if self.dies(value) {
                self.release(value);
            }
        }
    }

    fn release(&mut self, value: Value) {
        match self.loc(value) {
            Loc::Const(_) | Loc::Nowhere => return,
            // Nothing is gained by forgetting it while it is pending.
            Loc::Home(_) if self.s.pending.iter().any(|pending| pending.value == value) => return,
            Loc::Temp(_) | Loc::Spill(_) => self.store_pending(value),
            Loc::Home(_) => {}
        }
        self.leave(value);
        self.s.loc[value.0 as usize] = Loc::Nowhere;
        self.s.live.retain(|&live| live != value);
    }

    /// Takes a value out of the count of what is in its place.
    fn leave(&mut self, value: Value) {
        match self.loc(value) {
            Loc::Temp(reg) => self.refs[usize::from(reg.0)] -= 1,
            Loc::Spill(place) => self.spills[usize::from(place)] -= 1,
            _ => {}
        }
    }

    /// Stores what is pending of a value that is about to be lost.
    fn store_pending(&mut self, value: Value) {
        let mut index = 0;
        while let Some(&Pending { slot, value: of, until }) = self.s.pending.get(index) {
            if of != value {
                index += 1;
                continue;
            }
            let observed = self.in_site || until == END || self.s.next_site[self.at as usize] < until;
            if observed {
                self.store_slot(slot, value);
            }
            self.s.pending.swap_remove(index);
        }
    }

    /// The content of a home is about to be replaced: values that are still needed are saved.
    fn protect(&mut self, home: Reg) {
        let mut copy = None;
        let mut index = 0;
        while let Some(&value) = self.s.live.get(index) {
            if self.loc(value) != Loc::Home(home) {
                index += 1;
                continue;
            }
            if self.dies(value) {
                // As an operand of this operation it is read before the home is written.
                self.store_pending(value);
                if self.s.last_use[value.0 as usize] < self.at {
                    self.s.loc[value.0 as usize] = Loc::Nowhere;
                    self.s.live.swap_remove(index);
                } else {
                    index += 1;
                }
                continue;
            }
            let reg = match copy {
                Some(reg) => reg,
                None => {
                    let locked = self.locked;
                    let reg = self.temp();
                    // The copy may be put aside like any other value.
                    self.locked = locked;
                    self.asm.mov(reg, home);
                    copy = Some(reg);
                    reg
                }
            };
            self.s.loc[value.0 as usize] = Loc::Temp(reg);
            self.refs[usize::from(reg.0)] += 1;
            index += 1;
        }
    }

    /// A helper may change every home.
    fn give_up_homes(&mut self) {
        for index in 0..self.plan.homes.len() {
            self.protect(self.plan.homes[index].reg);
        }
    }

    /// Describes a site: what it does and where everything is.
    pub fn site(&mut self, op: &Op, operands: &[Value], result: Option<Reg>) -> u32 {
        let mut places = [Place::Const(0); 4];
        for (place, &value) in places.iter_mut().zip(operands) {
            *place = self.place(value);
        }
        let pending = self.s.pending.iter();
        let pending = pending.map(|pending| (pending.slot, self.place(pending.value))).collect();
        self.in_site = false;
        let unretired = self.insns.wrapping_sub(self.before);
        let count = operands.len() as u8;
        self.sites.push(Site {
            op: *op,
            operands: places,
            count,
            result,
            insn: self.insn,
            unretired,
            pending,
        });
        self.sites.len() as u32 - 1
    }

    fn place(&self, value: Value) -> Place {
        match self.loc(value) {
            Loc::Const(number) => Place::Const(number),
            Loc::Temp(reg) | Loc::Home(reg) => Place::Reg(reg),
            Loc::Spill(place) => Place::Spill(place),
            Loc::Nowhere => unreachable!("operands of a site are somewhere"),
        }
    }

    /// Calls out for all that an operation does.
    pub fn call_out(&mut self, v: Value, op: &Op, operands: &[Value]) {
        let result = match op.result() {
            Some(_) => self.result_register(v),
            None => None,
        };
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
        let effects = self.request.helpers[usize::from(id.0)].effects;
        let touches = touches_state(op, self.request.helpers);
        if touches {
            self.give_up_homes();
        } else if effects.traps {
            return self.call_out(v, op, args);
        }
        let result = self.result_register(v);
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

    pub fn cold(&mut self, label: Label, site: u32) -> Label {
        let back = self.asm.label();
        self.s.cold.push(Cold { label, site, back: Some(back) });
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
                self.store_slot(slot, value);
            }
        }
    }

    /// Has the other place looked at behind the block.
    pub fn second_look(&mut self, look: SecondLook) {
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
        self.s.cold.push(Cold { label: cold, site, back: None });
    }

    /// Counts down for a block that a way back leads to, and goes there, or leaves through a site if the count is down.
    pub fn go_back(&mut self, to_insns: u32, to_start: i64, body: Label) {
        self.asm.alu_imm(Alu::Sub, W64, COUNTDOWN, to_insns as i32);
        self.asm.jcc(super::asm::Cc::NS, body);
        let cold = self.asm.label();
        self.asm.jmp(cold);
        let (insn, before) = (self.insn, self.before);
        self.insn = to_start;
        self.before = self.insns.wrapping_sub(to_insns);
        // A site without an operation leaves for the run loop.
        let site = self.site(&Op::Fence, &[], None);
        (self.insn, self.before) = (insn, before);
        self.s.cold.push(Cold { label: cold, site, back: None });
    }
}

fn spill(place: u16) -> super::asm::Mem {
    let field = field!(spill);
    super::asm::Mem { base: STATE, disp: field.disp + 8 * i32::from(place), ..field }
}

/// Whether an operation does more than define a value.
fn has_effect(op: &Op) -> bool {
    is_site(op) || op.is_float()
}

impl Scratch {
    /// Finds out what is used where, backwards.
    fn analyse(&mut self, block: &Block, plan: &Plan, request: Request<'_>, live_out: &SlotSet, back: bool) {
        let count = block.ops.len();
        self.live.clear();
        self.pending.clear();
        for list in [&mut self.uses, &mut self.last_use, &mut self.next_site, &mut self.hint] {
            list.clear();
            list.resize(count, NEVER);
        }
        for list in [&mut self.fused, &mut self.done, &mut self.checks] {
            list.clear();
            list.resize(count, false);
        }
        self.uses.fill(0);
        self.loc.clear();
        self.loc.resize(count, Loc::Nowhere);
        self.bits.clear();
        self.bits.resize(count, 64);
        self.writes.clear();
        self.writes.resize(count, Write::Dead);
        let mut may_write_code = false;
        for (at, op) in block.ops.iter().enumerate() {
            match op {
                Op::Insn { .. } => self.checks[at] = std::mem::take(&mut may_write_code),
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
            if is_site(op) || self.checks[at] {
                next_site = at as u32;
            }
            if touches_state(op, request.helpers) {
                next_touch = at as u32;
            }
            block.for_each_operand(op, |value| self.uses[value.0 as usize] += 1);
        }
        // The terminator reads its operands behind everything else, on which ways depend.
        for (at, op) in block.ops.iter().enumerate().rev() {
            let dead = match op {
                Op::Set { .. } => self.writes[at] == Write::Dead,
                op => op.result().is_some() && !has_effect(op) && self.last_use[at] == NEVER,
            };
            if dead || self.fused[at] {
                continue;
            }
            let use_at = at as u32;
            if let Op::BranchRelative { cond, .. }
            | Op::TrapIf { cond, .. }
            | Op::LookIf { cond }
            | Op::Select { cond, .. } = *op
                && let Op::Compare { a, b, .. } = *block.definition(cond)
                && self.uses[cond.0 as usize] == 1
            {
                self.fused[cond.0 as usize] = true;
                self.used(a, use_at);
                self.used(b, use_at);
            }
            if let Op::Binary { op: Binary::Add, w: W64, a, b } = *op
                && *block.definition(a) == Op::Pc
                && self.uses[a.0 as usize] == 1
                && block.constant(b).is_some_and(|number| (number as i64).unsigned_abs() < NEAR)
            {
                self.fused[a.0 as usize] = true;
                continue;
            }
            block.for_each_operand(op, |value| self.used(value, use_at));
        }
        self.find_hints(block, plan);
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
            if let Op::Unary { op: Unary::Zext, w, a } = *op
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
