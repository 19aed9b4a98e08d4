//! Which registers are known to hold a single in its box ([`crate::ir::vector::boxed`]), so that nobody need look.

use super::plan::{SlotSet, touches_state};
use crate::guest::HelperInfo;
use crate::ir::block::{Block, Op};
use crate::ir::region::{Region, Way};
use crate::ir::vector::boxed::BOX;
use crate::ir::vector::{VectorInsert, VectorOp};

/// What an operation changes.
pub(super) fn after(op: &Op, block: &Block, helpers: &[HelperInfo], known: &mut SlotSet) {
    let (to, is_boxed) = match *op {
        Op::Set { slot, value } => (slot, block.constant(value).is_some_and(|number| number >= BOX)),
        Op::VectorLoad { to, .. } => (to, false),
        Op::Vector { op: VectorOp::Copy | VectorOp::Movq, to, b, .. } => (to, known.contains(b)),
        Op::Vector { op, to, .. } => (to, op.gives_single()),
        Op::VectorInsert { op: VectorInsert::Movq, to, value, .. } => {
            (to, block.constant(value).is_some_and(|number| number >= BOX))
        }
        Op::VectorInsert { op, to, .. } => (to, op.gives_single()),
        _ => {
            if touches_state(op, helpers) {
                *known = SlotSet::default();
            }
            return;
        }
    };
    if is_boxed {
        known.insert(to);
    } else {
        known.remove(to);
    }
}

/// For each block what is known at its start. Nothing is where the region is entered. Whether any operation gives a single:
/// where none does, it is not worth asking.
pub(super) fn find(
    region: &Region,
    entries: &[usize],
    helpers: &[HelperInfo],
    known_in: &mut Vec<SlotSet>,
) -> bool {
    known_in.clear();
    let singles = |op: &Op| matches!(*op, Op::Vector { op, .. } if op.gives_single());
    if !region.blocks.iter().any(|block| block.block.ops.iter().any(singles)) {
        known_in.resize(region.blocks.len(), SlotSet::default());
        return false;
    }
    known_in.resize(region.blocks.len(), SlotSet::ALL);
    entries.iter().for_each(|&entry| known_in[entry] = SlotSet::default());
    loop {
        let mut changed = false;
        for (index, block) in region.blocks.iter().enumerate() {
            let mut known = known_in[index];
            for op in &block.block.ops {
                after(op, &block.block, helpers, &mut known);
            }
            block.ways.for_each(|way| {
                if let Way::Block(to) = way {
                    changed |= known_in[to].keep(&known);
                }
            });
        }
        if !changed {
            return true;
        }
    }
}
