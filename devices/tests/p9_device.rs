//! The 9P device on its queue: under a driver that somebody else wrote, under one that writes rings by hand, and
//! saved and restored.

mod support;

use c2w_devices::backend::fs::{MemoryFs, MemoryLimits};
use c2w_devices::virtio::p9::{Options, P9};
use c2w_devices::virtio::{DeviceState, VirtioDevice};
use support::raw::{DATA, Raw};
use support::rig::{GuestHal, Window};
use virtio_drivers::device::virtio_9p::VirtIO9p;

const REPLY: u64 = DATA + 0x10_0000;

fn fs() -> MemoryFs {
    let fs = MemoryFs::new(MemoryLimits::default());
    fs.put(b"dir/file", 0o644, b"contents").unwrap();
    fs
}

fn device(fs: &MemoryFs) -> Box<P9<MemoryFs>> {
    Box::new(P9::new(fs.clone(), "share", Options::default()).unwrap())
}

fn message(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let fields = fields.concat();
    let size = (fields.len() as u32 + 7).to_le_bytes();
    [&size[..], &[kind, 5, 0], &fields].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Tversion, Tattach, Twalk and Tlopen to `dir/file` as fid 1.
fn opening() -> Vec<Vec<u8>> {
    let [zero, one, none] = [0u32, 1, u32::MAX].map(u32::to_le_bytes);
    vec![
        message(100, &[&65536u32.to_le_bytes(), &string("9P2000.L")]),
        message(104, &[&zero, &none, &string(""), &string(""), &none]),
        message(110, &[&zero, &one, &2u16.to_le_bytes(), &string("dir"), &string("file")]),
        message(12, &[&one, &zero]),
    ]
}

fn read(count: u32) -> Vec<u8> {
    message(116, &[&1u32.to_le_bytes(), &0u64.to_le_bytes(), &count.to_le_bytes()])
}

#[test]
fn another_driver_reads_a_file() {
    let window = Window::new(device(&fs()));
    let mut driver = VirtIO9p::<GuestHal, _>::new(window.clone()).unwrap();
    assert_eq!(driver.mount_tag(), "share");
    let mut reply = [0; 100];
    for request in opening() {
        driver.request(&request, &mut reply).unwrap();
        assert_eq!(reply[4], request[4] + 1);
    }
    let count = driver.request(&read(100), &mut reply).unwrap() as usize;
    assert_eq!(&reply[11..count], b"contents");
    assert!(window.irq_is_high());
}

/// Sends a message in pieces of one byte, two, and the rest; the reply goes into pieces, too.
fn send(raw: &mut Raw, message: &[u8], room: u32) -> Vec<u8> {
    raw.put(DATA, message);
    let len = message.len() as u32;
    let readable = [(DATA, 1), (DATA + 1, 2), (DATA + 3, len - 3)];
    let writable = [(REPLY, 5), (REPLY + 5, 6), (REPLY + 11, room - 11)];
    let written = raw.request(0, &readable, &writable).expect("the device answers at once");
    raw.get(REPLY, written as usize)
}

#[test]
fn messages_and_replies_in_pieces() {
    let fs = fs();
    let mut raw = Raw::running(device(&fs), u64::MAX);
    for request in opening() {
        assert_eq!(send(&mut raw, &request, 500)[4], request[4] + 1);
    }
    assert_eq!(&send(&mut raw, &read(100), 500)[11..], b"contents");
    // Less room than asked for.
    assert_eq!(&send(&mut raw, &read(100), 11 + 3)[11..], b"con");

    // Room for no reply at all, no message at all, nonsense.
    raw.put(DATA, &read(100));
    assert_eq!(raw.request(0, &[(DATA, 23)], &[(REPLY, 10)]), Some(0));
    assert_eq!(raw.request(0, &[(DATA, 23)], &[]), Some(0));
    assert_eq!(raw.request(0, &[], &[(REPLY, 100)]), Some(11));
    assert_eq!(raw.get(REPLY, 11), [11, 0, 0, 0, 7, 255, 255, 22, 0, 0, 0]);
    assert_eq!(raw.request(0, &[(DATA, 22)], &[(REPLY, 100)]), Some(11));
    assert!(!raw.needs_reset());

    // A message and a reply of more bytes than any may have.
    let huge = u32::from_le_bytes([0, 0, 0x18, 0]);
    let size = raw.ram.len_bytes() - (DATA - support::raw::RAM_BASE);
    assert!(u64::from(huge) <= size);
    raw.put(DATA, &huge.to_le_bytes());
    assert_eq!(raw.request(0, &[(DATA, huge)], &[(REPLY, 100)]), Some(11));
    assert_eq!(&send(&mut raw, &read(100), 500)[11..], b"contents");

    // After a reset of the device its fids are gone.
    raw.write(support::raw::STATUS, 0);
    let mut raw = Raw::running(device(&fs), u64::MAX);
    assert_eq!(send(&mut raw, &read(100), 500)[4], 7);
}

#[test]
fn a_saved_device_goes_on() {
    let fs = fs();
    let mut device = P9::new(fs.clone(), "share", Options::default()).unwrap();
    let fresh = device.save();
    let mut raw = Raw::running(Box::new(device), u64::MAX);
    for request in opening() {
        send(&mut raw, &request, 500);
    }
    let state = raw.mmio.save();
    let DeviceState::P9(saved) = &state.device else { panic!("{state:?}") };
    assert_eq!(saved.fids.len(), 2);
    let restored = P9::restore(fs.clone(), "share", Options::default(), saved).unwrap();
    assert_eq!(restored.save(), state.device);
    let mut raw = Raw::running(Box::new(restored), u64::MAX);
    assert_eq!(&send(&mut raw, &read(100), 500)[11..], b"contents");

    device = P9::restore(fs, "share", Options::default(), saved).unwrap();
    device.reset();
    assert_eq!(device.save(), fresh);
}
