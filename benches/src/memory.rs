//! How much memory a process that emulates a computer holds beside the guest's RAM, from Linux's
//! account of its mappings (proc(5), `/proc/pid/smaps`).

use anyhow::{Context, Result};
use std::fs;

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Pages of guest RAM that were touched.
    pub ram_bytes: u64,
    /// Everything else, files that are shared with other processes included.
    pub other_bytes: u64,
}

/// Looks at a process now. Its guest has `ram_bytes` of RAM, in one mapping.
///
/// # Errors
/// When there is no such process, or no such mapping in it.
pub fn resident(pid: u32, ram_bytes: u64) -> Result<Resident> {
    let path = format!("/proc/{pid}/smaps");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    parse(&text, ram_bytes).with_context(|| format!("{path}: no mapping of {ram_bytes} bytes"))
}

/// Most resident memory that a process has had at a time, the guest's RAM included.
pub fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `None` if no mapping is large enough for RAM.
fn parse(smaps: &str, ram_bytes: u64) -> Option<Resident> {
    let (mut total, mut size, mut ram) = (0, 0, None::<(u64, u64)>);
    for line in smaps.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let kib = || rest.trim().strip_suffix(" kB")?.parse::<u64>().ok();
        match name {
            "Size" => size = kib()? * 1024,
            "Rss" => {
                let resident = kib()? * 1024;
                total += resident;
                // An address space may be reserved that is larger still; RAM fits best.
                if size >= ram_bytes && ram.is_none_or(|(best, _)| size < best) {
                    ram = Some((size, resident));
                }
            }
            _ => {}
        }
    }
    ram.map(|(_, ram_bytes)| Resident { ram_bytes, other_bytes: total - ram_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_at_least_what_is_kept() {
        let ours = vec![1u8; 8 << 20];
        assert!(peak_bytes(std::process::id()).unwrap() >= ours.iter().map(|byte| u64::from(*byte)).sum());
        assert_eq!(peak_bytes(u32::MAX), None);
    }

    #[test]
    fn ram_is_told_from_the_rest() {
        let smaps = "00400000-00500000 r-xp 00000000 00:00 0 /bin/x\nSize: 1024 kB\nRss: 512 kB\n\
                     7f0000000000-7f0000900000 rw-p 00000000 00:00 0\nSize: 9216 kB\nRss: 4096 kB\n\
                     7f1000000000-7f2000000000 rw-p 00000000 00:00 0\nSize: 67108864 kB\nRss: 64 kB\n\
                     VmFlags: rd wr mr\n";
        let expected = Resident { ram_bytes: 4096 * 1024, other_bytes: (512 + 64) * 1024 };
        assert_eq!(parse(smaps, 8 << 20), Some(expected));
        assert_eq!(parse(smaps, 1 << 40), None);
    }
}
