//! A region as a whole: its entry, its blocks, and the ways between them and out.

use super::asm::{Alu, Asm, Cc, Label, Reg};
use super::block::Emitter;
use super::cold;
use super::plan::{FIRST_VECTOR, Plan, SlotSet, may_change_mode};
use super::stubs::{Stubs, emit_quick_jump};
use super::vectors::{read_vector, write_vector};
use super::windows::Windows;
use super::{COUNTDOWN, EntryPoint, Link, Lowering, Request, field, slot};
use crate::addr::PAGE_MASK;
use crate::addr::Width::W64;
use crate::ir::block::Op;
use crate::ir::region::{Region, RegionBlock, Way, Ways};
use crate::vcpu::EXIT_COUNT;

/// Writes a region.
pub(super) struct Flow<'a> {
    lowering: &'a mut Lowering,
    region: &'a Region,
    request: Request<'a>,
    /// Where the body of each block starts; it has been counted.
    bodies: Vec<Label>,
    /// Where each block is counted first.
    heads: Vec<Label>,
    /// Where there is no time left for a block that is entered.
    downs: Vec<Label>,
    /// Ways out that are written behind everything else, and where jumps lead to them.
    outs: Vec<(Label, Out)>,
}

/// A way out of the region.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Out {
    to: i64,
    /// The homes to write back.
    dirty: u32,
    kind: OutKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OutKind {
    /// On to other code.
    On,
    /// To the run loop, which has something to look at.
    Look,
    /// To code of another mode or address space.
    Moved,
}

impl<'a> Flow<'a> {
    pub fn new(lowering: &'a mut Lowering, region: &'a Region, request: Request<'a>) -> Self {
        let mut labels = || region.blocks.iter().map(|_| lowering.asm.label()).collect();
        let (bodies, heads, downs) = (labels(), labels(), labels());
        Self { lowering, region, request, bodies, heads, downs, outs: Vec::new() }
    }

    fn asm(&mut self) -> &mut Asm {
        &mut self.lowering.asm
    }

    /// Writes everything; gives where these blocks are entered, of which the first one is that of the region.
    pub fn emit(mut self, entries: &[usize]) -> Vec<EntryPoint> {
        assert_eq!(entries[0], 0, "nothing leads into a region's first block but its entry");
        let mut points = vec![self.entry(0)];
        for index in 0..self.region.blocks.len() {
            self.block(index);
        }
        for &index in &entries[1..] {
            points.push(self.entry(index));
            let body = self.bodies[index];
            self.asm().jmp(body);
        }
        self.cold();
        self.outs();
        for &index in entries {
            let RegionBlock { start, insns, .. } = self.region.blocks[index];
            let down = self.downs[index];
            self.asm().bind(down);
            self.asm().alu_imm(Alu::Add, W64, COUNTDOWN, insns as i32);
            let Lowering { asm, stubs, .. } = &mut *self.lowering;
            leave_at(asm, stubs, start);
        }
        points
    }

    /// Writes the way into a block.
    fn entry(&mut self, index: usize) -> EntryPoint {
        let RegionBlock { ref block, start: place, insns, .. } = self.region.blocks[index];
        let down = self.downs[index];
        let entry = self.asm().len() as u32;
        self.asm().alu_imm(Alu::Sub, W64, COUNTDOWN, insns as i32);
        self.asm().jcc(Cc::S, down);
        let start = self.asm().len() as u32;
        let Lowering { asm, plan, .. } = &mut *self.lowering;
        for home in &plan.homes {
            asm.load(W64, home.reg, slot(home.slot));
        }
        for home in plan.vector_homes.iter().filter(|home| !home.is_scratch) {
            read_vector(asm, home.reg, slot(home.slot));
        }
        let (place, insns, len_bytes) = (place as u16, insns as u16, block.len_bytes);
        EntryPoint { place, insns, len_bytes, entry, start }
    }

    fn block(&mut self, index: usize) {
        let insns = self.region.blocks[index].insns as i32;
        let (head, body) = (self.heads[index], self.bodies[index]);
        self.asm().bind(head);
        // The entry's count was taken on the way in.
        if index > 0 {
            self.asm().alu_imm(Alu::Sub, W64, COUNTDOWN, insns);
        }
        let Lowering { asm, plan, windows, .. } = &mut *self.lowering;
        if !self.request.is_compact && windows.find(self.region, index, plan) {
            Windows::emit_entry(asm);
            asm.bind(body);
            let [look, fast] = [(); 2].map(|()| asm.label());
            self.write(index, Turn::Plain(look));
            let Lowering { asm, plan, stubs, windows, .. } = &mut *self.lowering;
            asm.bind(look);
            windows.emit_look(asm, plan, stubs, self.request, body);
            asm.bind(fast);
            self.write(index, Turn::InWindows(fast));
        } else {
            asm.bind(body);
            self.write(index, Turn::None);
        }
    }

    /// Writes a block and how it ends.
    fn write(&mut self, index: usize, turn: Turn) {
        let Lowering { asm, features, stubs, sites, links, plan, block, windows } = &mut *self.lowering;
        let windows = matches!(turn, Turn::InWindows(_)).then_some(&*windows);
        let (region, request) = (self.region, self.request);
        let mut emitter =
            Emitter::new(asm, plan, *features, request, stubs, block, sites, region, index, windows);
        emitter.body();
        Ending {
            looks: may_change_mode(&region.blocks[index].block, request.helpers),
            region,
            index,
            turn,
            bodies: &self.bodies,
            heads: &self.heads,
            outs: &mut self.outs,
            links,
            plan,
        }
        .emit(&mut emitter);
    }

    /// What is rarely needed of all blocks.
    fn cold(&mut self) {
        let Lowering { asm, block, plan, stubs, .. } = &mut *self.lowering;
        let (fixes, looks) = (block.fixes.drain(..), block.looks.drain(..));
        cold::emit(asm, stubs.call_out(plan.has_vectors()), fixes, looks, block.cold.drain(..));
    }

    fn outs(&mut self) {
        for (label, out) in std::mem::take(&mut self.outs) {
            let Lowering { asm, plan, stubs, links, .. } = &mut *self.lowering;
            asm.bind(label);
            out.emit(asm, plan, stubs, links, self.request.is_compact);
        }
    }
}

impl Out {
    fn emit(self, asm: &mut Asm, plan: &Plan, stubs: &Stubs, links: &mut Vec<Link>, is_compact: bool) {
        let Self { to, dirty, kind } = self;
        write_back(asm, plan, dirty);
        match kind {
            OutKind::Look => leave_at(asm, stubs, to),
            OutKind::Moved => {
                asm.store_imm(W64, field!(moved), 0);
                jump_to(asm, stubs, to);
            }
            OutKind::On => match near_page(to) {
                Some(0) => {
                    let unlinked = asm.label();
                    let jump = asm.jmp_patched(unlinked);
                    asm.bind(unlinked);
                    let unlinked = asm.len();
                    asm.mov_imm(Reg::RAX, links.len() as u64);
                    asm.jmp_fixed(stubs.unlinked);
                    links.push(Link { jump, unlinked, to, far: None });
                }
                Some(_) if is_compact => {
                    asm.mov_imm(Reg::RAX, u64::from(to as u32));
                    asm.call_fixed(stubs.find_from_page);
                    // Here, so that the processor tells the targets of different jumps apart.
                    asm.jmp_indirect(Reg::RAX);
                }
                Some(page) => far(asm, stubs, links, to, page),
                None => jump_to(asm, stubs, to),
            },
        }
    }
}

/// Leaves for the run loop, which goes on at this place.
fn leave_at(asm: &mut Asm, stubs: &Stubs, to: i64) {
    if let Ok(to) = i32::try_from(to) {
        asm.mov_imm(Reg::RAX, u64::from(to as u32));
        return asm.jmp_fixed(stubs.leave_from_page);
    }
    pc(asm, to);
    asm.store(W64, field!(pc), Reg::RAX);
    asm.mov_imm(Reg::RAX, EXIT_COUNT);
    asm.jmp_fixed(stubs.leave);
}

/// The page that a place is in, from this one on, unless that is out of a jump's reach.
fn near_page(to: i64) -> Option<i32> {
    i32::try_from(to & !(PAGE_MASK as i64)).ok()
}

/// A way out to another page, `page` bytes away. The jump is made as long as the guest's code is where it was when it was linked:
/// the same vCPU context, in which this page has the same address. Otherwise the jump cache knows, and now and then the
/// run loop hears of it, so that ways that are often gone are linked to what they lead to now.
fn far(asm: &mut Asm, stubs: &Stubs, links: &mut Vec<Link>, to: i64, page: i32) {
    let slow = asm.label();
    asm.mov_imm64(Reg::RAX, 0);
    let conditions = asm.len() - 8;
    asm.mov_imm64(Reg::RCX, 0);
    asm.alu(Alu::Cmp, W64, Reg::RAX, field!(far_tag));
    asm.jcc(Cc::NE, slow);
    asm.alu(Alu::Cmp, W64, Reg::RCX, field!(page_base));
    asm.jcc(Cc::NE, slow);
    asm.alu_imm(Alu::Add, W64, Reg::RCX, page);
    asm.store(W64, field!(page_base), Reg::RCX);
    let jump = asm.jmp_patched(slow);
    asm.bind(slow);
    let unlinked = asm.len();
    asm.mov_imm(Reg::RCX, links.len() as u64);
    pc(asm, to);
    asm.jmp_fixed(stubs.far);
    links.push(Link { jump, unlinked, to, far: Some(conditions) });
}

/// Goes on at a place by the jump cache.
pub(super) fn jump_to(asm: &mut Asm, stubs: &Stubs, to: i64) {
    if let Ok(to) = i32::try_from(to) {
        asm.mov_imm(Reg::RAX, u64::from(to as u32));
        return asm.jmp_fixed(stubs.jump_from_page);
    }
    pc(asm, to);
    asm.jmp_fixed(stubs.jump);
}

/// RAX = the address of a place.
fn pc(asm: &mut Asm, to: i64) {
    asm.load(W64, Reg::RAX, field!(page_base));
    match i32::try_from(to) {
        Ok(to) => asm.alu_imm(Alu::Add, W64, Reg::RAX, to),
        Err(_) => {
            asm.mov_imm(Reg::RCX, to as u64);
            asm.alu(Alu::Add, W64, Reg::RAX, Reg::RCX);
        }
    }
}

pub(super) fn write_back(asm: &mut Asm, plan: &Plan, dirty: u32) {
    for (number, home) in plan.homes.iter().enumerate() {
        if dirty >> number & 1 != 0 {
            asm.store(W64, slot(home.slot), home.reg);
        }
    }
    for (number, home) in plan.vector_homes.iter().enumerate() {
        if dirty >> (FIRST_VECTOR + number) & 1 != 0 {
            write_vector(asm, home.slot, home.reg);
        }
    }
}

/// Which writing of a block this is.
#[derive(Clone, Copy)]
enum Turn {
    /// The only one.
    None,
    /// The plain one of two. Between two turns it goes to this label.
    Plain(Label),
    /// The one that looks nothing up, and where it starts.
    InWindows(Label),
}

/// Writes how a block ends.
struct Ending<'a> {
    /// The run loop may have to look before anything else runs.
    looks: bool,
    region: &'a Region,
    index: usize,
    turn: Turn,
    bodies: &'a [Label],
    heads: &'a [Label],
    outs: &'a mut Vec<(Label, Out)>,
    links: &'a mut Vec<Link>,
    plan: &'a Plan,
}

impl Ending<'_> {
    /// What is observed on a way. The run loop may observe everything.
    fn live_on(&self, e: &Emitter<'_>, way: Way) -> SlotSet {
        match e.windows {
            _ if self.looks => SlotSet::ALL,
            Some(windows) if way == Way::Block(self.index) => {
                Plan::live_in_windows(e.block, e.request.helpers, windows)
            }
            _ => self.plan.live_on(way),
        }
    }

    /// Whether what is written next is the start of a block.
    fn falls_into(&self, way: Way) -> bool {
        way == Way::Block(self.index + 1) && !matches!(self.turn, Turn::Plain(_))
    }

    fn emit(&mut self, e: &mut Emitter<'_>) {
        match self.region.blocks[self.index].ways {
            Ways::None => {}
            Ways::Indirect => self.indirect(e),
            Ways::One(way) => {
                e.store_for_way(&self.live_on(e, way));
                self.go(e, way, true);
            }
            Ways::Branch { taken, next } => {
                let (live_taken, live_next) = (self.live_on(e, taken), self.live_on(e, next));
                e.store_for_all(|slot| live_taken.contains(slot) && live_next.contains(slot));
                let Some(&Op::BranchRelative { cond, .. }) = e.block.ops.last() else {
                    unreachable!("a block that branches ends with a branch")
                };
                e.locked = 0;
                let cc = e.condition(cond);
                if self.falls_into(taken) {
                    self.branch(e, cc.negated(), (next, &live_next), (taken, &live_taken));
                } else {
                    self.branch(e, cc, (taken, &live_taken), (next, &live_next));
                }
            }
        }
    }

    /// A conditional jump on one way, and the other way behind it.
    fn branch(&mut self, e: &mut Emitter<'_>, cc: Cc, far: (Way, &SlotSet), near: (Way, &SlotSet)) {
        let is_back = matches!(far.0, Way::Block(to) if to <= self.index);
        if let Some(label) = self.plain_target(e, far.0)
            && !is_back
            && !e.has_pending_for(far.1)
        {
            e.asm.jcc(cc, label);
        } else {
            // What is to be done on the way stands in line: loops mostly take it.
            let skip = e.asm.label();
            e.asm.jcc(cc.negated(), skip);
            e.store_for_way(far.1);
            self.go(e, far.0, false);
            e.asm.bind(skip);
        }
        e.store_for_way(near.1);
        self.go(e, near.0, true);
    }

    /// A label that a conditional jump may lead to, for a way on which nothing has to be done.
    fn plain_target(&mut self, e: &mut Emitter<'_>, way: Way) -> Option<Label> {
        if self.looks {
            return None;
        }
        match way {
            Way::Block(to) => Some(self.heads[to]),
            Way::Out(to) => Some(self.out(e, to, OutKind::On)),
        }
    }

    fn way_out(&self, to: i64, kind: OutKind) -> Out {
        Out { to, dirty: self.plan.dirty_out[self.index], kind }
    }

    /// Where a way out is that is written behind everything else: one for all that have the same to do.
    fn out(&mut self, e: &mut Emitter<'_>, to: i64, kind: OutKind) -> Label {
        let out = self.way_out(to, kind);
        if let Some(&(label, _)) = self.outs.iter().find(|(_, other)| *other == out) {
            return label;
        }
        let label = e.asm.label();
        self.outs.push((label, out));
        label
    }

    /// Goes a way, on which everything has been stored. Where the block that follows is reached by falling through,
    /// `last` says that nothing stands in between.
    fn go(&mut self, e: &mut Emitter<'_>, way: Way, last: bool) {
        if self.looks {
            let to = match way {
                Way::Block(to) => self.region.blocks[to].start,
                Way::Out(to) => to,
            };
            let label = self.out(e, to, OutKind::Look);
            e.asm.test(W64, COUNTDOWN, COUNTDOWN);
            e.asm.jcc(Cc::S, label);
            let label = self.out(e, to, OutKind::Moved);
            e.asm.alu_imm(Alu::Cmp, W64, field!(moved), 0);
            e.asm.jcc(Cc::NE, label);
        }
        match way {
            Way::Block(to) if to <= self.index => {
                let head = &self.region.blocks[to];
                match self.turn {
                    Turn::Plain(look) if to == self.index => e.go_back(head.insns, head.start, look),
                    Turn::InWindows(fast) if to == self.index => {
                        e.count_back(head.insns, head.start);
                        e.next_in_windows(fast);
                        e.store_for_way(&self.plan.live_on(way));
                        e.asm.jmp(self.bodies[to]);
                    }
                    _ => e.go_back(head.insns, head.start, self.bodies[to]),
                }
            }
            Way::Block(_) if last && self.falls_into(way) => {}
            Way::Block(to) => e.asm.jmp(self.heads[to]),
            // Code that is to be small has it in line: nothing there is run more often than the rest.
            Way::Out(to) if e.request.is_compact => {
                self.way_out(to, OutKind::On).emit(e.asm, self.plan, e.stubs, self.links, true);
            }
            Way::Out(to) => {
                let label = self.out(e, to, OutKind::On);
                e.asm.jmp(label);
            }
        }
    }

    fn indirect(&mut self, e: &mut Emitter<'_>) {
        let Some(&Op::Jump { target }) = e.block.ops.last() else {
            unreachable!("a block with an indirect way ends with a jump")
        };
        e.store_for_way(&SlotSet::ALL);
        e.locked = 0;
        let target = e.fetch(target);
        e.asm.mov(Reg::RAX, target);
        write_back(e.asm, self.plan, self.plan.dirty_out[self.index]);
        if self.looks {
            let on = e.asm.label();
            e.asm.test(W64, COUNTDOWN, COUNTDOWN);
            e.asm.jcc(Cc::NS, on);
            e.asm.store(W64, field!(pc), Reg::RAX);
            e.asm.mov_imm(Reg::RAX, EXIT_COUNT);
            e.asm.jmp_fixed(e.stubs.leave);
            e.asm.bind(on);
            e.asm.store_imm(W64, field!(moved), 0);
        }
        if e.request.is_compact {
            e.asm.call_fixed(e.stubs.find);
            return e.asm.jmp_indirect(Reg::RAX);
        }
        // In line, so that the processor tells the targets of different jumps apart.
        emit_quick_jump(e.asm);
        e.asm.jmp_fixed(e.stubs.jump);
    }
}
