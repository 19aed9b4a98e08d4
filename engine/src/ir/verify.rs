//! The verifier: whether a block keeps the invariants that [`super::block`] states.
//!
//! Run over what is recorded of an instruction it also proves the rule of every lift: faults first, writes last.

use super::block::{Block, Op, Value};
use crate::guest::HelperInfo;

/// Most arguments of a helper.
const MOST_ARGS: u8 = 4;

/// An invariant that a block breaks; `at` is the number of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages name the fields")]
pub enum VerifyError {
    /// A value is used before its definition or in another block.
    #[error("operation {at} uses v{}, which is not defined before it", value.0)]
    Undefined { at: usize, value: Value },
    /// The operand is an operation without a result.
    #[error("operation {at} uses v{}, which is no value", value.0)]
    NoValue { at: usize, value: Value },
    /// The block does not start with an instruction.
    #[error("operation {at} belongs to no instruction")]
    OutsideInsn { at: usize },
    /// An instruction does not start where the one before ends.
    #[error("the instruction of operation {at} does not start where the one before ends")]
    Gap { at: usize },
    /// The block's length is not that of its instructions.
    #[error("the instructions end at {end}, the block at {len_bytes}")]
    Length { end: u16, len_bytes: u16 },
    /// Something follows a terminator.
    #[error("operation {at} can never be reached")]
    Unreachable { at: usize },
    /// An operation may trap after its instruction wrote a register.
    #[error("operation {at} may trap after its instruction has written a register")]
    TrapAfterWrite { at: usize },
    /// There is no helper of that number, or it is given too many arguments.
    #[error("operation {at} calls an unknown helper or gives it too many arguments")]
    Helper { at: usize },
}

/// Checks a block of a guest with these helpers.
///
/// # Errors
/// The first invariant that is broken.
pub fn verify(block: &Block, helpers: &[HelperInfo]) -> Result<(), VerifyError> {
    let mut end = 0;
    let mut terminated = false;
    let mut written = false;
    for (at, op) in block.ops.iter().enumerate() {
        if terminated {
            return Err(VerifyError::Unreachable { at });
        }
        if let Op::Helper { id, args } = *op {
            let given = args.first as usize + args.count as usize;
            if args.count > MOST_ARGS || given > block.args.len() || id.0 as usize >= helpers.len() {
                return Err(VerifyError::Helper { at });
            }
        }
        check_operands(block, at)?;
        if let Op::Insn { offset, len_bytes } = *op {
            if offset != end || len_bytes == 0 {
                return Err(VerifyError::Gap { at });
            }
            end = offset + u16::from(len_bytes);
            written = false;
        } else if end == 0 {
            return Err(VerifyError::OutsideInsn { at });
        }
        if written && may_trap(op, helpers) {
            return Err(VerifyError::TrapAfterWrite { at });
        }
        written |= matches!(op, Op::Set { .. }) || op.vector_written().is_some();
        terminated = op.is_terminator();
    }
    if end != block.len_bytes {
        return Err(VerifyError::Length { end, len_bytes: block.len_bytes });
    }
    Ok(())
}

fn check_operands(block: &Block, at: usize) -> Result<(), VerifyError> {
    let mut result = Ok(());
    block.for_each_operand(&block.ops[at], |value| {
        let found = match block.ops[..at].get(value.0 as usize) {
            None => Err(VerifyError::Undefined { at, value }),
            Some(definition) if definition.result().is_none() => Err(VerifyError::NoValue { at, value }),
            Some(_) => Ok(()),
        };
        result = result.and(found);
    });
    result
}

/// Whether a run may end with a trap here.
pub fn may_trap(op: &Op, helpers: &[HelperInfo]) -> bool {
    match op {
        Op::Trap { .. } | Op::TrapIf { .. } => true,
        Op::Helper { id, .. } => helpers[id.0 as usize].effects.traps,
        op => op.accesses_memory(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Width;
    use crate::emit::Slot;
    use crate::guest::{HelperEffects, HelperId, TrapCause};
    use crate::ir::block::Args;

    const HELPERS: &[HelperInfo] = &[HelperInfo { name: "all", effects: HelperEffects::ALL, function: None }];
    const INSN: Op = Op::Insn { offset: 0, len_bytes: 4 };
    const SET: Op = Op::Set { slot: Slot(1), value: Value(1) };
    const LOAD: Op = Op::Load { w: Width::W64, addr: Value(1) };
    const NEXT: Op = Op::Insn { offset: 4, len_bytes: 2 };

    fn check(ops: &[Op], len_bytes: u16) -> Result<(), VerifyError> {
        verify(&Block { ops: ops.to_vec(), args: vec![Value(1)], len_bytes }, HELPERS)
    }

    #[test]
    fn every_broken_invariant_is_found() {
        let call = |id, first, count| Op::Helper { id: HelperId(id), args: Args { first, count } };
        let trap = Op::Trap { cause: TrapCause(0), value: Value(1) };
        let cases: &[(&[Op], u16, VerifyError)] = &[
            (&[INSN, LOAD], 4, VerifyError::Undefined { at: 1, value: Value(1) }),
            (&[INSN, Op::Fence, SET], 4, VerifyError::NoValue { at: 2, value: Value(1) }),
            (&[Op::Pc], 0, VerifyError::OutsideInsn { at: 0 }),
            (&[NEXT], 6, VerifyError::Gap { at: 0 }),
            (&[INSN], 5, VerifyError::Length { end: 4, len_bytes: 5 }),
            (&[INSN, Op::Pc, trap, NEXT], 6, VerifyError::Unreachable { at: 3 }),
            (&[INSN, Op::Pc, SET, LOAD], 4, VerifyError::TrapAfterWrite { at: 3 }),
            (&[INSN, Op::Pc, SET, trap], 4, VerifyError::TrapAfterWrite { at: 3 }),
            (&[INSN, Op::Pc, SET, call(0, 0, 1)], 4, VerifyError::TrapAfterWrite { at: 3 }),
            (&[INSN, Op::Pc, call(1, 0, 1)], 4, VerifyError::Helper { at: 2 }),
            (&[INSN, Op::Pc, call(0, 0, 2)], 4, VerifyError::Helper { at: 2 }),
        ];
        for (ops, len_bytes, error) in cases {
            assert_eq!(check(ops, *len_bytes), Err(*error), "{ops:?}");
        }
        assert_eq!(check(&[INSN, Op::Pc, LOAD, call(0, 0, 1), SET, NEXT, LOAD, trap], 6), Ok(()));
    }
}
