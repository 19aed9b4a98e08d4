//! Every way to run guest code gives the same container.

use crate::common::{assert_one_line, parts, run};

/// Enough work that the slowest compiler has something to do, and what comes out of it.
const WORK: &str = "i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done; echo $i
head -c 3000000 /dev/zero | sha256sum | cut -c -16
echo to stderr >&2
exit 7";
const SAID: &str = "30000\n35bce4eae54ec8e6\n";

/// The number that `--stats` tells under a name.
fn statistic(stderr: &str, name: &str) -> u64 {
    let line = stderr.lines().find(|line| line.contains(name));
    let number = line.and_then(|line| line.split_whitespace().last()).and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("no {name:?} in {stderr}"))
}

fn work(jit: &str) -> String {
    let (status, stdout, stderr) = parts(&run(&["--jit", jit, "--stats", "--", "sh", "-c", WORK]));
    assert_eq!((status, stdout.as_str()), (7, SAID), "--jit {jit}: {stderr}");
    assert!(stderr.starts_with("to stderr\n"), "--jit {jit}: {stderr}");
    stderr
}

#[test]
fn the_interpreter_alone() {
    assert!(!work("off").contains("translated"));
}

#[test]
fn every_translator() {
    for jit in ["native", "cranelift", "wasm"] {
        let stderr = work(jit);
        let translated = statistic(&stderr, "retired by translated code");
        assert!(translated > 1_000_000, "--jit {jit}: {stderr}");
    }
}

#[test]
fn memory_that_wasm_cannot_address() {
    assert_one_line(&run(&["--jit", "wasm", "--memory", "5G", "true"]), 125, "--jit wasm cannot have 5120 MiB");
}
