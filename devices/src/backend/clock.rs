//! The wall clock a guest's real-time clock shows.

/// Time of day on the host.
pub trait WallClock: Send {
    /// Nanoseconds since 1970-01-01 00:00 UTC.
    fn unix_ns(&self) -> u64;
}

impl<F: Fn() -> u64 + Send> WallClock for F {
    fn unix_ns(&self) -> u64 {
        self()
    }
}
