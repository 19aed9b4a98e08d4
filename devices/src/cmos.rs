//! The real-time clock of a PC with its CMOS memory, a MC146818 with a century byte (Motorola data sheet).
//!
//! The time is the host's wall clock plus what the guest set it off by, so that it is right after a resume. Alarm and
//! update interrupts exist, the periodic one does not.

use crate::backend::clock::WallClock;
use c2w_engine::addr::Width;
use c2w_engine::irq::IrqLine;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// Register of the century, as ACPI's FADT says it.
pub const CENTURY: u8 = 0x32;

const SECONDS: u8 = 0;
const SECONDS_ALARM: u8 = 1;
const MINUTES: u8 = 2;
const MINUTES_ALARM: u8 = 3;
const HOURS: u8 = 4;
const HOURS_ALARM: u8 = 5;
const DAY_OF_WEEK: u8 = 6;
const DAY: u8 = 7;
const MONTH: u8 = 8;
const YEAR: u8 = 9;
const A: u8 = 10;
const B: u8 = 11;
const C: u8 = 12;
const D: u8 = 13;

/// Register A: an update is near.
const UPDATE_IN_PROGRESS: u8 = 0x80;
/// Register A after power-on: 32.768 kHz, 1024 Hz.
const RATE: u8 = 0x26;
/// Register D: the battery is good.
const VALID: u8 = 0x80;
/// Alarm bytes from here on match anything.
const ANY: u8 = 0xc0;

/// Bits of register B; the enable bits are those of the flags in C.
mod b {
    pub const SET: u8 = 0x80;
    pub const ALARM: u8 = 0x20;
    pub const UPDATE: u8 = 0x10;
    pub const BINARY: u8 = 4;
    pub const HOURS_24: u8 = 2;
}
/// Register C: the interrupt line is asserted.
const REQUEST: u8 = 0x80;

const NS: u64 = 1_000_000_000;
/// How long before an update register A says so.
const UPDATE_NS: u64 = 244_000;
const DAY_SECONDS: u64 = 86_400;
const PM: u8 = 0x80;

/// State of the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CmosState {
    /// Selected byte.
    pub index: u8,
    /// Memory. The bytes of the time count only while the clock is being set.
    pub bytes: Vec<u8>,
    /// Guest's time minus the host's, in nanoseconds, wrapping.
    pub offset_ns: u64,
    /// Second up to which alarms and updates were looked at.
    pub seen_s: u64,
}

/// The clock.
pub struct Cmos {
    clock: Box<dyn WallClock>,
    irq: IrqLine,
    state: CmosState,
    /// Guest time at which the next second begins, while somebody wants to know.
    deadline_ns: Option<u64>,
}

/// Bytes of the memory.
const BYTES: usize = 128;

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    // Years begin in March, so that the leap day is the last.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    (year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1)
        .saturating_sub(719_468)
}

/// Year, month and day of a number of days since 1970-01-01.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day)
}

impl Cmos {
    /// A clock that shows `clock`.
    pub fn new(clock: Box<dyn WallClock>, irq: IrqLine) -> Self {
        let mut bytes = vec![0; BYTES];
        bytes[usize::from(A)] = RATE;
        bytes[usize::from(B)] = b::HOURS_24;
        let state = CmosState { index: 0, bytes, offset_ns: 0, seen_s: 0 };
        Self { clock, irq, state, deadline_ns: None }
    }

    /// The saved clock, over the host's present time; `None` if its memory is of another size.
    pub fn restore(clock: Box<dyn WallClock>, irq: IrqLine, state: &CmosState) -> Option<Self> {
        if state.bytes.len() != BYTES {
            return None;
        }
        let mut cmos = Self { clock, irq, state: state.clone(), deadline_ns: None };
        // The next look compares the alarm with the new host's clock.
        cmos.deadline_ns = cmos.wants_seconds().then_some(0);
        cmos.irq.set(cmos.byte(C) & REQUEST != 0);
        Some(cmos)
    }

    /// The state.
    pub fn save(&self) -> CmosState {
        self.state.clone()
    }

    fn byte(&self, index: u8) -> u8 {
        self.state.bytes[usize::from(index)]
    }

    fn is_being_set(&self) -> bool {
        self.byte(B) & b::SET != 0
    }

    fn time_ns(&self) -> u64 {
        self.clock.unix_ns().wrapping_add(self.state.offset_ns)
    }

    fn wants_seconds(&self) -> bool {
        self.byte(B) & (b::ALARM | b::UPDATE) != 0 && !self.is_being_set()
    }

    /// Guest time of the next look.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Rings the alarm and says that a second began.
    pub fn service(&mut self, env: &mut DeviceEnv<'_>) {
        if self.deadline_ns.is_some_and(|deadline_ns| deadline_ns <= env.now_ns) {
            self.look(env.now_ns);
        }
    }

    fn look(&mut self, now_ns: u64) {
        let time_ns = self.time_ns();
        let now_s = time_ns / NS;
        if self.wants_seconds() && now_s > self.state.seen_s {
            // After a day every alarm has come.
            let first = (self.state.seen_s + 1).max(now_s.saturating_sub(DAY_SECONDS));
            if (first..=now_s).any(|second| self.alarm_is(second)) {
                self.raise(b::ALARM);
            }
            self.raise(b::UPDATE);
        }
        self.state.seen_s = now_s;
        self.deadline_ns = self.wants_seconds().then(|| now_ns.saturating_add(NS - time_ns % NS));
    }

    fn raise(&mut self, flag: u8) {
        let enabled = if self.byte(B) & flag != 0 { REQUEST } else { 0 };
        self.state.bytes[usize::from(C)] |= flag | enabled;
        self.irq.set(self.byte(C) & REQUEST != 0);
    }

    fn alarm_is(&self, second: u64) -> bool {
        let fields = [(SECONDS_ALARM, SECONDS), (MINUTES_ALARM, MINUTES), (HOURS_ALARM, HOURS)];
        fields.into_iter().all(|(alarm, field)| {
            let alarm = self.byte(alarm);
            alarm >= ANY && field != HOURS
                || alarm & ANY == ANY
                || alarm == self.field_at(field, second).unwrap_or_default()
        })
    }

    fn encode(&self, value: u64) -> u8 {
        let value = value as u8;
        if self.byte(B) & b::BINARY != 0 { value } else { ((value / 10) << 4) | (value % 10) }
    }

    fn decode(&self, byte: u8) -> u64 {
        let value = if self.byte(B) & b::BINARY != 0 { byte } else { (byte >> 4) * 10 + (byte & 15) };
        value.into()
    }

    /// A byte of the time at a second since 1970; `None` for bytes that are not of the time.
    fn field_at(&self, index: u8, second: u64) -> Option<u8> {
        let (days, time) = (second / DAY_SECONDS, second % DAY_SECONDS);
        let (year, month, day) = date_of(days);
        Some(match index {
            SECONDS => self.encode(time % 60),
            MINUTES => self.encode(time / 60 % 60),
            HOURS => self.encode_hours(time / 3600),
            // 1970-01-01 was a Thursday, Sunday is 1.
            DAY_OF_WEEK => self.encode((days + 4) % 7 + 1),
            DAY => self.encode(day),
            MONTH => self.encode(month),
            YEAR => self.encode(year % 100),
            CENTURY => self.encode(year / 100 % 100),
            _ => return None,
        })
    }

    fn encode_hours(&self, hours: u64) -> u8 {
        if self.byte(B) & b::HOURS_24 != 0 {
            return self.encode(hours);
        }
        self.encode((hours + 11) % 12 + 1) | if hours >= 12 { PM } else { 0 }
    }

    fn decode_hours(&self, byte: u8) -> u64 {
        if self.byte(B) & b::HOURS_24 != 0 {
            return self.decode(byte);
        }
        self.decode(byte & !PM) % 12 + if byte & PM != 0 { 12 } else { 0 }
    }

    /// Writes the time to the memory's bytes.
    fn store_time(&mut self) {
        let second = self.time_ns() / NS;
        for index in [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY, MONTH, YEAR, CENTURY] {
            if let Some(byte) = self.field_at(index, second) {
                self.state.bytes[usize::from(index)] = byte;
            }
        }
    }

    /// Makes the memory's bytes the time. What is no date becomes some date.
    fn load_time(&mut self) {
        let field = |index| self.decode(self.byte(index));
        let year = (field(CENTURY) * 100 + field(YEAR)).max(1970);
        let days = days_of(year, field(MONTH).clamp(1, 12), field(DAY).clamp(1, 31));
        let hours = self.decode_hours(self.byte(HOURS));
        let second = days * DAY_SECONDS + hours * 3600 + field(MINUTES) * 60 + field(SECONDS);
        let host_ns = self.clock.unix_ns();
        self.state.offset_ns = second.wrapping_mul(NS).wrapping_sub(host_ns);
        self.state.seen_s = second;
    }

    fn read_byte(&mut self, index: u8) -> u8 {
        match index {
            A => {
                let updates = !self.is_being_set() && self.time_ns() % NS >= NS - UPDATE_NS;
                self.byte(A) | if updates { UPDATE_IN_PROGRESS } else { 0 }
            }
            C => {
                let flags = std::mem::take(&mut self.state.bytes[usize::from(C)]);
                self.irq.lower();
                flags
            }
            D => VALID,
            _ if self.is_being_set() => self.byte(index),
            _ => self.field_at(index, self.time_ns() / NS).unwrap_or(self.byte(index)),
        }
    }

    fn write_byte(&mut self, index: u8, value: u8) {
        match index {
            A => self.state.bytes[usize::from(A)] = value & !UPDATE_IN_PROGRESS,
            B => {
                let was_set = self.is_being_set();
                if !was_set {
                    self.store_time();
                }
                if was_set && value & b::SET == 0 {
                    self.load_time();
                }
                self.state.bytes[usize::from(B)] = value;
                self.state.seen_s = self.time_ns() / NS;
            }
            C | D => {}
            SECONDS | MINUTES | HOURS | DAY_OF_WEEK | DAY | MONTH | YEAR | CENTURY
                if !self.is_being_set() =>
            {
                self.store_time();
                self.state.bytes[usize::from(index)] = value;
                self.load_time();
            }
            _ => self.state.bytes[usize::from(index)] = value,
        }
    }
}

impl MmioDevice for Cmos {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, offset: u64, _width: Width, env: &mut DeviceEnv<'_>) -> u64 {
        self.service(env);
        match offset {
            1 => self.read_byte(self.state.index).into(),
            _ => Width::W8.mask(),
        }
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        self.service(env);
        match offset {
            // The highest bit masks NMI, of which there is none.
            0 => self.state.index = value as u8 & (BYTES - 1) as u8,
            _ => {
                self.write_byte(self.state.index, value as u8);
                self.look(env.now_ns);
            }
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

    fn device(unix_s: u64) -> (Cmos, Arc<AtomicU64>, IrqLine, Bench) {
        let host = Arc::new(AtomicU64::new(unix_s * NS));
        let shown = host.clone();
        let line = IrqLines::new(&Attention::default()).line(0);
        let cmos = Cmos::new(Box::new(move || shown.load(Ordering::Relaxed)), line.clone());
        (cmos, host, line, Bench::new())
    }

    fn get(cmos: &mut Cmos, bench: &mut Bench, index: u8) -> u8 {
        cmos.write(0, Width::W8, index.into(), &mut bench.env());
        cmos.read(1, Width::W8, &mut bench.env()) as u8
    }

    fn set(cmos: &mut Cmos, bench: &mut Bench, index: u8, value: u8) {
        cmos.write(0, Width::W8, index.into(), &mut bench.env());
        cmos.write(1, Width::W8, value.into(), &mut bench.env());
    }

    /// Century, year, month, day, hours, minutes, seconds, day of week.
    const FIELDS: [u8; 8] = [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS, DAY_OF_WEEK];

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, shown) in [
            (0, [0x19, 0x70, 0x01, 0x01, 0x00, 0x00, 0x00, 0x05]),
            (951_782_399, [0x20, 0x00, 0x02, 0x28, 0x23, 0x59, 0x59, 0x02]),
            (951_782_400, [0x20, 0x00, 0x02, 0x29, 0x00, 0x00, 0x00, 0x03]),
            (1_735_689_599, [0x20, 0x24, 0x12, 0x31, 0x23, 0x59, 0x59, 0x03]),
            (4_107_542_400, [0x21, 0x00, 0x03, 0x01, 0x00, 0x00, 0x00, 0x02]),
        ] {
            let (mut cmos, _, _, mut bench) = device(unix_s);
            assert_eq!(FIELDS.map(|index| get(&mut cmos, &mut bench, index)), shown, "{unix_s}");
            let (year, month, day) = date_of(unix_s / DAY_SECONDS);
            assert_eq!(days_of(year, month, day), unix_s / DAY_SECONDS);
        }
        for days in 0..100_000 {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
    }

    #[test]
    fn the_time_can_be_set_in_any_format() {
        let (mut cmos, host, _, mut bench) = device(1_000_000_000);
        // 12-hour, binary: 2030-05-06 11:07:08 pm.
        set(&mut cmos, &mut bench, B, b::SET | b::BINARY);
        for (index, value) in FIELDS.into_iter().zip([20, 30, 5, 6, 11 | PM, 7, 8, 2]) {
            set(&mut cmos, &mut bench, index, value);
        }
        host.fetch_add(5 * NS, Ordering::Relaxed);
        assert_eq!(get(&mut cmos, &mut bench, SECONDS), 8, "it stands while it is set");
        set(&mut cmos, &mut bench, B, b::BINARY);
        host.fetch_add(3600 * NS, Ordering::Relaxed);
        let shown = FIELDS.map(|index| get(&mut cmos, &mut bench, index));
        assert_eq!(shown, [20, 30, 5, 7, 12, 7, 8, 3]);
        set(&mut cmos, &mut bench, B, b::HOURS_24);
        assert_eq!(get(&mut cmos, &mut bench, HOURS), 0);
        let saved = cmos.save();
        let (other, ..) = device(0);
        let restored = Cmos::restore(other.clock, other.irq, &saved).unwrap();
        assert_eq!(restored.save(), saved);
        assert!(Cmos::restore(restored.clock, restored.irq, &CmosState { bytes: vec![], ..saved }).is_none());
    }

    #[test]
    fn alarms_and_updates_interrupt() {
        let (mut cmos, host, line, mut bench) = device(1_000_000_000);
        // 01:46:40. The alarm is at any hour, minute 46, second 42.
        for (index, value) in [(SECONDS_ALARM, 0x42), (MINUTES_ALARM, 0x46), (HOURS_ALARM, 0xff)] {
            set(&mut cmos, &mut bench, index, value);
        }
        assert_eq!(cmos.deadline_ns(), None);
        set(&mut cmos, &mut bench, B, b::ALARM | b::HOURS_24);
        let mut after = |cmos: &mut Cmos, ns| {
            host.fetch_add(ns, Ordering::Relaxed);
            bench.now_ns += ns;
            cmos.service(&mut bench.env());
        };
        assert_eq!(cmos.deadline_ns(), Some(NS));
        after(&mut cmos, NS);
        assert!(!line.is_high());
        after(&mut cmos, NS);
        assert!(line.is_high());
        assert_eq!(get(&mut cmos, &mut bench, C), REQUEST | b::ALARM | b::UPDATE);
        assert!(!line.is_high());
        assert_eq!(get(&mut cmos, &mut bench, C), 0);
        set(&mut cmos, &mut bench, B, b::UPDATE | b::HOURS_24);
        host.fetch_add(NS, Ordering::Relaxed);
        bench.now_ns += NS;
        cmos.service(&mut bench.env());
        assert!(line.is_high());
        host.fetch_add(NS - UPDATE_NS, Ordering::Relaxed);
        assert_eq!(get(&mut cmos, &mut bench, A), RATE | UPDATE_IN_PROGRESS);
    }

    #[test]
    fn the_rest_is_memory() {
        let (mut cmos, _, _, mut bench) = device(0);
        set(&mut cmos, &mut bench, 0x80 | 0x40, 0x5a);
        assert_eq!(get(&mut cmos, &mut bench, 0x40), 0x5a);
        assert_eq!(get(&mut cmos, &mut bench, D), VALID);
        for byte in 0..=255 {
            for index in 0..=127 {
                set(&mut cmos, &mut bench, index, byte);
                get(&mut cmos, &mut bench, index);
            }
        }
    }
}
