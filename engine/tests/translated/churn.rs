//! Code that is rewritten again and again: what is kept of it stays within bounds, and results are right.

use crate::toy::{HANDLER, Op, RAM, RAM_PAGES, Toy, insn, machine, run_to_trap};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::jit::LEAST_CODE_BYTES;
use c2w_engine::machine::Machine;

/// Blocks in a page: as many as there is room for, with the trap at the end.
const BLOCKS: u64 = PAGE_BYTES / 8 - 1;

/// Fills a page with blocks, and gives what register 3 grows by in it.
fn fill(machine: &mut Machine<Toy>, page: u64, seed: u64) -> u64 {
    let mut code = Vec::new();
    let mut sum = 0;
    for block in 0..BLOCKS {
        let n = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (block % 57)) & 63;
        sum += n;
        code.extend([insn(Op::Addi, 3, 3, n as i8), insn(Op::Jump, 0, 0, 1)]);
    }
    code.push(insn(Op::Break, 0, 0, 0));
    machine.cpu.ram.write(Gpa(page), code.as_flattened()).expect("a page of RAM");
    sum
}

/// Runs a page and gives what register 3 has grown by.
fn run(machine: &mut Machine<Toy>, page: u64) -> u64 {
    machine.cpu.pc = Gva(page);
    let before = machine.cpu.slots[3];
    while machine.cpu.pc.0 != HANDLER {
        machine.run(10_000);
    }
    assert_eq!(run_to_trap(machine).value, 0);
    machine.cpu.slots[3].wrapping_sub(before)
}

#[test]
fn what_is_kept_of_code_that_changes_is_bounded() {
    const ROUNDS: u64 = 1500;
    let mut m = machine(&[]);
    assert!(m.translate_in(LEAST_CODE_BYTES, 1), "this host runs generated code");
    let pages: Vec<u64> = (1..RAM_PAGES - 1).map(|page| RAM + page * PAGE_BYTES).collect();
    let mut sums: Vec<u64> =
        pages.iter().enumerate().map(|(at, &page)| fill(&mut m, page, at as u64)).collect();
    let mut most = 0;
    for round in 0..ROUNDS {
        let at = (round % pages.len() as u64) as usize;
        // One page changes; another one, which has not for a while, is still what it was.
        sums[at] = fill(&mut m, pages[at], round);
        for at in [at, at, (at + 5) % pages.len()] {
            assert_eq!(run(&mut m, pages[at]), sums[at], "round {round}");
        }
        let translator = m.translator_statistics().expect("it translates");
        most = most.max(translator.kept_bytes);
        assert!(translator.kept_bytes <= LEAST_CODE_BYTES, "round {round}: {translator:?}");
        assert!(m.statistics().decoded_kept < 3 << 19, "round {round}: {:?}", m.statistics());
    }
    let (machine, translator) = (m.statistics(), m.translator_statistics().expect("it translates"));
    assert!(most > LEAST_CODE_BYTES * 3 / 4, "the memory is used: {most}");
    assert!(translator.dropped_generations > 100, "{translator:?}");
    assert!(translator.invalidated > ROUNDS * BLOCKS / 2, "{translator:?}");
    // More than are ever kept, so that decoded code has been made room for, too.
    assert!(machine.decoded > 5 << 18, "{machine:?}");
}

#[test]
fn a_thread_translates_what_is_not_written_meanwhile() {
    let mut m = machine(&[]);
    assert!(m.translate_in(LEAST_CODE_BYTES, 1), "this host runs generated code");
    assert!(m.translate_on_thread(), "this host has threads");
    let pages: Vec<u64> = (1..8).map(|page| RAM + page * PAGE_BYTES).collect();
    let mut round = 0;
    // What it gets done depends on the host: until it has done much, and much for nothing.
    while m.translator_statistics().expect("it translates").invalidated < 20_000 {
        let page = pages[round as usize % pages.len()];
        let sum = fill(&mut m, page, round);
        for _ in 0..1 + round % 8 {
            assert_eq!(run(&mut m, page), sum, "round {round}");
        }
        round += 1;
    }
    let translator = m.translator_statistics().expect("it translates");
    assert!(translator.background_ns > 0 && translator.retired > 20_000, "{translator:?}");
}

#[test]
fn links_into_a_dropped_generation_lead_nowhere() {
    // Two pages that stay are run all the time while others fill the memory.
    let mut m = machine(&[]);
    assert!(m.translate_in(LEAST_CODE_BYTES, 1), "this host runs generated code");
    let kept = [RAM + PAGE_BYTES, RAM + 2 * PAGE_BYTES];
    let sums = kept.map(|page| fill(&mut m, page, page));
    for round in 0..200 {
        let page = RAM + (3 + round % 8) * PAGE_BYTES;
        let sum = fill(&mut m, page, round);
        for _ in 0..2 {
            assert_eq!(run(&mut m, page), sum);
        }
        for (page, sum) in kept.into_iter().zip(sums) {
            assert_eq!(run(&mut m, page), sum, "round {round}");
        }
    }
    let translator = m.translator_statistics().expect("it translates");
    assert!(translator.dropped_generations > 16, "{translator:?}");
    // What was dropped of the pages that stay was translated again.
    let interpreted = m.statistics().retired - translator.retired;
    assert!(interpreted < translator.retired, "{interpreted}: {translator:?}");
}
