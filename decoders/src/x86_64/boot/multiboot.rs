//! Multiboot 1 and 2: the header in a kernel, and what the kernel is told (Multiboot Specification 0.6.96 and 2.0).

use super::elf::Segment;
use super::layout::Region;
use std::ops::Range;

/// Why a Multiboot header cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MultibootError {
    /// Something it requires does not exist here.
    #[error("its Multiboot header requires feature {0}, which this machine has not")]
    Requires(u32),
    /// Addresses that contradict each other or the file.
    #[error("the addresses in its Multiboot header are impossible")]
    Addresses,
    /// A header that ends too early.
    #[error("its Multiboot 2 header is damaged")]
    Damaged,
    /// For another processor.
    #[error("its Multiboot 2 header is for architecture {0}, not for i386")]
    OtherArchitecture(u32),
}

/// Which version of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 0.6.96.
    One,
    /// 2.0.
    Two,
}

impl Version {
    /// What the kernel finds in EAX.
    pub fn boot_magic(self) -> u64 {
        match self {
            Self::One => 0x2bad_b002,
            Self::Two => 0x36d7_6289,
        }
    }
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The specification it follows.
    pub version: Version,
    /// What to load, if the header says it rather than an ELF file.
    pub segment: Option<Segment>,
    /// Physical address of the first instruction, if the header says it.
    pub entry: Option<u64>,
}

const MAGIC_1: u32 = 0x1bad_b002;
const MAGIC_2: u32 = 0xe852_50d6;
const SEARCH_1_BYTES: usize = 8192;
const SEARCH_2_BYTES: usize = 32768;

/// The little-endian number at `at`, if it is inside.
fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Numbers one behind the other from `at` on.
fn read_words<const N: usize>(bytes: &[u8], at: usize) -> Option<[u32; N]> {
    let mut words = [0; N];
    for (i, word) in words.iter_mut().enumerate() {
        *word = read_u32(bytes, at + 4 * i)?;
    }
    Some(words)
}

/// The addresses of a header that loads without ELF: of the header, first byte, end of the data, end of the zeroes.
fn segment_of(
    file_bytes: usize,
    header_at: usize,
    [header, load, load_end, bss_end]: [u32; 4],
) -> Result<Segment, MultibootError> {
    let find = || {
        let start = header_at.checked_sub(header.checked_sub(load)? as usize)?;
        let len = match load_end {
            0 => file_bytes.checked_sub(start)?,
            end => end.checked_sub(load)? as usize,
        };
        let file = start..start.checked_add(len)?;
        let loaded_end = u64::from(load) + len as u64;
        let end = if bss_end == 0 { loaded_end } else { bss_end.into() };
        let possible = file.end <= file_bytes && loaded_end <= end && len > 0;
        possible.then_some(Segment { memory: load.into()..end, file })
    };
    find().ok_or(MultibootError::Addresses)
}

impl Header {
    /// The header in a file, of either version; `None` if it has none.
    pub fn find(bytes: &[u8]) -> Result<Option<Self>, MultibootError> {
        let within = |end: usize| &bytes[..bytes.len().min(end)];
        let positions = (0..within(SEARCH_1_BYTES).len()).step_by(4);
        for at in positions {
            if let Some([MAGIC_1, flags, checksum]) = read_words(within(SEARCH_1_BYTES), at)
                && MAGIC_1.wrapping_add(flags).wrapping_add(checksum) == 0
            {
                return Self::parse_1(bytes, at, flags).map(Some);
            }
        }
        for at in (0..within(SEARCH_2_BYTES).len()).step_by(8) {
            if let Some([MAGIC_2, architecture, length, checksum]) = read_words(within(SEARCH_2_BYTES), at)
                && MAGIC_2.wrapping_add(architecture).wrapping_add(length).wrapping_add(checksum) == 0
            {
                return Self::parse_2(bytes, at, architecture, length).map(Some);
            }
        }
        Ok(None)
    }

    fn parse_1(bytes: &[u8], at: usize, flags: u32) -> Result<Self, MultibootError> {
        const ADDRESSES: u32 = 1 << 16;
        // Bits 0 to 15 are requirements: aligned modules, a memory map, a video mode. Without a display the last is
        // not followed, as boot loaders do that have none.
        let unknown = flags & 0xfff8;
        if unknown != 0 {
            return Err(MultibootError::Requires(unknown.trailing_zeros()));
        }
        let (mut segment, mut entry) = (None, None);
        if flags & ADDRESSES != 0 {
            let words = read_words::<5>(bytes, at + 12).ok_or(MultibootError::Addresses)?;
            segment = Some(segment_of(bytes.len(), at, [words[0], words[1], words[2], words[3]])?);
            entry = Some(words[4].into());
        }
        Ok(Self { version: Version::One, segment, entry })
    }

    fn parse_2(bytes: &[u8], at: usize, architecture: u32, length: u32) -> Result<Self, MultibootError> {
        const END: u32 = 0;
        const INFORMATION: u32 = 1;
        const ADDRESSES: u32 = 2;
        const ENTRY: u32 = 3;
        /// Console flags, framebuffer, aligned modules: what a machine without display can leave out.
        const HINTS: std::ops::RangeInclusive<u32> = 4..=6;
        const OPTIONAL: u32 = 1 << 16;
        let damaged = MultibootError::Damaged;
        if architecture != 0 {
            return Err(MultibootError::OtherArchitecture(architecture));
        }
        let header = bytes.get(at..at.saturating_add(length as usize)).ok_or(damaged)?;
        let mut found = Self { version: Version::Two, segment: None, entry: None };
        let mut tag_at = 16;
        loop {
            let [kind, size] = read_words::<2>(header, tag_at).ok_or(damaged)?;
            let (kind, flags) = (kind & 0xffff, kind & 0xffff_0000);
            match kind {
                END => return Ok(found),
                ADDRESSES => {
                    let words = read_words(header, tag_at + 8).ok_or(damaged)?;
                    found.segment = Some(segment_of(bytes.len(), at, words)?);
                }
                ENTRY => found.entry = Some(read_u32(header, tag_at + 8).ok_or(damaged)?.into()),
                INFORMATION => {}
                kind if HINTS.contains(&kind) || flags & OPTIONAL != 0 => {}
                kind => return Err(MultibootError::Requires(kind)),
            }
            if size < 8 {
                return Err(damaged);
            }
            tag_at = tag_at.saturating_add(size as usize).next_multiple_of(8);
        }
    }
}

/// What a kernel is told.
pub struct Information<'a> {
    /// Command line.
    pub cmdline: &'a str,
    /// The initial RAM disk: the only module.
    pub module: Option<Range<u64>>,
    /// Memory, in ascending order.
    pub memory: &'a [Region],
    /// The root pointer of ACPI.
    pub rsdp: &'a [u8],
}

const LOADER: &[u8] = b"c2w\0";

/// Appends text with a zero behind it; gives its address.
fn put_text(to: &mut Vec<u8>, base: u64, text: &[u8]) -> u32 {
    let at = base + to.len() as u64;
    to.extend_from_slice(text);
    at as u32
}

fn kib(bytes: u64) -> u32 {
    (bytes >> 10) as u32
}

impl Information<'_> {
    /// The structure as it is to be at `base`, which is below 4 GiB and a multiple of 8.
    pub fn write(&self, version: Version, base: u64) -> Vec<u8> {
        match version {
            Version::One => self.write_1(base),
            Version::Two => self.write_2(),
        }
    }

    /// Memory below 1 MiB and above it, in KiB.
    fn lower_and_upper(&self) -> [u32; 2] {
        let ram = |from: u64| self.memory.iter().find(|region| region.is_ram && region.range.start == from);
        [0, 1 << 20].map(|from| ram(from).map_or(0, |region| kib(region.range.end - from)))
    }

    fn write_1(&self, base: u64) -> Vec<u8> {
        const INFO_BYTES: usize = 116;
        const MEMORY: u32 = 1 << 0;
        const CMDLINE: u32 = 1 << 2;
        const MODULES: u32 = 1 << 3;
        const MEMORY_MAP: u32 = 1 << 6;
        const LOADER_NAME: u32 = 1 << 9;
        let mut bytes = vec![0; INFO_BYTES];
        let module_at = base + bytes.len() as u64;
        if let Some(module) = &self.module {
            for word in [module.start as u32, module.end as u32, 0, 0] {
                bytes.extend(word.to_le_bytes());
            }
        }
        let map_at = base + bytes.len() as u64;
        for region in self.memory {
            const ENTRY_BYTES: u32 = 20;
            bytes.extend(ENTRY_BYTES.to_le_bytes());
            bytes.extend(region.range.start.to_le_bytes());
            bytes.extend((region.range.end - region.range.start).to_le_bytes());
            bytes.extend(region.kind().to_le_bytes());
        }
        let map_bytes = base + bytes.len() as u64 - map_at;
        let cmdline_at = put_text(&mut bytes, base, self.cmdline.as_bytes());
        bytes.push(0);
        let loader_at = put_text(&mut bytes, base, LOADER);
        let [lower, upper] = self.lower_and_upper();
        let mut put = |at: usize, word: u32| bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        put(0, MEMORY | CMDLINE | MODULES | MEMORY_MAP | LOADER_NAME);
        put(4, lower);
        put(8, upper);
        put(16, cmdline_at);
        put(20, u32::from(self.module.is_some()));
        put(24, module_at as u32);
        put(44, map_bytes as u32);
        put(48, map_at as u32);
        put(64, loader_at);
        bytes
    }

    fn write_2(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8];
        let mut tag = |kind: u32, parts: &[&[u8]]| {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            bytes.extend(kind.to_le_bytes());
            bytes.extend((len as u32 + 8).to_le_bytes());
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        };
        tag(1, &[self.cmdline.as_bytes(), b"\0"]);
        tag(2, &[LOADER]);
        if let Some(module) = &self.module {
            let [start, end] = [module.start, module.end].map(|at| (at as u32).to_le_bytes());
            tag(3, &[&start, &end, b"\0"]);
        }
        let [lower, upper] = self.lower_and_upper().map(u32::to_le_bytes);
        tag(4, &[&lower, &upper]);
        let mut map = [24u32.to_le_bytes(), 0u32.to_le_bytes()].concat();
        for region in self.memory {
            map.extend(region.range.start.to_le_bytes());
            map.extend((region.range.end - region.range.start).to_le_bytes());
            map.extend(region.kind().to_le_bytes());
            map.extend(0u32.to_le_bytes());
        }
        tag(6, &[&map]);
        tag(15, &[self.rsdp]);
        tag(0, &[]);
        let total = bytes.len() as u32;
        bytes[..4].copy_from_slice(&total.to_le_bytes());
        bytes
    }
}
