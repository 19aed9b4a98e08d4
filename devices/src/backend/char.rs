//! Byte streams between a serial-like device and the host, with flow control in both directions.
//!
//! Nothing here buffers without bound: a full sink refuses bytes and the device keeps them in the guest, and input is
//! taken from the host only when the guest has room for it.

use c2w_engine::irq::Attention;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The host side of a serial-like device. Never blocks.
pub trait CharBackend: Send {
    /// Takes waiting input, at most `to.len()` bytes; returns how many, 0 if none waits.
    fn read(&mut self, to: &mut [u8]) -> usize;

    /// Whether [`CharBackend::read`] has something to take.
    fn has_input(&self) -> bool;

    /// Offers output; returns how many bytes from the front were accepted. A sink whose reader is gone accepts all.
    fn write(&mut self, from: &[u8]) -> usize;

    /// Whether somebody on the host uses the stream.
    fn is_open(&self) -> bool {
        true
    }

    /// The guest opened or closed its end, for devices that can tell.
    fn set_guest_open(&mut self, open: bool) {
        let _ = open;
    }
}

/// Nobody: no input, all output is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullChar;

impl CharBackend for NullChar {
    fn read(&mut self, _to: &mut [u8]) -> usize {
        0
    }
    fn has_input(&self) -> bool {
        false
    }
    fn write(&mut self, from: &[u8]) -> usize {
        from.len()
    }
    fn is_open(&self) -> bool {
        false
    }
}

/// Called whenever one end of a channel did something the other end may wait for.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// The device's end of a bounded channel in memory.
pub struct CharChannel(Arc<Channel>);

/// The host's end of the channel. Clones share it; when the last is dropped the stream is closed.
#[derive(Clone)]
pub struct CharHost(Arc<HostEnd>);

struct HostEnd(Arc<Channel>);

struct Channel {
    streams: Mutex<Streams>,
    capacity_bytes: usize,
    attention: Attention,
}

#[derive(Default)]
struct Streams {
    to_guest: VecDeque<u8>,
    to_host: VecDeque<u8>,
    host_closed: bool,
    device_gone: bool,
    guest_open: bool,
    /// Called for the host: output arrived, or room for input.
    host_waker: Option<Waker>,
    /// Called for the machine: input arrived, or room for output.
    machine_waker: Option<Waker>,
}

/// A channel that holds at most `capacity_bytes` in each direction. What the host does sets `attention`, so that the
/// run loop polls the device.
pub fn char_channel(capacity_bytes: usize, attention: &Attention) -> (CharChannel, CharHost) {
    let streams = Mutex::default();
    let channel = Arc::new(Channel { streams, capacity_bytes, attention: attention.clone() });
    (CharChannel(channel.clone()), CharHost(Arc::new(HostEnd(channel))))
}

impl Channel {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        // Only a waker could panic under the lock, and none is called there.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_host(&self, streams: MutexGuard<'_, Streams>) {
        let waker = streams.host_waker.clone();
        drop(streams);
        if let Some(waker) = waker {
            waker();
        }
    }

    fn wake_machine(&self, streams: MutexGuard<'_, Streams>) {
        let waker = streams.machine_waker.clone();
        drop(streams);
        self.attention.set();
        if let Some(waker) = waker {
            waker();
        }
    }
}

fn take(from: &mut VecDeque<u8>, to: &mut [u8]) -> usize {
    let (first, second) = from.as_slices();
    let in_first = first.len().min(to.len());
    let in_second = second.len().min(to.len() - in_first);
    to[..in_first].copy_from_slice(&first[..in_first]);
    to[in_first..in_first + in_second].copy_from_slice(&second[..in_second]);
    from.drain(..in_first + in_second);
    in_first + in_second
}

fn put(to: &mut VecDeque<u8>, capacity_bytes: usize, from: &[u8]) -> usize {
    let count = from.len().min(capacity_bytes.saturating_sub(to.len()));
    to.extend(&from[..count]);
    count
}

impl CharBackend for CharChannel {
    fn read(&mut self, to: &mut [u8]) -> usize {
        let mut streams = self.0.streams();
        let count = take(&mut streams.to_guest, to);
        if count > 0 {
            self.0.wake_host(streams);
        }
        count
    }

    fn has_input(&self) -> bool {
        !self.0.streams().to_guest.is_empty()
    }

    fn write(&mut self, from: &[u8]) -> usize {
        let mut streams = self.0.streams();
        if streams.host_closed {
            return from.len();
        }
        let count = put(&mut streams.to_host, self.0.capacity_bytes, from);
        if count > 0 {
            self.0.wake_host(streams);
        }
        count
    }

    fn is_open(&self) -> bool {
        !self.0.streams().host_closed
    }

    fn set_guest_open(&mut self, open: bool) {
        let mut streams = self.0.streams();
        streams.guest_open = open;
        self.0.wake_host(streams);
    }
}

impl Drop for CharChannel {
    fn drop(&mut self) {
        let mut streams = self.0.streams();
        streams.device_gone = true;
        self.0.wake_host(streams);
    }
}

impl CharHost {
    /// Takes waiting guest output; returns how many bytes, 0 if none waits.
    pub fn read(&self, to: &mut [u8]) -> usize {
        let channel = &self.0.0;
        let mut streams = channel.streams();
        let count = take(&mut streams.to_host, to);
        if count > 0 {
            channel.wake_machine(streams);
        }
        count
    }

    /// Offers input to the guest; returns how many bytes from the front there was room for.
    pub fn write(&self, from: &[u8]) -> usize {
        let channel = &self.0.0;
        let mut streams = channel.streams();
        let count = put(&mut streams.to_guest, channel.capacity_bytes, from);
        if count > 0 {
            channel.wake_machine(streams);
        }
        count
    }

    /// Bytes of guest output that wait.
    pub fn waiting_bytes(&self) -> usize {
        self.0.0.streams().to_host.len()
    }

    /// Bytes of input there is room for.
    pub fn room_bytes(&self) -> usize {
        let channel = &self.0.0;
        channel.capacity_bytes.saturating_sub(channel.streams().to_guest.len())
    }

    /// Whether the guest has opened its end (virtio console ports only).
    pub fn guest_is_open(&self) -> bool {
        self.0.0.streams().guest_open
    }

    /// Whether the device is gone: no more output will come.
    pub fn device_is_gone(&self) -> bool {
        self.0.0.streams().device_gone
    }

    /// Sets what is called, on the vCPU's thread, when output or room for input arrived or the device is gone.
    pub fn set_host_waker(&self, waker: Waker) {
        self.0.0.streams().host_waker = Some(waker);
    }

    /// Sets what is called, on the host's thread, when input or room for output arrived: for a run loop that sleeps
    /// and does not see its `Attention`.
    pub fn set_machine_waker(&self, waker: Waker) {
        self.0.0.streams().machine_waker = Some(waker);
    }
}

impl Drop for HostEnd {
    fn drop(&mut self) {
        let mut streams = self.0.streams();
        streams.host_closed = true;
        streams.to_host.clear();
        self.0.wake_machine(streams);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_are_bounded_and_every_transfer_wakes_the_other_side() {
        let attention = Attention::default();
        let (mut device, host) = char_channel(4, &attention);
        assert_eq!(device.write(b"abcdef"), 4);
        assert!(!attention.take());
        let mut bytes = [0; 3];
        assert_eq!(host.read(&mut bytes), 3);
        assert!(attention.take(), "room for output");
        assert_eq!(device.write(b"efg"), 3);
        let mut rest = [0; 8];
        assert_eq!(host.read(&mut rest), 4);
        assert_eq!(&rest[..4], b"defg");
        attention.take();
        assert_eq!(host.write(b"12345"), 4);
        assert!(attention.take());
        assert_eq!(device.read(&mut rest), 4);
        assert_eq!(&rest[..4], b"1234");
    }

    #[test]
    fn a_closed_host_end_swallows_output() {
        let attention = Attention::default();
        let (mut device, host) = char_channel(4, &attention);
        let clone = host.clone();
        drop(host);
        assert!(device.is_open());
        drop(clone);
        assert!(!device.is_open() && attention.take());
        assert_eq!(device.write(&[0; 100]), 100);
    }

    #[test]
    fn the_host_learns_that_the_device_is_gone() {
        let (device, host) = char_channel(4, &Attention::default());
        assert!(!host.device_is_gone());
        drop(device);
        assert!(host.device_is_gone());
    }
}
