//! The setup header of a bzImage (Linux Documentation/arch/x86/boot.rst).

/// Why a bzImage cannot be booted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BzImageError {
    /// It ends before its end.
    #[error("the bzImage is cut off: {found_bytes} of {expected_bytes} bytes")]
    CutOff {
        /// Length of the file.
        found_bytes: u64,
        /// Length by its header.
        expected_bytes: u64,
    },
    /// The boot flag is missing.
    #[error("the bzImage is damaged: it has no boot flag")]
    NoBootFlag,
    /// A kernel from before protocol 2.12, or a 32-bit one.
    #[error(
        "the bzImage has no 64-bit entry point: it is a 32-bit kernel or older than Linux 3.8, and would have to \
         start in real mode"
    )]
    No64BitEntry,
    /// A zImage.
    #[error("it is a zImage, which loads below 1 MiB: only bzImages can be booted")]
    LoadsLow,
    /// Numbers that no kernel has.
    #[error("the bzImage is damaged: its {0} is impossible")]
    Impossible(&'static str),
}

const SECTOR_BYTES: u64 = 512;
/// Where the header begins and where the number is that gives its end.
pub const HEADER_AT: usize = 0x1f1;
const LENGTH_AT: usize = 0x201;
/// Entry point of 64-bit code behind the start of the loaded part.
pub const ENTRY_64_OFFSET: u64 = 0x200;

/// What a setup header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupHeader {
    /// The header's own bytes, for the kernel to find again.
    pub bytes: Vec<u8>,
    /// Where the part that is loaded begins in the file.
    pub payload_at: usize,
    /// Where it wants to be.
    pub preferred_address: u64,
    /// Alignment of the address, if it is another.
    pub alignment_bytes: u64,
    /// It runs elsewhere, too.
    pub relocatable: bool,
    /// Memory it uses from its address on until it has told what else is free.
    pub init_bytes: u64,
    /// The initial RAM disk ends here or before.
    pub initrd_end: u64,
    /// Longest command line.
    pub cmdline_bytes: u64,
}

impl SetupHeader {
    /// The header of a bzImage, whose magic was seen already.
    pub fn parse(file: &[u8]) -> Result<Self, BzImageError> {
        const PROTOCOL_2_12: u16 = 0x20c;
        const HAS_64_BIT_ENTRY: u16 = 1;
        const LOADED_HIGH: u8 = 1;
        let cut_off =
            |expected_bytes| BzImageError::CutOff { found_bytes: file.len() as u64, expected_bytes };
        let header_end = 0x202 + file.get(LENGTH_AT).copied().map_or(0, usize::from);
        let bytes = file.get(HEADER_AT..header_end).ok_or(cut_off(header_end as u64))?;
        // What is behind the end of a short header is not there, and reads as zero.
        let field = |at: usize, len: usize| {
            let at = at - HEADER_AT;
            (0..len).rev().fold(0, |value, i| value << 8 | u64::from(bytes.get(at + i).copied().unwrap_or(0)))
        };
        if field(0x1fe, 2) != 0xaa55 {
            return Err(BzImageError::NoBootFlag);
        }
        if field(0x211, 1) as u8 & LOADED_HIGH == 0 {
            return Err(BzImageError::LoadsLow);
        }
        if (field(0x206, 2) as u16) < PROTOCOL_2_12 || field(0x236, 2) as u16 & HAS_64_BIT_ENTRY == 0 {
            return Err(BzImageError::No64BitEntry);
        }
        let setup_sectors = match field(0x1f1, 1) {
            0 => 4,
            sectors => sectors,
        };
        let payload_at = (setup_sectors + 1) * SECTOR_BYTES;
        let payload_bytes = field(0x1f4, 4) * 16;
        let file_bytes = file.len() as u64;
        // The size is in units of 16 bytes, the last of which need not be whole.
        if file_bytes <= payload_at || file_bytes.next_multiple_of(16) < payload_at + payload_bytes {
            return Err(cut_off(payload_at + payload_bytes));
        }
        let header = Self {
            payload_at: payload_at as usize,
            preferred_address: field(0x258, 8),
            alignment_bytes: field(0x230, 4),
            relocatable: field(0x234, 1) != 0,
            init_bytes: field(0x260, 4).max(file_bytes - payload_at),
            initrd_end: field(0x22c, 4) + 1,
            cmdline_bytes: field(0x238, 4),
            bytes: bytes.to_vec(),
        };
        if !header.alignment_bytes.is_power_of_two() {
            return Err(BzImageError::Impossible("alignment"));
        }
        if header.preferred_address.checked_add(header.init_bytes).is_none() {
            return Err(BzImageError::Impossible("address"));
        }
        Ok(header)
    }
}
