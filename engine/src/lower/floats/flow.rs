//! What is known of numbers where blocks begin: it flows along the ways between blocks.
//!
//! A block begins with what is known at the end of every block before it. At the head of a loop that is what the loop needs
//! and keeps: whoever enters the loop without it says so in the local that says whether anything has called out, and the head
//! then looks once more ([`super::look_again`]). So a loop checks numbers that it does not change, and the environment, once.
//!
//! Found by writing every block with instructions that are nothing ([`Dry`]). Whether a way brings what a block begins with is
//! decided where it is written, by what is known there: what is found here makes code fast, not right.

use super::known::Known;
use super::{Conversion, FloatCode, Form, One, Relation, Two, extract, insert, vector};
use crate::emit::Slot;
use crate::guest::HelperInfo;
use crate::ir::block::{Block, Op};
use crate::ir::region::{Region, Way};
use crate::lower::moves::Bytes;
use crate::lower::shape::{Loop, Part};
use crate::lower::slots::{SlotSet, SlotState, writes_slots};

/// How often what a loop keeps is found anew before it is taken to keep nothing.
const ROUNDS: u32 = 4;

/// What is known where each block begins, and where indirect jumps meet. `states` are those of the locals there.
pub(in super::super) fn known_at_entries(
    region: &Region,
    shape: &[Part],
    jumps: &[usize],
    helpers: &[HelperInfo],
    states: &[SlotState],
) -> Vec<Known> {
    let count = region.blocks.len() + 1;
    if !region.blocks.iter().any(|block| block.block.ops.iter().any(Op::is_float)) {
        return vec![Known::default(); count];
    }
    let mut arriving = vec![None; count];
    // Who enters the region, and jumps indirectly, knows nothing.
    for block in jumps.iter().copied().chain([0, region.blocks.len()]) {
        arriving[block] = Some(Known::default());
    }
    let needs = region.blocks.iter().map(|block| Needs::of(&block.block, helpers)).collect();
    let entries = vec![Known::default(); count];
    let mut flow = Flow { region, helpers, states, needs, arriving, entries };
    flow.parts(shape);
    flow.entries
}

struct Flow<'a> {
    region: &'a Region,
    helpers: &'a [HelperInfo],
    states: &'a [SlotState],
    /// What each block asks for.
    needs: Vec<Needs>,
    /// What all ways to a block that were followed bring; none was if there is nothing.
    arriving: Vec<Option<Known>>,
    entries: Vec<Known>,
}

impl Flow<'_> {
    fn parts(&mut self, parts: &[Part]) {
        for part in parts {
            match part {
                Part::Block(block) if *block == self.region.blocks.len() => {}
                Part::Block(block) => {
                    let known = self.arriving[*block].clone().filter(|known| !known.is_nothing());
                    self.entries[*block] = known.unwrap_or_default();
                    self.block(*block);
                }
                Part::Loop(inner) => self.loop_(part, inner),
            }
        }
    }

    /// Follows the ways from a block.
    fn block(&mut self, number: usize) {
        let block = &self.region.blocks[number];
        let known = written(&block.block, self.helpers, self.entries[number].clone());
        let arriving = &mut self.arriving;
        block.ways.for_each(|way| {
            if let Way::Block(to) = way {
                match &mut arriving[to] {
                    Some(before) => before.meet(&known),
                    nothing => *nothing = Some(known.clone()),
                }
            }
        });
    }

    fn loop_(&mut self, part: &Part, inner: &Loop) {
        // A loop that begins with another one begins with what that one keeps.
        let (&[head], [Part::Block(_), ..]) = (&inner.heads[..], &inner.body[..]) else {
            return self.unknowing(inner);
        };
        let before = self.arriving.clone();
        let mut kept = self.loop_needs(head, part);
        for _ in 0..ROUNDS {
            if kept.is_nothing() {
                break;
            }
            self.arriving.clone_from(&before);
            self.arriving[head] = None;
            self.entries[head] = kept.clone();
            self.block(head);
            self.parts(&inner.body[1..]);
            let mut found = kept.clone();
            found.meet(&self.arriving[head].take().unwrap_or_default());
            if found == kept {
                return;
            }
            kept = found;
        }
        self.arriving = before;
        self.unknowing(inner);
    }

    /// A loop of which the heads know nothing.
    fn unknowing(&mut self, inner: &Loop) {
        for &head in &inner.heads {
            self.arriving[head] = Some(Known::default());
        }
        self.parts(&inner.body);
    }

    /// What the blocks of a loop ask for of what is there at its head.
    fn loop_needs(&self, head: usize, part: &Part) -> Known {
        // Where indirect jumps meet nothing is asked for.
        let switch = self.region.blocks.len();
        let mut needs = vec![Needs::default(); switch + 1];
        let mut blocks = Vec::new();
        part.for_each_block(&mut |block| blocks.push(block));
        blocks.retain(|&block| block != switch);
        blocks.iter().for_each(|&block| needs[block] = self.needs[block].clone());
        loop {
            let mut changed = false;
            for &number in blocks.iter().rev() {
                self.region.blocks[number].ways.for_each(|way| {
                    if let Way::Block(to) = way
                        && to != head
                        && blocks.contains(&to)
                    {
                        let later = needs[to].asked.clone();
                        let here = &mut needs[number];
                        changed |= here.asked.join(&later, here.written);
                    }
                });
            }
            if !changed {
                break;
            }
        }
        let mut asked = std::mem::take(&mut needs[head].asked);
        asked.keep_only(self.states[head].pairs);
        asked
    }
}

/// What is known behind a block.
fn written(block: &Block, helpers: &[HelperInfo], known: Known) -> Known {
    let mut dry = Dry { known };
    for op in &block.ops {
        if writes_slots(op, helpers) {
            dry.known.forget();
        } else {
            let ordinary = dry.write(op);
            dry.known.after(op, block, ordinary);
        }
    }
    dry.known
}

/// What a block asks for, and what it writes.
#[derive(Clone, Default)]
struct Needs {
    asked: Known,
    written: SlotSet,
}

impl Needs {
    fn of(block: &Block, helpers: &[HelperInfo]) -> Self {
        let mut dry = Dry { known: Known::default() };
        let mut needs = Self::default();
        for op in &block.ops {
            if op.is_float() {
                dry.known = Known::of_a_plain_environment();
                dry.write(op);
                needs.asked.join(&dry.known, needs.written);
            }
            match *op {
                Op::Set { slot: Slot(slot), .. } => needs.written.insert(Slot(slot & !1)),
                _ => op.vector_written().into_iter().for_each(|pair| needs.written.insert(pair)),
            }
            if writes_slots(op, helpers) {
                break;
            }
        }
        needs
    }
}

/// Instructions that are nothing.
struct Dry {
    known: Known,
}

impl Dry {
    /// Writes an operation as a host does; gives the form of its result if no number in it is subnormal.
    fn write(&mut self, op: &Op) -> Option<Form> {
        self.known.begin();
        match *op {
            Op::Vector { op, imm, to, a, b } if op.is_float() => vector(self, op, imm, [to, a, b]).flatten(),
            Op::VectorInsert { op, to, .. } if op.is_float() => insert(self, op, to, ()).flatten(),
            Op::VectorExtract { op, a, b } if op.is_float() => {
                extract(self, op, a, b);
                None
            }
            _ => None,
        }
    }
}

impl FloatCode for Dry {
    type Value = ();

    fn known(&mut self) -> &mut Known {
        &mut self.known
    }

    fn rounds(&self) -> bool {
        true
    }

    fn fuses(&self) -> bool {
        false
    }

    fn rarely(&mut self, _: Form, (): (), write: impl FnOnce(&mut Self)) {
        write(self);
    }

    fn look(&mut self, _: u64, _: u64) {}
    fn is_slow(&mut self) {}
    fn slow_if(&mut self, _: Form, (): ()) {}
    fn leave_if(&mut self, _: Form, (): ()) {}
    fn read(&mut self, _: Form, _: Slot) {}
    fn write(&mut self, _: Form, _: Slot, _: Slot, (): ()) {}
    fn write_alone(&mut self, _: Form, _: Slot, (): ()) {}
    fn has_no_box(&mut self, _: Slot) {}
    fn constant(&mut self, _: Form, _: f64) {}
    fn two(&mut self, _: Two, _: Form, (): (), (): ()) {}
    fn one(&mut self, _: One, _: Form, (): ()) {}
    fn fused(&mut self, _: Form, _: [(); 3]) {}
    fn relation(&mut self, _: Relation, _: Form, (): (), (): ()) {}
    fn bits(&mut self, _: Form, (): ()) {}
    fn shift_left(&mut self, _: Form, (): (), _: u32) {}
    fn shift_right(&mut self, _: Form, (): (), _: u32) {}
    fn add_integer(&mut self, _: Form, (): (), _: i64) {}
    fn and_integer(&mut self, _: Form, (): (), _: i64) {}
    fn equals_integer(&mut self, _: Form, (): (), _: i64) {}
    fn exceeds_integer(&mut self, _: Form, (): (), _: i64) {}
    fn either(&mut self, _: Form, (): (), (): ()) {}
    fn both(&mut self, _: Form, (): (), (): ()) {}
    fn not(&mut self, _: Form, (): ()) {}
    fn mask(&mut self, _: Form, (): ()) {}
    fn integer(&mut self, (): (), _: u64) {}
    fn or(&mut self, (): (), (): ()) {}
    fn single_to_double(&mut self, (): ()) {}
    fn double_to_single(&mut self, (): ()) {}
    fn integer_to_number(&mut self, _: Form, _: bool, _: bool, (): ()) {}
    fn number_to_integer(&mut self, _: Form, _: bool, (): ()) {}
    fn convert(&mut self, _: Conversion, (): ()) {}
    fn shuffled(&mut self, _: Form, (): (), (): (), _: Bytes) {}
}
