//! Regions that are made anew over more blocks, where time is often up.

use crate::toy::{HANDLER, Op, RAM, Toy, insn, machine};
use c2w_engine::addr::{Gpa, Gva};
use c2w_engine::jit::TranslatorStatistics;
use c2w_engine::machine::Machine;

/// A loop of four blocks: register 3 grows by 1 + 2 + 3 + 4 for each of what register 1 counts down.
const LOOP: [[u8; 4]; 10] = [
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
fn run(machine: &mut Machine<Toy>, times: u64, budget: u64) {
    let before = machine.cpu.slots[3];
    (machine.cpu.pc, machine.cpu.slots[1]) = (Gva(RAM), times);
    while machine.cpu.pc.0 != HANDLER {
        machine.run(budget);
    }
    assert_eq!(machine.cpu.slots[3] - before, 10 * times);
}

fn statistics(machine: &Machine<Toy>) -> TranslatorStatistics {
    machine.translator_statistics().unwrap()
}

#[test]
fn a_loop_that_is_often_interrupted_becomes_one_region() {
    let mut m = machine(&LOOP);
    // Each block is hot before the next one has run, and has code of its own.
    run(&mut m, 100, 1_000_000);
    let before = statistics(&m);
    assert!(before.grown == 0 && before.regions >= 4 && before.blocks == before.regions, "{before:?}");
    run(&mut m, 1000, 100);
    let after = statistics(&m);
    assert!((1..=4).contains(&after.grown), "{after:?}");
    assert_eq!(after.regions - before.regions, after.grown);
    assert!(after.blocks - before.blocks >= 4 * after.grown, "{after:?}");
    // What led to the old code leads to the new one: nothing is looked up any more, or made again.
    run(&mut m, 1000, 100);
    run(&mut m, 1000, 1_000_000);
    let last = statistics(&m);
    assert_eq!((last.regions, last.unlinked), (after.regions, after.unlinked), "{last:?}");
}

#[test]
fn old_and_new_code_of_a_loop_go_together_when_it_is_written() {
    let mut m = machine(&LOOP);
    for round in 0..20 {
        run(&mut m, 1000, 100);
        assert!(statistics(&m).grown > round, "{:?}", statistics(&m));
        // The same sum, from other code.
        let [first, second] = if round % 2 == 0 { [2, 1] } else { [1, 2] };
        m.cpu.ram.write(Gpa(RAM + 3), &[first]).unwrap();
        m.cpu.ram.write(Gpa(RAM + 11), &[second]).unwrap();
    }
}
