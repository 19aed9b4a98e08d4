//! What is known of pairs of slots at a place in a block.

use super::Form;
use crate::emit::Slot;
use crate::ir::block::{Block, Op};
use crate::ir::vector::boxed::BOX;
use crate::ir::vector::{VectorInsert, VectorOp};
use crate::lower::slots::SlotSet;
use std::collections::BTreeMap;

/// Facts of one pair of slots, each a bit: that no number of a form is subnormal, and that a single is in its box.
type Facts = u8;

/// The single is in its box.
const BOXED: Facts = 1 << 4;
/// All about numbers.
const ORDINARY: Facts = of(Form::S) | of(Form::D) | of(Form::S4) | of(Form::D2);

/// That no number of a form is subnormal: nor are those of its part.
const fn of(form: Form) -> Facts {
    match form {
        Form::S => 1,
        Form::D => 2,
        Form::S4 => 1 | 4,
        Form::D2 => 2 | 8,
    }
}

/// What is known in a block, as far as it was written, or where it begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Known {
    /// The local was set that says whether the environment is plain and nothing has called out since.
    pub(super) looked: bool,
    /// The operation being written relies on it, or adds to what does.
    relied_on: bool,
    facts: BTreeMap<u8, Facts>,
}

impl Known {
    /// For a new block, and after what may have written any slot.
    pub(in super::super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Begins an operation.
    pub(in super::super) fn begin(&mut self) {
        self.relied_on = false;
    }

    /// Whether the local is to be cleared where the operation calls out.
    pub(in super::super) fn is_relied_on(&self) -> bool {
        self.relied_on
    }

    /// The operation's result is known only if it does not call out.
    pub(super) fn rely(&mut self) {
        self.relied_on = true;
    }

    /// That the environment is plain, and nothing of numbers.
    pub(super) fn of_a_plain_environment() -> Self {
        Self { looked: true, ..Self::default() }
    }

    /// Whether the local says nothing yet: what is known of numbers besides is not worth a way to another block.
    pub(in super::super) fn is_nothing(&self) -> bool {
        !self.looked
    }

    /// Whether it is enough for what is to be known.
    pub(in super::super) fn is_enough_for(&self, other: &Self) -> bool {
        let has_all = |(&slot, &facts): (&u8, &Facts)| self.facts(Slot(slot)) & facts == facts;
        other.is_nothing() || self.looked && other.facts.iter().all(has_all)
    }

    /// Leaves what the other knows, too.
    pub(super) fn meet(&mut self, other: &Self) {
        self.relied_on = false;
        self.looked &= other.looked;
        let looked = self.looked;
        self.facts.retain(|&slot, facts| {
            *facts &= other.facts(Slot(slot));
            looked && *facts != 0
        });
    }

    /// Adds what the other knows, but of these pairs; whether that is anything.
    pub(super) fn join(&mut self, other: &Self, but: SlotSet) -> bool {
        let before = self.clone();
        self.looked |= other.looked;
        for (&slot, &facts) in other.facts.iter().filter(|&(&slot, _)| !but.contains(Slot(slot))) {
            self.set(Slot(slot), self.facts(Slot(slot)) | facts);
        }
        *self != before
    }

    /// Forgets other pairs than these.
    pub(super) fn keep_only(&mut self, pairs: SlotSet) {
        self.facts.retain(|&slot, _| pairs.contains(Slot(slot)));
    }

    /// Pairs with forms of which no number is subnormal.
    pub(super) fn ordinary(&self) -> Vec<(Slot, Form)> {
        let mut found = Vec::new();
        for (&slot, &facts) in &self.facts {
            for [all, low] in [[Form::S4, Form::S], [Form::D2, Form::D]] {
                let form = [all, low].into_iter().find(|&form| facts & of(form) == of(form));
                found.extend(form.map(|form| (Slot(slot), form)));
            }
        }
        found
    }

    /// Pairs with singles in their boxes.
    pub(super) fn boxed(&self) -> Vec<Slot> {
        self.facts.iter().filter(|&(_, facts)| facts & BOXED != 0).map(|(&slot, _)| Slot(slot)).collect()
    }

    fn facts(&self, slot: Slot) -> Facts {
        self.facts.get(&slot.0).copied().unwrap_or(0)
    }

    fn set(&mut self, slot: Slot, facts: Facts) {
        self.facts.insert(slot.0, facts);
    }

    pub(super) fn is_ordinary(&self, form: Form, slot: Slot) -> bool {
        self.facts(slot) & of(form) == of(form)
    }

    /// The operation calls out unless no number is subnormal.
    pub(super) fn note_ordinary(&mut self, form: Form, slot: Slot) {
        self.relied_on = true;
        self.set(slot, self.facts(slot) | of(form));
    }

    pub(super) fn is_boxed(&self, slot: Slot) -> bool {
        self.facts(slot) & BOXED != 0
    }

    pub(super) fn note_boxed(&mut self, slot: Slot) {
        self.relied_on = true;
        self.set(slot, self.facts(slot) | BOXED);
    }

    /// An operation was written; `ordinary` is the form of its result's numbers if none of them is subnormal where it did not
    /// call out.
    pub(in super::super) fn after(&mut self, op: &Op, block: &Block, ordinary: Option<Form>) {
        let (to, facts) = match *op {
            Op::Set { slot, value } => {
                let is_boxed = slot.0 & 1 == 0 && block.constant(value).is_some_and(|number| number >= BOX);
                (Slot(slot.0 & !1), if is_boxed { BOXED } else { 0 })
            }
            Op::VectorInsert { op: VectorInsert::Movq, to, value, .. } => {
                (to, if block.constant(value).is_some_and(|number| number >= BOX) { BOXED } else { 0 })
            }
            Op::Vector { op, to, a, b, .. } => (to, self.moved(op, a, b)),
            _ => match op.vector_written() {
                Some(to) => (to, 0),
                None => return,
            },
        };
        let boxed = if gives_single(op) { BOXED } else { 0 };
        self.set(to, facts | boxed | ordinary.map_or(0, of));
    }

    /// What is known of the result of an operation that moves numbers.
    fn moved(&self, op: VectorOp, a: Slot, b: Slot) -> Facts {
        use VectorOp as V;
        let [first, second] = [a, b].map(|slot| self.facts(slot));
        match op {
            V::Copy => second,
            V::Movq => second & (of(Form::S) | of(Form::D) | BOXED),
            V::Xor if a == b => ORDINARY,
            V::Movsd => second & of(Form::D) | first & second & ORDINARY,
            V::Movss => second & of(Form::S) | first & second & of(Form::S4),
            V::Pshufd | V::Movshdup | V::Movsldup if second & 4 != 0 => of(Form::S4),
            V::Movddup if second & of(Form::D) != 0 => of(Form::D2),
            V::Shufps | V::Punpckldq | V::Punpckhdq | V::Blendps if first & second & 4 != 0 => of(Form::S4),
            V::Shufpd | V::Punpckhqdq | V::Movhlps | V::Blendpd if first & second & 8 != 0 => of(Form::D2),
            V::Punpcklqdq if first & second & of(Form::D) != 0 => of(Form::D2),
            _ => 0,
        }
    }
}

/// Whether the result is a single in its box.
fn gives_single(op: &Op) -> bool {
    match *op {
        Op::Vector { op, .. } => op.gives_single(),
        Op::VectorInsert { op, .. } => op.gives_single(),
        _ => false,
    }
}
