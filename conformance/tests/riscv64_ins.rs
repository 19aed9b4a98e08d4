//! Every riscv64 instruction case on the interpreter and translated to code of this host, and at least one case for every instruction.

use c2w_conformance::ins::run_directory;
use c2w_conformance::riscv64::InsMachine;
use c2w_decoders::riscv64::insns::{Op, ROWS};
use std::collections::HashSet;
use std::path::Path;

#[test]
fn cases() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/ins/riscv64");
    let seen = run_directory::<InsMachine<false>>(&directory).unwrap_or_else(|error| panic!("{error}"));
    let names: HashSet<&str> = seen.iter().filter_map(|line| line.split(' ').next()).collect();
    let names: HashSet<&str> = names.into_iter().map(without_ordering).collect();
    let missing: Vec<&str> =
        Op::ALL.iter().map(|&op| ROWS[op as usize].name).filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "no case for {}", missing.join(" "));
    if cfg!(all(unix, target_arch = "x86_64")) {
        run_directory::<InsMachine<true>>(&directory)
            .unwrap_or_else(|error| panic!("translated to code of this host: {error}"));
    }
}

/// An atomic instruction's name without the suffix that says how it is ordered.
fn without_ordering(name: &str) -> &str {
    [".aqrl", ".aq", ".rl"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name)
}
