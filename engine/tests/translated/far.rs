//! Ways to other pages, which are linked for as long as pages are where they were.

use crate::toy::{HANDLER, Op, RAM, Toy, insn, machine, map};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, PAGE_SHIFT};
use c2w_engine::machine::Machine;

/// Two pages that a loop goes to and fro between: the last instructions of the first one and the first ones of the second.
const HERE: u64 = RAM + 2 * PAGE_BYTES;
const THERE: u64 = RAM + 3 * PAGE_BYTES;
/// Code of other pages that stand for the second one.
const ELSEWHERE: u64 = RAM + 5 * PAGE_BYTES;
/// Where the loop begins in the first page.
const START: u64 = PAGE_BYTES - 8;
const TIMES: u64 = 1000;

/// The part of the loop in the second page: register 3 grows by `n`; after the last time it traps.
fn part(n: i8) -> [[u8; 4]; 3] {
    [insn(Op::Addi, 3, 3, n), insn(Op::BranchNe, 1, 0, -3), insn(Op::Break, 0, 0, 0)]
}

fn looping() -> Machine<Toy> {
    let mut m = machine(&[]);
    let first = [insn(Op::Addi, 1, 1, -1), insn(Op::Jump, 0, 0, 1)];
    m.cpu.ram.write(Gpa(HERE + START), first.as_flattened()).unwrap();
    m.cpu.ram.write(Gpa(THERE), part(2).as_flattened()).unwrap();
    m.cpu.ram.write(Gpa(ELSEWHERE), part(5).as_flattened()).unwrap();
    m
}

/// Runs the loop that begins in this page; gives what register 3 has grown by each time.
fn run(m: &mut Machine<Toy>, page: u64) -> u64 {
    (m.cpu.pc, m.cpu.slots[1], m.cpu.slots[3]) = (Gva(page + START), TIMES, 0);
    while m.cpu.pc.0 != HANDLER {
        m.run(100_000);
    }
    assert_eq!(m.cpu.slots[3] % TIMES, 0);
    m.cpu.slots[3] / TIMES
}

#[test]
fn a_loop_over_two_pages_does_not_leave_generated_code() {
    let mut m = looping();
    assert_eq!(run(&mut m, HERE), 2);
    let before = m.translator_statistics().unwrap();
    assert_eq!(run(&mut m, HERE), 2);
    let after = m.translator_statistics().unwrap();
    assert!(after.entries - before.entries < 8, "{after:?}");
}

#[test]
fn code_that_was_written_is_not_linked_to() {
    let mut m = looping();
    for round in 0..20 {
        m.cpu.ram.write(Gpa(THERE), part(round).as_flattened()).unwrap();
        assert_eq!(run(&mut m, HERE), round as u64, "the second page");
        let first = [insn(Op::Addi, 1, 1, -1), insn(Op::Jump, 0, 0, 1)];
        m.cpu.ram.write(Gpa(HERE + START), first.as_flattened()).unwrap();
        assert_eq!(run(&mut m, HERE), round as u64, "the first page");
    }
}

#[test]
fn links_hold_for_the_mapping_that_they_were_made_in() {
    const PAGES: [u64; 3] = [HERE, THERE, ELSEWHERE];
    let [here, there, elsewhere] = PAGES.map(|gpa| gpa >> PAGE_SHIFT);
    let mut m = looping();
    map(&mut m.cpu, HANDLER >> PAGE_SHIFT, HANDLER >> PAGE_SHIFT);
    // The first page twice, before different ones.
    for (page, to) in [(100, here), (101, there), (200, here), (201, elsewhere)] {
        map(&mut m.cpu, page, to);
    }
    for _ in 0..3 {
        assert_eq!(run(&mut m, 100 << PAGE_SHIFT), 2);
        assert_eq!(run(&mut m, 200 << PAGE_SHIFT), 5);
    }
    // Both change places.
    map(&mut m.cpu, 101, elsewhere);
    map(&mut m.cpu, 201, there);
    for _ in 0..3 {
        assert_eq!(run(&mut m, 100 << PAGE_SHIFT), 5);
        assert_eq!(run(&mut m, 200 << PAGE_SHIFT), 2);
    }
    // Where nothing is mapped any more, nothing runs.
    map(&mut m.cpu, 101, 0);
    (m.cpu.pc, m.cpu.slots[1], m.cpu.slots[3]) = (Gva((100 << PAGE_SHIFT) + START), TIMES, 0);
    while m.cpu.pc.0 != HANDLER {
        m.run(100_000);
    }
    assert_eq!((m.cpu.guest.value, m.cpu.slots[3]), (101 << PAGE_SHIFT, 0));
}
