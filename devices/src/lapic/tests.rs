use super::*;
use crate::testing::Bench;

const TPR: u64 = 0x80;
const PPR: u64 = 0xa0;
const EOI: u64 = 0xb0;
const LDR: u64 = 0xd0;
const DFR: u64 = 0xe0;
const SVR: u64 = 0xf0;
const ESR: u64 = 0x280;
const ICR: u64 = 0x300;
const ICR_HIGH: u64 = 0x310;
const LVT_TIMER: u64 = 0x320;
const LVT_ERROR: u64 = 0x370;
const INITIAL: u64 = 0x380;
const CURRENT: u64 = 0x390;
const DIVIDE: u64 = 0x3e0;

struct Fixture {
    lapic: Lapic,
    bench: Bench,
}

impl Fixture {
    /// An enabled controller with spurious vector 0xff.
    fn new() -> Self {
        let mut fixture = Self { lapic: Lapic::new(0), bench: Bench::new() };
        fixture.set(SVR, 0x1ff);
        fixture
    }

    fn set(&mut self, offset: u64, value: u32) {
        self.lapic.write(offset, Width::W32, value.into(), &mut self.bench.env());
    }

    fn get(&mut self, offset: u64) -> u32 {
        self.lapic.read(offset, Width::W32, &mut self.bench.env()) as u32
    }

    fn send(&mut self, vector: u8, level: bool) {
        self.lapic.receive(Message {
            destination: 0,
            logical: false,
            delivery: Delivery::Fixed,
            vector,
            level,
        });
    }

    fn at(&mut self, now_ns: u64) -> Option<u8> {
        self.bench.now_ns = now_ns;
        self.lapic.service(now_ns);
        let vector = self.lapic.acknowledge();
        if vector.is_some() {
            self.set(EOI, 0);
        }
        vector
    }
}

#[test]
fn interrupts_nest_by_priority_class() {
    let mut f = Fixture::new();
    f.send(0x41, false);
    f.send(0x52, true);
    assert_eq!(f.lapic.acknowledge(), Some(0x52));
    assert_eq!((f.lapic.acknowledge(), f.get(PPR)), (None, 0x50));
    f.send(0x5f, false);
    assert!(!f.lapic.has_interrupt(), "the same class");
    f.send(0x60, false);
    assert_eq!(f.lapic.acknowledge(), Some(0x60));
    assert_eq!((f.get(0x120), f.get(0x130), f.get(0x1a0)), (1 << 18, 1, 1 << 18));
    f.set(EOI, 0);
    assert_eq!(f.lapic.take_end_of_interrupt(), None);
    f.set(EOI, 0);
    assert_eq!(f.lapic.take_end_of_interrupt(), Some(0x52));
    f.set(TPR, 0x5f);
    assert!(!f.lapic.has_interrupt());
    f.lapic.set_priority_class(4);
    assert_eq!((f.lapic.priority_class(), f.lapic.acknowledge()), (4, Some(0x5f)));
    f.set(EOI, 0);
    assert!(!f.lapic.has_interrupt());
    f.set(TPR, 0x3f);
    assert_eq!(f.lapic.acknowledge(), Some(0x41));
}

#[test]
fn ends_are_not_broadcast_where_software_said_so() {
    let mut f = Fixture::new();
    f.set(SVR, 0x11ff);
    f.send(0x52, true);
    assert_eq!(f.lapic.acknowledge(), Some(0x52));
    f.set(EOI, 0);
    assert_eq!(f.lapic.take_end_of_interrupt(), None);
}

#[test]
fn the_timer_counts_once_or_periodically() {
    let mut f = Fixture::new();
    f.set(LVT_TIMER, 0x40);
    f.set(DIVIDE, 0b0011);
    f.bench.now_ns = 1000;
    f.set(INITIAL, 10);
    // 25 MHz by 16: 640 ns.
    assert_eq!(f.lapic.deadline_ns(), Some(7400));
    f.bench.now_ns = 1000 + 3 * 640 + 1;
    assert_eq!(f.get(CURRENT), 7);
    f.set(DIVIDE, 0b1011);
    assert_eq!(f.get(CURRENT), 7);
    assert_eq!(f.lapic.deadline_ns(), Some(f.bench.now_ns + 7 * 40));
    assert_eq!((f.at(3200), f.at(3201), f.at(9999)), (None, Some(0x40), None));
    assert_eq!((f.get(CURRENT), f.get(INITIAL)), (0, 10));

    f.set(LVT_TIMER, 0x2_0041);
    f.set(INITIAL, 100);
    assert_eq!(f.lapic.deadline_ns(), Some(9999 + 4000));
    assert_eq!((f.at(13_998), f.at(13_999), f.at(14_000)), (None, Some(0x41), None));
    assert_eq!(f.at(9999 + 3 * 4000 + 40), Some(0x41), "two periods, one interrupt");
    assert_eq!((f.get(CURRENT), f.lapic.deadline_ns()), (99, Some(9999 + 4 * 4000)));
    f.set(LVT_TIMER, 0x3_0041);
    assert_eq!(f.lapic.deadline_ns(), None, "masked");
    f.set(LVT_TIMER, 0x2_0041);
    f.set(INITIAL, 0);
    assert_eq!(f.lapic.deadline_ns(), None);
}

#[test]
fn the_timer_expires_at_a_time_stamp() {
    const DEADLINE: u32 = 0x6e0;
    let mut f = Fixture::new();
    f.lapic.write_msr(DEADLINE, 5000, 0).unwrap();
    assert_eq!(f.lapic.read_msr(DEADLINE, 0), Some(0), "not in its mode");
    f.set(LVT_TIMER, 0x4_0042);
    f.lapic.write_msr(DEADLINE, 5000, 0).unwrap();
    f.set(INITIAL, 7);
    assert_eq!((f.get(INITIAL), f.lapic.deadline_ns()), (0, Some(5000)));
    f.lapic.set_tsc_adjust(1000, 0);
    assert_eq!((f.lapic.deadline_ns(), f.lapic.read_msr(DEADLINE, 10)), (Some(4000), Some(5000)));
    f.lapic.set_tsc_adjust(1000u64.wrapping_neg(), 0);
    assert_eq!((f.at(5999), f.at(6000), f.at(7000)), (None, Some(0x42), None));
    assert_eq!(f.lapic.read_msr(DEADLINE, 7000), Some(0));
    f.lapic.write_msr(DEADLINE, 1, 7000).unwrap();
    assert_eq!(f.at(7000), Some(0x42), "in the past");
    f.lapic.write_msr(DEADLINE, u64::MAX, 7000).unwrap();
    assert_eq!(f.lapic.deadline_ns(), None, "after the end of guest time");
    f.set(LVT_TIMER, 0x42);
    assert_eq!(f.lapic.read_msr(DEADLINE, 7000), Some(0));
}

#[test]
fn messages_reach_whom_they_address() {
    let mut f = Fixture::new();
    f.set(LDR, 0x0200_0000);
    let sent = |f: &mut Fixture, destination, logical| {
        f.lapic.receive(Message {
            destination,
            logical,
            delivery: Delivery::Fixed,
            vector: 0x30,
            level: false,
        });
        f.at(0).is_some()
    };
    for (destination, logical, arrives) in
        [(0, false, true), (1, false, false), (0xff, false, true), (3, true, true), (1, true, false)]
    {
        assert_eq!(sent(&mut f, destination, logical), arrives, "{destination:#x} {logical}");
    }
    f.set(DFR, 0x0fff_ffff);
    f.set(LDR, 0x3200_0000);
    for (destination, arrives) in [(0x32, true), (0x3f, true), (0x31, false), (0x22, false)] {
        assert_eq!(sent(&mut f, destination, true), arrives, "{destination:#x} in a cluster");
    }
    f.lapic.write_msr(0x1b, 0xfee0_0d00, 0).unwrap();
    for (destination, logical, arrives) in
        [(0, false, true), (1, true, true), (2, true, false), (0x1_0001, true, false)]
    {
        assert_eq!(sent(&mut f, destination, logical), arrives, "x2APIC {destination:#x} {logical}");
    }
}

#[test]
fn interrupts_can_be_sent_to_oneself() {
    let mut f = Fixture::new();
    for (high, low, vector) in [
        (0, 0x4_0050, Some(0x50)),
        (0, 0x8_0051, Some(0x51)),
        (0, 0xc_0052, None),
        (0, 0x0053, Some(0x53)),
        (1 << 24, 0x0054, None),
        (0, 0x4_0500, None),
    ] {
        f.set(ICR_HIGH, high);
        f.set(ICR, low);
        assert_eq!(f.at(0), vector, "{low:#x}");
    }
    assert!(!f.lapic.take_nmi());
    f.set(ICR, 0x4_0400);
    assert!(f.lapic.take_nmi() && !f.lapic.take_nmi());
}

#[test]
fn errors_are_reported_once_they_are_latched() {
    let mut f = Fixture::new();
    f.set(LVT_ERROR, 0xfe);
    f.set(ICR, 0x4_0005);
    assert_eq!((f.at(0), f.get(ESR)), (Some(0xfe), 0));
    f.set(ESR, 0);
    assert_eq!(f.get(ESR), error::SEND_ILLEGAL_VECTOR);
    f.send(3, false);
    f.get(0x40);
    f.set(LVT_ERROR, 0x03);
    f.set(0x44, 1);
    f.set(ESR, 0);
    assert_eq!(f.get(ESR), error::RECEIVE_ILLEGAL_VECTOR | error::ILLEGAL_REGISTER);
    f.set(ESR, 0);
    assert_eq!(f.get(ESR), 0);
}

#[test]
fn switched_off_by_software_it_masks_everything() {
    let mut f = Fixture::new();
    f.set(LVT_TIMER, 0x40);
    f.set(SVR, 0xff);
    f.set(LVT_TIMER, 0x41);
    assert_eq!(f.get(LVT_TIMER), 0x1_0041);
    f.send(0x60, false);
    assert!(!f.lapic.has_interrupt());
    assert!(!f.lapic.passes_8259());
    f.lapic.enter_virtual_wire();
    assert!(f.lapic.passes_8259());
}

#[test]
fn modes_change_as_the_manual_allows() {
    const BASE: u32 = 0x1b;
    let mut f = Fixture::new();
    f.lapic.set_tsc_adjust(77, 0);
    assert_eq!(f.lapic.read_msr(BASE, 0), Some(0xfee0_0900));
    assert_eq!(f.lapic.window(), Some(DEFAULT_BASE));
    assert_eq!((f.lapic.read_msr(0x802, 0), f.lapic.write_msr(0x80b, 0, 0)), (None, None));
    for (value, allowed) in [
        (0xfee0_0d00, true),
        (0xfee0_0900, false),
        (0xfee0_0500, false),
        (0xfee0_0100, true),
        (0xfee0_0d00, false),
        (0xfee0_0900, true),
        (0xfee0_0902, false),
        (0x1_0000_0000_0900 | 1 << 56, false),
        (0xfed0_0900, true),
    ] {
        assert_eq!(f.lapic.write_msr(BASE, value, 0).is_some(), allowed, "{value:#x}");
    }
    assert_eq!(f.lapic.window(), Some(Gpa(0xfed0_0000)));
    assert_eq!((f.get(SVR), f.lapic.save().timer.tsc_adjust), (0xff, 77));
}

#[test]
fn x2apic_registers_are_checked() {
    let mut f = Fixture::new();
    f.lapic.write_msr(0x1b, 0xfee0_0d00, 0).unwrap();
    assert_eq!(f.lapic.window(), None);
    assert_eq!((f.lapic.read_msr(0x802, 0), f.lapic.read_msr(0x80d, 0)), (Some(0), Some(1)));
    for (index, value, allowed) in [
        (0x808, 0x20, true),
        (0x808, 0x120, false),
        (0x802, 0, false),
        (0x80b, 0, true),
        (0x80b, 1, false),
        (0x80e, 0, false),
        (0x828, 0, true),
        (0x828, 1, false),
        (0x830, 0x1_0000_0031, true),
        (0x831, 0, false),
        (0x83f, 0x32, true),
        (0x838, 1 << 32, false),
        (0x8ff, 0, false),
    ] {
        assert_eq!(f.lapic.write_msr(index, value, 0).is_some(), allowed, "{index:#x} {value:#x}");
    }
    assert_eq!(f.lapic.read_msr(0x830, 0), Some(0x1_0000_0031));
    assert_eq!((f.lapic.read_msr(0x80b, 0), f.lapic.read_msr(0x83f, 0)), (None, None));
    assert_eq!(f.lapic.acknowledge(), Some(0x32), "31 went to another processor");
}

#[test]
fn any_writes_are_survived_and_saved() {
    let mut f = Fixture::new();
    for step in 0..0x4000u64 {
        f.bench.now_ns += step;
        let value = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
        f.set((value >> 8) << 2 & 0xffc, value as u32);
        f.get(value << 2 & 0xffc);
        f.lapic.acknowledge();
        f.lapic.deadline_ns();
        let saved = f.lapic.save();
        assert_eq!(Lapic::restore(&saved).save(), saved);
    }
    let mut hostile = f.lapic.save();
    hostile.timer = TimerState { mode_bits: 1 << 17, running: true, start_ns: 5, ..TimerState::default() };
    Lapic::restore(&hostile).service(1000);
}
