//! Regions that are compiled anew over more blocks, where time is often up.

use crate::host::vcpu;
use crate::loops::{LOOP, run, statistics};
use crate::toy::{HANDLER, Op, RAM, Toy, insn};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::cache::BlockCache;
use c2w_engine::jit::any::AnyTranslator;
use c2w_engine::jit::compiled::CompiledTranslator;
use c2w_engine::jit::grow::grow_over_jumps;
use c2w_engine::machine::Machine;

/// A machine with the loop, which compiles at once what runs a second time.
fn looping() -> Machine<Toy> {
    let (mut cpu, host) = vcpu(64 * PAGE_BYTES);
    cpu.guest.handler = HANDLER;
    cpu.ram.write(Gpa(RAM), LOOP.as_flattened()).unwrap();
    cpu.ram.write(Gpa(HANDLER), &insn(Op::Jump, 0, 0, 0)).unwrap();
    let mut machine = Machine::new(cpu);
    machine.translate_by(AnyTranslator::Wasm(Box::new(CompiledTranslator::new(host, 1, false))));
    machine
}

#[test]
fn a_loop_that_is_often_interrupted_becomes_one_region() {
    let mut m = looping();
    run(&mut m, 100, 1_000_000);
    let before = statistics(&m);
    assert!(before.grown == 0 && before.regions >= 4, "{before:?}");
    run(&mut m, 1000, 100);
    let after = statistics(&m);
    assert!((1..=4).contains(&after.grown), "{after:?}");
    assert!(after.blocks - before.blocks >= 4 * after.grown, "{after:?}");
    // All of the loop is one region now, whose only way out is its end.
    let entries = |m: &Machine<Toy>| statistics(m).entries;
    run(&mut m, 1000, 1_000_000);
    let before = entries(&m);
    run(&mut m, 1000, 1_000_000);
    // Its time is up once, and shortly before that.
    assert!(entries(&m) - before <= 4, "{:?}", statistics(&m));
}

#[test]
fn old_and_new_code_of_a_loop_go_together_when_it_is_written() {
    let mut m = looping();
    for round in 0..4 {
        run(&mut m, 1000, 100);
        assert!(statistics(&m).grown > round, "{:?}", statistics(&m));
        // The same sum, from other code.
        let [first, second] = if round % 2 == 0 { [2, 1] } else { [1, 2] };
        m.cpu.ram.write(Gpa(RAM + 3), &[first]).unwrap();
        m.cpu.ram.write(Gpa(RAM + 11), &[second]).unwrap();
    }
}

/// A block that leads to the next one, one that leads to itself, and one that leads back to the first.
const NEST: [[u8; 4]; 6] = [
    insn(Op::Addi, 2, 2, 1),
    insn(Op::Jump, 0, 0, 1),
    insn(Op::Addi, 3, 3, 1),
    insn(Op::BranchNe, 3, 1, -1),
    insn(Op::BranchNe, 1, 0, -4),
    insn(Op::Break, 0, 0, 0),
];

/// Whether the inner loop is taken to turn often where the region of the first block is made, after it has made so many turns
/// for each of the outer one, and then as many of those while it was translated.
fn inner_turns_often(turns: u32, while_translated: u32) -> bool {
    let (mut cpu, _) = vcpu(64 * PAGE_BYTES);
    cpu.ram.write(Gpa(RAM), NEST.as_flattened()).unwrap();
    let mut cache = BlockCache::default();
    let [first, inner, last] = [0, 8, 16].map(|at| cache.find(&mut cpu, Gva(RAM + at)).unwrap());
    for _ in 0..10 {
        cache.heat_up(first, 0);
        for _ in 0..turns {
            cache.heat_up(inner, 0);
        }
        cache.heat_up(last, 0);
    }
    if while_translated != 0 {
        cache.set_translated(inner, 0, 0);
    }
    for _ in 0..while_translated {
        cache.heat_up(first, 0);
        cache.heat_up(last, 0);
    }
    let (region, _) = grow_over_jumps::<Toy>(&cache, first, 0);
    let inner = region.blocks.iter().position(|block| block.start == 8).expect("the region reaches it");
    region.turns_often(inner)
}

#[test]
fn a_loop_turns_as_often_as_it_did_when_it_was_counted() {
    let found = [(20, 0), (20, 1000), (2, 0), (2, 1000)].map(|(turns, more)| inner_turns_often(turns, more));
    assert_eq!(found, [true, true, false, false]);
}
