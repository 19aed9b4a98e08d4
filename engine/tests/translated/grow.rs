//! Regions that are made anew over more blocks, where time is often up.

use crate::loops::{LOOP, run, statistics};
use crate::toy::{RAM, machine};
use c2w_engine::addr::Gpa;

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
