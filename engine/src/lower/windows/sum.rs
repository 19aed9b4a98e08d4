//! Sums of slots: what addresses are made of, and how far they move from turn to turn.

use crate::addr::Width::W64;
use crate::emit::{Binary, Slot};
use crate::ir::block::{Op, Value};
use crate::ir::region::RegionBlock;

/// Most slots that an address is the sum of.
const TERMS: usize = 3;
/// Most that a slot is shifted left by.
const SHIFT: u64 = 6;
/// How many operations an address is followed through.
const DEPTH: u32 = 8;

/// A sum of slots, as they are at the start of the block and shifted left, and a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Sum {
    pub terms: [Option<(Slot, u8)>; TERMS],
    /// The address of the entry's page is part of it.
    pub of_code: bool,
    pub number: i64,
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

    pub fn without_number(self) -> Self {
        Self { number: 0, ..self }
    }
}

/// Follows addresses through a block.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub of: &'a RegionBlock,
    /// Which slots addresses are not made of.
    pub is_vector: &'a dyn Fn(Slot) -> bool,
}

impl Walk<'_> {
    /// What a value is the sum of.
    pub fn sum_of(&self, value: Value) -> Option<Sum> {
        self.sum_within(value, DEPTH)
    }

    fn sum_within(&self, value: Value, depth: u32) -> Option<Sum> {
        let block = &self.of.block;
        let depth = depth.checked_sub(1)?;
        let inner = |value| self.sum_within(value, depth);
        match *block.definition(value) {
            Op::Const(number) => Some(Sum::number(number)),
            Op::Get(slot) => {
                let before = &block.ops[..value.0 as usize];
                let is_old = !before.iter().any(|op| matches!(op, Op::Set { slot: to, .. } if *to == slot));
                (is_old && !(self.is_vector)(slot)).then(|| Sum::slot(slot))
            }
            Op::Pc => {
                let insn = block.ops[..value.0 as usize].iter().rev().find_map(Op::insn_offset).unwrap_or(0);
                Some(Sum { of_code: true, ..Sum::number((self.of.start + i64::from(insn)) as u64) })
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
    fn step(&self, slot: Slot) -> Option<i64> {
        let last = self.of.block.ops.iter().rev().find_map(|op| match *op {
            Op::Set { slot: to, value } if to == slot => Some(value),
            _ => None,
        });
        let Some(last) = last else { return Some(0) };
        let sum = self.sum_of(last)?;
        (sum.without_number() == Sum::slot(slot)).then_some(sum.number)
    }

    /// The same for a sum.
    pub fn step_of(&self, sum: &Sum) -> Option<i64> {
        let mut terms = sum.terms.iter().flatten();
        terms.try_fold(0i64, |all, &(slot, shift)| all.checked_add(self.step(slot)?.checked_mul(1 << shift)?))
    }
}
