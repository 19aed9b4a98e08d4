//! Block requests, right and wrong, one line each.

mod support;

use c2w_devices::backend::block::{BlockBackend, MemoryBlock, OverlayBlock};
use c2w_devices::virtio::DeviceState;
use c2w_devices::virtio::blk::Blk;
use c2w_devices::virtio::mmio::VirtioMmio;
use c2w_engine::irq::{Attention, IrqLines};
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use support::memory_disk;
use support::raw::*;

const ALL: u64 = u64::MAX;
const HEADER: u64 = DATA;
const STATUS_BYTE: u64 = DATA + 0x100;
const BODY: u64 = DATA + 0x1000;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

fn header(raw: &mut Raw, kind: u32, sector: u64) {
    raw.put(HEADER, &kind.to_le_bytes());
    raw.put(HEADER + 8, &sector.to_le_bytes());
    raw.put(STATUS_BYTE, &[0xee]);
}

fn range(raw: &mut Raw, sector: u64, sectors: u32, flags: u32) {
    raw.put(BODY, &sector.to_le_bytes());
    raw.put(BODY + 8, &sectors.to_le_bytes());
    raw.put(BODY + 12, &flags.to_le_bytes());
}

/// Sends a request with `out` bytes of body, or `into` bytes of room; returns status and bytes written.
fn send(raw: &mut Raw, out: u32, into: u32) -> (u8, u32) {
    let mut readable = vec![(HEADER, 16)];
    let mut writable = vec![(STATUS_BYTE, 1)];
    if out > 0 {
        readable.push((BODY, out));
    }
    if into > 0 {
        writable.insert(0, (BODY, into));
    }
    let written = raw.request(0, &readable, &writable).expect("the device answers");
    (raw.get(STATUS_BYTE, 1)[0], written)
}

#[test]
fn requests_and_their_answers() {
    // Type, sector, body, room, range (sector, count, flags), read-only: status, written.
    type Case = (u32, u64, u32, u32, Option<(u64, u32, u32)>, bool, u8, u32);
    const CASES: &[Case] = &[
        (0, 0, 0, 512, None, false, OK, 513),
        (0, 7, 0, 512, None, true, OK, 513),
        (0, 7, 0, 1024, None, false, IO_ERROR, 1),
        (0, 8, 0, 512, None, false, IO_ERROR, 1),
        (0, 8, 0, 0, None, false, OK, 1),
        (0, u64::MAX, 0, 512, None, false, IO_ERROR, 1),
        (0, u64::MAX / 512, 0, 512, None, false, IO_ERROR, 1),
        (0, 0, 0, 100, None, false, IO_ERROR, 1),
        (1, 0, 4096, 0, None, false, OK, 1),
        (1, 1, 4096, 0, None, false, IO_ERROR, 1),
        (1, 0, 513, 0, None, false, IO_ERROR, 1),
        (1, 0, 512, 0, None, true, IO_ERROR, 1),
        (4, 0, 0, 0, None, false, OK, 1),
        (4, 0, 0, 0, None, true, OK, 1),
        (8, 0, 0, 20, None, false, OK, 21),
        (8, 0, 0, 7, None, false, OK, 8),
        (8, 0, 0, 64, None, false, OK, 21),
        (11, 0, 16, 0, Some((1, 2, 0)), false, OK, 1),
        (11, 0, 16, 0, Some((1, 2, 1)), false, UNSUPPORTED, 1),
        (11, 0, 16, 0, Some((7, 2, 0)), false, IO_ERROR, 1),
        (11, 0, 16, 0, Some((1, 2, 0)), true, IO_ERROR, 1),
        (11, 0, 32, 0, Some((1, 2, 0)), false, IO_ERROR, 1),
        (11, 0, 8, 0, Some((1, 2, 0)), false, IO_ERROR, 1),
        (13, 0, 16, 0, Some((1, 2, 0)), false, OK, 1),
        (13, 0, 16, 0, Some((1, 2, 1)), false, OK, 1),
        (13, 0, 16, 0, Some((1, 2, 2)), false, UNSUPPORTED, 1),
        (13, 0, 16, 0, Some((0, u32::MAX, 0)), false, IO_ERROR, 1),
        (2, 0, 0, 512, None, false, UNSUPPORTED, 1),
        (u32::MAX, 0, 0, 0, None, false, UNSUPPORTED, 1),
    ];
    for case in CASES {
        let &(kind, sector, out, into, zone, read_only, status, written) = case;
        let mut raw = Raw::running(memory_disk(8, read_only), ALL);
        header(&mut raw, kind, sector);
        if let Some((sector, count, flags)) = zone {
            range(&mut raw, sector, count, flags);
        }
        assert_eq!(send(&mut raw, out, into), (status, written), "{case:?}");
        assert!(!raw.needs_reset(), "{case:?}");
    }
}

#[test]
fn data_may_lie_anywhere_in_the_chain() {
    let mut raw = Raw::running(memory_disk(8, false), ALL);
    header(&mut raw, 1, 2);
    raw.put(HEADER + 16, &[0xaa; 100]);
    raw.put(BODY, &[0xbb; 412]);
    // The header ends inside the first buffer, and the status byte is the end of another.
    assert_eq!(raw.request(0, &[(HEADER, 5), (HEADER + 5, 111), (BODY, 412)], &[(STATUS_BYTE, 1)]), Some(1));
    header(&mut raw, 0, 2);
    assert_eq!(raw.request(0, &[(HEADER, 16)], &[(BODY + 3, 1), (BODY + 0x800, 512)]), Some(513));
    assert_eq!(raw.get(BODY + 3, 1), [0xaa]);
    assert_eq!(raw.get(BODY + 0x800, 512), [&[0xaa; 99][..], &[0xbb; 412], &[OK]].concat());
}

#[test]
fn unanswerable_requests_are_returned_empty() {
    let mut raw = Raw::running(memory_disk(8, false), ALL);
    header(&mut raw, 0, 0);
    assert_eq!(raw.request(0, &[(HEADER, 16)], &[]), Some(0));
    assert_eq!(raw.request(0, &[(HEADER, 15)], &[(STATUS_BYTE, 1)]), Some(1));
    assert_eq!(raw.get(STATUS_BYTE, 1), [IO_ERROR]);
}

#[test]
fn zeroed_and_discarded_sectors_read_as_zeroes() {
    for kind in [11, 13] {
        let mut raw = Raw::running(memory_disk(8, false), ALL);
        header(&mut raw, kind, 0);
        range(&mut raw, 2, 3, 0);
        assert_eq!(send(&mut raw, 16, 0), (OK, 1));
        header(&mut raw, 0, 0);
        assert_eq!(send(&mut raw, 0, 4096), (OK, 4097));
        let sectors: Vec<u8> = raw.get(BODY, 4096).iter().step_by(512).copied().collect();
        assert_eq!(sectors, [0, 1, 0, 0, 0, 5, 6, 7]);
    }
}

#[test]
fn the_configuration_space_tells_the_size() {
    let mut raw = Raw::untouched(memory_disk(0x12345, false));
    assert_eq!(raw.read(0x100) | raw.read(0x104) << 32, 0x12345);
    assert_eq!((raw.read(0x10c), raw.read(0x114)), (254, 512));
    assert_eq!(raw.read(0x100 + 60), 0, "past the end");
    raw.write(0x100, 0);
    assert_eq!(raw.read(0x100), 0x12345);
}

/// A store whose first bytes make chain 0 available once more when they are read into an available ring.
struct NextIndex(Arc<AtomicU16>);

impl BlockBackend for NextIndex {
    fn capacity_bytes(&self) -> u64 {
        1 << 40
    }
    fn is_read_only(&self) -> bool {
        true
    }
    fn read_at(&mut self, _offset: u64, to: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        let reads = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(reads < 1000, "the notification does not end");
        to[0][2..4].copy_from_slice(&(reads + 1).to_le_bytes());
        Ok(())
    }
    fn write_at(&mut self, _offset: u64, _from: &[IoSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&mut self, _offset: u64, _len_bytes: u64) -> io::Result<()> {
        Ok(())
    }
    fn write_zeroes(&mut self, _offset: u64, _len_bytes: u64, _may_unmap: bool) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_request_that_makes_itself_available_again_ends_with_the_turn() {
    let reads = Arc::new(AtomicU16::new(0));
    let mut raw = Raw::running(Box::new(Blk::new(Box::new(NextIndex(reads.clone())), "")), ALL & !(1 << 29));
    header(&mut raw, 0, 0);
    let available = raw.rings[0].available;
    raw.offer(0, &[(HEADER, 16)], &[(available, 512), (STATUS_BYTE, 1)]);
    raw.notify(0);
    assert_eq!(reads.load(Ordering::Relaxed), 256);
    assert!(!raw.needs_reset());
    // It goes on at the next notification, as for a driver that made more available meanwhile.
    raw.notify(0);
    assert_eq!(reads.load(Ordering::Relaxed), 512);
}

#[test]
fn a_transfer_is_no_longer_than_the_announced_segments() {
    let mut raw = Raw::running(Box::new(Blk::new(Box::new(NextIndex(Arc::default())), "")), ALL);
    assert_eq!((raw.read(0x108), raw.read(0x10c)), (64 << 10, 254));
    // The same RAM again and again.
    let mib = |count: u32| vec![(RAM_BASE + 0x30_0000, 1 << 19); 2 * count as usize];
    for (mibs, status) in [(15, OK), (16, IO_ERROR)] {
        header(&mut raw, 0, 0);
        let writable = [mib(mibs), vec![(STATUS_BYTE, 1)]].concat();
        raw.request(0, &[(HEADER, 16)], &writable).expect("the device answers");
        assert_eq!(raw.get(STATUS_BYTE, 1), [status], "{mibs} MiB");
    }
}

/// A store whose host fails.
struct Broken;

impl BlockBackend for Broken {
    fn capacity_bytes(&self) -> u64 {
        4096
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn read_at(&mut self, _offset: u64, _to: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
    fn write_at(&mut self, _offset: u64, _from: &[IoSlice<'_>]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Other.into())
    }
    fn discard(&mut self, _offset: u64, _len_bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Other.into())
    }
    fn write_zeroes(&mut self, _offset: u64, _len_bytes: u64, _may_unmap: bool) -> io::Result<()> {
        Err(io::ErrorKind::Other.into())
    }
}

#[test]
fn host_failures_are_io_errors_and_nothing_more() {
    let mut raw = Raw::running(Box::new(Blk::new(Box::new(Broken), "")), ALL);
    for (kind, out, into) in [(0, 0, 512), (1, 512, 0), (4, 0, 0), (11, 16, 0), (13, 16, 0)] {
        header(&mut raw, kind, 0);
        range(&mut raw, 0, 1, 0);
        assert_eq!(send(&mut raw, out, into), (IO_ERROR, 1), "type {kind}");
    }
    assert!(!raw.needs_reset());
}

#[test]
fn a_saved_disk_goes_on_over_the_same_store_only() {
    let store = |sectors: usize| Box::new(MemoryBlock::new(vec![7; sectors * 512], true));
    let disk = |sectors| Box::new(Blk::new(Box::new(OverlayBlock::new(store(sectors), 1 << 20)), "x"));
    let mut raw = Raw::running(disk(8), ALL);
    header(&mut raw, 1, 3);
    raw.put(BODY, &[9; 512]);
    assert_eq!(send(&mut raw, 512, 0), (OK, 1));
    let saved = raw.mmio.save();
    let DeviceState::Blk(state) = &saved.device else { panic!("a disk saves a disk's state") };
    let overlay =
        |sectors| OverlayBlock::restore(store(sectors), 1 << 20, &state.changes).expect("the changes fit");
    let restored = Blk::restore(Box::new(overlay(8)), "x", state).unwrap();
    let line = IrqLines::new(&Attention::default()).line(0);
    raw.mmio = VirtioMmio::restore(Box::new(restored), line, &saved).unwrap();
    assert_eq!(raw.mmio.save(), saved);
    header(&mut raw, 0, 2);
    assert_eq!(send(&mut raw, 0, 1024), (OK, 1025));
    assert_eq!(raw.get(BODY, 1024), [[7; 512], [9; 512]].concat());
    assert!(Blk::restore(store(8), "x", state).is_err(), "read-only now");
    assert!(Blk::restore(Box::new(overlay(9)), "x", state).is_err(), "larger now");
    let unchanged = OverlayBlock::new(store(8), 1 << 20);
    assert!(Blk::restore(Box::new(unchanged), "x", state).is_err(), "changes forgotten");
}
