//! The local APIC's timer: one-shot, periodic and TSC-deadline (SDM 3A 11.5.4).

use serde::{Deserialize, Serialize};

/// Clock that the timer divides.
pub const BUS_CLOCK_HZ: u64 = 25_000_000;
const TICK_NS: u64 = 1_000_000_000 / BUS_CLOCK_HZ;

/// Timer modes, where the local vector table has them.
const PERIODIC: u32 = 1 << 17;
const TSC_DEADLINE: u32 = 2 << 17;

/// State of the timer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimerState {
    /// Mode, bits 17 and 18.
    pub mode_bits: u32,
    /// Divide configuration register.
    pub divide: u32,
    /// Initial count.
    pub initial_count: u32,
    /// Guest time at which the count was the initial one.
    pub start_ns: u64,
    /// It counts.
    pub running: bool,
    /// Time-stamp counter at which it expires; 0 if not armed.
    pub tsc_deadline: u64,
    /// Time-stamp counter minus guest time in nanoseconds, wrapping.
    pub tsc_adjust: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Timer(TimerState);

impl Timer {
    pub fn restore(state: &TimerState) -> Self {
        // A count of nothing would be a period of nothing.
        Self(TimerState { running: state.running && state.initial_count != 0, ..state.clone() })
    }

    pub fn save(&self) -> TimerState {
        self.0.clone()
    }

    fn counts_tsc(&self) -> bool {
        self.0.mode_bits & TSC_DEADLINE != 0
    }

    /// Nanoseconds of one count.
    fn count_ns(&self) -> u64 {
        let field = self.0.divide & 3 | self.0.divide >> 1 & 4;
        TICK_NS << ((field + 1) & 7)
    }

    fn period_ns(&self) -> u64 {
        u64::from(self.0.initial_count) * self.count_ns()
    }

    pub fn set_mode(&mut self, mode_bits: u32) {
        // Into or out of TSC-deadline mode disarms.
        if (self.0.mode_bits ^ mode_bits) & TSC_DEADLINE != 0 {
            self.0.running = false;
            self.0.initial_count = 0;
            self.0.tsc_deadline = 0;
        }
        self.0.mode_bits = mode_bits;
    }

    pub fn start(&mut self, count: u32, now_ns: u64) {
        if !self.counts_tsc() {
            self.0.initial_count = count;
            self.0.start_ns = now_ns;
            self.0.running = count != 0;
        }
    }

    pub fn divide(&self) -> u32 {
        self.0.divide
    }

    pub fn set_divide(&mut self, value: u32, now_ns: u64) {
        let counted = u64::from(self.0.initial_count - self.current_count(now_ns).min(self.0.initial_count));
        self.0.divide = value & 0b1011;
        self.0.start_ns = now_ns.wrapping_sub(counted * self.count_ns());
    }

    pub fn initial_count(&self) -> u32 {
        self.0.initial_count
    }

    pub fn current_count(&self, now_ns: u64) -> u32 {
        if !self.0.running {
            return 0;
        }
        let counted = now_ns.wrapping_sub(self.0.start_ns) / self.count_ns();
        u64::from(self.0.initial_count).saturating_sub(counted) as u32
    }

    /// Reads as 0 unless armed.
    pub fn tsc_deadline(&self) -> u64 {
        self.0.tsc_deadline
    }

    pub fn set_tsc_deadline(&mut self, tsc: u64) {
        if self.counts_tsc() {
            self.0.tsc_deadline = tsc;
        }
    }

    pub fn tsc_adjust(&self) -> u64 {
        self.0.tsc_adjust
    }

    pub fn set_tsc_adjust(&mut self, adjust: u64) {
        self.0.tsc_adjust = adjust;
    }

    pub fn deadline_ns(&self) -> Option<u64> {
        if self.0.running {
            return Some(self.0.start_ns.wrapping_add(self.period_ns()));
        }
        if self.0.tsc_deadline == 0 {
            return None;
        }
        let deadline_ns = i128::from(self.0.tsc_deadline) - i128::from(self.0.tsc_adjust as i64);
        u64::try_from(deadline_ns.max(0)).ok()
    }

    /// Whether it has expired since the last call; it goes on as its mode says.
    pub fn expire(&mut self, now_ns: u64) -> bool {
        if self.deadline_ns().is_none_or(|deadline_ns| now_ns < deadline_ns) {
            return false;
        }
        self.0.tsc_deadline = 0;
        if self.0.mode_bits & PERIODIC != 0 && self.0.running {
            // Periods that nobody looked at are lost, like the interrupts of a processor that did not take them.
            let elapsed_ns = now_ns.wrapping_sub(self.0.start_ns);
            let whole_ns = elapsed_ns - elapsed_ns % self.period_ns();
            self.0.start_ns = self.0.start_ns.wrapping_add(whole_ns);
        } else {
            self.0.running = false;
        }
        true
    }
}
