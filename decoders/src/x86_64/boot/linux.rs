//! What Linux is told at its 64-bit entry: the zero page, and page tables that map memory to itself (Linux
//! Documentation/arch/x86/boot.rst and zero-page.rst).

use super::bzimage::{HEADER_AT, SetupHeader};
use super::layout::Region;
use c2w_engine::addr::PAGE_BYTES;
use std::ops::Range;

/// Memory that the page tables map.
const MAPPED_BYTES: u64 = 4 << 30;
/// Pages of the tables: one PML4, one PDPT, and a page directory for each GiB.
pub const TABLE_BYTES: u64 = (2 + (MAPPED_BYTES >> 30)) * PAGE_BYTES;

/// Page tables at `base` that map the first 4 GiB to themselves, in 2 MiB pages.
pub fn identity_tables(base: u64) -> Vec<u8> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    const ENTRIES: usize = 512;
    let directories = MAPPED_BYTES >> 30;
    let table = |number: u64| (base + number * PAGE_BYTES) | PRESENT_WRITABLE;
    let mut entries = vec![0u64; ENTRIES];
    entries[0] = table(1);
    entries.extend((0..directories).map(|number| table(2 + number)));
    entries.resize(2 * ENTRIES, 0);
    entries.extend((0..MAPPED_BYTES >> 21).map(|page| page << 21 | LARGE | PRESENT_WRITABLE));
    entries.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// What goes into the zero page besides the kernel's own header.
pub struct ZeroPage<'a> {
    /// Address of the command line.
    pub cmdline: u64,
    /// Initial RAM disk.
    pub initrd: Option<Range<u64>>,
    /// ACPI's root pointer.
    pub rsdp: u64,
    /// Memory map.
    pub memory: &'a [Region],
    /// Address of the first setup data, 0 for none.
    pub setup_data: u64,
}

impl ZeroPage<'_> {
    /// The page. An ELF file has no header: then it has what boot loaders write of one.
    pub fn write(&self, header: Option<&SetupHeader>) -> Vec<u8> {
        const UNREGISTERED_LOADER: u8 = 0xff;
        const LOADED_HIGH: u8 = 1;
        const CAN_USE_HEAP: u8 = 0x80;
        let mut page = vec![0; PAGE_BYTES as usize];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        match header {
            Some(header) => put(HEADER_AT, &header.bytes),
            None => {
                put(0x1fe, &0xaa55u16.to_le_bytes());
                put(0x202, b"HdrS");
                put(0x206, &0x20fu16.to_le_bytes());
                put(0x230, &0x100_0000u32.to_le_bytes());
            }
        }
        let flags = header.and_then(|header| header.bytes.get(0x211 - HEADER_AT).copied()).unwrap_or(0);
        put(0x211, &[(flags | LOADED_HIGH) & !CAN_USE_HEAP]);
        put(0x210, &[UNREGISTERED_LOADER]);
        put(0x070, &self.rsdp.to_le_bytes());
        let initrd = self.initrd.clone().unwrap_or(0..0);
        put(0x218, &(initrd.start as u32).to_le_bytes());
        put(0x21c, &((initrd.end - initrd.start) as u32).to_le_bytes());
        put(0x228, &(self.cmdline as u32).to_le_bytes());
        put(0x250, &self.setup_data.to_le_bytes());
        put(0x1e8, &[self.memory.len() as u8]);
        for (i, region) in self.memory.iter().enumerate() {
            let at = 0x2d0 + 20 * i;
            put(at, &region.range.start.to_le_bytes());
            put(at + 8, &(region.range.end - region.range.start).to_le_bytes());
            put(at + 16, &region.kind().to_le_bytes());
        }
        page
    }
}

/// Setup data with a seed for the random number generator; the last of the list.
pub fn seed_data(seed: &[u8]) -> Vec<u8> {
    const RNG_SEED: u32 = 9;
    let mut data = 0u64.to_le_bytes().to_vec();
    data.extend(RNG_SEED.to_le_bytes());
    data.extend((seed.len() as u32).to_le_bytes());
    data.extend(seed);
    data
}
