//! Windows: the memory that a loop walks through, looked up once for as many turns as stay in it.
//!
//! A loop that is one block is written twice if each of its accesses moves by what is known from turn to turn. After a few
//! turns of the plain writing all windows are looked up: the bytes of accesses that keep their distance. Where each lies
//! in one page, that says how many turns leave it there, and so many are made by the other writing. Its accesses neither
//! look anything up nor call out, so that slots need not be right in front of them. Then one turn is made by the plain
//! writing, whatever it meets, and so on.
//!
//! Invariant: between a look and the last turn that it was made for nothing runs that could change the TLB.

use super::asm::{Alu, Asm, Cc, Group3, Label, Reg, Shift};
use super::block::spill;
use super::cold::Kept;
use super::memory::{ALONE, looks};
use super::plan::{Plan, is_site};
use super::{Request, field, slot};
use crate::addr::Width::{W32, W64};
use crate::addr::{PAGE_BYTES, PAGE_MASK};
use crate::emit::{Binary, Slot};
use crate::ir::block::{Op, Value};
use crate::ir::region::{Region, RegionBlock, Way, Ways};
use crate::vcpu::SPILLS;

/// Most windows of a loop.
const WINDOWS: usize = 8;
/// Most bytes of a window.
const REACH: i64 = 256;
/// Most bytes that a window moves in a turn: with more a page is left too soon.
const STEP: i64 = 512;
/// Most slots that an address is the sum of.
const TERMS: usize = 3;
/// Most that a slot is shifted left by.
const SHIFT: u64 = 6;
/// How many operations an address is followed through.
const DEPTH: u32 = 8;
/// Turns in front of the first look: many loops make no more.
const TURNS: i32 = 3;
/// Turns in front of the next look after one that was in vain.
const PATIENCE: i32 = 8;
/// Turns that are worth a look.
const WORTHWHILE: i32 = 4;
/// Turns without a further look if nothing moves.
const MOST: u64 = 1 << 20;
/// How often a loop has to turn for each time that it is entered, as far as is known.
const REPEATED: u64 = 8;
/// Number of the place that counts turns down to the next look.
const TURNS_PLACE: u16 = SPILLS as u16 - 1;
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

/// A sum of slots, as they are at the start of the block and shifted left, and a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    terms: [Option<(Slot, u8)>; TERMS],
    /// The address of the entry's page is part of it.
    of_code: bool,
    number: i64,
}

impl Sum {
    fn number(number: u64) -> Self {
        Self { number: number as i64, ..Self::default() }
    }

    fn slot(slot: Slot) -> Self {
        Self { terms: [Some((slot, 0)), None, None], ..Self::default() }
    }

    fn plus(self, other: Self) -> Option<Self> {
        let mut sum = self;
        for term in other.terms.into_iter().flatten() {
            *sum.terms.iter_mut().find(|place| place.is_none())? = Some(term);
        }
        // Sums of the same are the same.
        sum.terms.sort_by_key(|term| term.map_or((u8::MAX, 0), |(slot, shift)| (slot.0, shift)));
        if self.of_code && other.of_code {
            return None;
        }
        sum.of_code |= other.of_code;
        sum.number = sum.number.wrapping_add(other.number);
        Some(sum)
    }

    fn shifted(self, by: u64) -> Option<Self> {
        let mut sum = self;
        for (_, shift) in sum.terms.iter_mut().flatten() {
            *shift += by as u8;
        }
        sum.number = sum.number.checked_shl(by as u32)?;
        let fits = sum.terms.iter().flatten().all(|&(_, shift)| u64::from(shift) <= SHIFT);
        (fits && !sum.of_code).then_some(sum)
    }

    fn is_number(self) -> bool {
        self == Self::number(self.number as u64)
    }

    fn without_number(self) -> Self {
        Self { number: 0, ..self }
    }
}

/// What a value of a block is the sum of.
fn sum_of(of: &RegionBlock, plan: &Plan, value: Value, depth: u32) -> Option<Sum> {
    let block = &of.block;
    let depth = depth.checked_sub(1)?;
    let inner = |value| sum_of(of, plan, value, depth);
    match *block.definition(value) {
        Op::Const(number) => Some(Sum::number(number)),
        Op::Get(slot) => {
            let before = &block.ops[..value.0 as usize];
            let is_old = !before.iter().any(|op| matches!(op, Op::Set { slot: to, .. } if *to == slot));
            (is_old && !plan.is_vector(slot)).then(|| Sum::slot(slot))
        }
        Op::Pc => {
            let insn = block.ops[..value.0 as usize].iter().rev().find_map(Op::insn_offset).unwrap_or(0);
            Some(Sum { of_code: true, ..Sum::number((of.start + i64::from(insn)) as u64) })
        }
        Op::Binary { op: Binary::Add, w: W64, a, b } => inner(a)?.plus(inner(b)?),
        Op::Binary { op: Binary::Sub, w: W64, a, b } => {
            let b = inner(b).filter(|b| b.is_number())?;
            inner(a)?.plus(Sum { number: b.number.wrapping_neg(), ..b })
        }
        Op::Binary { op: Binary::Shl, w: W64, a, b } => {
            inner(a)?.shifted(block.constant(b).filter(|&by| by <= SHIFT)?)
        }
        _ => None,
    }
}

/// How far a slot moves in a turn, if that is known.
fn step(of: &RegionBlock, plan: &Plan, slot: Slot) -> Option<i64> {
    let last = of.block.ops.iter().rev().find_map(|op| match *op {
        Op::Set { slot: to, value } if to == slot => Some(value),
        _ => None,
    });
    let Some(last) = last else { return Some(0) };
    let sum = sum_of(of, plan, last, DEPTH)?;
    (sum.without_number() == Sum::slot(slot)).then_some(sum.number)
}

/// The same for a sum.
fn step_of(of: &RegionBlock, plan: &Plan, sum: &Sum) -> Option<i64> {
    let mut terms = sum.terms.iter().flatten();
    terms
        .try_fold(0i64, |all, &(slot, shift)| all.checked_add(step(of, plan, slot)?.checked_mul(1 << shift)?))
}

/// Whether a condition for a trap asks for low bits of an address that are the same in every turn: it did not hold in the
/// turn before.
fn is_the_same_in_every_turn(of: &RegionBlock, plan: &Plan, cond: Value) -> bool {
    let Op::Binary { op: Binary::And, a, b, .. } = *of.block.definition(cond) else { return false };
    let (Some(mask), Some(sum)) = (of.block.constant(b), sum_of(of, plan, a, DEPTH)) else { return false };
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
        let address = sum_of(of, plan, addr, DEPTH)?;
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

    /// Where the loop is entered.
    pub fn emit_entry(asm: &mut Asm) {
        asm.store_imm(W64, spill(TURNS_PLACE), TURNS);
    }

    /// Between two turns of the plain writing, `slow`: falls through to the other one if there is room for enough turns.
    pub fn emit_look(&self, asm: &mut Asm, plan: &Plan, request: Request<'_>, slow: Label) {
        let (vain, fast) = (asm.label(), asm.label());
        asm.alu_imm(Alu::Sub, W64, spill(TURNS_PLACE), 1);
        asm.jcc(Cc::NS, slow);
        let mut is_first = true;
        for window in &self.list {
            window.address.emit(asm, plan);
            asm.mov(Reg::RDX, Reg::RCX);
            asm.mov_imm(Reg::RAX, u64::from(ALONE | (window.len_bytes as u32 - 1)));
            asm.call_indirect(looks(request.context, window.writes));
            asm.jcc(Cc::NE, vain);
            window.kept.set(asm);
            if window.step != 0 {
                window.emit_turns(asm);
                if is_first {
                    asm.mov32(Reg::RSI, Reg::RDX);
                } else {
                    asm.alu(Alu::Cmp, W32, Reg::RDX, Reg::RSI);
                    asm.cmov(Cc::B, Reg::RSI, Reg::RDX);
                }
                is_first = false;
            }
        }
        if is_first {
            asm.mov_imm(Reg::RSI, MOST);
        }
        asm.alu_imm(Alu::Cmp, W32, Reg::RSI, WORTHWHILE);
        asm.jcc(Cc::B, vain);
        match self.room {
            Kept::Reg(reg) => asm.mov(reg, Reg::RSI),
            _ => asm.store(W64, spill(ROOM_PLACE), Reg::RSI),
        }
        asm.jmp(fast);
        asm.bind(vain);
        asm.store_imm(W64, spill(TURNS_PLACE), PATIENCE);
        asm.jmp(slow);
        asm.bind(fast);
    }

    /// Between two turns of the other writing: goes on if there is room for one more.
    pub fn emit_next(&self, asm: &mut Asm, fast: Label) {
        match self.room {
            Kept::Reg(reg) => asm.alu_imm(Alu::Sub, W64, reg, 1),
            _ => asm.alu_imm(Alu::Sub, W64, spill(ROOM_PLACE), 1),
        }
        asm.jcc(Cc::NS, fast);
    }
}

impl Window {
    /// EDX = how many more turns stay in the page, or less, of the address in RDX.
    fn emit_turns(&self, asm: &mut Asm) {
        asm.alu_imm(Alu::And, W32, Reg::RDX, PAGE_MASK as i32);
        if self.step > 0 {
            asm.group3(Group3::Neg, W32, Reg::RDX);
            asm.alu_imm(Alu::Add, W32, Reg::RDX, PAGE_BYTES as i32 - self.len_bytes as i32);
        }
        let step = self.step.unsigned_abs();
        if step.is_power_of_two() {
            asm.shift_imm(Shift::Shr, W32, Reg::RDX, step.trailing_zeros() as u8);
        } else {
            // Rounded down twice, it is never too much.
            asm.imul_imm(W32, Reg::RDX, Reg::RDX, ((1 << 16) / step) as i32);
            asm.shift_imm(Shift::Shr, W32, Reg::RDX, 16);
        }
    }
}

impl Sum {
    /// RCX = the sum, of what slots hold now.
    fn emit(&self, asm: &mut Asm, plan: &Plan) {
        if self.of_code {
            asm.load(W64, Reg::RCX, field!(page_base));
        } else {
            asm.mov_imm(Reg::RCX, 0);
        }
        for (of, shift) in self.terms.into_iter().flatten() {
            match plan.home(of) {
                Some(home) => asm.mov(Reg::RAX, home),
                None => asm.load(W64, Reg::RAX, slot(of)),
            }
            if shift != 0 {
                asm.shift_imm(Shift::Shl, W64, Reg::RAX, shift);
            }
            asm.alu(Alu::Add, W64, Reg::RCX, Reg::RAX);
        }
        if self.number != 0 {
            asm.alu_imm(Alu::Add, W64, Reg::RCX, self.number as i32);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Width;
    use crate::ir::block::Block;
    use crate::ir::ops::Cond;

    const A: Slot = Slot(4);
    const B: Slot = Slot(5);

    /// A loop over operations behind its first instruction, that goes around while the first value is not 0.
    fn region(ops: &[Op]) -> Region {
        let first = [Op::Insn { offset: 0, len_bytes: 4 }, Op::Get(A), Op::Get(B)];
        let last = Op::BranchRelative { cond: Value(1), displacement: 0 };
        let ops = first.into_iter().chain(ops.iter().copied()).chain([last]).collect();
        let block = Block { ops, args: Vec::new(), len_bytes: 4 };
        let ways = Ways::Branch { taken: Way::Block(0), next: Way::Out(4) };
        Region { blocks: vec![RegionBlock { block, start: 0, insns: 1, weight: 256, ways }] }
    }

    /// Address, length, writes and step of the windows of a loop, and what is void.
    fn windows(ops: &[Op]) -> Option<(Vec<(i64, i64, bool, i64)>, Vec<usize>)> {
        let region = region(ops);
        let request = Request {
            helpers: &[],
            vector_scratch: None,
            float_environment: None,
            transient: &[],
            context: 0,
        };
        let mut plan = Plan::default();
        plan.make(&region, request);
        let mut windows = Windows::default();
        windows.find(&region, 0, &plan).then(|| {
            let list = windows.list.iter();
            let list =
                list.map(|window| (window.address.number, window.len_bytes, window.writes, window.step));
            let void = (0..region.blocks[0].block.ops.len()).filter(|&at| windows.is_void(at));
            (list.collect(), void.collect())
        })
    }

    fn add(a: u32, b: u32) -> Op {
        Op::Binary { op: Binary::Add, w: W64, a: Value(a), b: Value(b) }
    }

    fn load(addr: u32) -> Op {
        Op::Load { w: W64, addr: Value(addr) }
    }

    fn set(slot: Slot, value: u32) -> Op {
        Op::Set { slot, value: Value(value) }
    }

    // The first operation has number 3; 1 and 2 are what the slots held before.

    #[test]
    fn accesses_that_keep_their_distance_are_one_window() {
        // [a + 8] and, behind a += 16, [a - 24] to be written; [b], which stays.
        let ops = [
            Op::Const(8),
            add(1, 3),
            load(4),
            Op::Const(16),
            add(1, 6),
            set(A, 7),
            Op::Const(24),
            Op::Binary { op: Binary::Sub, w: W64, a: Value(7), b: Value(9) },
            Op::Store { w: Width::W32, addr: Value(10), value: Value(5) },
            load(2),
        ];
        assert_eq!(windows(&ops), Some((vec![(-8, 24, true, 16), (0, 8, false, 0)], vec![])));
    }

    #[test]
    fn sums_of_slots_move_by_what_each_does() {
        // [a + 8 * b] with a -= 4 and b += 1.
        let ops = [
            Op::Const(3),
            Op::Binary { op: Binary::Shl, w: W64, a: Value(2), b: Value(3) },
            add(4, 1),
            load(5),
            Op::Const(-4i64 as u64),
            add(1, 7),
            set(A, 8),
            Op::Const(1),
            add(10, 2),
            set(B, 11),
        ];
        assert_eq!(windows(&ops), Some((vec![(0, 8, false, 4)], vec![])));
    }

    #[test]
    fn what_moves_otherwise_or_too_far_has_no_windows() {
        let cases: [(&str, &[Op]); 6] = [
            ("nothing is accessed", &[]),
            ("by a slot", &[load(1), add(1, 2), set(A, 4)]),
            ("by what was loaded", &[load(1), set(A, 3)]),
            (
                "to what is no sum",
                &[Op::Unary { op: crate::emit::Unary::Popcnt, w: W64, a: Value(1) }, load(3)],
            ),
            ("too far", &[load(1), Op::Const(STEP as u64 + 1), add(1, 4), set(A, 5)]),
            ("beside an access of another kind", &[load(1), Op::LoadReserved { w: W64, addr: Value(1) }]),
        ];
        for (name, ops) in cases {
            assert_eq!(windows(ops), None, "{name}");
        }
        let stays = [load(1), Op::Const(STEP as u64), add(1, 4), set(A, 5)];
        assert!(windows(&stays).is_some());
    }

    #[test]
    fn a_trap_of_low_bits_that_stay_does_not_occur_again() {
        let trap = |step| {
            let ops = [
                Op::Const(15),
                Op::Binary { op: Binary::And, w: W64, a: Value(1), b: Value(3) },
                Op::TrapIf { cond: Value(4), cause: crate::guest::TrapCause(13), value: Value(3) },
                load(1),
                Op::Const(step),
                add(1, 7),
                set(A, 8),
            ];
            windows(&ops).expect("it has a window").1
        };
        assert_eq!(trap(32), [5]);
        assert_eq!(trap(-16i64 as u64), [5]);
        assert!(trap(8).is_empty());
        // A trap that any other condition has may occur.
        let ops = [Op::Compare { cond: Cond::Eq, w: W64, a: Value(1), b: Value(2) }, load(1)];
        let ops =
            [&ops[..], &[Op::TrapIf { cond: Value(3), cause: crate::guest::TrapCause(13), value: Value(1) }]];
        assert_eq!(windows(&ops.concat()), Some((vec![(0, 8, false, 0)], vec![])));
    }
}
