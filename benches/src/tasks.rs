//! What the guests are asked to do, and in which unit the answer is given.

use crate::assets::BULK_BYTES;
use crate::figure::Unit;
use std::time::Duration;

/// Something to measure in a guest.
pub struct Task {
    /// Its name in the table.
    pub name: &'static str,
    /// Shell commands before it, which are not timed.
    pub prepare: &'static str,
    /// The shell commands that are timed.
    pub script: &'static str,
    /// Bytes moved, for a figure in bytes per second rather than in seconds.
    bytes: Option<u64>,
}

impl Task {
    /// The figure's unit.
    pub fn unit(&self) -> Unit {
        if self.bytes.is_some() { Unit::MegabytesPerSecond } else { Unit::Seconds }
    }

    /// The figure for a run that took so long.
    pub fn value(&self, took: Duration) -> f64 {
        match self.bytes {
            Some(bytes) => bytes as f64 / 1e6 / took.as_secs_f64(),
            None => took.as_secs_f64(),
        }
    }
}

/// What forks a lot, also before memory is looked at.
pub const FORKS: &str = "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done";

const DROP_CACHES: &str = "echo 3 > /proc/sys/vm/drop_caches";
/// What is moved in small pieces; less than in large ones, so that it takes no longer.
const SMALL_PIECES_BYTES: u64 = 64 << 20;

/// All of them, in this order.
pub const TASKS: [Task; 12] = [
    computing("1000 x fork+exec /bin/true", "", FORKS),
    computing(
        "sha256sum of 64 MiB",
        "head -c 67108864 /dev/zero > /tmp/zero && cat /tmp/zero > /dev/null",
        "sha256sum /tmp/zero; rm /tmp/zero",
    ),
    computing("sh loop of 200000", "", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"),
    computing("python3 -c pass", "python3 -c pass", "python3 -c pass"),
    moving("9p read bs=1M", DROP_CACHES, "dd if=/share/bulk of=/dev/null bs=1M", BULK_BYTES),
    moving(
        "9p read bs=4k",
        DROP_CACHES,
        "dd if=/share/bulk of=/dev/null bs=4k count=16384",
        SMALL_PIECES_BYTES,
    ),
    moving("9p write bs=1M", "rm -f /share/w", "dd if=/dev/zero of=/share/w bs=1M count=256", BULK_BYTES),
    moving(
        "9p write bs=4k",
        "rm -f /share/w",
        "dd if=/dev/zero of=/share/w bs=4k count=16384",
        SMALL_PIECES_BYTES,
    ),
    moving("blk read bs=1M direct", "", "dd if=/dev/vdb of=/dev/null bs=1M iflag=direct", BULK_BYTES),
    moving(
        "blk read bs=4k direct",
        "",
        "dd if=/dev/vdb of=/dev/null bs=4k count=16384 iflag=direct",
        SMALL_PIECES_BYTES,
    ),
    moving("blk read bs=1M buffered", DROP_CACHES, "dd if=/dev/vdb of=/dev/null bs=1M", BULK_BYTES),
    moving(
        "blk read bs=4k buffered",
        DROP_CACHES,
        "dd if=/dev/vdb of=/dev/null bs=4k count=16384",
        SMALL_PIECES_BYTES,
    ),
];

const fn computing(name: &'static str, prepare: &'static str, script: &'static str) -> Task {
    Task { name, prepare, script, bytes: None }
}

const fn moving(name: &'static str, prepare: &'static str, script: &'static str, bytes: u64) -> Task {
    Task { name, prepare, script, bytes: Some(bytes) }
}
