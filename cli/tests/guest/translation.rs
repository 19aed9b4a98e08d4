//! What the options about translated code do: checks, limits, statistics, profiles.

use crate::ARCH;
use crate::common::{assert_one_line, parts, run, scratch};
use std::fs;

/// Lists, sorts and counts, in processes of their own: much code that runs for a short time.
const WORK: &str = "
    i=0
    while [ $i -lt 300 ]; do i=$((i+1)); echo $i; done | sort -r | grep -c '[13579]$'
    ls -lR /usr/lib | sort -k 5 -n | grep -c . | sed 's/.*/listed/'
    date +%s | tr 0-9 a-j | sed 's/[a-j]/x/g'";
const ANSWER: &str = "150\nlisted\nxxxxxxxxxx\n";

/// The number that a line of the statistics ends with.
#[track_caller]
pub fn statistic(stderr: &str, name: &str) -> u64 {
    let line = stderr.lines().find_map(|line| line.strip_prefix("c2w-run: ")?.strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name:?} in {stderr}"));
    line.trim().parse().unwrap()
}

#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn translated_code_agrees_with_the_interpreter() {
    // The kernel's boot is most of what there is to check.
    let (status, stdout, stderr) = parts(&run(&["--cold", "--verify", "--stats", "--", "sh", "-c", WORK]));
    assert_eq!((status, stdout.as_str()), (0, ANSWER), "{stderr}");
    assert!(statistic(&stderr, "stretches checked") > 1000, "{stderr}");
    let (_, checked) = stderr.split_once("stretches checked").unwrap();
    assert!(statistic(checked, "  instructions in them") > 100_000, "{stderr}");
}

#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn little_memory_for_code_is_enough() {
    let options = ["--jit", "native", "--jit-memory", "4M", "--stats", "--", "sh", "-c", WORK];
    let (status, stdout, stderr) = parts(&run(&options));
    assert_eq!((status, stdout.as_str()), (0, ANSWER), "{stderr}");
    assert!(statistic(&stderr, "generations of code dropped") > 0, "{stderr}");
    assert!(statistic(&stderr, "bytes of code and tables now") <= 4 << 20, "{stderr}");
}

#[test]
fn a_profile_names_functions_of_the_kernel_and_of_libraries() {
    let file = scratch().join(format!("{ARCH}.profile"));
    let (status, stdout, stderr) =
        parts(&run(&["--profile", file.to_str().unwrap(), "--", "sh", "-c", WORK]));
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (0, ANSWER, ""));
    let text = fs::read_to_string(file).unwrap();
    let mut functions = [0, 0];
    for line in text.lines() {
        let (stack, count) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no count: {line:?}"));
        assert!(count.parse::<u64>().is_ok() && !stack.contains(' '), "{line:?}");
        let frames: Vec<&str> = stack.split(';').collect();
        assert!(frames.last().is_some_and(|address| address.starts_with("0x")), "{line:?}");
        match frames[..] {
            ["kernel", _, _] => functions[0] += 1,
            [_, library, _, _] if library.contains(".so") => functions[1] += 1,
            _ => {}
        }
    }
    assert!(functions.iter().all(|&count| count > 5), "{functions:?}\n{text}");
}

/// Loops that even the slowest compiler finds, and what comes out of them.
const BUSY: &str = "i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done; echo $i
head -c 3000000 /dev/zero | sha256sum | cut -c -16
echo to stderr >&2
exit 7";
const BUSY_ANSWER: &str = "30000\n35bce4eae54ec8e6\n";

fn busy(jit: &str) -> String {
    let (status, stdout, stderr) = parts(&run(&["--jit", jit, "--stats", "--", "sh", "-c", BUSY]));
    assert_eq!((status, stdout.as_str()), (7, BUSY_ANSWER), "--jit {jit}: {stderr}");
    assert!(stderr.starts_with("to stderr\n"), "--jit {jit}: {stderr}");
    stderr
}

#[test]
fn the_interpreter_alone() {
    assert!(!busy("off").contains("translated"));
}

#[test]
fn every_translator() {
    for jit in ["native", "cranelift", "wasm"] {
        let stderr = busy(jit);
        let translated = statistic(&stderr, "  by translated code");
        assert!(translated > 1_000_000, "--jit {jit}: {stderr}");
    }
}

#[test]
fn memory_that_wasm_cannot_address() {
    assert_one_line(
        &run(&["--jit", "wasm", "--memory", "5G", "true"]),
        125,
        "--jit wasm cannot have 5120 MiB",
    );
}

/// Runs native code with a code cache; gives status, output and what was said.
fn run_keeping(directory: &str, command: &[&str]) -> (i32, String, String) {
    parts(&run(&[&["--jit", "native", "--code-cache", directory, "--stats", "--"], command].concat()))
}

#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn code_that_was_translated_before_is_not_even_decoded() {
    let cache = tempfile::tempdir_in(scratch()).unwrap();
    let directory = cache.path().join("code");
    let name = directory.to_str().unwrap();
    let once = || {
        let (status, stdout, stderr) = run_keeping(name, &["sh", "-c", WORK]);
        assert_eq!((status, stdout.as_str()), (0, ANSWER), "{stderr}");
        let [decoded, recalled] =
            ["instructions decoded", "regions from the code cache"].map(|line| statistic(&stderr, line));
        (decoded, recalled)
    };
    let (decoded, recalled) = once();
    assert_eq!(recalled, 0);
    // Each run does a part of what is left.
    for _ in 0..3 {
        once();
    }
    let last = once();
    assert!(last.0 < decoded / 2 && last.1 > 1000, "{decoded} decoded at first, then {last:?}");
    // What is there is still checked.
    let (status, stdout, stderr) = parts(&run(&[
        "--jit",
        "native",
        "--code-cache",
        name,
        "--verify",
        "--stats",
        "--",
        "sh",
        "-c",
        WORK,
    ]));
    assert_eq!((status, stdout.as_str()), (0, ANSWER), "{stderr}");
    assert!(statistic(&stderr, "stretches checked") > 1000, "{stderr}");
}

#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn modules_that_were_compiled_before_are_not_compiled_again() {
    let cache = tempfile::tempdir_in(scratch()).unwrap();
    let name = cache.path().to_str().unwrap();
    let once = |jit: &str| {
        let options = ["--jit", jit, "--code-cache", name, "--stats", "--", "sh", "-c", WORK];
        let (status, stdout, stderr) = parts(&run(&options));
        assert_eq!((status, stdout.as_str()), (0, ANSWER), "{stderr}");
        ["regions translated", "regions from the code cache"].map(|line| statistic(&stderr, line))
    };
    let [compiled, recalled] = once("wasm");
    assert_eq!(recalled, 0);
    // Each run does a part of what is left.
    for _ in 0..3 {
        once("wasm");
    }
    let last = once("wasm");
    assert!(last[1] > compiled && last[0] < last[1] / 2, "{compiled} compiled at first, then {last:?}");
    // Code of another kind is no use to it.
    let [_, recalled] = once("native");
    assert_eq!(recalled, 0);
}

#[test]
fn a_code_cache_that_cannot_be_used_costs_a_warning() {
    let (status, stdout, stderr) = parts(&run(&["--code-cache", "/dev/null", "--", "echo", "on"]));
    assert_eq!((status, stdout.as_str()), (0, "on\n"));
    assert!(stderr.starts_with("c2w: warning: --code-cache /dev/null: "), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
