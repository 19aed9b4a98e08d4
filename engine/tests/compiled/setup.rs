//! A toy vCPU, and regions for it.

use crate::toy::{HANDLER, RAM, Toy, ToyBoard};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::clock::InstructionClock;
use c2w_engine::cpu::Cpu;
use c2w_engine::guest::Guest;
use c2w_engine::ir::block::Block;
use c2w_engine::ir::region::{Region, RegionBlock, Ways};
use c2w_engine::ir::verify::verify;
use c2w_engine::irq::{Attention, IrqLines};
use c2w_engine::machine::Backing;

pub use crate::host::vcpu;

/// A vCPU with this much RAM, at the first address of RAM.
pub fn toy(backing: Option<Backing>, ram_bytes: u64) -> Cpu<Toy> {
    let attention = Attention::default();
    let lines = IrqLines::new(&attention);
    let (ram, vcpu) = Backing::take(backing, Gpa(RAM), ram_bytes).expect("there is memory");
    let clock = Box::new(InstructionClock::new(1));
    let board = ToyBoard::new(lines.line(0));
    let guest = Toy { handler: HANDLER, ..Toy::default() };
    let mut cpu = Cpu::with_backing(vcpu, guest, ram, board, lines, attention, clock);
    cpu.pc = Gva(RAM);
    cpu
}

/// A region, whose blocks keep their invariants.
pub fn region(blocks: Vec<(i64, Block, Ways)>) -> Region {
    let block = |(start, block, ways): (i64, Block, Ways)| {
        verify(&block, Toy::HELPERS).expect("test blocks are well formed");
        let insns = block.ops.iter().filter(|op| op.insn_offset().is_some()).count() as u32;
        RegionBlock { block, start, insns, weight: 1, ways }
    };
    Region { blocks: blocks.into_iter().map(block).collect() }
}
