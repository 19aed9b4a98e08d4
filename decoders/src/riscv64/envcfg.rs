//! `menvcfg` and `senvcfg`: which extensions lower privileges may use (Priv. 3.1.18, 4.1.10).

use super::regs::Privilege;

/// Fences of device output imply memory ones. Kept, without an effect: accesses happen in order.
const FIOM: u64 = 1;
/// What CBO.INVAL does: 0 traps, 1 flushes, 3 invalidates; 2 is reserved.
pub const CBIE: u64 = 3 << 4;
/// CBO.CLEAN and CBO.FLUSH are allowed.
pub const CBCFE: u64 = 1 << 6;
/// CBO.ZERO is allowed.
pub const CBZE: u64 = 1 << 7;
/// Hardware updates accessed and dirty bits (Svadu).
pub const ADUE: u64 = 1 << 61;
/// Page-based memory types are on (Svpbmt).
pub const PBMTE: u64 = 1 << 62;
/// `stimecmp` is on (Sstc).
pub const STCE: u64 = 1 << 63;

/// Fields that exist in `senvcfg`.
const S_FIELDS: u64 = FIOM | CBIE | CBCFE | CBZE;
/// Fields that exist in `menvcfg`.
const M_FIELDS: u64 = S_FIELDS | ADUE | PBMTE | STCE;

/// A register after a write of `value`.
pub const fn write(old: u64, value: u64, privilege: Privilege) -> u64 {
    let mut fields = match privilege {
        Privilege::Machine => M_FIELDS,
        _ => S_FIELDS,
    };
    if value & CBIE == 2 << 4 {
        fields &= !CBIE;
    }
    old & !fields | value & fields
}

/// Whether `privilege` may use what `field` controls.
pub const fn allows(field: u64, privilege: Privilege, menvcfg: u64, senvcfg: u64) -> bool {
    match privilege {
        Privilege::Machine => true,
        Privilege::Supervisor => menvcfg & field != 0,
        Privilege::User => menvcfg & field != 0 && senvcfg & field != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_warl() {
        assert_eq!(write(0, u64::MAX, Privilege::Machine), M_FIELDS);
        assert_eq!(write(0, u64::MAX, Privilege::Supervisor), S_FIELDS);
        assert_eq!(write(0, 2 << 4, Privilege::Machine), 0);
        assert_eq!(write(CBIE, 2 << 4 | CBZE, Privilege::Supervisor), CBIE | CBZE);
    }

    #[test]
    fn user_needs_both_registers() {
        for (menvcfg, senvcfg, s, u) in
            [(0, 0, false, false), (CBZE, 0, true, false), (0, CBZE, false, false), (CBZE, CBZE, true, true)]
        {
            assert!(allows(CBZE, Privilege::Machine, menvcfg, senvcfg));
            assert_eq!(allows(CBZE, Privilege::Supervisor, menvcfg, senvcfg), s);
            assert_eq!(allows(CBZE, Privilege::User, menvcfg, senvcfg), u);
        }
    }
}
