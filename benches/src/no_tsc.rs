//! Hosts without a time-stamp counter: what QEMU's translator gives to an x86 guest instead has no frequency.

use anyhow::{Result, bail};

/// The frequency in kHz.
///
/// # Errors
/// Always.
pub fn khz() -> Result<u64> {
    bail!("QEMU's x86_64 guests are measured on x86_64 hosts only: elsewhere their clock has no known rate")
}
