//! Guest time: nanoseconds since power-on, from the host's clock or from the instruction count.

/// Where guest time comes from.
pub trait Clock: Send {
    /// Guest time, monotonic, given the number of instructions retired so far.
    fn now_ns(&self, retired: u64) -> u64;

    /// The guest is idle until `deadline_ns`: a virtual clock jumps there, a host clock waits for its caller.
    fn skip_to(&mut self, deadline_ns: u64, retired: u64);
}

/// Time that passes with retired instructions only: the same run gives the same times.
#[derive(Clone, Debug)]
pub struct InstructionClock {
    ns_per_insn: u64,
    skipped_ns: u64,
}

impl InstructionClock {
    /// A clock that advances `ns_per_insn` with every instruction.
    pub fn new(ns_per_insn: u64) -> Self {
        Self { ns_per_insn, skipped_ns: 0 }
    }
}

impl Clock for InstructionClock {
    fn now_ns(&self, retired: u64) -> u64 {
        retired.wrapping_mul(self.ns_per_insn).wrapping_add(self.skipped_ns)
    }

    fn skip_to(&mut self, deadline_ns: u64, retired: u64) {
        let idle_ns = deadline_ns.saturating_sub(self.now_ns(retired));
        self.skipped_ns = self.skipped_ns.wrapping_add(idle_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_skipped_once() {
        let mut clock = InstructionClock::new(10);
        assert_eq!(clock.now_ns(5), 50);
        clock.skip_to(1000, 5);
        assert_eq!(clock.now_ns(5), 1000);
        clock.skip_to(900, 5);
        assert_eq!(clock.now_ns(6), 1010);
    }

    #[test]
    fn a_timer_at_the_end_of_time_may_be_waited_for_twice() {
        let mut clock = InstructionClock::new(10);
        for retired in [5, 7] {
            clock.skip_to(u64::MAX, retired);
            assert_eq!(clock.now_ns(retired), u64::MAX);
        }
    }
}
