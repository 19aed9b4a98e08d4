//! What is decided for a region as a whole before code is written: which slots have a register, which slot writes are
//! needed, and what has to be written back where it is left.

use super::asm::{Reg, Xmm};
use super::windows::Windows;
use super::{Home, Request, VectorHome, boxes};
use crate::emit::{SLOTS, Slot};
use crate::guest::HelperInfo;
use crate::ir::block::{Block, Op};
use crate::ir::region::{Region, Way, Ways};

/// Registers that may be the home of a slot: first those that calls keep.
const HOMES: [Reg; 7] = [Reg::RBP, Reg::R12, Reg::R13, Reg::R14, Reg::R8, Reg::R9, Reg::R10];
/// Registers that never are one: as many as one operation may need at once.
const TEMPS: [Reg; 4] = [Reg::RDX, Reg::RSI, Reg::RDI, Reg::R11];
/// Number of the first vector register that may hold something between operations.
pub(super) const FIRST_HOME: u8 = 3;
/// The home of the pair of slots that is scratch.
const SCRATCH_HOME: Xmm = Xmm(FIRST_HOME);
/// Number of the first register that may be the home of a pair of slots; the others up to the last one are, too. Those
/// before are for operations.
const FIRST_VECTOR_HOME: u8 = 4;
/// Number of vector registers.
const VECTOR_REGISTERS: u8 = 16;
/// In sets of homes, those of pairs of slots are counted from this on.
pub(super) const FIRST_VECTOR: usize = 16;
/// Uses of a slot, for every run of the entry, from which a home pays: it is loaded and perhaps written back once.
const WORTHWHILE: u64 = 2;
/// Weight of one run of a block for every run of the entry.
const ONCE: u64 = 256;
/// How often a loop turns that the entry is the head of, at least: each turn is a run of the entry.
const TURNS: u64 = 8;

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotSet([u64; SLOTS / 64]);

impl SlotSet {
    pub const ALL: Self = Self([u64::MAX; SLOTS / 64]);

    pub fn contains(&self, slot: Slot) -> bool {
        self.0[usize::from(slot.0 / 64)] >> (slot.0 % 64) & 1 != 0
    }

    pub fn insert(&mut self, slot: Slot) {
        self.0[usize::from(slot.0 / 64)] |= 1 << (slot.0 % 64);
    }

    pub fn remove(&mut self, slot: Slot) {
        self.0[usize::from(slot.0 / 64)] &= !(1 << (slot.0 % 64));
    }

    /// Keeps what is in the other set, too; whether that changes it.
    pub fn keep(&mut self, other: &Self) -> bool {
        let before = *self;
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a &= b;
        }
        *self != before
    }

    /// All that are in it.
    fn slots(self) -> impl Iterator<Item = Slot> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < u64::BITS).then(|| Slot((64 * word) as u8 + bit as u8))
            })
        })
    }

    pub fn join(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a |= b;
        }
    }
}

/// Whether an operation may call out, where every slot is observed if it leaves.
pub(super) fn is_site(op: &Op) -> bool {
    op.accesses_memory() || matches!(op, Op::Helper { .. } | Op::TrapIf { .. } | Op::Trap { .. })
}

/// Whether an operation reads or writes slots on its own, all of them for what is known.
pub(super) fn touches_state(op: &Op, helpers: &[HelperInfo]) -> bool {
    match op {
        Op::Helper { id, .. } => {
            let effects = helpers[usize::from(id.0)].effects;
            effects.reads_state || effects.writes_state
        }
        _ => false,
    }
}

/// Whether something in a block may change the mode, translations or interrupts.
pub(super) fn may_change_mode(block: &Block, helpers: &[HelperInfo]) -> bool {
    block.ops.iter().any(|op| match op {
        Op::Helper { id, .. } => helpers[usize::from(id.0)].effects.writes_state,
        Op::LookIf { .. } => true,
        _ => false,
    })
}

/// The decisions.
#[derive(Default)]
pub(super) struct Plan {
    /// Which slots have a register.
    pub homes: Vec<Home>,
    /// For each slot the index in `homes`, or [`NO_HOME`].
    home_of: Vec<u8>,
    /// Which pairs of slots have a vector register.
    pub vector_homes: Vec<VectorHome>,
    /// For each slot the index in `vector_homes` of its pair, or [`NO_HOME`].
    vector_home_of: Vec<u8>,
    /// Slots that operations on vectors name.
    vector_slots: SlotSet,
    /// Registers that are no home, for values.
    pub temps: Vec<Reg>,
    /// For each block the slots that are observed behind its end before they are written.
    pub live_out: Vec<SlotSet>,
    /// For each block the homes (bit n for number n, then those of pairs) that may differ from their slots in memory at its
    /// start.
    pub dirty_in: Vec<u32>,
    /// The same at its end.
    pub dirty_out: Vec<u32>,
    live_in: Vec<SlotSet>,
    summaries: Vec<Summary>,
    /// For each block the registers that hold a single in its box at its start.
    pub boxed_in: Vec<SlotSet>,
    /// Some operation gives a single.
    pub has_singles: bool,
}

/// What a block means to slots that are observed behind it.
struct Summary {
    changes_mode: bool,
    /// Slots that are observed in front of it if they are behind it.
    kept: SlotSet,
    /// Slots that are observed in front of it whatever comes.
    observed: SlotSet,
}

impl Summary {
    /// Of a block in which some operations, by number, are known not to leave.
    fn of(block: &Block, helpers: &[HelperInfo], is_calm: impl Fn(usize) -> bool) -> Self {
        let (mut kept, mut observed) = (SlotSet::ALL, SlotSet::default());
        for (at, op) in block.ops.iter().enumerate().rev() {
            match op {
                Op::Set { slot, .. } => {
                    kept.remove(*slot);
                    observed.remove(*slot);
                }
                Op::Get(slot) => observed.insert(*slot),
                op if is_site(op) && !is_calm(at) => observed = SlotSet::ALL,
                _ => {}
            }
        }
        Self { changes_mode: may_change_mode(block, helpers), kept, observed }
    }
}

const NO_HOME: u8 = u8::MAX;

/// The uses of a slot, by weight, beyond which a home pays. Code that is to be small is not run often enough for what it costs to
/// load homes wherever the region is entered and to store them wherever it is left.
fn worthwhile(region: &Region, is_compact: bool) -> u64 {
    if is_compact {
        return u64::MAX;
    }
    let is_loop = region.blocks.iter().any(|block| {
        let mut back = false;
        block.ways.for_each(|way| back |= way == Way::Block(0));
        back
    });
    WORTHWHILE * ONCE / if is_loop { TURNS } else { 1 }
}

impl Plan {
    /// The register of a slot.
    pub fn home(&self, slot: Slot) -> Option<Reg> {
        let index = self.home_of[usize::from(slot.0)];
        (index != NO_HOME).then(|| self.homes[usize::from(index)].reg)
    }

    /// The vector register of a pair of slots.
    pub fn vector_home(&self, slot: Slot) -> Option<Xmm> {
        let index = self.vector_home_of[usize::from(slot.0)];
        (index != NO_HOME).then(|| self.vector_homes[usize::from(index)].reg)
    }

    /// The vector register that holds a slot, and whether that is its high half.
    pub fn vector_half(&self, slot: Slot) -> Option<(Xmm, bool)> {
        Some((self.vector_home(slot)?, slot.0 & 1 != 0))
    }

    /// Whether operations on vectors name a slot: its writes are not put off.
    pub fn is_vector(&self, slot: Slot) -> bool {
        self.vector_slots.contains(slot)
    }

    /// Whether vector registers hold something all through the region.
    pub fn has_vectors(&self) -> bool {
        !self.vector_homes.is_empty()
    }

    /// Plans a region.
    pub fn make(&mut self, region: &Region, entries: &[usize], request: Request<'_>) {
        let helpers = request.helpers;
        let worthwhile = worthwhile(region, request.is_compact);
        self.choose_vector_homes(region, request.vector_scratch, worthwhile);
        self.choose_homes(region, request.transient, worthwhile);
        self.find_live(region, helpers);
        self.find_dirty(region);
        self.has_singles = boxes::find(region, entries, helpers, &mut self.boxed_in);
    }

    fn choose_vector_homes(&mut self, region: &Region, scratch: Option<Slot>, worthwhile: u64) {
        self.vector_slots = SlotSet::default();
        self.vector_homes.clear();
        self.vector_home_of.clear();
        self.vector_home_of.resize(SLOTS, NO_HOME);
        let mut uses = [0u64; SLOTS];
        for block in &region.blocks {
            for op in &block.block.ops {
                op.for_each_vector(|slot| {
                    self.vector_slots.insert(slot);
                    self.vector_slots.insert(Slot(slot.0 | 1));
                    uses[usize::from(slot.0)] += u64::from(block.weight);
                });
            }
        }
        let mut wanted: Vec<(u64, u8)> = self
            .vector_slots
            .slots()
            .map(|Slot(slot)| (uses[usize::from(slot)], slot))
            .filter(|&(uses, slot)| uses > worthwhile && scratch != Some(Slot(slot)))
            .collect();
        wanted.sort_by_key(|&(uses, slot)| (std::cmp::Reverse(uses), slot));
        let scratch = scratch.filter(|slot| uses[usize::from(slot.0)] != 0);
        let scratch = scratch.map(|slot| VectorHome { slot, reg: SCRATCH_HOME, is_scratch: true });
        let others = wanted.iter().zip(FIRST_VECTOR_HOME..VECTOR_REGISTERS);
        let others =
            others.map(|(&(_, slot), reg)| VectorHome { slot: Slot(slot), reg: Xmm(reg), is_scratch: false });
        self.vector_homes.extend(scratch.into_iter().chain(others));
        for (number, home) in self.vector_homes.iter().enumerate() {
            self.vector_home_of[usize::from(home.slot.0)] = number as u8;
            self.vector_home_of[usize::from(home.slot.0 | 1)] = number as u8;
        }
    }

    fn choose_homes(&mut self, region: &Region, transient: &[Slot], worthwhile: u64) {
        let mut uses = [0u64; SLOTS];
        let mut named = SlotSet::default();
        for block in &region.blocks {
            for op in &block.block.ops {
                if let Op::Get(slot) | Op::Set { slot, .. } = op
                    && !self.is_vector(*slot)
                {
                    named.insert(*slot);
                    uses[usize::from(slot.0)] += u64::from(block.weight);
                }
            }
        }
        let mut wanted: Vec<(u64, u8)> = named
            .slots()
            .map(|Slot(slot)| (uses[usize::from(slot)], slot))
            .filter(|&(uses, slot)| uses > worthwhile && !transient.contains(&Slot(slot)))
            .collect();
        wanted.sort_by_key(|&(uses, slot)| (std::cmp::Reverse(uses), slot));
        self.homes.clear();
        self.home_of.clear();
        self.home_of.resize(SLOTS, NO_HOME);
        for (&(_, slot), reg) in wanted.iter().zip(HOMES) {
            self.home_of[usize::from(slot)] = self.homes.len() as u8;
            self.homes.push(Home { slot: Slot(slot), reg });
        }
        self.temps.clear();
        self.temps.extend(TEMPS);
        self.temps.extend(HOMES[self.homes.len()..].iter().rev());
    }

    /// Backwards, until nothing changes: slots that are observed before they are written.
    fn find_live(&mut self, region: &Region, helpers: &[HelperInfo]) {
        let count = region.blocks.len();
        self.live_in.clear();
        self.live_in.resize(count, SlotSet::default());
        self.live_out.clear();
        self.live_out.resize(count, SlotSet::default());
        self.summaries.clear();
        self.summaries
            .extend(region.blocks.iter().map(|block| Summary::of(&block.block, helpers, |_| false)));
        loop {
            let mut changed = false;
            for (index, block) in region.blocks.iter().enumerate().rev() {
                let Summary { changes_mode, kept, observed } = &self.summaries[index];
                let mut live = SlotSet::default();
                if *changes_mode || matches!(block.ways, Ways::Indirect | Ways::None) {
                    live = SlotSet::ALL;
                }
                block.ways.for_each(|way| live.join(&self.live_on(way)));
                self.live_out[index] = live;
                // On a way back the count is looked at, and all that was written before this block is observed if it is
                // down; what this block writes is put off until then.
                block.ways.for_each(|way| {
                    if matches!(way, Way::Block(to) if to <= index) {
                        live = SlotSet::ALL;
                    }
                });
                live.keep(kept);
                live.join(observed);
                changed |= live != self.live_in[index];
                self.live_in[index] = live;
            }
            if !changed {
                return;
            }
        }
    }

    /// The slots that are observed at the start of a loop's other writing, behind which everything is if the count is down.
    pub fn live_in_windows(block: &Block, helpers: &[HelperInfo], windows: &Windows) -> SlotSet {
        let Summary { kept, observed, .. } = Summary::of(block, helpers, |at| windows.is_calm(at));
        let mut live = kept;
        live.join(&observed);
        live
    }

    /// The slots that are observed on a way before they are written. What leaves a loop's way back because the count is
    /// down is no way: it is a site.
    pub fn live_on(&self, way: Way) -> SlotSet {
        match way {
            Way::Out(_) => SlotSet::ALL,
            Way::Block(to) => self.live_in[to],
        }
    }

    /// The home that a slot is written to, as a set; nothing if it need not be written back.
    fn home_bit(&self, slot: Slot) -> u32 {
        let (home, vector) = (self.home_of[usize::from(slot.0)], self.vector_home_of[usize::from(slot.0)]);
        if home != NO_HOME {
            1 << home
        } else if vector != NO_HOME && !self.vector_homes[usize::from(vector)].is_scratch {
            1 << (FIRST_VECTOR + usize::from(vector))
        } else {
            0
        }
    }

    /// Forwards, until nothing changes: homes that have been written.
    fn find_dirty(&mut self, region: &Region) {
        let count = region.blocks.len();
        self.dirty_in.clear();
        self.dirty_in.resize(count, 0);
        self.dirty_out.clear();
        for block in &region.blocks {
            let written = block.block.ops.iter().filter_map(|op| match *op {
                Op::Set { slot, .. } => Some(slot),
                op => op.vector_written(),
            });
            let written = written.fold(0, |dirty, slot| dirty | self.home_bit(slot));
            self.dirty_out.push(written);
        }
        loop {
            let mut changed = false;
            for (index, block) in region.blocks.iter().enumerate() {
                let dirty = self.dirty_in[index] | self.dirty_out[index];
                self.dirty_out[index] = dirty;
                block.ways.for_each(|way| {
                    if let Way::Block(to) = way {
                        changed |= dirty & !self.dirty_in[to] != 0;
                        self.dirty_in[to] |= dirty;
                    }
                });
            }
            if !changed {
                return;
            }
        }
    }
}
