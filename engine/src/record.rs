//! The recorder: [`Emit`] that writes IR.
//!
//! Besides writing it down it knows what the interpreter knows at run time wherever that is the same in every run:
//! operations on constants are evaluated by [`crate::ir::eval`], and a slot that the block has read or written
//! before is not read again. So a guest that keeps what its state means in slots (the producer of lazy flags) finds
//! it again by [`Emit::known`].

use crate::addr::Width;
use crate::emit::{Amo, Binary, Cond, Emit, SLOTS, Slot, Unary, VectorExtract, VectorInsert, VectorOp};
use crate::guest::{Guest, HelperId, HelperInfo, TrapCause};
use crate::ir::block::{Args, Block, Op, Value};
use crate::ir::eval;

/// The instruction ends here in every run; what ends it has been recorded.
#[derive(Debug)]
pub struct Ended;

/// Operations that an instruction takes, by and large.
const OPS_OF_AN_INSN: usize = 6;

/// A block being recorded.
pub struct Recorder {
    block: Block,
    /// What each slot holds, as far as this block has seen.
    slots: [Option<Value>; SLOTS],
    helpers: &'static [HelperInfo],
    /// What slots hold before the first instruction.
    known: Vec<(Slot, u64)>,
}

/// Records the meaning of a run of instructions. `offsets` says where in the block each starts, `len_bytes` where the
/// last one ends; `known` are slots with what they hold before the first one, in every run. Instructions behind one that
/// always traps are left out.
pub fn record<G: Guest>(insns: &[G::Insn], offsets: &[u16], len_bytes: u16, known: &[(Slot, u64)]) -> Block {
    let mut recorder = Recorder::new(G::HELPERS);
    recorder.known = known.to_vec();
    recorder.block.ops.reserve(insns.len() * OPS_OF_AN_INSN);
    let ends = offsets.iter().skip(1).copied().chain([len_bytes]);
    for ((insn, &offset), end) in insns.iter().zip(offsets).zip(ends) {
        recorder.begin_insn(offset, (end - offset) as u8);
        if G::lift(&mut recorder, insn).is_err() {
            break;
        }
    }
    recorder.finish()
}

impl Recorder {
    /// An empty block for a guest with these helpers.
    pub fn new(helpers: &'static [HelperInfo]) -> Self {
        Self { block: Block::default(), slots: [None; SLOTS], helpers, known: Vec::new() }
    }

    /// What follows is the meaning of the instruction `offset` bytes into the block.
    pub fn begin_insn(&mut self, offset: u16, len_bytes: u8) {
        self.push(Op::Insn { offset, len_bytes });
        self.block.len_bytes = offset + u16::from(len_bytes);
    }

    /// The block.
    pub fn finish(self) -> Block {
        self.block
    }

    /// A pair of slots was written with what is no value.
    fn forget_vector(&mut self, slot: Slot) {
        debug_assert!(slot.0.is_multiple_of(2), "pairs of slots start at even numbers");
        self.slots[usize::from(slot.0)] = None;
        self.slots[usize::from(slot.0 | 1)] = None;
    }

    fn push(&mut self, op: Op) -> Value {
        let value = Value(self.block.ops.len() as u32);
        self.block.ops.push(op);
        value
    }
}

/// Whether an operation with a second operand of 0 gives the first one.
fn zero_is_neutral(op: Binary) -> bool {
    use Binary::{Add, Or, Rotl, Rotr, Shl, ShrS, ShrU, Sub, Xor};
    matches!(op, Add | Or | Rotl | Rotr | Shl | ShrS | ShrU | Sub | Xor)
}

impl Emit for Recorder {
    type Val = Value;
    type Stop = Ended;
    const RECORDS: bool = true;

    fn known(&self, value: Value) -> Option<u64> {
        self.block.constant(value)
    }

    fn imm(&mut self, value: u64) -> Value {
        self.push(Op::Const(value))
    }

    fn get(&mut self, slot: Slot) -> Value {
        match self.slots[slot.0 as usize] {
            Some(value) => value,
            None => {
                let known = self.known.iter().find(|(of, _)| *of == slot);
                let value = self.push(known.map_or(Op::Get(slot), |&(_, number)| Op::Const(number)));
                self.slots[slot.0 as usize] = Some(value);
                value
            }
        }
    }

    fn set(&mut self, slot: Slot, value: Value) {
        self.push(Op::Set { slot, value });
        self.slots[slot.0 as usize] = Some(value);
    }

    fn pc(&mut self) -> Value {
        self.push(Op::Pc)
    }

    fn binary(&mut self, op: Binary, w: Width, a: Value, b: Value) -> Value {
        match (self.known(a), self.known(b)) {
            (Some(a), Some(b)) => self.imm(eval::binary(op, w, a, b)),
            (_, Some(0)) if w == Width::W64 && zero_is_neutral(op) => a,
            (Some(0), _) if w == Width::W64 && op == Binary::Add => b,
            _ => self.push(Op::Binary { op, w, a, b }),
        }
    }

    fn unary(&mut self, op: Unary, w: Width, a: Value) -> Value {
        match self.known(a) {
            Some(a) => self.imm(eval::unary(op, w, a)),
            None => self.push(Op::Unary { op, w, a }),
        }
    }

    fn compare(&mut self, cond: Cond, w: Width, a: Value, b: Value) -> Value {
        match (self.known(a), self.known(b)) {
            (Some(a), Some(b)) => self.imm(u64::from(eval::compare(cond, w, a, b))),
            _ => self.push(Op::Compare { cond, w, a, b }),
        }
    }

    fn select(&mut self, cond: Value, a: Value, b: Value) -> Value {
        match self.known(cond) {
            Some(0) => b,
            Some(_) => a,
            None => self.push(Op::Select { cond, a, b }),
        }
    }

    fn load(&mut self, w: Width, addr: Value) -> Result<Value, Ended> {
        Ok(self.push(Op::Load { w, addr }))
    }

    fn load_to_modify(&mut self, w: Width, addr: Value) -> Result<Value, Ended> {
        Ok(self.push(Op::LoadToModify { w, addr }))
    }

    fn check_crossing_write(&mut self, addr: Value, len_bytes: u16) -> Result<(), Ended> {
        self.push(Op::CheckCrossingWrite { addr, len_bytes });
        Ok(())
    }

    fn store(&mut self, w: Width, addr: Value, value: Value) -> Result<(), Ended> {
        self.push(Op::Store { w, addr, value });
        Ok(())
    }

    fn amo(&mut self, op: Amo, w: Width, addr: Value, value: Value) -> Result<Value, Ended> {
        Ok(self.push(Op::Amo { op, w, addr, value }))
    }

    fn compare_exchange(
        &mut self,
        w: Width,
        addr: Value,
        expected: Value,
        new: Value,
    ) -> Result<Value, Ended> {
        Ok(self.push(Op::CompareExchange { w, addr, expected, new }))
    }

    fn load_reserved(&mut self, w: Width, addr: Value) -> Result<Value, Ended> {
        Ok(self.push(Op::LoadReserved { w, addr }))
    }

    fn store_conditional(&mut self, w: Width, addr: Value, value: Value) -> Result<Value, Ended> {
        Ok(self.push(Op::StoreConditional { w, addr, value }))
    }

    fn fence(&mut self) {
        self.push(Op::Fence);
    }

    fn vector_load(&mut self, len_bytes: u8, to: Slot, addr: Value) -> Result<(), Ended> {
        self.push(Op::VectorLoad { len_bytes, to, addr });
        self.forget_vector(to);
        Ok(())
    }

    fn vector_store(&mut self, len_bytes: u8, addr: Value, from: Slot) -> Result<(), Ended> {
        self.push(Op::VectorStore { len_bytes, addr, from });
        Ok(())
    }

    fn vector(&mut self, op: VectorOp, imm: u8, to: Slot, a: Slot, b: Slot) {
        self.push(Op::Vector { op, imm, to, a, b });
        self.forget_vector(to);
    }

    fn vector_insert(&mut self, op: VectorInsert, imm: u8, to: Slot, value: Value) {
        self.push(Op::VectorInsert { op, imm, to, value });
        self.forget_vector(to);
    }

    fn vector_extract(&mut self, op: VectorExtract, a: Slot, b: Slot) -> Value {
        self.push(Op::VectorExtract { op, a, b })
    }

    fn float_environment(&mut self) -> Value {
        self.push(Op::FloatEnvironment)
    }

    fn helper(&mut self, id: HelperId, args: &[Value]) -> Result<Value, Ended> {
        let first = self.block.args.len() as u32;
        self.block.args.extend_from_slice(args);
        let result = self.push(Op::Helper { id, args: Args { first, count: args.len() as u8 } });
        if self.helpers[id.0 as usize].effects.writes_state {
            self.slots.fill(None);
            self.known.clear();
        }
        Ok(result)
    }

    fn look_if(&mut self, cond: Value) {
        if self.known(cond) != Some(0) {
            self.push(Op::LookIf { cond });
        }
    }

    fn trap(&mut self, cause: TrapCause, value: Value) -> Ended {
        self.push(Op::Trap { cause, value });
        Ended
    }

    fn trap_if(&mut self, cond: Value, cause: TrapCause, value: Value) -> Result<(), Ended> {
        match self.known(cond) {
            Some(0) => Ok(()),
            Some(_) => Err(self.trap(cause, value)),
            None => {
                self.push(Op::TrapIf { cond, cause, value });
                Ok(())
            }
        }
    }

    fn jump(&mut self, target: Value) {
        self.push(Op::Jump { target });
    }

    fn jump_relative(&mut self, displacement: i64) {
        self.push(Op::JumpRelative { displacement });
    }

    fn branch_relative(&mut self, cond: Value, displacement: i64) {
        match self.known(cond) {
            Some(0) => {}
            Some(_) => self.jump_relative(displacement),
            None => {
                self.push(Op::BranchRelative { cond, displacement });
            }
        }
    }
}
