//! Replay: from a recorded block back to the words it was recorded from, on any builder.
//!
//! On the interpreter this runs the IR, the reference for every lowering; on a recorder it copies a block, which is
//! how a pass that keeps most operations is written.

use super::block::{Block, Op, Value};
use crate::emit::Emit;

/// A block on its way to a builder, one instruction at a time.
pub struct Replay<'a, V> {
    block: &'a Block,
    /// What the builder gave for each operation so far; `None` for those without a result.
    values: Vec<Option<V>>,
}

/// Where an instruction lies in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InsnPlace {
    /// Bytes from the start of the block.
    pub offset: u16,
    /// Length of the encoding.
    pub len_bytes: u8,
}

impl<'a, V: Copy> Replay<'a, V> {
    /// Starts before the first instruction of a verified block.
    pub fn new(block: &'a Block) -> Self {
        Self { block, values: Vec::with_capacity(block.ops.len()) }
    }

    /// Enters the next instruction; `None` at the end of the block.
    pub fn next_insn(&mut self) -> Option<InsnPlace> {
        match *self.block.ops.get(self.values.len())? {
            Op::Insn { offset, len_bytes } => {
                self.values.push(None);
                Some(InsnPlace { offset, len_bytes })
            }
            _ => None,
        }
    }

    /// Says the operations of the instruction that was entered.
    ///
    /// # Errors
    /// The instruction ended early.
    ///
    /// # Panics
    /// If the block breaks an invariant.
    pub fn insn<E: Emit<Val = V>>(&mut self, e: &mut E) -> Result<(), E::Stop> {
        while let Some(op) = self.block.ops.get(self.values.len())
            && !matches!(op, Op::Insn { .. })
        {
            let value = self.op(op, e)?;
            self.values.push(value);
        }
        Ok(())
    }

    fn value(&self, value: Value) -> V {
        self.values[value.0 as usize].expect("operands of a verified block are values")
    }

    fn op<E: Emit<Val = V>>(&self, op: &Op, e: &mut E) -> Result<Option<V>, E::Stop> {
        let v = |value| self.value(value);
        Ok(match *op {
            Op::Insn { .. } => None,
            Op::Const(number) => Some(e.imm(number)),
            Op::Get(slot) => Some(e.get(slot)),
            Op::Set { slot, value } => {
                e.set(slot, v(value));
                None
            }
            Op::Pc => Some(e.pc()),
            Op::Binary { op, w, a, b } => Some(e.binary(op, w, v(a), v(b))),
            Op::Unary { op, w, a } => Some(e.unary(op, w, v(a))),
            Op::Compare { cond, w, a, b } => Some(e.compare(cond, w, v(a), v(b))),
            Op::Select { cond, a, b } => Some(e.select(v(cond), v(a), v(b))),
            Op::Load { w, addr } => Some(e.load(w, v(addr))?),
            Op::LoadToModify { w, addr } => Some(e.load_to_modify(w, v(addr))?),
            Op::CheckCrossingWrite { addr, len_bytes } => {
                e.check_crossing_write(v(addr), len_bytes)?;
                None
            }
            Op::Store { w, addr, value } => {
                e.store(w, v(addr), v(value))?;
                None
            }
            Op::Amo { op, w, addr, value } => Some(e.amo(op, w, v(addr), v(value))?),
            Op::CompareExchange { w, addr, expected, new } => {
                Some(e.compare_exchange(w, v(addr), v(expected), v(new))?)
            }
            Op::LoadReserved { w, addr } => Some(e.load_reserved(w, v(addr))?),
            Op::StoreConditional { w, addr, value } => Some(e.store_conditional(w, v(addr), v(value))?),
            Op::Fence => {
                e.fence();
                None
            }
            Op::VectorLoad { len_bytes, to, addr } => {
                e.vector_load(len_bytes, to, v(addr))?;
                None
            }
            Op::VectorStore { len_bytes, addr, from } => {
                e.vector_store(len_bytes, v(addr), from)?;
                None
            }
            Op::Vector { op, imm, to, a, b } => {
                e.vector(op, imm, to, a, b);
                None
            }
            Op::VectorInsert { op, imm, to, value } => {
                e.vector_insert(op, imm, to, v(value));
                None
            }
            Op::VectorExtract { op, a, b } => Some(e.vector_extract(op, a, b)),
            Op::FloatEnvironment => Some(e.float_environment()),
            Op::Helper { id, args } => {
                let args: Vec<V> = self.block.helper_args(args).iter().map(|&arg| v(arg)).collect();
                Some(e.helper(id, &args)?)
            }
            Op::LookIf { cond } => {
                e.look_if(v(cond));
                None
            }
            Op::TrapIf { cond, cause, value } => {
                e.trap_if(v(cond), cause, v(value))?;
                None
            }
            Op::Trap { cause, value } => return Err(e.trap(cause, v(value))),
            Op::Jump { target } => {
                e.jump(v(target));
                None
            }
            Op::JumpRelative { displacement } => {
                e.jump_relative(displacement);
                None
            }
            Op::BranchRelative { cond, displacement } => {
                e.branch_relative(v(cond), displacement);
                None
            }
        })
    }
}
