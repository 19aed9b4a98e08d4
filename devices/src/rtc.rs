//! The goldfish real-time clock, as Linux's rtc-goldfish driver expects it.
//!
//! The time is the host's wall clock plus what the guest set it off by, so that it is right after a resume.

use crate::backend::clock::WallClock;
use crate::fdt::{self, FdtWriter, Place};
use c2w_engine::addr::Width;
use c2w_engine::irq::IrqLine;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// Length of the window.
pub const WINDOW_BYTES: u64 = 0x1000;

/// Registers (Android goldfish virtual hardware, "RTC").
const TIME_LOW: u64 = 0x00;
const TIME_HIGH: u64 = 0x04;
const ALARM_LOW: u64 = 0x08;
const ALARM_HIGH: u64 = 0x0c;
const IRQ_ENABLED: u64 = 0x10;
const CLEAR_ALARM: u64 = 0x14;
const ALARM_STATUS: u64 = 0x18;
const CLEAR_INTERRUPT: u64 = 0x1c;

/// State of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtcState {
    /// Guest's time minus the host's, in nanoseconds, wrapping.
    pub offset_ns: u64,
    /// High word of the time, latched when the low word was read.
    pub time_high: u32,
    /// Time of the alarm, or what of it is written so far.
    pub alarm_ns: u64,
    /// The alarm will ring.
    pub armed: bool,
    /// The alarm may raise the interrupt.
    pub irq_enabled: bool,
    /// The alarm rang.
    pub irq_pending: bool,
}

/// The clock device.
pub struct Rtc {
    clock: Box<dyn WallClock>,
    irq: IrqLine,
    state: RtcState,
    /// Guest time at which the alarm rings.
    deadline_ns: Option<u64>,
}

impl Rtc {
    /// A clock that shows `clock`.
    pub fn new(clock: Box<dyn WallClock>, irq: IrqLine) -> Self {
        Self::restore(clock, irq, &RtcState::default())
    }

    /// The saved clock, over the host's present time.
    pub fn restore(clock: Box<dyn WallClock>, irq: IrqLine, state: &RtcState) -> Self {
        // Until `service` has compared the alarm with the new host's clock it may be due at any time.
        let rtc = Self { clock, irq, state: *state, deadline_ns: state.armed.then_some(0) };
        rtc.update_irq();
        rtc
    }

    /// The state.
    pub fn save(&self) -> RtcState {
        self.state
    }

    /// Rings the alarm if it is due.
    pub fn service(&mut self, env: &mut DeviceEnv<'_>) {
        if self.deadline_ns.is_some_and(|deadline| deadline <= env.now_ns) {
            self.arm(env.now_ns);
        }
    }

    /// Guest time at which [`Rtc::service`] has something to do.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Writes the device tree node (binding `google,goldfish-rtc`).
    pub fn write_fdt(&self, fdt: &mut FdtWriter, place: &Place) -> Result<(), fdt::Error> {
        let node = fdt.begin_node(&place.node_name("rtc"))?;
        fdt.property_string("compatible", "google,goldfish-rtc")?;
        place.write_reg(fdt)?;
        place.write_interrupt(fdt)?;
        fdt.end_node(node)
    }

    fn time_ns(&self) -> u64 {
        self.clock.unix_ns().wrapping_add(self.state.offset_ns)
    }

    /// Rings an alarm that is due, else computes when it will be.
    fn arm(&mut self, now_ns: u64) {
        let left_ns = self.state.alarm_ns.saturating_sub(self.time_ns());
        self.state.armed = left_ns > 0;
        self.state.irq_pending |= left_ns == 0;
        self.deadline_ns = self.state.armed.then(|| now_ns.saturating_add(left_ns));
        self.update_irq();
    }

    fn update_irq(&self) {
        self.irq.set(self.state.irq_pending && self.state.irq_enabled);
    }
}

fn with_low(value: u64, low: u32) -> u64 {
    value & !u64::from(u32::MAX) | u64::from(low)
}

fn with_high(value: u64, high: u32) -> u64 {
    value & u64::from(u32::MAX) | u64::from(high) << 32
}

impl MmioDevice for Rtc {
    fn widths(&self) -> &'static [Width] {
        &[Width::W32]
    }

    fn read(&mut self, offset: u64, _width: Width, _env: &mut DeviceEnv<'_>) -> u64 {
        let value = match offset {
            TIME_LOW => {
                let time_ns = self.time_ns();
                self.state.time_high = (time_ns >> 32) as u32;
                time_ns as u32
            }
            TIME_HIGH => self.state.time_high,
            ALARM_LOW => self.state.alarm_ns as u32,
            ALARM_HIGH => (self.state.alarm_ns >> 32) as u32,
            IRQ_ENABLED => self.state.irq_enabled.into(),
            ALARM_STATUS => self.state.armed.into(),
            _ => 0,
        };
        value.into()
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        let value = value as u32;
        match offset {
            TIME_LOW | TIME_HIGH => {
                let set = if offset == TIME_LOW { with_low } else { with_high };
                let host_ns = self.clock.unix_ns();
                let time_ns = host_ns.wrapping_add(self.state.offset_ns);
                self.state.offset_ns = set(time_ns, value).wrapping_sub(host_ns);
            }
            // The driver writes the high word first; the low word arms.
            ALARM_HIGH => self.state.alarm_ns = with_high(self.state.alarm_ns, value),
            ALARM_LOW => {
                self.state.alarm_ns = with_low(self.state.alarm_ns, value);
                self.arm(env.now_ns);
            }
            IRQ_ENABLED => {
                self.state.irq_enabled = value & 1 != 0;
                self.update_irq();
            }
            CLEAR_ALARM => {
                self.state.armed = false;
                self.deadline_ns = None;
            }
            CLEAR_INTERRUPT => {
                self.state.irq_pending = false;
                self.update_irq();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use c2w_engine::irq::{Attention, IrqLines};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn write(rtc: &mut Rtc, bench: &mut Bench, offset: u64, value: u64) {
        rtc.write(offset, Width::W32, value, &mut bench.env());
    }

    fn time(rtc: &mut Rtc, bench: &mut Bench) -> u64 {
        let low = rtc.read(TIME_LOW, Width::W32, &mut bench.env());
        low | rtc.read(TIME_HIGH, Width::W32, &mut bench.env()) << 32
    }

    #[test]
    fn time_follows_the_host_and_what_the_guest_set() {
        let host = Arc::new(AtomicU64::new(0x1_ffff_ffff));
        let clock = host.clone();
        let line = IrqLines::new(&Attention::default()).line(0);
        let mut rtc = Rtc::new(Box::new(move || clock.load(Ordering::Relaxed)), line);
        let mut bench = Bench::new();
        assert_eq!(rtc.read(TIME_LOW, Width::W32, &mut bench.env()), 0xffff_ffff);
        host.store(0x2_0000_0000, Ordering::Relaxed);
        assert_eq!(rtc.read(TIME_HIGH, Width::W32, &mut bench.env()), 1, "latched with the low word");
        write(&mut rtc, &mut bench, TIME_HIGH, 0x10);
        write(&mut rtc, &mut bench, TIME_LOW, 0x20);
        host.fetch_add(5, Ordering::Relaxed);
        assert_eq!(time(&mut rtc, &mut bench), 0x10_0000_0025);
    }

    #[test]
    fn the_alarm_rings_once_and_survives_save_and_restore() {
        let host = Arc::new(AtomicU64::new(1000));
        let clock = move |host: &Arc<AtomicU64>| {
            let host = host.clone();
            Box::new(move || host.load(Ordering::Relaxed))
        };
        let line = IrqLines::new(&Attention::default()).line(0);
        let mut rtc = Rtc::new(clock(&host), line.clone());
        let mut bench = Bench::new();
        bench.now_ns = 50;
        write(&mut rtc, &mut bench, IRQ_ENABLED, 1);
        write(&mut rtc, &mut bench, ALARM_HIGH, 0);
        write(&mut rtc, &mut bench, ALARM_LOW, 1300);
        assert_eq!(rtc.deadline_ns(), Some(350));
        let mut rtc = Rtc::restore(clock(&host), line.clone(), &rtc.save());
        rtc.service(&mut bench.env());
        assert_eq!((rtc.deadline_ns(), line.is_high()), (Some(350), false));
        host.store(1300, Ordering::Relaxed);
        bench.now_ns = 350;
        rtc.service(&mut bench.env());
        assert_eq!((rtc.deadline_ns(), line.is_high()), (None, true));
        write(&mut rtc, &mut bench, CLEAR_INTERRUPT, 1);
        assert!(!line.is_high());
    }
}
