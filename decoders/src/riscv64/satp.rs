//! `satp`: which page tables translate addresses (Priv. 4.1.11).
//!
//! Sv39 and Sv48 exist. Sv57 would cost nothing here, but Linux takes the longest mode it finds, and each level is
//! one more read in every page walk.

/// Position of the mode.
const MODE_SHIFT: u32 = 60;
/// Position of the address space identifier.
const ASID_SHIFT: u32 = 44;
/// Bits of the address space identifier, all of which exist.
pub const ASID_MASK: u64 = 0xffff;
/// Bits of the root table's page number.
const PPN_MASK: u64 = (1 << 44) - 1;

/// The address space identifier.
pub const fn asid(satp: u64) -> u64 {
    satp >> ASID_SHIFT & ASID_MASK
}

/// Page number of the root page table.
pub const fn root(satp: u64) -> u64 {
    satp & PPN_MASK
}

/// Levels of the page tables; 0 without translation.
pub const fn levels(satp: u64) -> u32 {
    match satp >> MODE_SHIFT {
        8 => 3,
        9 => 4,
        _ => 0,
    }
}

/// `satp` after a write: one with a mode that does not exist has no effect, Bare has no further fields.
pub const fn write(old: u64, value: u64) -> u64 {
    match value >> MODE_SHIFT {
        0 => 0,
        8 | 9 => value,
        _ => old,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_existing_modes_are_taken() {
        let sv39 = 8 << 60 | 0xffff << 44 | 0x8_0000;
        for (old, value, expected) in [
            (0, sv39, sv39),
            (sv39, 1 << 60 | 1, sv39),
            (sv39, 11 << 60, sv39),
            (sv39, 5, 0),
            (0, 9 << 60 | 7, 9 << 60 | 7),
            (0, 10 << 60 | 7, 0),
        ] {
            assert_eq!(write(old, value), expected, "{old:#x} {value:#x}");
        }
        assert_eq!((asid(sv39), root(sv39), levels(sv39), levels(0)), (0xffff, 0x8_0000, 3, 0));
    }
}
