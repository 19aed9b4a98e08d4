//! The body of a wasm function while it is written: instructions, locals, and which branches are likely.

use wasm_encoder::{BlockType, BranchHint, Function, InstructionSink, MemArg, ValType};

/// The body of a function.
#[derive(Default)]
pub(super) struct Code {
    bytes: Vec<u8>,
    /// Parameters first.
    locals: Vec<ValType>,
    parameters: usize,
    /// Locals that can be given out again.
    free: Vec<u32>,
    /// Branches by where they are in `bytes`, and whether they are likely.
    hints: Vec<(usize, bool)>,
}

impl Code {
    pub(super) fn with_parameters(types: &[ValType]) -> Self {
        Self { locals: types.to_vec(), parameters: types.len(), ..Self::default() }
    }

    /// Where instructions go.
    pub(super) fn put(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.bytes)
    }

    /// A local to keep.
    pub(super) fn local(&mut self, ty: ValType) -> u32 {
        self.locals.push(ty);
        self.locals.len() as u32 - 1
    }

    /// A local until it is released.
    pub(super) fn temporary(&mut self, ty: ValType) -> u32 {
        let found = self.free.iter().rposition(|&local| self.locals[local as usize] == ty);
        match found {
            Some(at) => self.free.swap_remove(at),
            None => self.local(ty),
        }
    }

    pub(super) fn release(&mut self, local: u32) {
        debug_assert!(!self.free.contains(&local));
        self.free.push(local);
    }

    /// `if`, of a condition that nearly always or hardly ever holds.
    pub(super) fn expect_if(&mut self, likely: bool, result: BlockType) {
        self.hints.push((self.bytes.len(), likely));
        self.put().if_(result);
    }

    /// `br_if`, of a condition that hardly ever holds.
    pub(super) fn rarely_br_if(&mut self, depth: u32) {
        self.hints.push((self.bytes.len(), false));
        self.put().br_if(depth);
    }

    /// How much is written.
    pub(super) fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// Takes back what was written since, in which no branch is likely or not.
    pub(super) fn back_to(&mut self, mark: usize) {
        debug_assert!(self.hints.last().is_none_or(|hint| hint.0 < mark));
        self.bytes.truncate(mark);
    }

    /// Reads a number at a constant address.
    pub(super) fn load_i64(&mut self, address: u32) {
        self.put().i32_const(0).i64_load(aligned(address, 3));
    }

    /// Writes a number at a constant address; `value` pushes it.
    pub(super) fn store_i64(&mut self, address: u32, value: impl FnOnce(&mut Self)) {
        self.put().i32_const(0);
        value(self);
        self.put().i64_store(aligned(address, 3));
    }

    /// The function, and its hints.
    pub(super) fn finish(mut self) -> (Function, Vec<BranchHint>) {
        self.put().end();
        let mut function = Function::new_with_locals_types(self.locals.drain(..).skip(self.parameters));
        let start = function.byte_len();
        function.raw(self.bytes);
        let hint = |(at, likely): (usize, bool)| BranchHint {
            branch_func_offset: (start + at) as u32,
            branch_hint_value: u32::from(likely),
        };
        (function, self.hints.into_iter().map(hint).collect())
    }
}

/// A place of which the alignment is known, as a power of two.
pub(super) fn aligned(address: u32, align: u32) -> MemArg {
    MemArg { offset: u64::from(address), align, memory_index: 0 }
}
