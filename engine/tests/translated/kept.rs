//! Code that an earlier machine translated: it is run where it is right, and nowhere else.

use crate::toy::{HANDLER, Op, PAGE_FAULT, RAM, Toy, insn, machine, map, run_to_trap};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES, PAGE_SHIFT};
use c2w_engine::jit::{CODE_CACHE_BYTES, CodeCache, TranslatorStatistics};
use c2w_engine::machine::Machine;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Register 3 grows by what register 1 is, down to 0; the trap ends it.
pub const SUM: [[u8; 4]; 6] = [
    insn(Op::Addi, 3, 0, 0),
    insn(Op::Addi, 3, 3, 2),
    insn(Op::Addi, 1, 1, -1),
    insn(Op::BranchNe, 1, 0, -2),
    insn(Op::Store, 3, 2, 8),
    insn(Op::Break, 0, 0, 0),
];
const DATA: u64 = RAM + 2 * PAGE_BYTES;
pub const EFFORT: Duration = Duration::from_secs(5);

/// A machine with code at the start of RAM, that keeps what it translates in this directory.
pub fn keeping(directory: &Path, build: &str, code: &[[u8; 4]]) -> Machine<Toy> {
    let mut machine = machine(code);
    let cache = CodeCache::open(directory, build.as_bytes(), CODE_CACHE_BYTES).unwrap();
    assert!(machine.keep_code(cache));
    machine
}

pub fn run(machine: &mut Machine<Toy>, at: u64, times: u64) -> u64 {
    (machine.cpu.pc, machine.cpu.slots[1], machine.cpu.slots[2]) = (Gva(at), times, DATA);
    while machine.cpu.pc.0 != HANDLER {
        machine.run(1000);
    }
    let mut stored = [0; 8];
    machine.cpu.ram.read(Gpa(DATA + 8), &mut stored).unwrap();
    assert_eq!(u64::from_le_bytes(stored), machine.cpu.slots[3]);
    machine.cpu.slots[3]
}

pub fn statistics(machine: &Machine<Toy>) -> TranslatorStatistics {
    machine.translator_statistics().unwrap()
}

/// A directory in which the sum is kept.
fn kept() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut first = keeping(directory.path(), "a", &SUM);
    assert_eq!(run(&mut first, RAM, 10), 20);
    assert_eq!((statistics(&first).recalled, statistics(&first).regions > 0), (0, true));
    first.save_code(EFFORT).unwrap();
    directory
}

#[test]
fn what_was_translated_need_not_be_decoded_or_translated_again() {
    let directory = kept();
    // Once more, so that there is nothing that has not run before.
    let mut second = keeping(directory.path(), "a", &SUM);
    assert_eq!(run(&mut second, RAM, 1000), 2000);
    assert!(statistics(&second).recalled > 0);
    second.save_code(EFFORT).unwrap();
    let mut third = keeping(directory.path(), "a", &SUM);
    for times in [1, 1000, 7] {
        assert_eq!(run(&mut third, RAM, times), 2 * times);
    }
    let statistics = statistics(&third);
    assert!(statistics.recalled > 0 && statistics.regions == 0, "{statistics:?}");
    assert!(third.statistics().decoded < SUM.len() as u64, "{:?}", third.statistics());
}

/// A machine that keeps what it has run when it ends, and translates nothing before.
fn keeping_late(directory: &Path, code: &[[u8; 4]]) -> Machine<Toy> {
    let mut machine = machine(code);
    assert!(machine.translate(u32::MAX), "this host runs generated code");
    let cache = CodeCache::open(directory, b"a", CODE_CACHE_BYTES).unwrap();
    assert!(machine.keep_code(cache));
    machine
}

#[test]
fn code_that_was_not_hot_is_kept_in_pieces_that_are_entered_where_it_was_come_to() {
    // A call, what it comes back to, and what is called: nothing but jumps leads from one to the other.
    let code = [
        insn(Op::Addi, 3, 0, 2),
        insn(Op::JumpTo, 6, 0, 0),
        insn(Op::Store, 3, 2, 8),
        insn(Op::Break, 0, 0, 0),
        insn(Op::Addi, 3, 3, 5),
        insn(Op::JumpTo, 7, 0, 0),
    ];
    let directory = tempfile::tempdir().unwrap();
    let calls = |m: &mut Machine<Toy>| {
        (m.cpu.slots[6], m.cpu.slots[7]) = (RAM + 16, RAM + 8);
        run(m, RAM, 0)
    };
    let mut first = keeping_late(directory.path(), &code);
    assert_eq!((calls(&mut first), statistics(&first).regions), (7, 0));
    first.save_code(EFFORT).unwrap();
    // All of it, and what the trap leads to.
    assert!((1..=2).contains(&statistics(&first).regions), "{:?}", statistics(&first));
    let mut second = keeping(directory.path(), "a", &code);
    assert_eq!(calls(&mut second), 7);
    let recalled = statistics(&second);
    assert!((1..=2).contains(&recalled.recalled) && recalled.recalled_insns >= 6, "{recalled:?}");
    // All that it is entered at is known as soon as it is there.
    assert_eq!(recalled.jump_misses, 0);
    assert!(second.statistics().decoded <= 2, "{:?}", second.statistics());
    // It is left where it is overwritten, whichever way it was come to.
    second.cpu.ram.write(Gpa(RAM + 16 + 3), &[6]).unwrap();
    assert_eq!(calls(&mut second), 8);
}

#[test]
fn what_blocks_of_a_piece_have_in_common_is_in_it_once() {
    // The loop's block is the end of the first one, too.
    let directory = tempfile::tempdir().unwrap();
    let mut first = keeping_late(directory.path(), &SUM);
    assert_eq!(run(&mut first, RAM, 10), 20);
    first.save_code(EFFORT).unwrap();
    // All of it, and what the trap leads to.
    assert!((6..=7).contains(&statistics(&first).insns), "{:?}", statistics(&first));
    let mut second = keeping(directory.path(), "a", &SUM);
    for times in [1, 1000] {
        assert_eq!(run(&mut second, RAM, times), 2 * times);
    }
    assert!(statistics(&second).recalled > 0, "{:?}", statistics(&second));
}

#[test]
fn it_runs_at_any_address_but_at_no_other_place_of_a_page() {
    let directory = kept();
    let mut moved = keeping(directory.path(), "a", &[]);
    moved.cpu.ram.write(Gpa(RAM + PAGE_BYTES), SUM.as_flattened()).unwrap();
    assert_eq!(run(&mut moved, RAM + PAGE_BYTES, 9), 18);
    assert_eq!(statistics(&moved).regions, 0);
    let mut shifted = keeping(directory.path(), "a", &[]);
    shifted.cpu.ram.write(Gpa(RAM + PAGE_BYTES + 64), SUM.as_flattened()).unwrap();
    assert_eq!(run(&mut shifted, RAM + PAGE_BYTES + 64, 9), 18);
    // All but what the trap leads to.
    assert!(statistics(&shifted).regions > 0 && statistics(&shifted).recalled <= 1);
}

#[test]
fn other_code_and_other_builds_have_none_of_it() {
    let directory = kept();
    assert_eq!(
        statistics(&{
            let mut other = keeping(directory.path(), "b", &SUM);
            assert_eq!(run(&mut other, RAM, 10), 20);
            other
        })
        .recalled,
        0
    );
    // What it is found by is the same; what comes behind is not.
    let mut code = SUM;
    code[4] = insn(Op::Store, 3, 2, 16);
    let mut other = keeping(directory.path(), "a", &code);
    other.cpu.ram.write(Gpa(DATA + 8), &20u64.to_le_bytes()).unwrap();
    assert_eq!(run(&mut other, RAM, 10), 20);
    let mut stored = [0; 8];
    other.cpu.ram.read(Gpa(DATA + 16), &mut stored).unwrap();
    assert_eq!(u64::from_le_bytes(stored), 20);
}

#[test]
fn code_that_was_recalled_is_forgotten_when_it_is_written() {
    let directory = kept();
    let mut m = keeping(directory.path(), "a", &SUM);
    assert_eq!(run(&mut m, RAM, 10), 20);
    for n in [3, 4] {
        // The one in the middle, which was never decoded.
        m.cpu.ram.write(Gpa(RAM + 7), &[n]).unwrap();
        assert_eq!(run(&mut m, RAM, 10), 10 * u64::from(n));
    }
    assert!(statistics(&m).recalled > 0 && statistics(&m).invalidated > 0);
}

#[test]
fn traps_are_precise_in_code_that_was_recalled() {
    let directory = kept();
    let mut m = keeping(directory.path(), "a", &SUM);
    for page in [RAM >> PAGE_SHIFT, HANDLER >> PAGE_SHIFT] {
        map(&mut m.cpu, page, page);
    }
    (m.cpu.pc, m.cpu.slots[1], m.cpu.slots[2]) = (Gva(RAM), 10, DATA);
    let trap = run_to_trap(&mut m);
    assert_eq!((trap.cause, trap.value), (PAGE_FAULT, DATA + 8));
    assert_eq!((m.cpu.guest.trap_pc, m.cpu.slots[3], m.cpu.slots[1]), (RAM + 16, 20, 0));
    assert!(statistics(&m).recalled > 0);
}

#[test]
fn an_instruction_across_pages_is_kept_with_both() {
    let end = RAM + 2 * PAGE_BYTES - 2;
    let directory = tempfile::tempdir().unwrap();
    let code = [insn(Op::Addi, 3, 0, 5), insn(Op::Store, 3, 2, 8), insn(Op::Break, 0, 0, 0)];
    for (round, n) in [5, 5, 6].into_iter().enumerate() {
        let mut m = keeping(directory.path(), "a", &[]);
        m.cpu.ram.write(Gpa(end), code.as_flattened()).unwrap();
        m.cpu.ram.write(Gpa(end + 3), &[n]).unwrap();
        for _ in 0..3 {
            // Data and code share a page; what is written lies behind the code.
            (m.cpu.pc, m.cpu.slots[2]) = (Gva(end), DATA + 0x800);
            run_to_trap(&mut m);
            assert_eq!(m.cpu.slots[3], u64::from(n));
        }
        assert_eq!(statistics(&m).recalled > 1, round == 1, "{round}: {:?}", statistics(&m));
        m.save_code(EFFORT).unwrap();
    }
}

#[test]
fn damaged_files_cost_time_only() {
    let directory = kept();
    let files: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "code"))
        .collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let whole = fs::read(file).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        fs::write(file, &damaged).unwrap();
        let mut m = keeping(directory.path(), "a", &SUM);
        assert_eq!(run(&mut m, RAM, 10), 20, "damaged at {at}");
        fs::write(file, &whole[..at]).unwrap();
        let mut m = keeping(directory.path(), "a", &SUM);
        assert_eq!(run(&mut m, RAM, 10), 20, "cut short to {at}");
    }
}
