//! Virtio 1.2 devices: what a device is to the transport that carries it.
//!
//! The transport ([`mmio`]) owns registers, feature negotiation, virtqueues and the interrupt; a device only
//! handles requests. Everything runs on the thread of the vCPU that notified, one call at a time.

pub mod blk;
pub mod chain;
pub mod console;
pub mod mmio;
pub mod p9;
pub mod queue;
pub mod rng;

pub use chain::{Chain, Segment, Segments};
pub use queue::{Queue, QueueError, QueueIndex};

use c2w_engine::mem::ram::Ram;
use serde::{Deserialize, Serialize};

/// Feature bits that belong to the transport and the queues (virtio 1.2 §6). Devices offer their own bits only.
pub mod feature {
    /// Descriptors may refer to a table of descriptors.
    pub const INDIRECT_DESCRIPTORS: u64 = 1 << 28;
    /// Notifications are suppressed by ring index rather than by flag.
    pub const EVENT_INDEX: u64 = 1 << 29;
    /// The device complies with version 1 of the specification; a driver that refuses it is refused.
    pub const VERSION_1: u64 = 1 << 32;
    /// What this transport offers for every device.
    pub const TRANSPORT: u64 = INDIRECT_DESCRIPTORS | EVENT_INDEX | VERSION_1;
}

/// Device type numbers (virtio 1.2 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u32)]
pub enum DeviceId {
    /// Network card.
    Net = 1,
    /// Block device.
    Block = 2,
    /// Console.
    Console = 3,
    /// Entropy source.
    Entropy = 4,
    /// 9P file server.
    P9 = 9,
}

/// What a device may use while it handles requests.
pub struct VirtioIo<'a> {
    /// Guest RAM.
    pub ram: &'a mut Ram,
    /// The device's virtqueues, by [`QueueIndex`].
    pub queues: &'a mut [Queue],
    /// The features both sides agreed on.
    pub features: u64,
    /// Guest time, in nanoseconds since the machine was powered on.
    pub now_ns: u64,
    /// Set by a device whose configuration space changed: the guest gets a configuration interrupt.
    pub config_changed: bool,
}

/// A virtio device behind a transport.
///
/// `notify` and `poll` are called only between a driver's DRIVER_OK and the next reset. An error from them means that
/// the guest broke the rules of a virtqueue: the transport marks the device as needing a reset. Mistakes inside a
/// request, and failures of the host, are answered in the device's own protocol instead.
pub trait VirtioDevice: Send {
    /// Device type.
    fn id(&self) -> DeviceId;

    /// The device's own feature bits, without those of [`feature::TRANSPORT`].
    fn features(&self) -> u64;

    /// Greatest size of each queue: powers of two up to 1024. The length is the number of queues and never changes.
    fn queue_sizes(&self) -> &[u16];

    /// Reads `to.len()` bytes at `offset` of the configuration space, see [`read_config_bytes`].
    fn read_config(&self, offset: u64, to: &mut [u8]);

    /// Writes to the configuration space. Most devices have nothing writable there.
    fn write_config(&mut self, offset: u64, from: &[u8]) {
        let _ = (offset, from);
    }

    /// The driver is ready (DRIVER_OK): it agreed on `features`. Every queue is notified right after.
    fn activate(&mut self, features: u64) {
        let _ = features;
    }

    /// Returns to the state after power-on. Backends keep their contents.
    fn reset(&mut self);

    /// The driver made buffers available in `queue`, which is one of the device's.
    fn notify(&mut self, queue: QueueIndex, io: &mut VirtioIo<'_>) -> Result<(), QueueError>;

    /// The host may have input, or room for output, that it did not have before.
    fn poll(&mut self, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let _ = io;
        Ok(())
    }

    /// The state of the device alone; the transport saves queues and features.
    fn save(&self) -> DeviceState;
}

/// State of a device of any type. A device is restored by its own `restore(backend, &State)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    /// A device without state of its own.
    Stateless,
    /// A block device.
    Blk(blk::BlkState),
    /// A console.
    Console(console::ConsoleState),
    /// A 9P file server.
    P9(p9::State),
}

/// Why a saved state cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The state belongs to another type of device.
    #[error("the saved state belongs to another device than {0:?}")]
    OtherDevice(DeviceId),
    /// A field holds a value no running device could have had.
    #[error("the saved state of {device:?} has an impossible {field}")]
    Impossible {
        /// The device.
        device: DeviceId,
        /// Name of the field.
        field: &'static str,
    },
}

/// Reads from a configuration space that consists of `bytes`; past its end are zeroes.
pub fn read_config_bytes(bytes: &[u8], offset: u64, to: &mut [u8]) {
    to.fill(0);
    let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
    let available = &bytes[start..];
    let count = available.len().min(to.len());
    to[..count].copy_from_slice(&available[..count]);
}
