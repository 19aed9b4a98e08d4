//! What kind of file a kernel is and by which protocol it starts; and clear words about those that cannot be run.

use super::bzimage::{BzImageError, SetupHeader};
use super::elf::{Elf, ElfError, Segment};
use super::multiboot::{Header, MultibootError, Version};
use crate::formats;

/// How a program is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Linux's 64-bit entry with a zero page.
    Linux64,
    /// 32-bit protected mode with PVH's start information.
    Pvh,
    /// 32-bit protected mode with Multiboot information.
    Multiboot(Version),
}

/// A program that can be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// A bzImage.
    BzImage(SetupHeader),
    /// Segments at addresses of their own.
    Fixed {
        /// How to start it.
        protocol: Protocol,
        /// Physical address of the first instruction.
        entry: u64,
        /// What to load.
        segments: Vec<Segment>,
    },
}

/// Why a file is no program for this machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// Nothing in it.
    #[error("it is empty")]
    Empty,
    /// A kernel for another processor.
    #[error("it is for {0}, this machine is x86_64")]
    OtherMachine(&'static str),
    /// A compressed file.
    #[error("it is compressed with {0}: unpack it first, a kernel is a bzImage or an ELF file")]
    Compressed(&'static str),
    /// Nothing that is known.
    #[error(
        "it is neither a bzImage, an ELF file nor a Multiboot kernel, and nothing can start in real mode"
    )]
    Unknown,
    /// A 32-bit ELF file that does not say how to start it.
    #[error("it is a 32-bit ELF file without PVH note and without Multiboot header")]
    NoProtocol,
    /// A wrong or damaged bzImage.
    #[error(transparent)]
    BzImage(#[from] BzImageError),
    /// A wrong or damaged ELF file.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// A wrong Multiboot header.
    #[error(transparent)]
    Multiboot(#[from] MultibootError),
}

/// Recognizes a kernel.
pub fn recognize(bytes: &[u8]) -> Result<Program, ProgramError> {
    if bytes.is_empty() {
        return Err(ProgramError::Empty);
    }
    if formats::is_elf(bytes) {
        return recognize_elf(bytes);
    }
    if formats::is_bzimage(bytes) {
        return Ok(Program::BzImage(SetupHeader::parse(bytes)?));
    }
    if let Some(Header { version, segment: Some(segment), entry: Some(entry) }) = Header::find(bytes)? {
        return Ok(Program::Fixed { protocol: Protocol::Multiboot(version), entry, segments: vec![segment] });
    }
    if let Some(name) = formats::compression(bytes) {
        return Err(ProgramError::Compressed(name));
    }
    if let Some(name) = formats::linux_image_name(bytes) {
        return Err(ProgramError::OtherMachine(name));
    }
    Err(ProgramError::Unknown)
}

/// PVH first: it is what Linux's ELF file has for machines like this one.
fn recognize_elf(bytes: &[u8]) -> Result<Program, ProgramError> {
    let elf = Elf::parse(bytes)?;
    if let Some(entry) = elf.pvh_entry {
        return Ok(Program::Fixed { protocol: Protocol::Pvh, entry, segments: elf.segments });
    }
    if let Some(header) = Header::find(bytes)? {
        let protocol = Protocol::Multiboot(header.version);
        let entry = header.entry.unwrap_or(elf.entry);
        let segments = header.segment.map_or(elf.segments, |segment| vec![segment]);
        return Ok(Program::Fixed { protocol, entry, segments });
    }
    if !elf.is_64 {
        return Err(ProgramError::NoProtocol);
    }
    Ok(Program::Fixed { protocol: Protocol::Linux64, entry: elf.entry, segments: elf.segments })
}
