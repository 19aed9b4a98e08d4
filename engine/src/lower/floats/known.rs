//! What is known of pairs of slots in the block being written.

use super::Form;
use crate::emit::Slot;
use crate::ir::block::{Block, Op};
use crate::ir::vector::boxed::BOX;
use crate::ir::vector::{VectorInsert, VectorOp};
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

/// What is known in a block, as far as it was written.
#[derive(Clone, Debug, Default)]
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
