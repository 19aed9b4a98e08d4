//! The host's clock as guest time.

use c2w_engine::clock::Clock;
use std::time::Instant;

/// Guest time that passes as the host's monotonic clock does, from the moment of creation.
#[derive(Debug)]
pub struct HostClock {
    start: Instant,
    /// Guest time then.
    start_ns: u64,
}

impl Default for HostClock {
    fn default() -> Self {
        Self::from(0)
    }
}

impl HostClock {
    /// A clock that shows this guest time now.
    pub fn from(now_ns: u64) -> Self {
        Self { start: Instant::now(), start_ns: now_ns }
    }
}

impl Clock for HostClock {
    fn now_ns(&self, _retired: u64) -> u64 {
        // 2^64 ns are 584 years.
        self.start_ns.saturating_add(self.start.elapsed().as_nanos() as u64)
    }

    fn skip_to(&mut self, _deadline_ns: u64, _retired: u64) {}
}
