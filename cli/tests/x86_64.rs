//! The commands with x86_64 guests, and what only x86_64 has: 32-bit programs without an operating system, which end the
//! run through the port of isa-debug-exit.

mod common;
mod guest;
mod programs;

use c2w_packer::image::Arch;
use common::{assert_one_line, finish, kernel, parts, scratch};
use guest::boot;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Architecture of the guests.
pub const ARCH: Arch = Arch::X86_64;

/// A 32-bit program made from assembler text and loaded at 2 MiB, with a Multiboot header or a PVH note.
fn bare_metal(name: &str, head: &str, text: &str) -> PathBuf {
    let path = scratch().join(name);
    let source = path.with_extension("S");
    fs::write(&source, format!("{head}\n.text\n.globl _start\n_start:\n{text}\n")).unwrap();
    let gcc = c2w_packer::toolchain::cross_gcc(&c2w_packer::cache::Cache::of_user().unwrap(), ARCH).unwrap();
    let mut command = Command::new(gcc);
    command.args([
        "-m32",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,noseparate-code",
    ]);
    command.args(["-Wl,-Ttext-segment=0x200000"]).arg(&source).arg("-o").arg(&path);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// A Multiboot 1 header (Multiboot specification 3.1.1), at the start of the code.
const MULTIBOOT: &str = "
        .text
        .align 4
        .long   0x1badb002, 0, -0x1badb002";

/// An ELF note that says where to start (Linux, PVH boot: XEN_ELFNOTE_PHYS32_ENTRY).
const PVH: &str = "
        .section .note.pvh, \"a\", @note
        .align 4
        .long   4, 4, 18
        .asciz  \"Xen\"
        .long   _start";

/// Writes a line to the serial port and a value to the port of isa-debug-exit.
fn says_and_exits(value: u8) -> String {
    format!(
        "
        mov     $text, %esi
1:      lodsb
        test    %al, %al
        jz      2f
        mov     $0x3f8, %dx
        out     %al, %dx
        jmp     1b
2:      mov     ${value}, %al
        out     %al, $0xf4
3:      hlt
        jmp     3b
text:   .asciz  \"32 bits\\n\""
    )
}

fn bare(path: &Path) -> Output {
    let mut command = boot(path);
    command.args(["--memory", "16M"]);
    finish(command, b"")
}

#[test]
fn multiboot_and_pvh_programs_run_and_end_with_their_value() {
    for (name, head) in [("multiboot", MULTIBOOT), ("pvh", PVH)] {
        // QEMU's device ends with the status 2 * value + 1.
        let output = parts(&bare(&bare_metal(name, head, &says_and_exits(16))));
        assert_eq!((output.0, output.1.as_str()), (33, "32 bits\n"), "{name}: {}", output.2);
    }
}

#[test]
fn a_guest_that_nothing_can_wake_says_so() {
    let program = bare_metal("sleeps", PVH, "cli\n1: hlt\njmp 1b");
    assert_one_line(&bare(&program), 1, "waits for an interrupt");
}

#[test]
fn firmware_is_for_riscv64() {
    let mut command = boot(&kernel());
    command.args(["--bios", "none"]);
    assert_one_line(&finish(command, b""), 1, "--bios");
}
