//! How fast this host's time-stamp counter counts. QEMU's translator gives it to an x86 guest as it is, but nothing by
//! which the guest could know its frequency.

use anyhow::Result;
use std::arch::x86_64::_rdtsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long it is measured: reading the clock is some 100 ns off, so that this gives five digits.
const MEASURED: Duration = Duration::from_millis(50);

/// The frequency in kHz.
///
/// # Errors
/// None where there is such a counter.
pub fn khz() -> Result<u64> {
    let (clock, from) = (Instant::now(), read());
    thread::sleep(MEASURED);
    let (took, to) = (clock.elapsed(), read());
    Ok((u128::from(to.wrapping_sub(from)) * 1_000_000 / took.as_nanos()) as u64)
}

fn read() -> u64 {
    // SAFETY: every x86-64 processor has the instruction, and systems let programs use it.
    unsafe { _rdtsc() }
}
