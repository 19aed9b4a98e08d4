//! The commands with riscv64 guests, and what only riscv64 has: OpenSBI, the built-in SBI and test programs that report
//! through `tohost`.

mod common;
mod guest;
mod programs;

use c2w_packer::cache::Cache;
use c2w_packer::image::Arch;
use c2w_packer::toolchain::opensbi;
use common::{C2W, assert_one_line, finish, kernel, parts};
use guest::{boot, boot_initrd};
use programs::assembled;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

/// Architecture of the guests.
pub const ARCH: Arch = Arch::Riscv64;

/// Where programs begin that firmware starts, and those that nothing starts.
const SUPERVISOR_BASE: u64 = 0x8020_0000;
const RAM_BASE: u64 = 0x8000_0000;

#[test]
fn linux_on_opensbi() {
    let firmware = opensbi(&Cache::of_user().unwrap(), &|line| eprintln!("{line}")).unwrap();
    let (status, stdout, stderr) = boot_initrd(&["--bios", firmware.to_str().unwrap()]);
    assert_eq!(status, 0, "{stdout}\n{stderr}");
    let banner = stdout.find("OpenSBI v").unwrap_or_else(|| panic!("no OpenSBI: {stdout}"));
    assert!(stdout[banner..].contains("the initrd's program"), "{stdout}");
}

/// Runs a program to its end.
fn bare(path: &Path, args: &[&str]) -> Output {
    let mut command = boot(path);
    command.args(["--memory", "16M"]).args(args);
    finish(command, b"")
}

fn verdict(name: &str, value: u64) -> PathBuf {
    let text = format!(
        "la t0, tohost
        li t1, {value}
        sd t1, 0(t0)
1:      j 1b
        .data
        .globl tohost
        .align 6
tohost: .dword 0"
    );
    assembled(name, RAM_BASE, &text)
}

#[test]
fn test_programs_end_with_their_verdict() {
    let passed = parts(&bare(&verdict("passes", 1), &["--bios", "none"]));
    assert_eq!(passed, (0, String::new(), String::new()));
    let failed = bare(&verdict("fails", 42 << 1 | 1), &["--bios", "none"]);
    assert_one_line(&failed, 42, "status 42");
}

#[test]
fn a_payload_prints_through_the_built_in_sbi() {
    let text = "
        li      a7, 0x4442434e          # DBCN: write
        li      a6, 0
        li      a0, 6
        la      a1, text
        li      a2, 0
        ecall
        bnez    a0, 1f
        li      a7, 0x53525354          # SRST: shut down
        li      a6, 0
        li      a0, 0
        li      a1, 0
        ecall
1:      j       1b
text:   .ascii  \"hello\\n\"";
    let output = bare(&assembled("payload", SUPERVISOR_BASE, text), &[]);
    assert_eq!(parts(&output), (0, "hello\n".to_owned(), String::new()));
}

#[test]
fn a_guest_that_nothing_can_wake_says_so() {
    let wait = "csrw sie, zero\n1: wfi\nj 1b";
    assert_one_line(&bare(&assembled("sleeps", SUPERVISOR_BASE, wait), &[]), 1, "waits for an interrupt");
    let wait = "csrw mie, zero\n1: wfi\nj 1b\n.data\n.globl tohost\ntohost: .dword 0";
    let path = assembled("sleeps-with-tohost", RAM_BASE, wait);
    assert_one_line(&bare(&path, &["--bios", "none"]), 1, "waits for an interrupt");
    // With input still open it is no other: no interrupt is enabled that could come.
    let mut command = boot(&path);
    command.args(["--memory", "16M", "--bios", "none"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_one_line(&output, 1, "has enabled none that could come");
}

#[test]
fn files_that_cannot_be_started() {
    assert_one_line(&bare(&kernel(), &["--bios", "none"]), 1, "needs an SBI");
    let text = assembled("low", 0x1000_0000, "j _start");
    assert_one_line(&bare(&text, &[]), 1, "memory is at 0x80000000");
    let payload = assembled("any", SUPERVISOR_BASE, "j _start");
    assert_one_line(&bare(&payload, &["--bios", "/no/such/firmware"]), 1, "/no/such/firmware");
    assert_one_line(&bare(&payload, &["--initrd", "/no/such/initrd"]), 1, "/no/such/initrd");
    assert_one_line(&bare(&payload, &["--bios", C2W]), 1, "x86_64");
}
