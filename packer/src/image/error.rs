//! What can be wrong with an image file, or with writing one. Each message is one line and names
//! the file.

use super::chunks::ChunkError;
use super::format::SectionId;
use std::io;
use std::path::PathBuf;

/// Why bytes are not an image this build can use; says nothing about which file they came from.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormatError {
    /// The first eight bytes are not the magic number.
    #[error("not a c2w image")]
    NotAnImage,
    /// The file ends inside the header page.
    #[error("truncated: the header needs {needed} bytes, file has {actual}")]
    TruncatedHeader {
        /// Bytes of a header page.
        needed: u64,
        /// Bytes of the file.
        actual: u64,
    },
    /// The file ends inside a section.
    #[error("truncated: section {section} needs {needed} bytes, file has {actual}")]
    Truncated {
        /// First section that is not wholly there.
        section: SectionId,
        /// File length that this section needs, bytes.
        needed: u64,
        /// Bytes of the file.
        actual: u64,
    },
    /// The sections are there but the padding after them is not, or the file goes on after it.
    #[error("the file has {actual} bytes instead of {expected}")]
    WrongLength {
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes of the file.
        actual: u64,
    },
    /// The hash at the end of the header page does not match the page.
    #[error("corrupt: the header does not match its checksum")]
    HeaderChecksum,
    /// Made by a later version of c2w with an incompatible layout.
    #[error("made by a newer c2w (format {found}, this one reads {supported})")]
    NewerFormat {
        /// Version in the file.
        found: u32,
        /// The version that this build reads.
        supported: u32,
    },
    /// The header is intact but says something impossible.
    #[error("corrupt header: {0}")]
    BadHeader(&'static str),
    /// The header names a section kind that this build does not know.
    #[error("made by a newer c2w (it has a section of kind {0}, unknown to this one)")]
    UnknownSection(u32),
    /// An architecture that this build does not know.
    #[error("made by a newer c2w (guest architecture {0} is unknown to this one)")]
    UnknownArch(u32),
    /// A section's place in the file is impossible.
    #[error("corrupt header: section {section} {problem}")]
    BadSection {
        /// Which section.
        section: SectionId,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The image lacks something that is needed now.
    #[error("the image has no {0} section")]
    MissingSection(SectionId),
    /// A section's bytes do not match its hash.
    #[error("corrupt: section {0} does not match its checksum")]
    SectionChecksum(SectionId),
    /// A compressed section cannot be decompressed.
    #[error("corrupt: section {section} cannot be decompressed: {problem}")]
    Compressed {
        /// Which section.
        section: SectionId,
        /// What is wrong with it.
        problem: ChunkError,
    },
    /// A section is needed as a range of the file.
    #[error("section {0} is compressed and has to be expanded first")]
    NotExpanded(SectionId),
    /// A byte between sections is not zero.
    #[error("corrupt: the padding at byte {offset} is not zero")]
    Padding {
        /// Offset in the file of the first such byte.
        offset: u64,
    },
    /// The manifest's bytes are what was written, but they are not a manifest.
    #[error("bad manifest: {0}")]
    Manifest(String),
    /// The file was written to while it was being checked, or while its machine ran.
    #[error("the file changed or was cut short while it was in use")]
    Changed,
}

/// A failure to read or write an image file, with the path it concerns. The reason is part of the message,
/// and so not the error's `source`, too: whoever prints the whole chain would print it twice.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The host refused to open, read or stat the file.
    #[error("{}: {error}", path.display())]
    Read {
        /// The image.
        path: PathBuf,
        /// The host's reason.
        error: io::Error,
    },
    /// The file is a directory, a device or something else that cannot hold an image.
    #[error("{}: {what}", path.display())]
    NotAFile {
        /// The path given.
        path: PathBuf,
        /// What it is instead.
        what: &'static str,
    },
    /// The bytes are not a usable image.
    #[error("{}: {error}", path.display())]
    Format {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        error: FormatError,
    },
    /// The host refused to create or write the file. Nothing is left behind.
    #[error("{}: cannot write: {error}", path.display())]
    Write {
        /// The file that was to be made.
        path: PathBuf,
        /// The host's reason.
        error: io::Error,
    },
}
