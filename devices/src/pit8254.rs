//! The 8254 interval timer of a PC: channel 0 interrupts, channel 2 is heard and read through port 0x61 (Intel 8254
//! data sheet). Channel 1, which refreshed memory, only counts.
//!
//! Counts are computed from guest time when somebody looks.

use c2w_engine::addr::Width;
use c2w_engine::mem::device::{DeviceEnv, MmioDevice};
use serde::{Deserialize, Serialize};

/// Input clock.
pub const CLOCK_HZ: u64 = 1_193_182;
const NS_PER_SECOND: u128 = 1_000_000_000;

/// Offset of the control word register; the channels' are before it.
const CONTROL: u64 = 3;
/// Channel whose gate and output are at port 0x61.
const SPEAKER: usize = 2;

/// State of one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelState {
    /// Mode, access and BCD bits of the control word.
    pub control: u8,
    /// What counting starts from, 1 to 65536; 0 before the first.
    pub reload: u32,
    /// Guest time at which it counted from there.
    pub start_ns: u64,
    /// Ticks counted when the gate closed.
    pub held_ticks: Option<u64>,
    /// The gate is open.
    pub gate: bool,
    /// Low byte of a count of which the high byte comes next.
    pub low_byte: Option<u8>,
    /// The next read gives the high byte.
    pub reads_high: bool,
    /// Count kept for reading.
    pub latched: Option<u16>,
    /// Status kept for reading.
    pub latched_status: Option<u8>,
    /// Ends of the count that were acted on.
    pub ended: u64,
}

/// Control word fields.
const ACCESS_LOW: u8 = 1;
const ACCESS_HIGH: u8 = 2;
const ACCESS_BOTH: u8 = 3;

fn ticks_of_ns(ns: u64) -> u64 {
    (u128::from(ns) * u128::from(CLOCK_HZ) / NS_PER_SECOND) as u64
}

/// Nanoseconds until `ticks` are counted; `None` if it never comes.
fn ns_of_ticks(ticks: u64) -> Option<u64> {
    u64::try_from((u128::from(ticks) * NS_PER_SECOND).div_ceil(CLOCK_HZ.into())).ok()
}

fn to_bcd(count: u32) -> u16 {
    (0..4).fold(0, |bcd, digit| bcd | ((count / 10u32.pow(digit) % 10) as u16) << (4 * digit))
}

fn from_bcd(bcd: u16) -> u32 {
    (0..4).map(|digit| u32::from(bcd >> (4 * digit) & 15) * 10u32.pow(digit)).sum()
}

impl ChannelState {
    fn mode(&self) -> u8 {
        // Modes 2 and 3 ignore the highest bit.
        match self.control >> 1 & 7 {
            mode @ 0..=5 => mode,
            mode => mode & 3,
        }
    }

    fn access(&self) -> u8 {
        self.control >> 4 & 3
    }

    fn is_bcd(&self) -> bool {
        self.control & 1 != 0
    }

    fn repeats(&self) -> bool {
        matches!(self.mode(), 2 | 3)
    }

    fn starts_by_gate(&self) -> bool {
        matches!(self.mode(), 1 | 5)
    }

    fn ticks(&self, now_ns: u64) -> u64 {
        self.held_ticks.unwrap_or_else(|| ticks_of_ns(now_ns.saturating_sub(self.start_ns)))
    }

    fn count(&self, now_ns: u64) -> u16 {
        let reload = u64::from(self.reload);
        if reload == 0 {
            return 0;
        }
        let ticks = self.ticks(now_ns);
        let wrap = if self.is_bcd() { 10_000 } else { 0x1_0000 };
        let count = match self.mode() {
            2 => reload - ticks % reload,
            3 => reload - (ticks % reload * 2) % reload,
            _ => (reload + wrap - ticks % wrap) % wrap,
        };
        if self.is_bcd() { to_bcd(count as u32) } else { count as u16 }
    }

    fn output(&self, now_ns: u64) -> bool {
        let reload = u64::from(self.reload);
        let ticks = self.ticks(now_ns);
        match self.mode() {
            0 | 1 => reload != 0 && ticks >= reload,
            2 => reload == 0 || ticks % reload != reload - 1,
            3 => reload == 0 || ticks % reload < reload.div_ceil(2),
            _ => reload == 0 || ticks != reload,
        }
    }

    fn load(&mut self, count: u16, now_ns: u64) {
        let most = if self.is_bcd() { 10_000 } else { 0x1_0000 };
        let count = if self.is_bcd() { from_bcd(count) } else { count.into() };
        self.reload = if count == 0 { most } else { count };
        self.start_ns = now_ns;
        // Without a gate that opened, the one-shot modes have counted all there is.
        let waits = !self.gate || self.starts_by_gate();
        self.held_ticks = waits.then_some(if self.starts_by_gate() { self.reload.into() } else { 0 });
        self.ended = 0;
    }

    fn set_gate(&mut self, gate: bool, now_ns: u64) {
        if gate == self.gate {
            return;
        }
        let ticks = self.ticks(now_ns);
        self.gate = gate;
        if self.starts_by_gate() {
            if gate {
                self.held_ticks = None;
                self.start_ns = now_ns;
            }
        } else if !gate {
            self.held_ticks = Some(ticks);
        } else {
            let counted_ns = if self.repeats() { 0 } else { ns_of_ticks(ticks).unwrap_or(0) };
            self.held_ticks = None;
            self.start_ns = now_ns.saturating_sub(counted_ns);
        }
    }

    /// Guest time at which the count ends next.
    fn deadline_ns(&self) -> Option<u64> {
        let ends_again = self.ended == 0 || self.repeats();
        if self.reload == 0 || self.held_ticks.is_some() || !ends_again {
            return None;
        }
        let ticks = u64::from(self.reload).checked_mul(self.ended.checked_add(1)?)?;
        self.start_ns.checked_add(ns_of_ticks(ticks)?)
    }

    /// Whether the count ended since the last call.
    fn expire(&mut self, now_ns: u64) -> bool {
        if self.deadline_ns().is_none_or(|deadline_ns| now_ns < deadline_ns) {
            return false;
        }
        self.ended = self.ticks(now_ns) / u64::from(self.reload);
        true
    }

    fn write(&mut self, value: u8, now_ns: u64) {
        match (self.access(), self.low_byte) {
            (ACCESS_LOW, _) => self.load(value.into(), now_ns),
            (ACCESS_HIGH, _) => self.load(u16::from(value) << 8, now_ns),
            (_, None) => self.low_byte = Some(value),
            (_, Some(low)) => {
                self.low_byte = None;
                self.load(u16::from(value) << 8 | u16::from(low), now_ns);
            }
        }
    }

    fn read(&mut self, now_ns: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let count = self.latched.unwrap_or_else(|| self.count(now_ns));
        let high = match self.access() {
            ACCESS_BOTH => {
                self.reads_high = !self.reads_high;
                !self.reads_high
            }
            access => access == ACCESS_HIGH,
        };
        if self.access() != ACCESS_BOTH || high {
            self.latched = None;
        }
        if high { (count >> 8) as u8 } else { count as u8 }
    }

    fn set_control(&mut self, control: u8) {
        *self = Self { control: control & 0x3f, gate: self.gate, start_ns: self.start_ns, ..Self::default() };
    }

    fn latch(&mut self, now_ns: u64) {
        if self.latched.is_none() {
            self.latched = Some(self.count(now_ns));
        }
    }

    fn latch_status(&mut self, now_ns: u64) {
        const NO_COUNT: u8 = 1 << 6;
        let output = u8::from(self.output(now_ns)) << 7;
        let empty = if self.reload == 0 { NO_COUNT } else { 0 };
        self.latched_status.get_or_insert(output | empty | self.control);
    }
}

/// State of the timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PitState {
    /// The channels.
    pub channels: [ChannelState; 3],
    /// The speaker is on, bit 1 of port 0x61.
    pub speaker: bool,
}

/// The timer.
#[derive(Clone, Debug)]
pub struct Pit {
    state: PitState,
}

impl Default for Pit {
    fn default() -> Self {
        Self::new()
    }
}

impl Pit {
    /// A timer in which nothing counts yet.
    pub fn new() -> Self {
        let open = ChannelState { gate: true, ..ChannelState::default() };
        Self { state: PitState { channels: [open.clone(), open, ChannelState::default()], speaker: false } }
    }

    /// The saved timer; `None` if a count is impossible.
    pub fn restore(state: &PitState) -> Option<Self> {
        let possible = state.channels.iter().all(|channel| channel.reload <= 0x1_0000);
        possible.then(|| Self { state: state.clone() })
    }

    /// The state.
    pub fn save(&self) -> PitState {
        self.state.clone()
    }

    /// Whether channel 0 ended its count since the last call: its interrupt line rises.
    pub fn expire(&mut self, now_ns: u64) -> bool {
        self.state.channels[0].expire(now_ns)
    }

    /// Guest time of channel 0's next interrupt.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.state.channels[0].deadline_ns()
    }

    fn read_back(&mut self, value: u8, now_ns: u64) {
        for (number, channel) in self.state.channels.iter_mut().enumerate() {
            if value >> (number + 1) & 1 != 0 {
                if value & 0x20 == 0 {
                    channel.latch(now_ns);
                }
                if value & 0x10 == 0 {
                    channel.latch_status(now_ns);
                }
            }
        }
    }

    /// Port 0x61: gate and output of the speaker's channel.
    pub fn speaker_port(&mut self) -> SpeakerPort<'_> {
        SpeakerPort(self)
    }
}

impl MmioDevice for Pit {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, offset: u64, _width: Width, env: &mut DeviceEnv<'_>) -> u64 {
        match self.state.channels.get_mut(offset as usize) {
            Some(channel) => channel.read(env.now_ns).into(),
            None => Width::W8.mask(),
        }
    }

    fn write(&mut self, offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        let value = value as u8;
        if offset != CONTROL {
            if let Some(channel) = self.state.channels.get_mut(offset as usize) {
                channel.write(value, env.now_ns);
            }
            return;
        }
        match (self.state.channels.get_mut(usize::from(value >> 6)), value >> 4 & 3) {
            (None, _) => self.read_back(value, env.now_ns),
            (Some(channel), 0) => channel.latch(env.now_ns),
            (Some(channel), _) => channel.set_control(value),
        }
    }
}

/// Port 0x61 of a PC.
pub struct SpeakerPort<'a>(&'a mut Pit);

impl MmioDevice for SpeakerPort<'_> {
    fn widths(&self) -> &'static [Width] {
        &[Width::W8]
    }

    fn read(&mut self, _offset: u64, _width: Width, env: &mut DeviceEnv<'_>) -> u64 {
        let state = &self.0.state;
        let channel = &state.channels[SPEAKER];
        // Bit 4 toggles with every refresh of memory, every 15 us.
        let refresh = (env.now_ns / 15_085) & 1;
        u64::from(channel.gate)
            | u64::from(state.speaker) << 1
            | refresh << 4
            | u64::from(channel.output(env.now_ns)) << 5
    }

    fn write(&mut self, _offset: u64, _width: Width, value: u64, env: &mut DeviceEnv<'_>) {
        self.0.state.speaker = value & 2 != 0;
        self.0.state.channels[SPEAKER].set_gate(value & 1 != 0, env.now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    fn out(pit: &mut Pit, bench: &mut Bench, offset: u64, values: &[u8]) {
        values.iter().for_each(|&value| pit.write(offset, Width::W8, value.into(), &mut bench.env()));
    }

    #[test]
    fn channel_0_interrupts_once_or_periodically() {
        let (mut pit, mut bench) = (Pit::new(), Bench::new());
        assert_eq!(pit.deadline_ns(), None);
        bench.now_ns = 1000;
        // Mode 2, a count of 11932: 100 Hz.
        out(&mut pit, &mut bench, CONTROL, &[0x34]);
        out(&mut pit, &mut bench, 0, &[0x9c, 0x2e]);
        let first = pit.deadline_ns().unwrap();
        assert_eq!(first, 1000 + 10_000_151);
        assert!(!pit.expire(first - 1) && pit.expire(first) && !pit.expire(first));
        let mut pit = Pit::restore(&pit.save()).unwrap();
        assert!(pit.expire(first + 25_000_000), "periods that nobody saw are one interrupt");
        assert_eq!(pit.deadline_ns(), Some(1000 + 40_000_604));
        // Mode 0.
        bench.now_ns = 50_000_000;
        out(&mut pit, &mut bench, CONTROL, &[0x30]);
        assert_eq!(pit.deadline_ns(), None);
        out(&mut pit, &mut bench, 0, &[0, 0]);
        let end = pit.deadline_ns().unwrap();
        assert_eq!(end, 50_000_000 + 54_925_402);
        assert!(pit.expire(end) && pit.deadline_ns().is_none());
    }

    #[test]
    fn counts_are_latched_and_read_in_two_bytes() {
        let (mut pit, mut bench) = (Pit::new(), Bench::new());
        out(&mut pit, &mut bench, CONTROL, &[0x34]);
        out(&mut pit, &mut bench, 0, &[0, 0x10]);
        bench.now_ns = 1_000_000;
        out(&mut pit, &mut bench, CONTROL, &[0xc2, 0x00]);
        bench.now_ns = 2_000_000;
        let mut read = || pit.read(0, Width::W8, &mut bench.env()) as u16;
        assert_eq!(read(), 0xb4, "output high, both bytes, mode 2");
        assert_eq!(read() | read() << 8, 0x1000 - 1193);
        assert_eq!(read() | read() << 8, 0x1000 - 2386);
    }

    #[test]
    fn channel_2_counts_while_its_gate_is_open() {
        let (mut pit, mut bench) = (Pit::new(), Bench::new());
        out(&mut pit, &mut bench, CONTROL, &[0xb0]);
        out(&mut pit, &mut bench, 2, &[0xa9, 0x04]);
        bench.now_ns = 10_000_000;
        assert_eq!(pit.speaker_port().read(0, Width::W8, &mut bench.env()) & 0x21, 0);
        pit.speaker_port().write(0, Width::W8, 1, &mut bench.env());
        bench.now_ns += 999_000;
        assert_eq!(pit.speaker_port().read(0, Width::W8, &mut bench.env()) & 0x21, 1);
        bench.now_ns += 2_000;
        assert_eq!(pit.speaker_port().read(0, Width::W8, &mut bench.env()) & 0x21, 0x21);
    }

    #[test]
    fn any_writes_are_survived() {
        let (mut pit, mut bench) = (Pit::new(), Bench::new());
        for step in 0..0x1_0000u64 {
            bench.now_ns += step * 37;
            let byte = (step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8;
            pit.write(step >> 3 & 3, Width::W8, byte.into(), &mut bench.env());
            pit.speaker_port().write(0, Width::W8, step & 3, &mut bench.env());
            pit.read(step & 3, Width::W8, &mut bench.env());
            pit.speaker_port().read(0, Width::W8, &mut bench.env());
            pit.expire(bench.now_ns);
        }
        let mut impossible = pit.save();
        impossible.channels[1].reload = 0x1_0001;
        assert!(Pit::restore(&impossible).is_none());
        assert_eq!((to_bcd(1234), from_bcd(0x1234)), (0x1234, 1234));
    }
}
