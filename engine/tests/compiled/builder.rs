//! Writing blocks by hand.

use c2w_engine::ir::block::{Args, Block, Op, Value};

/// Writes a block.
#[derive(Default)]
pub struct Builder(Block);

impl Builder {
    pub fn insn(&mut self) -> &mut Self {
        self.push(Op::Insn { offset: self.0.len_bytes, len_bytes: 4 });
        self.0.len_bytes += 4;
        self
    }

    pub fn push(&mut self, op: Op) -> Value {
        self.0.ops.push(op);
        Value(self.0.ops.len() as u32 - 1)
    }

    pub fn arguments(&mut self, args: &[Value]) -> Args {
        let first = self.0.args.len() as u32;
        self.0.args.extend_from_slice(args);
        Args { first, count: args.len() as u8 }
    }

    pub fn finish(self) -> Block {
        self.0
    }
}
