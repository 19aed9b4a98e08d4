//! What kind of file something is, told from its first bytes: which guest runs a kernel, and what a file is that none
//! can run as it is.

use crate::x86_64::boot::multiboot::Header;
use object::elf::{
    EM_386, EM_AARCH64, EM_ARM, EM_LOONGARCH, EM_MIPS, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64,
};

/// A guest of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// [`crate::riscv64`].
    Riscv64,
    /// [`crate::x86_64`], for 32-bit programs, too.
    X86_64,
}

/// First bytes of files that are often taken for kernels.
const COMPRESSED: &[(&[u8], &str)] = &[
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x5d\0\0", "lzma"),
    (b"\x89LZO", "lzop"),
];

/// Whether `magic` is at `at`.
pub fn has(bytes: &[u8], at: usize, magic: &[u8]) -> bool {
    bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
}

/// What a file is compressed with, if it is.
pub fn compression(bytes: &[u8]) -> Option<&'static str> {
    if has(bytes, 0, b"MZ") && has(bytes, 4, b"zimg") {
        return Some("the EFI zboot wrapper");
    }
    COMPRESSED.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, name)| *name)
}

/// Whether `bytes` claim to be an ELF file.
pub fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Whether `bytes` claim to be a bzImage of Linux for x86: its magic is in the setup header.
pub fn is_bzimage(bytes: &[u8]) -> bool {
    has(bytes, 0x202, b"HdrS")
}

/// Machine number of an ELF file and whether it is a 64-bit one; `None` if it ends before. Both are at the same place
/// in every kind of ELF file.
pub fn elf_machine(bytes: &[u8]) -> Option<(u16, bool)> {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    let header = bytes.get(..20)?;
    let number = [header[18], header[19]];
    let number =
        if header[5] == LITTLE_ENDIAN { u16::from_le_bytes(number) } else { u16::from_be_bytes(number) };
    Some((number, header[4] == CLASS_64))
}

/// Name of an ELF machine.
pub fn machine_name((machine, is_64): (u16, bool)) -> &'static str {
    match machine {
        EM_X86_64 => "x86_64",
        EM_386 => "i386",
        EM_AARCH64 => "aarch64",
        EM_ARM => "arm",
        EM_PPC64 => "ppc64",
        EM_S390 => "s390x",
        EM_LOONGARCH => "loongarch",
        EM_MIPS => "mips",
        EM_RISCV if is_64 => "riscv64",
        EM_RISCV => "riscv32",
        _ => "another processor",
    }
}

/// The architecture whose Linux a file is the kernel of, if it has one's own header.
pub fn linux_image_name(bytes: &[u8]) -> Option<&'static str> {
    if is_bzimage(bytes) {
        Some("x86_64")
    } else if has(bytes, 56, b"ARM\x64") {
        Some("aarch64")
    } else if has(bytes, 56, b"RSC\x05") {
        Some("riscv64")
    } else {
        None
    }
}

/// The processor that a kernel is for, if that can be told.
fn processor(bytes: &[u8]) -> Option<&'static str> {
    if is_elf(bytes) {
        return elf_machine(bytes).map(machine_name);
    }
    let multiboot = || matches!(Header::find(bytes), Ok(Some(_)));
    linux_image_name(bytes).or_else(|| multiboot().then_some("i386"))
}

/// The guest that is meant to run a kernel; `None` if there is none, or it cannot be told.
pub fn architecture(bytes: &[u8]) -> Option<Architecture> {
    match processor(bytes)? {
        "riscv64" => Some(Architecture::Riscv64),
        "x86_64" | "i386" => Some(Architecture::X86_64),
        _ => None,
    }
}

/// Why [`architecture`] finds no guest for a file.
pub fn no_kernel(bytes: &[u8]) -> String {
    const KERNELS: &str = "a Linux Image for riscv64, a bzImage, an ELF file or a Multiboot kernel";
    if bytes.is_empty() {
        "it is empty".into()
    } else if let Some(name) = compression(bytes) {
        format!("it is compressed with {name}: unpack it first, a kernel is {KERNELS}")
    } else if let Some(name) = processor(bytes) {
        format!("it is for {name}, and there are machines for x86_64 and riscv64")
    } else if is_elf(bytes) {
        "damaged or unsupported ELF file: it ends in its header".into()
    } else {
        format!("it is not {KERNELS}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_find_their_guest() {
        let with = |at: usize, magic: &[u8]| {
            let mut file = vec![0; 0x400];
            file[at..at + magic.len()].copy_from_slice(magic);
            file
        };
        let elf = |class: u8, data: u8, machine: [u8; 2]| {
            let mut file = with(0, b"\x7fELF");
            [file[4], file[5], file[18], file[19]] = [class, data, machine[0], machine[1]];
            file
        };
        use Architecture::{Riscv64, X86_64};
        for (file, expected) in [
            (elf(2, 1, [62, 0]), Some(X86_64)),
            (elf(1, 1, [3, 0]), Some(X86_64)),
            (elf(2, 1, [243, 0]), Some(Riscv64)),
            (elf(1, 1, [243, 0]), None),
            (elf(2, 2, [0, 22]), None),
            (with(0x202, b"HdrS"), Some(X86_64)),
            (with(56, b"RSC\x05"), Some(Riscv64)),
            (with(56, b"ARM\x64"), None),
            (b"\x7fELF".to_vec(), None),
            (vec![], None),
        ] {
            assert_eq!(architecture(&file), expected);
        }
        for (file, says) in [
            (vec![], "it is empty"),
            (b"\x7fELF".to_vec(), "damaged or unsupported ELF file: it ends in its header"),
            (with(56, b"ARM\x64"), "it is for aarch64, and there are machines for x86_64 and riscv64"),
            (with(0, b"\xfd7zXZ\0"), "it is compressed with xz: unpack it first, a kernel is "),
            (with(0, b"#!/bin/sh"), "it is not a Linux Image for riscv64, a bzImage, an ELF file "),
        ] {
            let said = no_kernel(&file);
            assert!(said.starts_with(says), "{said:?} instead of {says:?}");
        }
        assert_eq!(compression(b"\x1f\x8b\x08"), Some("gzip"));
        assert_eq!(compression(b"MZ\0\0zimg"), Some("the EFI zboot wrapper"));
        assert_eq!(compression(b"plain"), None);
    }
}
