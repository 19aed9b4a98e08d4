//! The IR of one block: a flat list of operations, in program order, without internal control flow.
//!
//! Invariants, which [`super::verify`] checks:
//! - A value is the number of the operation that defines it and is used only after it: SSA inside a block. Blocks
//!   share no values; what passes between them is in slots.
//! - The first operation is an [`Op::Insn`]; each marks where the next guest instruction starts. Operations of an
//!   instruction that may trap precede its slot writes, so that at a trap the slots hold the state before it.
//! - A terminator is the last operation. A block without one continues behind its last byte.
//! - Addresses are relative: a block may run wherever its bytes are mapped. Lengths and offsets are in bytes.
//!
//! Values are 64-bit integers. Vectors are no values: operations on them name pairs of slots, `n` and `n + 1` with `n` even,
//! which hold the low and the high half.

use super::ops::{Amo, Binary, Cond, Unary};
use super::vector::{VectorExtract, VectorInsert, VectorOp};
use crate::addr::Width;
use crate::emit::Slot;
use crate::guest::{HelperId, TrapCause};
use serde::{Deserialize, Serialize};

/// A value: the number of the operation that defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Value(pub u32);

/// What kind of value an operation defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// 64 bits.
    I64,
}

/// Arguments of a helper call: a range of [`Block::args`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Args {
    /// Index of the first one.
    pub first: u32,
    /// Number of arguments, at most four.
    pub count: u8,
}

/// One operation. Each but [`Op::Insn`] is a word of [`crate::emit::Emit`] and means what that word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "operands are those of the word in Emit that has the same name")]
pub enum Op {
    /// The next guest instruction starts here, `offset` bytes into the block.
    Insn {
        offset: u16,
        len_bytes: u8,
    },
    /// A constant.
    Const(u64),
    /// Reads a slot.
    Get(Slot),
    /// Writes a slot.
    Set {
        slot: Slot,
        value: Value,
    },
    /// Address of the current guest instruction.
    Pc,
    Binary {
        op: Binary,
        w: Width,
        a: Value,
        b: Value,
    },
    Unary {
        op: Unary,
        w: Width,
        a: Value,
    },
    Compare {
        cond: Cond,
        w: Width,
        a: Value,
        b: Value,
    },
    Select {
        cond: Value,
        a: Value,
        b: Value,
    },
    Load {
        w: Width,
        addr: Value,
    },
    LoadToModify {
        w: Width,
        addr: Value,
    },
    CheckCrossingWrite {
        addr: Value,
        len_bytes: u16,
    },
    Store {
        w: Width,
        addr: Value,
        value: Value,
    },
    Amo {
        op: Amo,
        w: Width,
        addr: Value,
        value: Value,
    },
    CompareExchange {
        w: Width,
        addr: Value,
        expected: Value,
        new: Value,
    },
    LoadReserved {
        w: Width,
        addr: Value,
    },
    StoreConditional {
        w: Width,
        addr: Value,
        value: Value,
    },
    Fence,
    Helper {
        id: HelperId,
        args: Args,
    },
    VectorLoad {
        len_bytes: u8,
        to: Slot,
        addr: Value,
    },
    VectorStore {
        len_bytes: u8,
        addr: Value,
        from: Slot,
    },
    Vector {
        op: VectorOp,
        imm: u8,
        to: Slot,
        a: Slot,
        b: Slot,
    },
    VectorInsert {
        op: VectorInsert,
        imm: u8,
        to: Slot,
        value: Value,
    },
    VectorExtract {
        op: VectorExtract,
        a: Slot,
        b: Slot,
    },
    FloatEnvironment,
    LookIf {
        cond: Value,
    },
    TrapIf {
        cond: Value,
        cause: TrapCause,
        value: Value,
    },
    /// Terminator.
    Trap {
        cause: TrapCause,
        value: Value,
    },
    /// Terminator.
    Jump {
        target: Value,
    },
    /// Terminator.
    JumpRelative {
        displacement: i64,
    },
    /// Terminator.
    BranchRelative {
        cond: Value,
        displacement: i64,
    },
}

// Blocks are kept while they wait for a hotter tier, so their size matters.
const _: () = assert!(size_of::<Op>() == 16);

impl Op {
    /// The type of the value it defines, if it defines one.
    pub const fn result(&self) -> Option<Type> {
        match self {
            Op::Const(_)
            | Op::Get(_)
            | Op::Pc
            | Op::Binary { .. }
            | Op::Unary { .. }
            | Op::Compare { .. }
            | Op::Select { .. }
            | Op::Load { .. }
            | Op::LoadToModify { .. }
            | Op::Amo { .. }
            | Op::CompareExchange { .. }
            | Op::LoadReserved { .. }
            | Op::StoreConditional { .. }
            | Op::Helper { .. }
            | Op::VectorExtract { .. }
            | Op::FloatEnvironment => Some(Type::I64),
            Op::Insn { .. }
            | Op::Set { .. }
            | Op::CheckCrossingWrite { .. }
            | Op::Store { .. }
            | Op::Fence
            | Op::VectorLoad { .. }
            | Op::VectorStore { .. }
            | Op::Vector { .. }
            | Op::VectorInsert { .. }
            | Op::LookIf { .. }
            | Op::TrapIf { .. }
            | Op::Trap { .. }
            | Op::Jump { .. }
            | Op::JumpRelative { .. }
            | Op::BranchRelative { .. } => None,
        }
    }

    /// For the start of an instruction, its offset in the block.
    pub const fn insn_offset(&self) -> Option<u16> {
        match self {
            Op::Insn { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    /// Whether it ends the block.
    pub const fn is_terminator(&self) -> bool {
        matches!(
            self,
            Op::Trap { .. } | Op::Jump { .. } | Op::JumpRelative { .. } | Op::BranchRelative { .. }
        )
    }

    /// Whether it accesses guest memory by itself; such an operation may trap.
    pub const fn accesses_memory(&self) -> bool {
        matches!(
            self,
            Op::Load { .. }
                | Op::LoadToModify { .. }
                | Op::CheckCrossingWrite { .. }
                | Op::Store { .. }
                | Op::Amo { .. }
                | Op::CompareExchange { .. }
                | Op::LoadReserved { .. }
                | Op::StoreConditional { .. }
                | Op::VectorLoad { .. }
                | Op::VectorStore { .. }
        )
    }

    /// The first of the pair of slots that an operation on vectors writes.
    pub const fn vector_written(&self) -> Option<Slot> {
        match *self {
            Op::VectorLoad { to, .. } | Op::Vector { to, .. } | Op::VectorInsert { to, .. } => Some(to),
            _ => None,
        }
    }

    /// Calls `f` with the first of every pair of slots that an operation on vectors names.
    pub fn for_each_vector(&self, mut f: impl FnMut(Slot)) {
        match *self {
            Op::VectorLoad { to: a, .. }
            | Op::VectorStore { from: a, .. }
            | Op::VectorInsert { to: a, .. } => f(a),
            Op::Vector { op, imm, to, a, b } => {
                if op.names_third_pair() {
                    f(Slot(imm));
                }
                [to, a, b].into_iter().for_each(f);
            }
            Op::VectorExtract { a, b, .. } => [a, b].into_iter().for_each(f),
            _ => {}
        }
    }

    /// Whether it depends on the guest's floating-point environment, and may raise flags there.
    pub const fn is_float(&self) -> bool {
        match *self {
            Op::Vector { op, .. } => op.is_float(),
            Op::VectorInsert { op, .. } => op.is_float(),
            Op::VectorExtract { op, .. } => op.is_float(),
            _ => false,
        }
    }
}

/// The IR of a run of guest instructions that is entered at its start only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The operations; an index into this is a [`Value`].
    pub ops: Vec<Op>,
    /// Arguments of all helper calls.
    pub args: Vec<Value>,
    /// Length of the guest code: where a block without a terminator, or with a branch not taken, continues.
    pub len_bytes: u16,
}

impl Block {
    /// The operation that defines a value.
    ///
    /// # Panics
    /// If the value is of another block.
    pub fn definition(&self, value: Value) -> &Op {
        &self.ops[value.0 as usize]
    }

    /// The number that a value is, if it is a constant.
    pub fn constant(&self, value: Value) -> Option<u64> {
        match self.definition(value) {
            Op::Const(number) => Some(*number),
            _ => None,
        }
    }

    /// The arguments of a helper call.
    ///
    /// # Panics
    /// If they are of another block.
    pub fn helper_args(&self, args: Args) -> &[Value] {
        &self.args[args.first as usize..][..args.count as usize]
    }

    /// Calls `f` with every operand of an operation.
    pub fn for_each_operand(&self, op: &Op, mut f: impl FnMut(Value)) {
        match *op {
            Op::Insn { .. } | Op::Const(_) | Op::Get(_) | Op::Pc | Op::Fence | Op::JumpRelative { .. } => {}
            Op::Vector { .. } | Op::VectorExtract { .. } | Op::FloatEnvironment => {}
            Op::Set { value: a, .. }
            | Op::Unary { a, .. }
            | Op::Load { addr: a, .. }
            | Op::LoadToModify { addr: a, .. }
            | Op::CheckCrossingWrite { addr: a, .. }
            | Op::LoadReserved { addr: a, .. }
            | Op::VectorLoad { addr: a, .. }
            | Op::VectorStore { addr: a, .. }
            | Op::VectorInsert { value: a, .. }
            | Op::LookIf { cond: a }
            | Op::Trap { value: a, .. }
            | Op::Jump { target: a }
            | Op::BranchRelative { cond: a, .. } => f(a),
            Op::Binary { a, b, .. }
            | Op::Compare { a, b, .. }
            | Op::Store { addr: a, value: b, .. }
            | Op::Amo { addr: a, value: b, .. }
            | Op::StoreConditional { addr: a, value: b, .. }
            | Op::TrapIf { cond: a, value: b, .. } => [a, b].into_iter().for_each(f),
            Op::Select { cond: a, a: b, b: c } | Op::CompareExchange { addr: a, expected: b, new: c, .. } => {
                [a, b, c].into_iter().for_each(f)
            }
            Op::Helper { args, .. } => self.helper_args(args).iter().copied().for_each(f),
        }
    }
}
