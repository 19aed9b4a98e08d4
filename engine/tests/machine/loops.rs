//! A loop of several blocks, for tests of how far regions grow.

use crate::toy::{HANDLER, Op, RAM, Toy, insn};
use c2w_engine::addr::Gva;
use c2w_engine::jit::TranslatorStatistics;
use c2w_engine::machine::Machine;

/// A loop of four blocks: register 3 grows by 1 + 2 + 3 + 4 for each of what register 1 counts down.
pub const LOOP: [[u8; 4]; 10] = [
    insn(Op::Addi, 3, 3, 1),
    insn(Op::Jump, 0, 0, 1),
    insn(Op::Addi, 3, 3, 2),
    insn(Op::Jump, 0, 0, 1),
    insn(Op::Addi, 3, 3, 3),
    insn(Op::Jump, 0, 0, 1),
    insn(Op::Addi, 3, 3, 4),
    insn(Op::Addi, 1, 1, -1),
    insn(Op::BranchNe, 1, 0, -8),
    insn(Op::Break, 0, 0, 0),
];

/// Runs the loop so many times, `budget` instructions at a time.
pub fn run(machine: &mut Machine<Toy>, times: u64, budget: u64) {
    let before = machine.cpu.slots[3];
    (machine.cpu.pc, machine.cpu.slots[1]) = (Gva(RAM), times);
    while machine.cpu.pc.0 != HANDLER {
        machine.run(budget);
    }
    assert_eq!(machine.cpu.slots[3] - before, 10 * times);
}

pub fn statistics(machine: &Machine<Toy>) -> TranslatorStatistics {
    machine.translator_statistics().unwrap()
}
