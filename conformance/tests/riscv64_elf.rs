//! Programs in the form of riscv-tests: our own, and those of the directories in `C2W_ELF_SUITE` (separated by
//! colons), like `isa/` of a build of riscv-tests.

use c2w_conformance::elf_suite::{Tier, Verdict, assemble, run, run_directory, table};
use std::path::Path;

/// Runs a directory, prints its table and fails if a program does.
#[track_caller]
fn check(directory: &Path, tier: Tier) {
    let outcomes = run_directory(directory, tier).unwrap();
    println!("{}:\n{}", directory.display(), table(&outcomes));
    let failed: Vec<_> = outcomes.into_iter().filter(|outcome| outcome.verdict != Verdict::Pass).collect();
    assert!(failed.is_empty(), "{}:\n{}", directory.display(), table(&failed));
}

fn assembled(name: &str) -> std::path::PathBuf {
    assemble(&Path::new(env!("CARGO_MANIFEST_DIR")).join("suites").join(name)).unwrap()
}

#[test]
fn own_programs() {
    check(&assembled("riscv64"), Tier::Interpreted);
}

#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn own_programs_translated_and_checked() {
    check(&assembled("riscv64"), Tier::Checked);
}

#[test]
fn programs_of_others() {
    let directories = std::env::var_os("C2W_ELF_SUITE").unwrap_or_default();
    for directory in std::env::split_paths(&directories).filter(|path| path.is_absolute()) {
        check(&directory, Tier::Interpreted);
        #[cfg(all(unix, target_arch = "x86_64"))]
        check(&directory, Tier::Checked);
    }
}

#[test]
fn the_runner_tells_failures_apart() {
    let programs = assembled("riscv64-verdicts");
    for (name, verdict) in [
        ("fails", Verdict::Failed(42)),
        ("hangs", Verdict::Endless),
        ("waits", Verdict::Stuck),
        ("powers-off", Verdict::Ended(c2w_engine::mem::device::Request::PowerOff)),
    ] {
        assert_eq!(run(std::fs::read(programs.join(name)).unwrap(), Tier::Interpreted), verdict, "{name}");
    }
    let Verdict::Refused(error) = run(b"\x7fELF".to_vec(), Tier::Interpreted) else {
        panic!("a fragment ran")
    };
    assert!(error.contains("damaged"), "{error}");
}
