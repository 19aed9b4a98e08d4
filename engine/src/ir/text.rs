//! The printed form of a block: one operation a line, constants where they are used.
//!
//! An instruction starts with its offset. A value is named by the number of its operation, so names have gaps
//! where operations have no result or are constants. The form is for readers and golden tests; nothing parses it.

use super::block::{Block, Op, Value};
use crate::addr::Width;
use crate::emit::Slot;
use crate::guest::HelperInfo;
use core::fmt;

/// A block with the names of what it mentions: displays as text.
pub struct Text<'a> {
    /// The block.
    pub block: &'a Block,
    /// The guest's helpers.
    pub helpers: &'a [HelperInfo],
    /// The guest's name of a slot.
    pub slot_name: fn(Slot) -> String,
}

/// An operand: a constant or the name of a value.
struct Operand<'a>(&'a Block, Value);

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.constant(self.1) {
            Some(number @ 0..10) => write!(f, "{number}"),
            Some(number) if number as i64 >= -4096 && (number as i64) < 0 => write!(f, "{}", number as i64),
            Some(number) => write!(f, "{number:#x}"),
            None => write!(f, "v{}", self.1.0),
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, op) in self.block.ops.iter().enumerate() {
            match op {
                Op::Const(_) => continue,
                Op::Insn { offset, .. } => writeln!(f, "+{offset}:")?,
                op => {
                    f.write_str("  ")?;
                    if op.result().is_some() {
                        write!(f, "v{number} = ")?;
                    }
                    self.op(f, op)?;
                    f.write_str("\n")?;
                }
            }
        }
        writeln!(f, "+{}", self.block.len_bytes)
    }
}

impl Text<'_> {
    fn op(&self, f: &mut fmt::Formatter<'_>, op: &Op) -> fmt::Result {
        let v = |value| Operand(self.block, value);
        let bits = |w: Width| w.bits();
        let slot = |slot| (self.slot_name)(slot);
        match *op {
            Op::Insn { .. } | Op::Const(_) => Ok(()),
            Op::Get(from) => write!(f, "get {}", slot(from)),
            Op::Set { slot: to, value } => write!(f, "set {}, {}", slot(to), v(value)),
            Op::Pc => write!(f, "pc"),
            Op::Binary { op, w, a, b } => write!(f, "{}.{} {}, {}", op.name(), bits(w), v(a), v(b)),
            Op::Unary { op, w, a } => write!(f, "{}.{} {}", op.name(), bits(w), v(a)),
            Op::Compare { cond, w, a, b } => write!(f, "{}.{} {}, {}", cond.name(), bits(w), v(a), v(b)),
            Op::Select { cond, a, b } => write!(f, "select {}, {}, {}", v(cond), v(a), v(b)),
            Op::Load { w, addr } => write!(f, "load.{} [{}]", bits(w), v(addr)),
            Op::LoadToModify { w, addr } => write!(f, "load_to_modify.{} [{}]", bits(w), v(addr)),
            Op::CheckCrossingWrite { addr, len_bytes } => {
                write!(f, "check_crossing_write [{}], {len_bytes}", v(addr))
            }
            Op::Store { w, addr, value } => write!(f, "store.{} [{}], {}", bits(w), v(addr), v(value)),
            Op::Amo { op, w, addr, value } => {
                write!(f, "amo.{}.{} [{}], {}", op.name(), bits(w), v(addr), v(value))
            }
            Op::CompareExchange { w, addr, expected, new } => {
                write!(f, "compare_exchange.{} [{}], {}, {}", bits(w), v(addr), v(expected), v(new))
            }
            Op::LoadReserved { w, addr } => write!(f, "load_reserved.{} [{}]", bits(w), v(addr)),
            Op::StoreConditional { w, addr, value } => {
                write!(f, "store_conditional.{} [{}], {}", bits(w), v(addr), v(value))
            }
            Op::Fence => write!(f, "fence"),
            Op::VectorLoad { len_bytes, to, addr } => {
                write!(f, "vector_load.{} {}, [{}]", u32::from(len_bytes) * 8, slot(to), v(addr))
            }
            Op::VectorStore { len_bytes, addr, from } => {
                write!(f, "vector_store.{} [{}], {}", u32::from(len_bytes) * 8, v(addr), slot(from))
            }
            Op::Vector { op, imm, to, a, b } if op.names_third_pair() => {
                let [to, a, b, c] = [to, a, b, Slot(imm)].map(slot);
                write!(f, "vector.{} {to}, {a}, {b}, {c}", op.name())
            }
            Op::Vector { op, imm, to, a, b } => {
                write!(f, "vector.{} {}, {}, {}, {imm:#x}", op.name(), slot(to), slot(a), slot(b))
            }
            Op::VectorInsert { op, imm, to, value } => {
                write!(f, "vector_insert.{} {}, {}, {imm:#x}", op.name(), slot(to), v(value))
            }
            Op::VectorExtract { op, a, b } => {
                write!(f, "vector_extract.{} {}, {}", op.name(), slot(a), slot(b))
            }
            Op::FloatEnvironment => write!(f, "float_environment"),
            Op::Helper { id, args } => {
                write!(f, "call {}", self.helpers[id.0 as usize].name)?;
                let mut separator = " ";
                for &arg in self.block.helper_args(args) {
                    write!(f, "{separator}{}", v(arg))?;
                    separator = ", ";
                }
                Ok(())
            }
            Op::LookIf { cond } => write!(f, "look_if {}", v(cond)),
            Op::TrapIf { cond, cause, value } => write!(f, "trap_if {}, {}, {}", v(cond), cause.0, v(value)),
            Op::Trap { cause, value } => write!(f, "trap {}, {}", cause.0, v(value)),
            Op::Jump { target } => write!(f, "jump {}", v(target)),
            Op::JumpRelative { displacement } => write!(f, "jump_relative {displacement}"),
            Op::BranchRelative { cond, displacement } => {
                write!(f, "branch_relative {}, {displacement}", v(cond))
            }
        }
    }
}
