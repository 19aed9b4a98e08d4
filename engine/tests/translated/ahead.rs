//! Code that is made before the vCPU comes to it, from the notes of another machine: it is run where it is right, and nowhere
//! else.

use crate::kept::{EFFORT, SUM, keeping, run, statistics};
use crate::toy::{HANDLER, Op, RAM, Toy, insn, machine};
use c2w_engine::addr::{Gpa, PAGE_BYTES, Page};
use c2w_engine::jit::hot::{self, HotRegion, ReadPage};
use c2w_engine::machine::Machine;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// What a machine that runs the sum translates.
fn noted() -> Vec<HotRegion> {
    let mut m = machine(&SUM);
    m.note_hot();
    assert_eq!(run(&mut m, RAM, 10), 20);
    m.hot_regions()
}

/// The page of memory that code is at the start of.
fn page(code: &[[u8; 4]]) -> Box<[u8]> {
    let mut page = code.as_flattened().to_vec();
    page.resize(PAGE_BYTES as usize, 0);
    page.into()
}

/// Lets a machine make these regions, of code at the start of RAM, before it runs; gives what pages were read.
fn make_ahead(m: &mut Machine<Toy>, mut regions: Vec<HotRegion>, code: &[[u8; 4]]) -> Receiver<Page> {
    assert!(m.translate_on_thread(), "this host has threads");
    let start = Page::of(Gpa(RAM));
    regions.retain(|region| region.page == start);
    // When another page is asked for, everything before has been made.
    let last = HotRegion { page: Page(0), ..regions[0].clone() };
    let (tell, read) = channel();
    let page = page(code);
    let contents: ReadPage = Box::new(move |number| {
        tell.send(number).unwrap();
        (number == start).then(|| page.clone())
    });
    m.translate_ahead(hot::encode(regions.iter().chain([&last])), contents);
    read
}

fn wait(read: &Receiver<Page>) {
    while read.recv_timeout(LIMIT).unwrap() != Page(0) {}
}

#[test]
fn it_is_there_when_the_vcpu_comes() {
    let mut m = machine(&SUM);
    wait(&make_ahead(&mut m, noted(), &SUM));
    for times in [1000, 7] {
        assert_eq!(run(&mut m, RAM, times), 2 * times);
    }
    let statistics = statistics(&m);
    assert!(statistics.ahead_used > 0 && statistics.recalled == 0, "{statistics:?}");
    // All but what the trap leads to.
    assert!(statistics.regions <= 1 && m.statistics().decoded <= 2, "{statistics:?} {:?}", m.statistics());
}

#[test]
fn blocks_that_the_interpreter_has_run_are_led_to_it_later() {
    let mut m = machine(&SUM);
    assert!(m.translate(3), "this host runs generated code");
    assert_eq!(run(&mut m, RAM, 2), 4);
    wait(&make_ahead(&mut m, noted(), &SUM));
    assert_eq!(run(&mut m, RAM, 1000), 2000);
    let statistics = statistics(&m);
    // All but what the trap leads to.
    assert!(statistics.ahead_used > 0 && statistics.regions <= 1, "{statistics:?}");
}

#[test]
fn other_code_than_what_it_was_made_from_has_none_of_it() {
    let mut other = SUM;
    other[1] = insn(Op::Addi, 3, 3, 5);
    let mut m = machine(&SUM);
    wait(&make_ahead(&mut m, noted(), &other));
    assert_eq!(run(&mut m, RAM, 10), 20);
    let statistics = statistics(&m);
    assert!(statistics.ahead > 0 && statistics.ahead_used <= 1, "{statistics:?}");
    // Nor has code that is written when it is there.
    let mut m = machine(&SUM);
    wait(&make_ahead(&mut m, noted(), &SUM));
    assert_eq!(run(&mut m, RAM, 10), 20);
    m.cpu.ram.write(Gpa(RAM + 7), &[5]).unwrap();
    assert_eq!(run(&mut m, RAM, 10), 50);
}

#[test]
fn what_is_kept_is_not_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = keeping(directory.path(), "a", &SUM);
    wait(&make_ahead(&mut first, noted(), &SUM));
    // It has not run at all.
    first.save_code(EFFORT).unwrap();
    let mut second = keeping(directory.path(), "a", &SUM);
    let read = make_ahead(&mut second, noted(), &SUM);
    assert_eq!(run(&mut second, RAM, 10), 20);
    let statistics = statistics(&second);
    assert!(statistics.recalled > 0 && statistics.ahead == 0, "{statistics:?}");
    assert!(read.try_recv().is_err(), "nothing is left to make");
    // Nothing has been made this time, but the end of a list is noted nevertheless, or each start would look through it.
    let mut other = noted();
    other.reverse();
    for is_noted in [false, true] {
        let mut m = keeping(directory.path(), "a", &SUM);
        let read = make_ahead(&mut m, other.clone(), &SUM);
        m.save_code(EFFORT).unwrap();
        assert_eq!(read.try_recv().is_err(), is_noted);
    }
    // Of another list only what is missing is made.
    let mut third = keeping(directory.path(), "a", &SUM);
    let mut regions = noted();
    regions.reverse();
    regions.extend(noted());
    wait(&make_ahead(&mut third, regions, &SUM));
    assert_eq!(run(&mut third, RAM, 10), 20);
    assert_eq!(crate::kept::statistics(&third).ahead, 0);
}

#[test]
fn regions_are_noted_in_the_order_in_which_they_were_come_to() {
    let mut m = machine(&SUM);
    m.cpu.ram.write(Gpa(RAM + PAGE_BYTES), SUM.as_flattened()).unwrap();
    m.note_hot();
    for at in [RAM + PAGE_BYTES, RAM] {
        assert_eq!(run(&mut m, at, 10), 20);
    }
    let mut pages: Vec<Page> = m.hot_regions().iter().map(|region| region.page).collect();
    pages.dedup();
    pages.retain(|&page| page != Page::of(Gpa(HANDLER)));
    assert_eq!(pages, [RAM + PAGE_BYTES, RAM].map(|at| Page::of(Gpa(at))));
}
