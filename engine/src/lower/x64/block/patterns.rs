//! Operations that are part of others: sums in addresses, and what conditions ask for.

use super::{Emitter, NEAR};
use crate::addr::Width::{self, W64};
use crate::emit::{Binary, Cond};
use crate::ir::block::{Block, Op, Value};
use crate::lower::x64::cold::Address;
use crate::lower::x64::plan::is_site;

impl Emitter<'_> {
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
}

/// The address of an access that is looked up in line, and may be shared.
pub(super) fn looked_up(op: &Op) -> Option<Value> {
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
pub(super) fn tested(block: &Block, cond: Value) -> Option<(Width, Value, Value)> {
    let Op::Compare { cond, w, a, b } = *block.definition(cond) else { return None };
    let Op::Binary { op: Binary::And, w: of, a: x, b: y } = *block.definition(a) else { return None };
    // The sign of narrower bits is that of the operation.
    let fits = of >= w || matches!(cond, Cond::Eq | Cond::Ne);
    (fits && block.constant(b) == Some(0) && block.constant(x).is_none()).then_some((w.min(of), x, y))
}

/// What a condition asks the common bits of, in which width, where that is all that it does.
pub(in crate::lower::x64) fn common_bits(block: &Block, cond: Value) -> Option<(Width, Value, Value)> {
    match *block.definition(cond) {
        Op::Binary { op: Binary::And, w, a, b } if block.constant(a).is_none() => Some((w, a, b)),
        _ => None,
    }
}

/// What an address is the sum of, if it is one of something computed and a small number.
pub(super) fn sum(block: &Block, addr: Value) -> Option<(Value, i32)> {
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
pub(super) fn has_effect(op: &Op) -> bool {
    is_site(op) || op.is_float()
}
