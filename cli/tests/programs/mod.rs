//! Small programs made from assembler text, for the architecture of the test program.

use crate::ARCH;
use crate::common::scratch;
use c2w_packer::cache::Cache;
use c2w_packer::image::Arch;
use c2w_packer::toolchain::cross_gcc;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A program made from assembler text, loaded at `address`.
pub fn assembled(name: &str, address: u64, text: &str) -> PathBuf {
    let path = scratch().join(name);
    let source = path.with_extension("S");
    let (head, options): (_, &[&str]) = match ARCH {
        Arch::Riscv64 => (".option norelax\n.option nopic\n", &["-march=rv64gc", "-mabi=lp64d"]),
        Arch::X86_64 => ("", &[]),
    };
    fs::write(&source, format!("{head}.text\n.globl _start\n_start:\n{text}\n")).unwrap();
    let mut command = Command::new(cross_gcc(&Cache::of_user().unwrap(), ARCH).unwrap());
    command.args(["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"]).args(options);
    let output = command.arg(format!("-Wl,-Ttext={address:#x}")).arg(&source).arg("-o").arg(&path);
    let output = output.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// A Linux program that writes a line and powers the machine off.
pub fn line_and_power_off() -> PathBuf {
    let text = match ARCH {
        Arch::Riscv64 => RISCV64_LINE,
        Arch::X86_64 => X86_64_LINE,
    };
    assembled("line-and-power-off", 0x40_0000, text)
}

const RISCV64_LINE: &str = "
        li      a7, 64                  # write
        li      a0, 1
        la      a1, text
        li      a2, 21
        ecall
        li      a7, 142                 # reboot: power off
        li      a0, 0xfee1dead
        li      a1, 672274793
        li      a2, 0x4321fedc
        ecall
1:      j       1b
text:   .ascii  \"the initrd's program\\n\"";

const X86_64_LINE: &str = "
        mov     $1, %eax                # write
        mov     $1, %edi
        lea     text(%rip), %rsi
        mov     $21, %edx
        syscall
        mov     $169, %eax              # reboot: power off
        mov     $0xfee1dead, %edi
        mov     $672274793, %esi
        mov     $0x4321fedc, %edx
        syscall
1:      jmp     1b
text:   .ascii  \"the initrd's program\\n\"";
