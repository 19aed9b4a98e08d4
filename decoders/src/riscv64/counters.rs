//! Counters that software may set and stop: `mcycle` and `minstret` (Priv. 3.1.10, 3.1.12).
//!
//! A cycle is an instruction: the machine has no pipeline to time.

use serde::{Deserialize, Serialize};

/// Bit of the cycle counter in `mcountinhibit` and the counter-enable registers.
pub const CY: u64 = 1;
/// Bit of `time` in the counter-enable registers.
pub const TM: u64 = 2;
/// Bit of the instruction counter.
pub const IR: u64 = 4;

/// A counter of retired instructions that software may set and stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// While running: the value minus the instructions retired, wrapping. While stopped: the value.
    base: u64,
    stopped: bool,
}

impl Counter {
    /// The value for the instruction that reads it, which `retired` already includes.
    pub fn read(&self, retired: u64) -> u64 {
        if self.stopped { self.base } else { self.base.wrapping_add(retired).wrapping_sub(1) }
    }

    /// Sets what the next instruction reads: a write replaces the increment (Priv. 3.1.10).
    pub fn write(&mut self, retired: u64, value: u64) {
        self.base = if self.stopped { value } else { value.wrapping_sub(retired) };
    }

    /// Stops or runs the counter (`mcountinhibit`).
    pub fn set_stopped(&mut self, retired: u64, stopped: bool) {
        let value = self.read(retired.wrapping_add(1));
        if stopped != self.stopped {
            self.stopped = stopped;
            self.write(retired, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_value_is_what_the_next_instruction_reads() {
        let mut counter = Counter::default();
        assert_eq!(counter.read(1), 0, "the first instruction reads 0");
        counter.write(10, u64::MAX);
        assert_eq!(counter.read(11), u64::MAX);
        assert_eq!(counter.read(12), 0);
    }

    #[test]
    fn a_stopped_counter_keeps_its_value() {
        let mut counter = Counter::default();
        counter.set_stopped(5, true);
        assert_eq!(counter.read(100), 5);
        counter.write(100, 7);
        assert_eq!(counter.read(101), 7);
        counter.set_stopped(200, false);
        assert_eq!(counter.read(201), 7);
        assert_eq!(counter.read(202), 8);
    }
}
