//! The header of `image.c2w`: its bytes, and every check that needs no more than them and the
//! file's length. Pure: nothing here touches a file.
//!
//! All numbers are little-endian. The first page (4096 bytes):
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic `89 'c' '2' 'w' 0d 0a 1a 0a`: damaged by text-mode transfers, as in PNG |
//! | 8..12 | format version |
//! | 12..16 | guest architecture, as an ELF `e_machine` number |
//! | 16..24 | length of the whole file |
//! | 24..28 | number of sections |
//! | 28..64 | zero |
//! | 64.. | table of sections, 64 bytes each: id u32, [`Encoding`] u32, offset u64, length u64, zero u64, BLAKE3 [32] |
//! | ..4064 | zero |
//! | 4064..4096 | BLAKE3 of bytes 0..4064 |
//!
//! Sections lie in table order, page-aligned, without overlap, less than [`MAX_GAP_BYTES`] of zeros
//! between them, and the file ends less than that after the last one. The magic, the version and
//! the place of the header's hash are the same in every version of the format, so that "damaged"
//! and "newer" can always be told apart.

use super::error::FormatError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The newest version this build writes and reads: the one that has compressed sections.
pub const FORMAT_VERSION: u32 = 2;
/// The version of files without any, which are written as before there were some.
const PLAIN_VERSION: u32 = 1;
/// Bytes of the header page.
pub const HEADER_BYTES: usize = 4096;
/// Alignment of sections, and of the file's length.
pub const PAGE_BYTES: u64 = 4096;
/// Zeros that may stand before a section or at the end of the file: less than this, so that a
/// section can be aligned for huge pages and no more.
const MAX_GAP_BYTES: u64 = 2 << 20;

const MAGIC: [u8; 8] = *b"\x89c2w\r\n\x1a\n";
const TABLE_OFFSET: usize = 64;
const ENTRY_BYTES: usize = 64;
const HASH_BYTES: usize = 32;
const HASH_OFFSET: usize = HEADER_BYTES - HASH_BYTES;
/// Sections that fit into the header page.
const MAX_SECTIONS: usize = (HASH_OFFSET - TABLE_OFFSET) / ENTRY_BYTES;

/// Guest architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl Arch {
    /// The `e_machine` number of its ELF files (ELF gABI: EM_RISCV, EM_X86_64).
    pub fn elf_machine(self) -> u16 {
        match self {
            Arch::Riscv64 => 243,
            Arch::X86_64 => 62,
        }
    }

    fn from_code(code: u32) -> Result<Self, FormatError> {
        [Arch::Riscv64, Arch::X86_64]
            .into_iter()
            .find(|arch| u32::from(arch.elf_machine()) == code)
            .ok_or(FormatError::UnknownArch(code))
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arch::Riscv64 => "riscv64",
            Arch::X86_64 => "x86_64",
        })
    }
}

impl FromStr for Arch {
    type Err = String;

    /// Accepts the names that Linux, Debian and OCI use.
    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "riscv64" => Ok(Arch::Riscv64),
            "x86_64" | "amd64" | "x86-64" => Ok(Arch::X86_64),
            _ => Err(format!("unknown architecture {name:?} (riscv64 or x86_64)")),
        }
    }
}

/// What a section holds. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum SectionId {
    /// [`super::Manifest`] as JSON.
    Manifest = 1,
    /// Guest kernel, as the board's loader takes it.
    Kernel = 2,
    /// Initial RAM disk: the agent.
    Initrd = 3,
    /// Read-only root filesystem image (EROFS).
    Rootfs = 4,
    /// Guest RAM of the snapshot, see [`super::ram`].
    RamSnapshot = 5,
    /// vCPU and device states of the snapshot, and where its pages of RAM belong.
    MachineState = 6,
    /// What a start needs: pages of RAM to fetch ahead, and code to translate ahead.
    Profile = 7,
    /// Translated WebAssembly. Reserved.
    Wasm = 8,
}

impl SectionId {
    const ALL: [SectionId; 8] = [
        SectionId::Manifest,
        SectionId::Kernel,
        SectionId::Initrd,
        SectionId::Rootfs,
        SectionId::RamSnapshot,
        SectionId::MachineState,
        SectionId::Profile,
        SectionId::Wasm,
    ];

    fn from_code(code: u32) -> Result<Self, FormatError> {
        let known = SectionId::ALL.into_iter().find(|&id| id as u32 == code);
        known.ok_or(FormatError::UnknownSection(code))
    }
}

impl fmt::Display for SectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SectionId::Manifest => "manifest",
            SectionId::Kernel => "kernel",
            SectionId::Initrd => "initrd",
            SectionId::Rootfs => "rootfs",
            SectionId::RamSnapshot => "ram",
            SectionId::MachineState => "state",
            SectionId::Profile => "profile",
            SectionId::Wasm => "wasm",
        })
    }
}

/// How a section's content is stored. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Encoding {
    /// As it is.
    Plain = 0,
    /// As Zstandard frames, see `chunks`.
    Zstd = 1,
    /// The same, each frame with the kernel section's content as prefix: most of a booted kernel is in its file.
    ZstdAfterKernel = 2,
}

impl Encoding {
    fn from_code(code: u32) -> Option<Self> {
        [Encoding::Plain, Encoding::Zstd, Encoding::ZstdAfterKernel]
            .into_iter()
            .find(|&known| known as u32 == code)
    }
}

/// One entry of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub id: SectionId,
    /// How it is stored.
    pub encoding: Encoding,
    /// First byte in the file; a multiple of [`PAGE_BYTES`].
    pub offset: u64,
    /// Length in the file in bytes, any number.
    pub len_bytes: u64,
    /// BLAKE3 of its bytes in the file.
    pub hash: [u8; HASH_BYTES],
}

impl Section {
    /// First byte after the section. Cannot overflow in a parsed header.
    pub fn end(&self) -> u64 {
        self.offset + self.len_bytes
    }
}

/// A header whose every field has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Guest architecture.
    pub arch: Arch,
    /// Length of the whole file in bytes.
    pub file_bytes: u64,
    /// In file order.
    pub sections: Vec<Section>,
}

impl Header {
    /// The entry for `id`.
    pub fn section(&self, id: SectionId) -> Option<&Section> {
        self.sections.iter().find(|section| section.id == id)
    }

    /// The format version of the file.
    pub fn version(&self) -> u32 {
        if self.is_compressed() { FORMAT_VERSION } else { PLAIN_VERSION }
    }

    /// Whether a section has to be decompressed before it can be mapped.
    pub fn is_compressed(&self) -> bool {
        self.sections.iter().any(|section| section.encoding != Encoding::Plain)
    }

    /// What tells the file's content from every other: the hash of the page that has the hash of each section.
    pub fn digest(&self) -> [u8; HASH_BYTES] {
        read_hash(&self.to_bytes(), HASH_OFFSET)
    }

    /// The ranges of the file that belong to no section and must be zero: (offset, length).
    pub fn padding(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let starts = std::iter::once(HEADER_BYTES as u64).chain(self.sections.iter().map(Section::end));
        let ends = self.sections.iter().map(|section| section.offset).chain([self.file_bytes]);
        starts.zip(ends).map(|(start, end)| (start, end - start)).filter(|&(_, len)| len > 0)
    }

    /// The header page. `sections` must be as [`Header::parse`] accepts them.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut page = [0u8; HEADER_BYTES];
        page[0..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&self.version().to_le_bytes());
        page[12..16].copy_from_slice(&u32::from(self.arch.elf_machine()).to_le_bytes());
        page[16..24].copy_from_slice(&self.file_bytes.to_le_bytes());
        page[24..28].copy_from_slice(&(self.sections.len() as u32).to_le_bytes());
        for (section, entry) in self.sections.iter().zip(page[TABLE_OFFSET..].chunks_exact_mut(ENTRY_BYTES)) {
            entry[0..4].copy_from_slice(&(section.id as u32).to_le_bytes());
            entry[4..8].copy_from_slice(&(section.encoding as u32).to_le_bytes());
            entry[8..16].copy_from_slice(&section.offset.to_le_bytes());
            entry[16..24].copy_from_slice(&section.len_bytes.to_le_bytes());
            entry[32..64].copy_from_slice(&section.hash);
        }
        let hash = blake3::hash(&page[..HASH_OFFSET]);
        page[HASH_OFFSET..].copy_from_slice(hash.as_bytes());
        page
    }

    /// Checks everything that the first page of a file of `actual_bytes` says.
    ///
    /// `start` is the first page, or the whole file if that is shorter.
    pub fn parse(start: &[u8], actual_bytes: u64) -> Result<Self, FormatError> {
        let magic_part = &start[..start.len().min(MAGIC.len())];
        if start.is_empty() || !MAGIC.starts_with(magic_part) {
            return Err(FormatError::NotAnImage);
        }
        let Some(page) = start.first_chunk::<HEADER_BYTES>() else {
            return Err(FormatError::TruncatedHeader { needed: HEADER_BYTES as u64, actual: actual_bytes });
        };
        if blake3::hash(&page[..HASH_OFFSET]) != read_hash(page, HASH_OFFSET) {
            return Err(FormatError::HeaderChecksum);
        }
        let version = read_u32(page, 8);
        if version > FORMAT_VERSION {
            return Err(FormatError::NewerFormat { found: version, supported: FORMAT_VERSION });
        }
        if version == 0 {
            return Err(FormatError::BadHeader("format version 0"));
        }
        let arch = Arch::from_code(read_u32(page, 12))?;
        let file_bytes = read_u64(page, 16);
        let count = read_u32(page, 24) as usize;
        if count > MAX_SECTIONS {
            return Err(FormatError::BadHeader("too many sections"));
        }
        let table_end = TABLE_OFFSET + count * ENTRY_BYTES;
        if !all_zero(&page[28..TABLE_OFFSET]) || !all_zero(&page[table_end..HASH_OFFSET]) {
            return Err(FormatError::BadHeader("a reserved byte is not zero"));
        }
        let sections = parse_table(&page[TABLE_OFFSET..table_end])?;
        let is_compressed = sections.iter().any(|section| section.encoding != Encoding::Plain);
        if is_compressed != (version == FORMAT_VERSION) {
            return Err(FormatError::BadHeader("the format version does not fit its sections"));
        }
        let end = sections.last().map_or(HEADER_BYTES as u64, Section::end);
        if file_bytes < end || file_bytes - end >= MAX_GAP_BYTES || !file_bytes.is_multiple_of(PAGE_BYTES) {
            return Err(FormatError::BadHeader("the file's length does not fit its sections"));
        }
        if let Some(section) = sections.iter().find(|section| section.end() > actual_bytes) {
            let (section, needed) = (section.id, section.end());
            return Err(FormatError::Truncated { section, needed, actual: actual_bytes });
        }
        if file_bytes != actual_bytes {
            return Err(FormatError::WrongLength { expected: file_bytes, actual: actual_bytes });
        }
        Ok(Header { arch, file_bytes, sections })
    }
}

fn parse_table(table: &[u8]) -> Result<Vec<Section>, FormatError> {
    let mut sections: Vec<Section> = Vec::new();
    let mut previous_end = HEADER_BYTES as u64;
    for entry in table.chunks_exact(ENTRY_BYTES) {
        let id = SectionId::from_code(read_u32(entry, 0))?;
        let bad = |problem| FormatError::BadSection { section: id, problem };
        let encoding = match (id, Encoding::from_code(read_u32(entry, 4))) {
            (_, None) => return Err(bad("is encoded in a way that does not exist")),
            (SectionId::Manifest, Some(encoding)) if encoding != Encoding::Plain => {
                return Err(bad("is compressed"));
            }
            (SectionId::Kernel, Some(Encoding::ZstdAfterKernel)) => return Err(bad("refers to itself")),
            (_, Some(encoding)) => encoding,
        };
        let section = Section {
            id,
            encoding,
            offset: read_u64(entry, 8),
            len_bytes: read_u64(entry, 16),
            hash: read_hash(entry, 32),
        };
        if !all_zero(&entry[24..32]) {
            return Err(bad("has a reserved byte that is not zero"));
        }
        if sections.iter().any(|other| other.id == id) {
            return Err(bad("occurs twice"));
        }
        if !section.offset.is_multiple_of(PAGE_BYTES) {
            return Err(bad("is not page-aligned"));
        }
        if section.offset < previous_end {
            return Err(bad("overlaps what stands before it"));
        }
        if section.offset - previous_end >= MAX_GAP_BYTES {
            return Err(bad("leaves a gap before it"));
        }
        // Half of the number space leaves room for the padding without another overflow check.
        previous_end = section
            .offset
            .checked_add(section.len_bytes)
            .filter(|&end| end <= u64::MAX / 2)
            .ok_or_else(|| bad("is impossibly long"))?;
        sections.push(section);
    }
    Ok(sections)
}

fn all_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn read_hash(bytes: &[u8], at: usize) -> [u8; HASH_BYTES] {
    std::array::from_fn(|i| bytes[at + i])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: SectionId, offset: u64, len_bytes: u64) -> Section {
        Section { id, encoding: Encoding::Plain, offset, len_bytes, hash: [7; 32] }
    }

    fn parse(sections: Vec<Section>, file_bytes: u64) -> Result<Header, FormatError> {
        let header = Header { arch: Arch::Riscv64, file_bytes, sections };
        Header::parse(&header.to_bytes(), file_bytes)
    }

    /// Rewrites the header's own hash after a deliberate change.
    fn reseal(page: &mut [u8; HEADER_BYTES]) {
        let hash = blake3::hash(&page[..HASH_OFFSET]);
        page[HASH_OFFSET..].copy_from_slice(hash.as_bytes());
    }

    #[test]
    fn good_layouts_parse_back() {
        use SectionId::*;
        for (sections, file_bytes) in [
            (vec![], 4096),
            (vec![section(Manifest, 4096, 0)], 4096),
            (vec![section(Manifest, 4096, 10), section(Rootfs, 8192, 8192)], 16384),
            (vec![section(Kernel, 4096, 1), section(Manifest, 2 << 20, 4097)], (2 << 20) + 8192),
        ] {
            assert_eq!(parse(sections.clone(), file_bytes).unwrap().sections, sections);
        }
    }

    #[test]
    fn bad_layouts_are_refused() {
        use SectionId::*;
        for (sections, file_bytes, why) in [
            (vec![section(Kernel, 0, 10)], 8192, "overlaps"),
            (vec![section(Kernel, 4097, 10)], 8192, "page-aligned"),
            (vec![section(Kernel, 4096, 5000), section(Rootfs, 8192, 1)], 12288, "overlaps"),
            (vec![section(Kernel, 8192, 1), section(Rootfs, 4096, 1)], 12288, "overlaps"),
            (vec![section(Kernel, 4096, 1), section(Kernel, 8192, 1)], 12288, "twice"),
            (vec![section(Kernel, 4096, u64::MAX)], 8192, "impossibly long"),
            (vec![section(Kernel, 4096, u64::MAX / 2)], 8192, "impossibly long"),
            (vec![section(Kernel, 4 << 20, 1)], (4 << 20) + 4096, "gap"),
            (vec![section(Kernel, 4096, 1)], 4096, "length does not fit"),
            (vec![section(Kernel, 4096, 1)], 8191, "length does not fit"),
            (vec![section(Kernel, 4096, 1)], 8192 + (2 << 20), "length does not fit"),
        ] {
            let error = parse(sections, file_bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error} / {why}");
        }
    }

    #[test]
    fn every_reserved_byte_counts() {
        let header = Header {
            arch: Arch::X86_64,
            file_bytes: 8192,
            sections: vec![section(SectionId::Kernel, 4096, 1)],
        };
        for at in (28..64).chain(68..72).chain(88..96).chain(128..HASH_OFFSET) {
            let mut page = header.to_bytes();
            page[at] = 1;
            reseal(&mut page);
            assert!(Header::parse(&page, 8192).is_err(), "byte {at}");
        }
    }

    #[test]
    fn newer_files_say_so() {
        let header = Header { arch: Arch::Riscv64, file_bytes: 4096, sections: vec![] };
        for (at, expected) in [
            (8, "made by a newer c2w (format 3, this one reads 2)"),
            (12, "made by a newer c2w (guest architecture 3 is unknown to this one)"),
        ] {
            let mut page = header.to_bytes();
            page[at] = 3;
            assert_eq!(Header::parse(&page, 4096).unwrap_err(), FormatError::HeaderChecksum);
            reseal(&mut page);
            assert_eq!(Header::parse(&page, 4096).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn compressed_sections_are_of_their_own_version() {
        let compressed = |id, encoding| Section { encoding, ..section(id, 4096, 1) };
        let pack = |section| Header { arch: Arch::Riscv64, file_bytes: 8192, sections: vec![section] };
        let header = pack(compressed(SectionId::Kernel, Encoding::Zstd));
        assert_eq!((header.version(), Header::parse(&header.to_bytes(), 8192).as_ref()), (2, Ok(&header)));
        for (id, encoding, why) in [
            (SectionId::Manifest, Encoding::Zstd, "is compressed"),
            (SectionId::Kernel, Encoding::ZstdAfterKernel, "refers to itself"),
        ] {
            let error = Header::parse(&pack(compressed(id, encoding)).to_bytes(), 8192).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let mut page = header.to_bytes();
        page[8] = 1;
        reseal(&mut page);
        assert!(Header::parse(&page, 8192).unwrap_err().to_string().contains("version does not fit"));
        let mut page = header.to_bytes();
        page[68] = 9;
        reseal(&mut page);
        assert!(Header::parse(&page, 8192).unwrap_err().to_string().contains("does not exist"));
    }

    #[test]
    fn other_files_are_told_apart_from_short_ones() {
        assert_eq!(Header::parse(b"", 0).unwrap_err(), FormatError::NotAnImage);
        assert_eq!(Header::parse(b"\x7fELF", 4).unwrap_err(), FormatError::NotAnImage);
        assert_eq!(Header::parse(&[0; 4096], 4096).unwrap_err(), FormatError::NotAnImage);
        let page = Header { arch: Arch::Riscv64, file_bytes: 4096, sections: vec![] }.to_bytes();
        for len in 1..HEADER_BYTES {
            let error = Header::parse(&page[..len], len as u64).unwrap_err();
            assert_eq!(error, FormatError::TruncatedHeader { needed: 4096, actual: len as u64 });
        }
    }
}
