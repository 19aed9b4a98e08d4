//! What kind of file a kernel or firmware is, told from its bytes; and clear words about those that cannot be run.

use super::elf::{Elf, ElfError};
use super::linux::ImageHeader;
use crate::formats;

/// A program that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A Linux `Image`.
    Linux(ImageHeader),
    /// An ELF file.
    Elf(Elf),
    /// Bytes without a header: firmware, loaded at the start of RAM.
    Flat,
}

/// Why a file is no program for this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// A kernel for another processor.
    #[error("it is for {0}, this machine is riscv64")]
    OtherMachine(&'static str),
    /// A compressed file.
    #[error("it is compressed with {0}: unpack it first, a kernel is a riscv64 Linux Image or an ELF file")]
    Compressed(&'static str),
    /// Nothing that is known.
    #[error("it is neither a riscv64 Linux Image nor an ELF file")]
    Unknown,
    /// A wrong or damaged ELF file.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Recognizes a kernel.
pub fn recognize(bytes: &[u8]) -> Result<Program, ProgramError> {
    if bytes.is_empty() {
        return Err(ProgramError::Empty);
    }
    if let Some(header) = ImageHeader::parse(bytes) {
        return Ok(Program::Linux(header));
    }
    if formats::is_elf(bytes) {
        return Ok(Program::Elf(Elf::parse(bytes)?));
    }
    if let Some(name) = formats::compression(bytes) {
        return Err(ProgramError::Compressed(name));
    }
    // What is cut off in a header of riscv64's own is unknown.
    if let Some(name) = formats::linux_image_name(bytes).filter(|&name| name != "riscv64") {
        return Err(ProgramError::OtherMachine(name));
    }
    Err(ProgramError::Unknown)
}

/// Recognizes firmware, which need not have a header.
pub fn recognize_firmware(bytes: &[u8]) -> Result<Program, ProgramError> {
    match recognize(bytes) {
        Err(ProgramError::Unknown) => Ok(Program::Flat),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let with = |at: usize, magic: &[u8]| {
            let mut file = vec![0; 0x400];
            file[at..at + magic.len()].copy_from_slice(magic);
            file
        };
        let mut zboot = with(0, b"MZ");
        zboot[4..8].copy_from_slice(b"zimg");
        for (file, says) in [
            (vec![], "it is empty"),
            (with(0x202, b"HdrS"), "it is for x86_64, this machine is riscv64"),
            (with(56, b"ARM\x64"), "it is for aarch64, this machine is riscv64"),
            (with(0, b"\x1f\x8b"), "it is compressed with gzip: unpack it first, "),
            (with(0, b"\x28\xb5\x2f\xfd"), "it is compressed with zstd: "),
            (zboot, "it is compressed with the EFI zboot wrapper: "),
            (with(0, b"#!/bin/sh"), "it is neither a riscv64 Linux Image nor an ELF file"),
            (b"\x7fELF".to_vec(), "damaged or unsupported ELF file: "),
        ] {
            let error = recognize(&file).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error:?} instead of {says:?}");
        }
        assert!(matches!(recognize(&with(56, b"RSC\x05")), Ok(Program::Linux(_))));
        assert_eq!(recognize_firmware(&[0x13, 0, 0, 0]), Ok(Program::Flat));
    }
}
