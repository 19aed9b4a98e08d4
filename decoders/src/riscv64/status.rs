//! `mstatus` and its supervisor view: bit positions, writable fields and their legal values (Priv. 3.1.6, 4.1.1).

use super::regs::{FpState, Privilege};

/// Supervisor interrupts are enabled.
pub const SIE: u64 = 1 << 1;
/// Machine interrupts are enabled.
pub const MIE: u64 = 1 << 3;
/// SIE before the trap into S-mode.
pub const SPIE: u64 = 1 << 5;
/// MIE before the trap into M-mode.
pub const MPIE: u64 = 1 << 7;
/// Privilege before the trap into S-mode.
pub const SPP: u64 = 1 << 8;
/// Position of the privilege before the trap into M-mode.
pub const MPP_SHIFT: u32 = 11;
/// Field of the privilege before the trap into M-mode.
pub const MPP: u64 = 3 << MPP_SHIFT;
/// Position of the floating-point state.
pub const FS_SHIFT: u32 = 13;
/// Field of the floating-point state: 0 off, 1 initial, 2 clean, 3 dirty.
pub const FS: u64 = 3 << FS_SHIFT;
/// Loads and stores of M-mode use the privilege in MPP.
pub const MPRV: u64 = 1 << 17;
/// S-mode may access user pages.
pub const SUM: u64 = 1 << 18;
/// Executable pages are readable.
pub const MXR: u64 = 1 << 19;
/// S-mode may not touch `satp` or fence translations.
pub const TVM: u64 = 1 << 20;
/// WFI below M-mode traps.
pub const TW: u64 = 1 << 21;
/// SRET in S-mode traps.
pub const TSR: u64 = 1 << 22;
/// UXL and SXL, fixed: U-mode and S-mode are 64 bits wide.
const XL: u64 = 2 << 32 | 2 << 34;
/// UXL alone.
const UXL: u64 = 2 << 32;
/// Some extension's state is dirty.
const SD: u64 = 1 << 63;

/// Fields that M-mode may write.
const M_WRITABLE: u64 = SIE | MIE | SPIE | MPIE | SPP | MPP | FS | MPRV | SUM | MXR | TVM | TW | TSR;
/// Fields that S-mode may write.
const S_WRITABLE: u64 = SIE | SPIE | SPP | FS | SUM | MXR;

/// Value at reset: all writable fields zero (Priv. 3.4).
pub const RESET: u64 = XL;

/// `mstatus` after a write of `value` over `old`.
pub fn write_m(old: u64, value: u64) -> u64 {
    let mut writable = M_WRITABLE;
    // MPP is WARL; there is no privilege 2.
    if (value & MPP) >> MPP_SHIFT == 2 {
        writable &= !MPP;
    }
    with_summary(old & !writable | value & writable)
}

/// `mstatus` after a write of `value` to `sstatus`.
pub fn write_s(old: u64, value: u64) -> u64 {
    with_summary(old & !S_WRITABLE | value & S_WRITABLE)
}

/// What `sstatus` reads as.
pub fn read_s(mstatus: u64) -> u64 {
    mstatus & (S_WRITABLE | UXL | SD)
}

/// `mstatus` with the floating-point state dirty.
pub fn with_fp_dirty(mstatus: u64) -> u64 {
    with_summary(mstatus | FS)
}

/// SD is read-only: dirty floating-point state is the only state there is.
fn with_summary(mstatus: u64) -> u64 {
    if mstatus & FS == FS { mstatus | SD } else { mstatus & !SD }
}

/// The floating-point state as decoded code depends on it.
pub fn fp(mstatus: u64) -> FpState {
    match (mstatus & FS) >> FS_SHIFT {
        0 => FpState::Off,
        3 => FpState::Dirty,
        _ => FpState::Clean,
    }
}

/// The privilege in MPP.
pub fn mpp(mstatus: u64) -> Privilege {
    match (mstatus & MPP) >> MPP_SHIFT {
        0 => Privilege::User,
        1 => Privilege::Supervisor,
        _ => Privilege::Machine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_warl() {
        for (written, read) in [
            (0, RESET),
            (u64::MAX, RESET | M_WRITABLE | SD),
            (2 << MPP_SHIFT, RESET),
            (1 << MPP_SHIFT, RESET | 1 << MPP_SHIFT),
            (FS, RESET | FS | SD),
            (1 << FS_SHIFT, RESET | 1 << FS_SHIFT),
            (SD, RESET),
            (3 << 32, RESET),
        ] {
            assert_eq!(write_m(RESET, written), read, "{written:#x}");
        }
        assert_eq!(write_m(RESET | MPP, 2 << MPP_SHIFT) & MPP, MPP);
    }

    #[test]
    fn supervisor_view_hides_machine_fields() {
        let mstatus = write_m(RESET, u64::MAX);
        assert_eq!(read_s(mstatus), S_WRITABLE | UXL | SD);
        assert_eq!(write_s(mstatus, 0), RESET | M_WRITABLE & !S_WRITABLE);
        assert_eq!(write_s(RESET, u64::MAX), RESET | S_WRITABLE | SD);
    }
}
