//! The host's clock as guest time.

use c2w_engine::clock::Clock;
use std::time::Instant;

/// Guest time that passes as the host's monotonic clock does, from the moment of creation.
#[derive(Debug)]
pub struct HostClock {
    start: Instant,
}

impl Default for HostClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for HostClock {
    fn now_ns(&self, _retired: u64) -> u64 {
        // 2^64 ns are 584 years.
        self.start.elapsed().as_nanos() as u64
    }

    fn skip_to(&mut self, _deadline_ns: u64, _retired: u64) {}
}
