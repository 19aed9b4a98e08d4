//! The vCPU's vectors: pairs of slots, in memory, and what operations do to them.

use crate::addr::{Gva, Width};
use crate::cpu::Cpu;
use crate::emit::Slot;
use crate::guest::{Guest, Trap};
use crate::ir::vector::{self, Vector, VectorExtract, VectorInsert, VectorOp};

impl<G: Guest> Cpu<G> {
    /// Loads 4, 8 or 16 bytes at `gva` in the current data context, zero-extended. Any alignment.
    pub fn load_vector(&mut self, gva: Gva, len_bytes: u8) -> Result<Vector, Trap> {
        Ok(match len_bytes {
            4 => [self.load(gva, Width::W32)?, 0],
            8 => [self.load(gva, Width::W64)?, 0],
            _ => [self.load(gva, Width::W64)?, self.load(gva.offset(8), Width::W64)?],
        })
    }

    /// Stores the low 4, 8 or 16 bytes of a vector at `gva` in the current data context. Any alignment.
    pub fn store_vector(&mut self, gva: Gva, len_bytes: u8, value: Vector) -> Result<(), Trap> {
        match len_bytes {
            4 => self.store(gva, Width::W32, value[0]),
            8 => self.store(gva, Width::W64, value[0]),
            _ => {
                self.check_crossing_write(gva, 16)?;
                self.store(gva, Width::W64, value[0])?;
                self.store(gva.offset(8), Width::W64, value[1])
            }
        }
    }

    /// A pair of slots.
    #[inline(always)]
    pub fn vector(&self, slot: Slot) -> Vector {
        let first = usize::from(slot.0);
        [self.slots[first], self.slots[first | 1]]
    }

    /// Writes a pair of slots.
    #[inline(always)]
    pub fn set_vector(&mut self, slot: Slot, value: Vector) {
        let first = usize::from(slot.0);
        self.slots[first] = value[0];
        self.slots[first | 1] = value[1];
    }

    /// Runs an operation on vectors.
    #[inline(always)]
    pub fn run_vector(&mut self, op: VectorOp, imm: u8, to: Slot, a: Slot, b: Slot) {
        if op.is_float() {
            return G::vector_float(self, op, imm, to, a, b);
        }
        let result = vector::vector(op, imm, self.vector(to), self.vector(a), self.vector(b));
        self.set_vector(to, result);
    }

    /// Runs an operation that puts a number into a vector.
    #[inline(always)]
    pub fn run_vector_insert(&mut self, op: VectorInsert, imm: u8, to: Slot, value: u64) {
        if op.is_float() {
            return G::vector_float_insert(self, op, to, value);
        }
        let result = vector::vector_insert(op, imm, self.vector(to), value);
        self.set_vector(to, result);
    }

    /// Runs an operation on vectors whose result is a number.
    #[inline(always)]
    pub fn run_vector_extract(&mut self, op: VectorExtract, a: Slot, b: Slot) -> u64 {
        if op.is_float() {
            return G::vector_float_extract(self, op, a, b);
        }
        vector::vector_extract(op, self.vector(a), self.vector(b))
    }
}
