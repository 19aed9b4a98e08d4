//! Modules that an earlier machine has compiled: they run where they are right, and nowhere else.

use crate::host::vcpu;
use crate::toy::{HANDLER, Op, RAM, Toy, insn};
use c2w_engine::addr::{Gpa, Gva, PAGE_BYTES};
use c2w_engine::jit::any::AnyTranslator;
use c2w_engine::jit::compiled::CompiledTranslator;
use c2w_engine::jit::{CODE_CACHE_BYTES, CodeCache, TranslatorStatistics};
use c2w_engine::machine::Machine;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Register 3 grows by 2 for each of what register 1 is, down to 0; the trap ends it. The loop is compiled before what comes
/// behind it has run, so that the way there is a link.
const SUM: [[u8; 4]; 5] = [
    insn(Op::Addi, 3, 0, 0),
    insn(Op::Addi, 3, 3, 2),
    insn(Op::Addi, 1, 1, -1),
    insn(Op::BranchNe, 1, 0, -2),
    insn(Op::Break, 0, 0, 0),
];
const EFFORT: Duration = Duration::from_secs(5);
/// Runs of a block before it is compiled.
const THRESHOLD: u32 = 8;

/// A machine with code at a place of RAM, which compiles at once and keeps what it compiles in this directory.
fn keeping(directory: &Path, build: &str, at: u64, code: &[[u8; 4]]) -> Machine<Toy> {
    compiling_after(THRESHOLD, directory, build, at, code)
}

fn compiling_after(threshold: u32, directory: &Path, build: &str, at: u64, code: &[[u8; 4]]) -> Machine<Toy> {
    let (mut cpu, host) = vcpu(64 * PAGE_BYTES);
    cpu.guest.handler = HANDLER;
    cpu.ram.write(Gpa(at), code.as_flattened()).unwrap();
    cpu.ram.write(Gpa(HANDLER), &insn(Op::Jump, 0, 0, 0)).unwrap();
    let mut machine = Machine::new(cpu);
    machine.translate_by(AnyTranslator::Wasm(Box::new(CompiledTranslator::new(host, threshold, false))));
    let cache = CodeCache::open(directory, build.as_bytes(), CODE_CACHE_BYTES).unwrap();
    assert!(machine.keep_code(cache));
    machine
}

fn run(machine: &mut Machine<Toy>, at: u64, times: u64) -> u64 {
    (machine.cpu.pc, machine.cpu.slots[1]) = (Gva(at), times);
    while machine.cpu.pc.0 != HANDLER {
        // At once: where time is often up, regions grow.
        machine.run(1_000_000);
    }
    machine.cpu.slots[3]
}

fn statistics(machine: &Machine<Toy>) -> TranslatorStatistics {
    machine.translator_statistics().unwrap()
}

/// A directory in which the sum is kept.
fn kept() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut first = keeping(directory.path(), "a", RAM, &SUM);
    for _ in 0..20 {
        assert_eq!(run(&mut first, RAM, 100), 200);
    }
    assert_eq!((statistics(&first).recalled, statistics(&first).regions > 1), (0, true));
    first.save_code(EFFORT).unwrap();
    directory
}

#[test]
fn what_was_compiled_need_not_be_compiled_again() {
    let directory = kept();
    let mut second = keeping(directory.path(), "a", RAM, &SUM);
    for _ in 0..20 {
        assert_eq!(run(&mut second, RAM, 1000), 2000);
    }
    let statistics = statistics(&second);
    assert!(statistics.recalled > 1 && statistics.regions == 0, "{statistics:?}");
    // Links are those of this machine: nearly all of it ran without coming back.
    assert!(statistics.retired > 50_000 && statistics.unlinked < 100, "{statistics:?}");
}

#[test]
fn its_links_are_where_there_is_room() {
    let directory = kept();
    // Other code comes first, so that every link has another number than in the machine that compiled it.
    let before = RAM + 2 * PAGE_BYTES + 64;
    let [first, second, third, branch, last] = SUM;
    let mut m = keeping(
        directory.path(),
        "a",
        before,
        &[first, second, third, branch, insn(Op::Addi, 3, 3, 7), last],
    );
    for _ in 0..20 {
        assert_eq!(run(&mut m, before, 1000), 2007);
    }
    assert!(statistics(&m).regions > 1);
    let at = RAM + PAGE_BYTES;
    m.cpu.ram.write(Gpa(at), SUM.as_flattened()).unwrap();
    for times in (0..20).flat_map(|_| [1000, 7]) {
        assert_eq!(run(&mut m, at, times), 2 * times);
    }
    assert!(statistics(&m).recalled > 0);
}

#[test]
fn what_was_compiled_together_at_the_end_is_found_by_each_region() {
    let directory = tempfile::tempdir().unwrap();
    // So soon nothing is compiled while it runs.
    let mut first = compiling_after(u32::MAX, directory.path(), "a", RAM, &SUM);
    for _ in 0..200 {
        assert_eq!(run(&mut first, RAM, 3), 6);
    }
    assert_eq!(statistics(&first).regions, 0);
    first.save_code(EFFORT).unwrap();
    let mut second = compiling_after(u32::MAX, directory.path(), "a", RAM, &SUM);
    // The same code elsewhere, where it has regions and links of its own.
    let there = RAM + PAGE_BYTES;
    second.cpu.ram.write(Gpa(there), SUM.as_flattened()).unwrap();
    for at in [RAM, there, RAM] {
        assert_eq!(run(&mut second, at, 1000), 2000);
    }
    assert!(statistics(&second).recalled >= 3, "{:?}", statistics(&second));
    // What it is made from there is forgotten there only.
    second.cpu.ram.write(Gpa(there + 7), &[3]).unwrap();
    assert_eq!((run(&mut second, there, 100), run(&mut second, RAM, 100)), (300, 200));
}

#[test]
fn other_code_and_other_builds_have_none_of_it() {
    let directory = kept();
    let mut other = keeping(directory.path(), "b", RAM, &SUM);
    assert_eq!(run(&mut other, RAM, 100), 200);
    assert_eq!(statistics(&other).recalled, 0);
    let mut code = SUM;
    code[1] = insn(Op::Addi, 3, 3, 5);
    let mut other = keeping(directory.path(), "a", RAM, &code);
    assert_eq!(run(&mut other, RAM, 100), 500);
}

#[test]
fn code_that_was_recalled_is_forgotten_when_it_is_written() {
    let directory = kept();
    let mut m = keeping(directory.path(), "a", RAM, &SUM);
    assert_eq!(run(&mut m, RAM, 100), 200);
    assert!(statistics(&m).recalled > 0);
    for n in [3, 4] {
        m.cpu.ram.write(Gpa(RAM + 7), &[n]).unwrap();
        assert_eq!(run(&mut m, RAM, 100), 100 * u64::from(n));
    }
    assert!(statistics(&m).invalidated > 0);
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
    // Some bytes of header, index, records and their modules.
    for at in (0..whole.len()).step_by(1 + whole.len() / 100) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        fs::write(file, &damaged).unwrap();
        let mut m = keeping(directory.path(), "a", RAM, &SUM);
        assert_eq!(run(&mut m, RAM, 100), 200, "damaged at {at}");
        fs::write(file, &whole[..at]).unwrap();
        let mut m = keeping(directory.path(), "a", RAM, &SUM);
        assert_eq!(run(&mut m, RAM, 100), 200, "cut short to {at}");
    }
}
