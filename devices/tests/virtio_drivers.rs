//! Our devices under drivers that somebody else wrote: the `virtio-drivers` crate.

mod support;

use c2w_devices::virtio::console::ConsoleSize;
use c2w_engine::irq::Attention;
use support::rig::{GuestHal, Window};
use support::{CHANNEL_BYTES, console, counting_rng, memory_disk};
use virtio_drivers::device::blk::{BlkReq, BlkResp, RespStatus, VirtIOBlk};
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::device::rng::VirtIORng;

fn disk(sectors: usize, read_only: bool) -> (VirtIOBlk<GuestHal, Window>, Window) {
    let window = Window::new(memory_disk(sectors, read_only));
    (VirtIOBlk::new(window.clone()).expect("the driver accepts the device"), window)
}

#[test]
fn blk_reads_what_it_wrote() {
    let (mut blk, window) = disk(4096, false);
    assert_eq!((blk.capacity(), blk.readonly()), (4096, false));
    let mut sectors = vec![0xee; 3 * 512];
    blk.read_blocks(7, &mut sectors).unwrap();
    assert_eq!(sectors, [[7u8; 512], [8; 512], [9; 512]].concat());
    assert!(window.irq_is_high());
    assert!(!blk.ack_interrupt().is_empty() && !window.irq_is_high());
    let large: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    blk.write_blocks(100, &large).unwrap();
    blk.flush().unwrap();
    let mut back = vec![0; large.len()];
    blk.read_blocks(100, &mut back).unwrap();
    assert!(back == large);
    let mut id = [0; 20];
    let len = blk.device_id(&mut id).unwrap();
    assert_eq!(&id[..len], b"test-disk");
}

#[test]
fn blk_answers_mistakes_in_protocol() {
    let (mut blk, _) = disk(16, false);
    assert!(blk.read_blocks(16, &mut [0; 512]).is_err());
    assert!(blk.write_blocks(usize::MAX, &[0; 512]).is_err());
    blk.write_blocks(15, &[0; 512]).expect("the device goes on");
    let (mut blk, _) = disk(16, true);
    assert!(blk.readonly() && blk.write_blocks(0, &[0; 512]).is_err());
    blk.read_blocks(0, &mut [0; 512]).expect("the device goes on");
}

#[test]
fn blk_keeps_several_requests_apart() {
    let (mut blk, _) = disk(64, false);
    let mut requests: Vec<_> =
        (0..4).map(|n| (n, BlkReq::default(), Box::new([0u8; 512]), BlkResp::default())).collect();
    let tokens: Vec<_> = requests
        .iter_mut()
        .map(|(n, request, buffer, response)| {
            // SAFETY: the buffers live in `requests` until the requests are completed below.
            unsafe { blk.read_blocks_nb(*n + 10, request, &mut buffer[..], response) }.unwrap()
        })
        .collect();
    for (token, (n, request, buffer, response)) in tokens.into_iter().zip(&mut requests) {
        assert_eq!(blk.peek_used(), Some(token));
        // SAFETY: the same buffers as in the call above.
        unsafe { blk.complete_read_blocks(token, request, &mut buffer[..], response) }.unwrap();
        assert_eq!(response.status(), RespStatus::OK);
        assert_eq!(**buffer, [*n as u8 + 10; 512]);
    }
}

#[test]
fn console_carries_bytes_both_ways_and_knows_its_size() {
    let size = ConsoleSize::new(&Attention::default());
    size.set(132, 43);
    let (device, [host, _other]) = console(size.clone());
    let window = Window::new(device);
    let mut driver = VirtIOConsole::<GuestHal, _>::new(window.clone()).unwrap();
    let shown = driver.size().unwrap().unwrap();
    assert_eq!((shown.columns, shown.rows), (132, 43));
    driver.send_bytes(b"hello").unwrap();
    let mut bytes = [0; 16];
    assert_eq!(host.read(&mut bytes), 5);
    assert_eq!(&bytes[..5], b"hello");
    assert_eq!(host.write(b"ok"), 2);
    assert_eq!(driver.recv(true).unwrap(), None, "the device has not looked yet");
    window.poll();
    driver.ack_interrupt().unwrap();
    let received = [driver.recv(true).unwrap(), driver.recv(true).unwrap(), driver.recv(true).unwrap()];
    assert_eq!(received, [Some(b'o'), Some(b'k'), None]);
    size.set(80, 25);
    window.poll();
    let shown = driver.size().unwrap().unwrap();
    assert_eq!((shown.columns, shown.rows), (80, 25));
    for round in 0..5 * CHANNEL_BYTES as u32 {
        driver.send(round as u8).unwrap();
        assert_eq!((host.read(&mut bytes), bytes[0]), (1, round as u8));
    }
}

#[test]
fn rng_fills_buffers() {
    let mut rng = VirtIORng::<GuestHal, _>::new(Window::new(counting_rng())).unwrap();
    let mut bytes = [0; 300];
    let mut count = 0;
    while count < bytes.len() {
        count += rng.request_entropy(&mut bytes[count..]).unwrap();
    }
    let expected: Vec<u8> = (1..=300).map(|n| n as u8).collect();
    assert_eq!(bytes[..], expected);
}
