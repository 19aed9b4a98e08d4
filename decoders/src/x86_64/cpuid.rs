//! CPUID: what this processor says that it is and can do (SDM 2A CPUID). It advertises what works, no more.
//!
//! It presents itself as a Westmere of Intel: the last model without AVX, which C libraries know to copy fast with
//! plain instructions, and which operating systems have no workarounds for that would touch hardware.

use super::control::{CR4_OSXSAVE, XCR0_SUPPORTED};
use super::guest::X86_64;
use super::mmu::PHYSICAL_BITS;
use c2w_engine::cpu::Cpu;

/// Frequency of the time-stamp counter: one step is one nanosecond of guest time.
pub const TSC_HZ: u64 = 1_000_000_000;
/// Frequency of the crystal that the local APIC's timer counts.
pub const CRYSTAL_HZ: u64 = 25_000_000;
/// Width of a linear address.
pub const LINEAR_BITS: u32 = 48;
/// Bytes of an XSAVE area with all components: the legacy region and the header.
pub const XSAVE_AREA_BYTES: u32 = 512 + 64;

/// EAX, EBX, ECX and EDX.
pub type Registers = [u32; 4];

/// Family 6, model 0x2c, stepping 2.
const SIGNATURE: u32 = 0x0002_06c2;
const VENDOR: &[u8; 12] = b"GenuineIntel";
const HYPERVISOR: &[u8; 12] = b"c2wc2wc2wc2w";
const BRAND: &[u8; 48] = b"c2w virtual x86-64 processor\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

const LAST_BASIC: u32 = 0x16;
const LAST_EXTENDED: u32 = 0x8000_0008;
const FIRST_HYPERVISOR: u32 = 0x4000_0000;
const FIRST_EXTENDED: u32 = 0x8000_0000;

/// Bits by number.
const fn bits(numbers: &[u32]) -> u32 {
    let mut word = 0;
    let mut i = 0;
    while i < numbers.len() {
        word |= 1 << numbers[i];
        i += 1;
    }
    word
}

/// Leaf 1, ECX.
const FEATURES_1C: u32 = bits(&[
    0,  // SSE3
    1,  // PCLMULQDQ
    9,  // SSSE3
    13, // CMPXCHG16B
    17, // PCID
    19, // SSE4.1
    20, // SSE4.2
    21, // x2APIC
    22, // MOVBE
    23, // POPCNT
    24, // TSC deadline
    25, // AES
    26, // XSAVE
    30, // RDRAND
    31, // a hypervisor
]);
/// Leaf 1, ECX: CR4.OSXSAVE is set.
const OSXSAVE: u32 = 1 << 27;

/// Leaf 1, EDX.
const FEATURES_1D: u32 = bits(&[
    0,  // x87
    2,  // debug extensions
    3,  // 4 MiB pages
    4,  // TSC
    5,  // MSRs
    6,  // PAE
    8,  // CMPXCHG8B
    9,  // APIC
    11, // SYSENTER
    13, // global pages
    15, // CMOV
    16, // PAT
    19, // CLFLUSH
    23, // MMX
    24, // FXSAVE
    25, // SSE
    26, // SSE2
]);

/// Leaf 7, EBX.
const FEATURES_7B: u32 = bits(&[
    0,  // FSGSBASE
    1,  // TSC_ADJUST
    7,  // SMEP
    9,  // REP MOVSB and STOSB are fast
    10, // INVPCID
    13, // no selectors of x87 instructions and operands
    18, // RDSEED
    20, // SMAP
    23, // CLFLUSHOPT
    29, // SHA
]);
/// Leaf 7, ECX.
const FEATURES_7C: u32 = bits(&[
    2, // UMIP
]);
/// Leaf 7, EDX. The last two let systems see that there is nothing to mitigate.
const FEATURES_7D: u32 = bits(&[
    4,  // short REP MOVSB is fast
    26, // SPEC_CTRL and PRED_CMD
    29, // ARCH_CAPABILITIES
]);

/// IA32_ARCH_CAPABILITIES: an interpreter speculates on nothing, so it is immune to what these bits name (SDM 4).
/// IBRS_ALL makes systems prefer plain indirect branches.
pub const ARCH_CAPABILITIES: u64 = 1 << 0 // RDCL_NO
    | 1 << 1 // IBRS_ALL
    | 1 << 3 // SKIP_L1DFL_VMENTRY
    | 1 << 4 // SSB_NO
    | 1 << 5 // MDS_NO
    | 1 << 6 // PSCHANGE_MC_NO
    | 1 << 8 // TAA_NO
    | 1 << 13 // SBDR_SSDP_NO
    | 1 << 14 // FBSDP_NO
    | 1 << 15 // PSDP_NO
    | 1 << 20 // BHI_NO
    | 1 << 24 // PBRSB_NO
    | 1 << 26 // GDS_NO
    | 1 << 27 // RFDS_NO
    | 1 << 62; // ITS_NO

/// Leaf 0x80000001, ECX.
const FEATURES_EXTENDED_C: u32 = bits(&[
    0, // LAHF in 64-bit mode
    8, // PREFETCHW
]);
/// Leaf 0x80000001, EDX.
const FEATURES_EXTENDED_D: u32 = bits(&[
    11, // SYSCALL
    20, // no-execute pages
    26, // 1 GiB pages
    27, // RDTSCP
    29, // long mode
]);

/// Leaf 4: type 1 is data, 2 instructions, 3 both. C libraries choose by the size of the last level when to go past the
/// caches, which gains nothing here, so that is large.
const CACHES: [Registers; 4] =
    [cache(1, 1, 8, 64), cache(2, 1, 8, 64), cache(3, 2, 8, 1024), cache(3, 3, 16, 32768)];

/// A cache with lines of 64 bytes, for one processor.
const fn cache(kind: u32, level: u32, ways: u32, sets: u32) -> Registers {
    const SELF_INITIALIZING: u32 = 1 << 8;
    [kind | level << 5 | SELF_INITIALIZING, 63 | (ways - 1) << 22, sets - 1, 0]
}

/// A little-endian word of a text.
fn word(text: &[u8], index: usize) -> u32 {
    text.chunks_exact(4)
        .nth(index)
        .map_or(0, |bytes| bytes.iter().rev().fold(0, |n, &b| n << 8 | u32::from(b)))
}

/// What CPUID answers for a leaf (EAX) and subleaf (ECX). Beyond the last leaf that is what the last basic one says.
pub fn leaf(cpu: &Cpu<X86_64>, leaf: u32, subleaf: u32) -> Registers {
    let known =
        leaf <= LAST_BASIC || leaf == FIRST_HYPERVISOR || (FIRST_EXTENDED..=LAST_EXTENDED).contains(&leaf);
    let leaf = if known { leaf } else { LAST_BASIC };
    match leaf {
        0 => [LAST_BASIC, word(VENDOR, 0), word(VENDOR, 2), word(VENDOR, 1)],
        1 => {
            let osxsave = if cpu.guest.cr4 & CR4_OSXSAVE != 0 { OSXSAVE } else { 0 };
            // Lines of 64 bytes for CLFLUSH, one processor, APIC identifier 0.
            [SIGNATURE, 8 << 8 | 1 << 16, FEATURES_1C | osxsave, FEATURES_1D]
        }
        // Leaf 4 describes the caches.
        2 => [0x00fe_ff01, 0, 0, 0],
        4 => CACHES.get(subleaf as usize).copied().unwrap_or_default(),
        // The APIC timer always runs.
        6 => [1 << 2, 0, 0, 0],
        7 if subleaf == 0 => [0, FEATURES_7B, FEATURES_7C, FEATURES_7D],
        // No topology below the package.
        0xb => [0, 0, subleaf & 0xff, 0],
        0xd => xsave(subleaf),
        0x15 => [1, (TSC_HZ / CRYSTAL_HZ) as u32, CRYSTAL_HZ as u32, 0],
        0x16 => [1000, 1000, 100, 0],
        FIRST_HYPERVISOR => [FIRST_HYPERVISOR, word(HYPERVISOR, 0), word(HYPERVISOR, 1), word(HYPERVISOR, 2)],
        FIRST_EXTENDED => [LAST_EXTENDED, 0, 0, 0],
        0x8000_0001 => [0, 0, FEATURES_EXTENDED_C, FEATURES_EXTENDED_D],
        0x8000_0002..=0x8000_0004 => {
            let first = 4 * (leaf - 0x8000_0002) as usize;
            [word(BRAND, first), word(BRAND, first + 1), word(BRAND, first + 2), word(BRAND, first + 3)]
        }
        // The second-level cache: 512 KiB, 8 ways, lines of 64 bytes.
        0x8000_0006 => [0, 0, 512 << 16 | 6 << 12 | 64, 0],
        // The TSC runs at one rate in every state.
        0x8000_0007 => [0, 0, 0, 1 << 8],
        0x8000_0008 => [PHYSICAL_BITS | LINEAR_BITS << 8, 0, 0, 0],
        _ => [0; 4],
    }
}

/// Leaf 0xd: XSAVE.
fn xsave(subleaf: u32) -> Registers {
    match subleaf {
        0 => [XCR0_SUPPORTED as u32, XSAVE_AREA_BYTES, XSAVE_AREA_BYTES, 0],
        // XSAVEOPT and XSAVEC.
        1 => [0b11, XSAVE_AREA_BYTES, 0, 0],
        _ => [0; 4],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86_64::testing;

    #[test]
    fn texts_come_in_the_order_of_the_registers() {
        let cpu = testing::cpu();
        let [_, b, c, d] = leaf(&cpu, 0, 0);
        let name: Vec<u8> = [b, d, c].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(name, VENDOR);
        let brand: Vec<u8> = (0x8000_0002..=0x8000_0004)
            .flat_map(|number| leaf(&cpu, number, 0))
            .flat_map(u32::to_le_bytes)
            .collect();
        assert_eq!(brand, BRAND);
    }

    #[test]
    fn the_tsc_counts_nanoseconds() {
        let cpu = testing::cpu();
        let [denominator, numerator, crystal_hz, _] = leaf(&cpu, 0x15, 0);
        assert_eq!(u64::from(crystal_hz) * u64::from(numerator) / u64::from(denominator), 1_000_000_000);
    }

    #[test]
    fn leaves_that_do_not_exist_are_the_last_basic_one() {
        let cpu = testing::cpu();
        for number in [0x17, 0x4000_0001, 0x8000_0009, u32::MAX] {
            assert_eq!(leaf(&cpu, number, 0), leaf(&cpu, LAST_BASIC, 0));
        }
    }
}
