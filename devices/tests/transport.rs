//! The transport's contract, held by every device: negotiation, status, queues, interrupts, reset, save and restore.

mod support;

use c2w_devices::virtio::mmio::{VirtioMmio, VirtioMmioState};
use c2w_devices::virtio::{QueueError, feature};
use c2w_engine::addr::Width;
use c2w_engine::irq::{Attention, IrqLines};
use proptest::prelude::*;
use support::raw::*;
use support::{counting_rng, every_device, memory_disk, restored};

const ALL: u64 = u64::MAX;

#[test]
fn identification() {
    for (device, id) in every_device().into_iter().zip([2, 2, 3, 4]) {
        let mut raw = Raw::untouched(device);
        assert_eq!((raw.read(0), raw.read(4), raw.read(8)), (0x7472_6976, 2, id));
        raw.write(0x0ac, 0);
        assert_eq!([0x0b0, 0x0b4, 0x0b8, 0x0bc].map(|offset| raw.read(offset)), [0xffff_ffff; 4]);
        assert_eq!(
            (raw.read_width(0, Width::W8), raw.read_width(0, Width::W64)),
            (0, 0),
            "registers are words"
        );
    }
}

/// Features the driver writes, and whether the device keeps FEATURES_OK.
#[test]
fn only_offered_features_with_version_1_are_accepted() {
    let version_1 = feature::VERSION_1;
    for (features, accepted) in [
        (version_1, true),
        (version_1 | feature::EVENT_INDEX, true),
        (0, false),
        (feature::EVENT_INDEX, false),
        (version_1 | 1 << 63, false),
        (version_1 | 1 << 34, false),
    ] {
        let mut raw = Raw::untouched(counting_rng());
        raw.write(STATUS, 3);
        for half in 0..2 {
            raw.write(0x024, half);
            raw.write(0x020, features >> (32 * half) & 0xffff_ffff);
        }
        raw.write(STATUS, 11);
        assert_eq!(raw.read(STATUS) == 11, accepted, "{features:#x}");
        raw.write(STATUS, RUNNING);
        assert_eq!(raw.read(STATUS) == RUNNING, accepted, "no DRIVER_OK without FEATURES_OK");
        raw.write(0x024, 0);
        raw.write(0x020, 0xffff_ffff);
        assert_eq!(raw.mmio.save().driver_features == features, accepted, "agreed features stay");
    }
}

#[test]
fn impossible_queues_do_not_become_ready() {
    let mut raw = Raw::untouched(counting_rng());
    raw.write(STATUS, 3);
    let good = raw.rings[0];
    let end = RAM_BASE + RAM_BYTES;
    for (rings, ready) in [
        (Rings { size: 8, ..good }, 1),
        (Rings { size: 1, ..good }, 1),
        (Rings { size: 0, ..good }, 0),
        (Rings { size: 7, ..good }, 0),
        (Rings { size: 16, ..good }, 0),
        (Rings { descriptors: good.descriptors + 8, ..good }, 0),
        (Rings { available: good.available + 1, ..good }, 0),
        (Rings { used: good.used + 2, ..good }, 0),
        (Rings { descriptors: 0, ..good }, 0),
        (Rings { descriptors: end - 16 * 8, ..good }, 1),
        (Rings { descriptors: end - 16 * 7, ..good }, 0),
        (Rings { available: end - 22, ..good }, 1),
        (Rings { available: end - 20, ..good }, 0),
        (Rings { used: !3, ..good }, 0),
    ] {
        raw.set_up_queue(0, rings);
        assert_eq!(raw.read(0x044), ready);
        raw.write(0x044, 0);
        assert_eq!(raw.read(0x044), 0);
    }
    raw.write(0x030, 1);
    assert_eq!(raw.read(0x034), 0, "a queue the device does not have");
    raw.write(0x044, 1);
    assert_eq!(raw.read(0x044), 0);
    raw.set_up_queue(0, good);
    raw.write(0x080, 0);
    assert_eq!(raw.mmio.save().queues[0].descriptors, good.descriptors, "a ready queue keeps its registers");
}

#[test]
fn nothing_is_consumed_before_the_driver_is_ready() {
    let mut raw = Raw::untouched(counting_rng());
    raw.write(STATUS, 3);
    raw.write(0x024, 1);
    raw.write(0x020, 1);
    raw.write(STATUS, 11);
    raw.set_up_queue(0, raw.rings[0]);
    assert_eq!(raw.request(0, &[], &[(DATA, 4)]), None);
    raw.write(STATUS, RUNNING);
    assert_eq!(raw.take_used(0), Some((0, 4)), "what was available before counts");
}

/// How chains break the rules, and what the device makes of it.
#[test]
fn broken_rings_need_a_reset() {
    type Break = fn(&mut Raw);
    type Expected = fn(QueueError) -> bool;
    const TABLE: u64 = RAM_BASE;
    let cases: &[(&str, Break, Expected)] = &[
        ("loop", |r| r.descriptor(TABLE, 0, DATA, 4, NEXT, 0), |e| e == QueueError::ChainTooLong),
        (
            "next past the table",
            |r| r.descriptor(TABLE, 0, DATA, 4, NEXT, 8),
            |e| e == QueueError::NoSuchDescriptor { index: 8, entries: 8 },
        ),
        (
            "buffer before RAM",
            |r| r.descriptor(TABLE, 0, 0x1000, 4, WRITE, 0),
            |e| matches!(e, QueueError::OutsideRam(_)),
        ),
        (
            "buffer across the end of RAM",
            |r| r.descriptor(TABLE, 0, RAM_BASE + RAM_BYTES - 4, 8, WRITE, 0),
            |e| matches!(e, QueueError::OutsideRam(_)),
        ),
        (
            "buffer across the end of the address space",
            |r| r.descriptor(TABLE, 0, u64::MAX - 3, 8, WRITE, 0),
            |e| matches!(e, QueueError::OutsideRam(_)),
        ),
        (
            "readable after writable",
            |r| {
                r.descriptor(TABLE, 0, DATA, 4, WRITE | NEXT, 1);
                r.descriptor(TABLE, 1, DATA, 4, 0, 0);
            },
            |e| e == QueueError::ReadableAfterWritable,
        ),
        (
            "indirect table with a partial entry",
            |r| r.descriptor(TABLE, 0, DATA, 24, INDIRECT, 0),
            |e| e == QueueError::IndirectLength { len_bytes: 24 },
        ),
        (
            "empty indirect table",
            |r| r.descriptor(TABLE, 0, DATA, 0, INDIRECT, 0),
            |e| e == QueueError::IndirectLength { len_bytes: 0 },
        ),
        (
            "indirect table outside RAM",
            |r| r.descriptor(TABLE, 0, 0x1000, 16, INDIRECT, 0),
            |e| matches!(e, QueueError::OutsideRam(_)),
        ),
        (
            "indirect inside indirect",
            |r| {
                r.descriptor(TABLE, 0, DATA, 32, INDIRECT, 0);
                r.descriptor(DATA, 0, DATA, 32, INDIRECT, 0);
            },
            |e| e == QueueError::MisplacedIndirect,
        ),
        (
            "indirect with a next",
            |r| r.descriptor(TABLE, 0, DATA, 32, INDIRECT | NEXT, 1),
            |e| e == QueueError::MisplacedIndirect,
        ),
        (
            "next past the indirect table",
            |r| {
                r.descriptor(TABLE, 0, DATA, 32, INDIRECT, 0);
                r.descriptor(DATA, 0, DATA, 4, NEXT | WRITE, 2);
            },
            |e| e == QueueError::NoSuchDescriptor { index: 2, entries: 2 },
        ),
        (
            "loop inside an indirect table",
            |r| {
                r.descriptor(TABLE, 0, DATA, 32, INDIRECT, 0);
                r.descriptor(DATA, 0, DATA, 4, NEXT | WRITE, 1);
                r.descriptor(DATA, 1, DATA, 4, NEXT | WRITE, 0);
            },
            |e| e == QueueError::ChainTooLong,
        ),
        (
            "head past the table",
            |r| r.put(r.rings[0].available + 4, &[8, 0]),
            |e| e == QueueError::NoSuchDescriptor { index: 8, entries: 8 },
        ),
        (
            "index jump",
            |r| r.put(r.rings[0].available + 2, &[9, 0]),
            |e| e == QueueError::IndexJump { available: 9, next: 0, size: 8 },
        ),
        (
            "index backwards",
            |r| r.put(r.rings[0].available + 2, &[0xff, 0xff]),
            |e| e == QueueError::IndexJump { available: 0xffff, next: 0, size: 8 },
        ),
    ];
    for (name, break_it, expected) in cases {
        let mut raw = Raw::running(counting_rng(), ALL);
        raw.make_available(0, 0);
        raw.descriptor(TABLE, 0, DATA, 4, WRITE, 0);
        break_it(&mut raw);
        raw.notify(0);
        assert!(raw.needs_reset(), "{name}");
        assert!(expected(raw.mmio.fault().unwrap()), "{name}: {:?}", raw.mmio.fault());
        assert!(raw.irq.is_high() && raw.read(INTERRUPT_STATUS) & 2 != 0, "{name}: the driver is told");
        raw.put(raw.rings[0].available + 2, &[1, 0, 0, 0]);
        raw.descriptor(TABLE, 0, DATA, 4, WRITE, 0);
        raw.notify(0);
        raw.poll();
        assert_eq!(raw.take_used(0), None, "{name}: a broken device does nothing");
        raw.write(STATUS, 0);
        assert!(!raw.irq.is_high() && raw.read(STATUS) == 0);
        raw.start(feature::VERSION_1);
        assert_eq!(raw.take_used(0), Some((0, 4)), "{name}: works again after a reset");
    }
}

#[test]
fn indirect_descriptors_need_the_feature() {
    let mut raw = Raw::running(counting_rng(), ALL & !feature::INDIRECT_DESCRIPTORS);
    raw.descriptor(RAM_BASE, 0, DATA, 16, INDIRECT, 0);
    raw.descriptor(DATA, 0, DATA + 64, 4, WRITE, 0);
    raw.make_available(0, 0);
    raw.notify(0);
    assert_eq!(raw.mmio.fault(), Some(QueueError::MisplacedIndirect));
}

#[test]
fn an_indirect_chain_may_be_longer_than_the_queue_but_not_endless() {
    for (entries, fine) in [(9u16, true), (1024, true), (1025, false)] {
        let mut raw = Raw::running(counting_rng(), ALL);
        raw.descriptor(RAM_BASE, 0, DATA, u32::from(entries) * 16, INDIRECT, 0);
        for index in 0..entries {
            let flags = WRITE | if index + 1 < entries { NEXT } else { 0 };
            raw.descriptor(DATA, index, DATA + 0x10_0000 + u64::from(index), 1, flags, index + 1);
        }
        raw.make_available(0, 0);
        raw.notify(0);
        assert_eq!(raw.take_used(0), fine.then_some((0, entries.into())));
        assert_eq!(raw.needs_reset(), !fine);
    }
}

#[test]
fn the_driver_suppresses_interrupts_by_flag() {
    let mut raw = Raw::running(counting_rng(), ALL & !feature::EVENT_INDEX);
    raw.put(raw.rings[0].available, &[1, 0]);
    assert_eq!(raw.request(0, &[], &[(DATA, 4)]), Some(4));
    assert!(!raw.irq.is_high());
    raw.put(raw.rings[0].available, &[0, 0]);
    assert_eq!(raw.request(0, &[], &[(DATA, 4)]), Some(4));
    assert!(raw.irq.is_high());
    raw.write(INTERRUPT_ACK, 1);
    assert!(!raw.irq.is_high());
    raw.notify(0);
    assert!(!raw.irq.is_high(), "no interrupt without a returned chain");
}

#[test]
fn the_driver_suppresses_interrupts_by_index() {
    let mut raw = Raw::running(counting_rng(), ALL);
    let used_event = raw.rings[0].available + 4 + 2 * 8;
    let available_event = raw.rings[0].used + 4 + 8 * 8;
    // Index the driver names, chains it offers at once, interrupt.
    for (event, chains, interrupt) in
        [(0, 1, true), (3, 2, false), (3, 1, true), (5, 4, true), (100, 8, false)]
    {
        raw.put(used_event, &u16::to_le_bytes(event));
        for _ in 0..chains {
            raw.offer(0, &[], &[(DATA, 1)]);
        }
        raw.notify(0);
        let mut returned = 0;
        while raw.take_used(0).is_some() {
            returned += 1;
        }
        assert_eq!((returned, raw.irq.is_high()), (chains, interrupt), "event {event}");
        raw.write(INTERRUPT_ACK, 3);
        let next = raw.mmio.save().queues[0].next_available;
        assert_eq!(raw.get(available_event, 2), next.to_le_bytes(), "the device wants the next notification");
    }
}

#[test]
fn rings_wrap_around_both_the_size_and_the_index() {
    let mut raw = Raw::running(counting_rng(), ALL);
    let used_event = raw.rings[0].available + 4 + 2 * 8;
    let mut interrupts = 0;
    for round in 0..70_000u32 {
        // The driver names every thousandth chain.
        raw.put(used_event, &((round / 1000 * 1000) as u16).to_le_bytes());
        assert_eq!(raw.request(0, &[], &[(DATA, 1)]), Some(1));
        interrupts += u32::from(raw.irq.is_high());
        raw.write(INTERRUPT_ACK, 1);
    }
    assert_eq!(interrupts, 70);
    assert!(!raw.needs_reset());
}

#[test]
fn only_states_of_this_device_are_restored() {
    let restore = |change: fn(&mut VirtioMmioState)| {
        let raw = Raw::running(counting_rng(), ALL);
        let mut state = raw.mmio.save();
        change(&mut state);
        let line = IrqLines::new(&Attention::default()).line(0);
        VirtioMmio::restore(counting_rng(), line, &state).is_ok()
    };
    assert!(restore(|_| ()));
    assert!(!restore(|state| state.queues.clear()));
    assert!(!restore(|state| state.queues[0].size = 16));
    assert!(!restore(|state| state.queues[0].size = 3));
    assert!(!restore(|state| state.status = 256));
    assert!(!restore(|state| state.status = 4));
    assert!(!restore(|state| state.driver_features = 0));
    assert!(!restore(|state| state.driver_features |= 1));
}

/// Anything a guest can do to a register window and to what the device reads.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, Width, u64),
    Read(u64, Width),
    /// A byte string somewhere in the first queue's rings or in the data behind them.
    Memory(u64, Vec<u8>),
    Offer(usize, Vec<(u64, u32)>, Vec<(u64, u32)>),
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let width = prop::sample::select(Width::ALL.to_vec());
    let offset = prop_oneof![0u64..0x40, Just(0x24), Just(0x44), Just(0x50), Just(0x70)]
        .prop_map(|word| if word < 0x40 { word * 4 } else { word });
    let value = prop_oneof![0u64..16, any::<u64>(), Just(RAM_BASE)];
    let aligned = |offset: u64, width: Width| offset & !(width.bytes() - 1);
    let buffer = || prop::collection::vec((DATA..DATA + 0x1000, 0u32..1200), 0..4);
    prop_oneof![
        3 => (offset.clone(), value.clone()).prop_map(|(o, v)| Step::Write(o, Width::W32, v)),
        1 => (0u64..0x200, width.clone(), value).prop_map(move |(o, w, v)| Step::Write(aligned(o, w), w, v)),
        1 => (0u64..0x200, width).prop_map(move |(o, w)| Step::Read(aligned(o, w), w)),
        1 => (0u64..0x4000, prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(o, b)| Step::Memory(o, b)),
        1 => (0u64..0x1000, prop::collection::vec(0u8..20, 1..40))
            .prop_map(|(o, b)| Step::Memory(DATA - RAM_BASE + o, b)),
        3 => (0usize..4, buffer(), buffer()).prop_map(|(q, r, w)| Step::Offer(q, r, w)),
        1 => Just(Step::Poll),
    ]
}

fn apply(raw: &mut Raw, step: &Step) {
    match step {
        Step::Write(offset, width, value) => raw.write_width(*offset, *width, *value),
        Step::Read(offset, width) => {
            let value = raw.read_width(*offset, *width);
            assert_eq!(value & !width.mask(), 0);
        }
        Step::Memory(offset, bytes) => raw.put(RAM_BASE + offset, bytes),
        Step::Offer(queue, readable, writable) => {
            let queue = queue % raw.rings.len();
            raw.offer(queue, readable, writable);
            raw.notify(queue);
        }
        Step::Poll => raw.poll(),
    }
}

fn state_without_generation(raw: &Raw) -> VirtioMmioState {
    VirtioMmioState { config_generation: 0, ..raw.mmio.save() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No sequence of accesses panics or breaks what always holds; a reset at any point forgets everything.
    #[test]
    fn any_accesses_keep_the_invariants(
        kind in 0usize..4,
        started in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let device = || every_device().swap_remove(kind);
        let mut raw = if started { Raw::running(device(), ALL) } else { Raw::untouched(device()) };
        for step in &steps {
            apply(&mut raw, step);
            let state = raw.mmio.save();
            prop_assert_eq!(raw.irq.is_high(), state.interrupt_status != 0);
            prop_assert!(state.status & 4 == 0 || state.status & 8 != 0, "DRIVER_OK needs FEATURES_OK");
            prop_assert!(state.status & 8 == 0 || state.driver_features & feature::VERSION_1 != 0);
            prop_assert_eq!(raw.mmio.fault().is_some(), state.status & NEEDS_RESET as u32 != 0);
        }
        let state = raw.mmio.save();
        let line = IrqLines::new(&Attention::default()).line(0);
        let copy = VirtioMmio::restore(restored(&state.device), line.clone(), &state).unwrap();
        prop_assert_eq!(line.is_high(), state.interrupt_status != 0);
        prop_assert_eq!(copy.save(), state);
        raw.write(STATUS, 0);
        prop_assert_eq!(state_without_generation(&raw), Raw::untouched(device()).mmio.save());
        prop_assert!(!raw.irq.is_high());
    }
}

#[test]
fn a_read_only_disk_differs_only_by_its_features() {
    let features = |read_only| Raw::running(memory_disk(8, read_only), ALL).mmio.save().driver_features;
    assert_eq!(features(false) ^ features(true), 1 << 5 | 1 << 13 | 1 << 14);
}
