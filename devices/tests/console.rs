//! The console's ports: the control protocol, flow control in both directions, save and restore.

mod support;

use c2w_devices::backend::char::CharHost;
use c2w_devices::virtio::DeviceState;
use c2w_devices::virtio::console::{Console, ConsoleSize};
use c2w_devices::virtio::mmio::VirtioMmio;
use c2w_engine::irq::{Attention, IrqLines};
use support::raw::*;
use support::{CHANNEL_BYTES, console, ports};

const ALL: u64 = u64::MAX;
const TERMINAL_IN: usize = 0;
const CONTROL_IN: usize = 2;
const CONTROL_OUT: usize = 3;
const STREAM_IN: usize = 4;
const STREAM_OUT: usize = 5;

const MESSAGE: u64 = DATA;
const CONTROL_BUFFERS: u64 = DATA + 0x1000;
const INPUT: u64 = DATA + 0x8000;
const OUTPUT: u64 = DATA + 0x1_0000;

/// Sends a control message as the driver.
fn tell(raw: &mut Raw, port: u32, event: u16, value: u16) {
    raw.put(MESSAGE, &port.to_le_bytes());
    raw.put(MESSAGE + 4, &event.to_le_bytes());
    raw.put(MESSAGE + 6, &value.to_le_bytes());
    assert_eq!(raw.request(CONTROL_OUT, &[(MESSAGE, 8)], &[]), Some(0));
}

/// Gives the device one buffer for control messages.
fn want_message(raw: &mut Raw) {
    let head = raw.offer(CONTROL_IN, &[], &[(CONTROL_BUFFERS, 64)]);
    assert_eq!(head, head % 32);
}

/// The next control message: port, event, value, payload.
fn message(raw: &mut Raw) -> Option<(u32, u16, u16, Vec<u8>)> {
    want_message(raw);
    raw.notify(CONTROL_IN);
    let (_, len) = raw.take_used(CONTROL_IN)?;
    let bytes = raw.get(CONTROL_BUFFERS, len as usize);
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let port = u32::from(half(0)) | u32::from(half(2)) << 16;
    Some((port, half(4), half(6), bytes[8..].to_vec()))
}

/// Does what Linux does up to open ports.
fn opened(size: ConsoleSize) -> (Raw, [CharHost; 2]) {
    let (device, hosts) = console(size);
    let mut raw = Raw::running(device, ALL);
    tell(&mut raw, 0, 0, 1);
    for port in 0..2 {
        assert_eq!(message(&mut raw), Some((port, 1, 1, vec![])), "port added");
    }
    for port in 0..2 {
        tell(&mut raw, port, 3, 1);
    }
    while message(&mut raw).is_some() {}
    raw.take_used(CONTROL_IN);
    for port in 0..2 {
        tell(&mut raw, port, 6, 1);
    }
    (raw, hosts)
}

fn host_bytes(host: &CharHost) -> Vec<u8> {
    let mut bytes = vec![0; 2 * CHANNEL_BYTES];
    let count = host.read(&mut bytes);
    bytes.truncate(count);
    bytes
}

#[test]
fn ports_introduce_themselves() {
    let size = ConsoleSize::new(&Attention::default());
    size.set(80, 25);
    let (device, [terminal, stream]) = console(size.clone());
    let mut raw = Raw::running(device, ALL);
    assert_eq!(raw.read(0x104), 2, "number of ports");
    assert_eq!(message(&mut raw), None, "silent until the driver is ready");
    tell(&mut raw, 0, 0, 1);
    assert_eq!(raw.take_used(CONTROL_IN).map(|(_, len)| len), Some(8), "the buffer offered above is used");
    assert_eq!(message(&mut raw), Some((1, 1, 1, vec![])));
    tell(&mut raw, 0, 3, 1);
    assert_eq!(message(&mut raw), Some((0, 4, 1, vec![])), "a terminal");
    assert_eq!(message(&mut raw), Some((0, 5, 0, vec![80, 0, 25, 0])), "its size");
    assert_eq!(message(&mut raw), Some((0, 6, 1, vec![])), "open on the host");
    tell(&mut raw, 1, 3, 1);
    assert_eq!(message(&mut raw), Some((1, 7, 1, b"test.stream".to_vec())));
    assert_eq!(message(&mut raw), Some((1, 6, 1, vec![])));
    assert!(!terminal.guest_is_open());
    tell(&mut raw, 0, 6, 1);
    assert!(terminal.guest_is_open() && !stream.guest_is_open());
    size.set(132, 43);
    raw.poll();
    assert_eq!(message(&mut raw), Some((0, 5, 0, vec![132, 0, 43, 0])));
    assert_eq!(raw.read(0x100), 132 | 43 << 16);
    drop(stream);
    assert_eq!(message(&mut raw), Some((1, 6, 0, vec![])), "closed on the host");
    assert_eq!(message(&mut raw), None);
}

#[test]
fn senseless_control_messages_are_ignored() {
    let (mut raw, [terminal, _stream]) = opened(ConsoleSize::default());
    for (port, event, value) in
        [(2, 3, 1), (u32::MAX, 6, 1), (0, 99, 1), (0, 1, 1), (0, 3, 0), (0, 0, 1), (7, 0, 0)]
    {
        tell(&mut raw, port, event, value);
        assert_eq!(raw.take_used(CONTROL_IN), None, "{port} {event} {value}");
    }
    assert_eq!(raw.request(CONTROL_OUT, &[(MESSAGE, 7)], &[]), Some(0));
    assert_eq!(raw.request(CONTROL_OUT, &[], &[(MESSAGE, 8)]), Some(0));
    assert!(terminal.guest_is_open() && !raw.needs_reset());
}

#[test]
fn output_stays_in_the_ring_until_the_host_takes_it() {
    let (mut raw, [_terminal, stream]) = opened(ConsoleSize::default());
    let data: Vec<u8> = (0..3 * CHANNEL_BYTES as u32 + 10).map(|at| at as u8).collect();
    raw.put(OUTPUT, &data);
    let half = data.len() as u32 / 2;
    raw.offer(STREAM_OUT, &[(OUTPUT, 10), (OUTPUT + 10, half - 10)], &[]);
    raw.offer(STREAM_OUT, &[(OUTPUT + u64::from(half), half)], &[]);
    raw.notify(STREAM_OUT);
    let mut received = Vec::new();
    let mut returned = 0;
    for _ in 0..10 {
        let bytes = host_bytes(&stream);
        assert!(bytes.len() <= CHANNEL_BYTES);
        received.extend(bytes);
        assert!(received.len() >= half as usize || returned == 0, "a chain is returned when it is all taken");
        raw.poll();
        returned += usize::from(raw.take_used(STREAM_OUT).is_some());
    }
    assert_eq!((received, returned), (data, 2));
}

#[test]
fn input_is_taken_only_into_buffers_of_open_ports() {
    let (mut raw, [_terminal, stream]) = opened(ConsoleSize::default());
    assert_eq!(stream.write(&[1; 200]), CHANNEL_BYTES);
    raw.poll();
    assert_eq!(stream.room_bytes(), 0, "no buffers");
    assert_eq!(raw.request(STREAM_IN, &[], &[(INPUT, 10), (INPUT + 100, 30)]), Some(40));
    assert_eq!(stream.room_bytes(), 40);
    assert_eq!(raw.request(STREAM_IN, &[], &[(INPUT, 10), (INPUT + 100, 30)]), Some(24), "what there is");
    raw.offer(STREAM_IN, &[], &[(INPUT, 10)]);
    raw.notify(STREAM_IN);
    assert_eq!(raw.take_used(STREAM_IN), None, "a buffer waits for input");
    tell(&mut raw, 1, 6, 0);
    stream.write(b"later");
    raw.poll();
    assert_eq!(
        (raw.take_used(STREAM_IN), stream.room_bytes()),
        (None, CHANNEL_BYTES - 5),
        "closed in the guest"
    );
    tell(&mut raw, 1, 6, 1);
    assert_eq!(raw.take_used(STREAM_IN).map(|(_, len)| len), Some(5));
    assert_eq!(raw.get(INPUT, 5), b"later");
}

#[test]
fn a_driver_without_multiport_uses_the_first_port() {
    let (device, [terminal, _stream]) = console(ConsoleSize::default());
    let mut raw = Raw::running(device, ALL & !2);
    terminal.write(b"in");
    assert_eq!(raw.request(TERMINAL_IN, &[], &[(INPUT, 10)]), Some(2));
    raw.put(OUTPUT, b"out");
    assert_eq!(raw.request(TERMINAL_IN + 1, &[(OUTPUT, 3)], &[]), Some(0));
    assert_eq!(host_bytes(&terminal), b"out");
    for queue in [CONTROL_IN, CONTROL_OUT, STREAM_IN, STREAM_OUT] {
        raw.offer(queue, &[(OUTPUT, 3)], &[]);
        raw.notify(queue);
        assert_eq!(raw.take_used(queue), None);
    }
}

#[test]
fn a_saved_console_goes_on_in_the_middle_of_a_chain() {
    let (mut raw, [_terminal, stream]) = opened(ConsoleSize::default());
    let data: Vec<u8> = (0..100).collect();
    raw.put(OUTPUT, &data);
    raw.offer(STREAM_OUT, &[(OUTPUT, 100)], &[]);
    raw.notify(STREAM_OUT);
    let mut received = host_bytes(&stream);
    assert_eq!(received.len(), CHANNEL_BYTES);
    let saved = raw.mmio.save();
    let DeviceState::Console(state) = &saved.device else { panic!("a console saves a console's state") };
    let (fewer, _) = ports();
    assert!(Console::restore(fewer.into_iter().take(1).collect(), ConsoleSize::default(), state).is_err());
    let (new_ports, [_new_terminal, new_stream]) = ports();
    let device = Console::restore(new_ports, ConsoleSize::default(), state).unwrap();
    let line = IrqLines::new(&Attention::default()).line(0);
    raw.mmio = VirtioMmio::restore(Box::new(device), line, &saved).unwrap();
    assert_eq!(raw.mmio.save(), saved);
    assert!(new_stream.guest_is_open());
    raw.poll();
    received.extend(host_bytes(&new_stream));
    assert_eq!(received, data);
    assert_eq!(raw.take_used(STREAM_OUT).map(|(_, len)| len), Some(0));
}
