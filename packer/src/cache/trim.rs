//! Bounds what the cache keeps of one kind.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::SystemTime;

/// A file of the cache.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kept {
    /// When it was last of use.
    pub used: SystemTime,
    pub len_bytes: u64,
    pub path: PathBuf,
    /// The file whose lock whoever makes this one holds.
    pub lock: PathBuf,
}

/// Removes what was not used since `oldest`, and what was not used for longest until the rest is not too much.
pub(crate) fn trim(mut found: Vec<Kept>, kept_bytes: u64, oldest: Option<SystemTime>) {
    let mut total: u64 = found.iter().map(|kept| kept.len_bytes).sum();
    found.sort();
    for Kept { used, len_bytes, path, lock } in found {
        if total <= kept_bytes && oldest.is_none_or(|oldest| used >= oldest) {
            break;
        }
        // Whoever has it open keeps it; whoever writes it holds the lock.
        let lock = File::open(lock);
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) && fs::remove_file(&path).is_ok() {
            total -= len_bytes;
        }
    }
}
