//! What a kernel is told that starts by the PVH protocol (Xen, public/arch-x86/hvm/start_info.h).

use super::layout::Region;
use std::ops::Range;

const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;
const INFO_BYTES: u64 = 56;
const MODULE_BYTES: u64 = 32;

/// The structure as it is to be at `base`, with module list and memory map behind it.
pub fn start_info(
    base: u64,
    cmdline: u64,
    initrd: Option<Range<u64>>,
    rsdp: u64,
    memory: &[Region],
) -> Vec<u8> {
    let module_at = base + INFO_BYTES;
    let map_at = module_at + MODULE_BYTES;
    let mut bytes = Vec::new();
    let mut put = |words: &[u64]| words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    let flags_and_modules = u64::from(initrd.is_some()) << 32;
    put(&[u64::from(MAGIC) | u64::from(VERSION) << 32, flags_and_modules, module_at, cmdline, rsdp]);
    put(&[map_at, memory.len() as u64]);
    let initrd = initrd.unwrap_or(0..0);
    put(&[initrd.start, initrd.end - initrd.start, 0, 0]);
    for region in memory {
        put(&[region.range.start, region.range.end - region.range.start, region.kind().into()]);
    }
    bytes
}
