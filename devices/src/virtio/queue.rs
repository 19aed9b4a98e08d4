//! Split virtqueues (virtio 1.2 §2.7), as the device sees them.
//!
//! Rings and descriptors are written by the guest and may hold anything. Every read and write is checked against RAM,
//! every loop is bounded by the queue size or by [`CHAIN_SEGMENTS`], and a broken rule is a [`QueueError`].
//!
//! A guest may place a ring where the device writes (a buffer, the other ring), so that answering one chain makes the
//! next one available. So a device gets at most as many chains in one turn as the queue has entries
//! ([`Queue::begin_turn`]); no driver can offer more while the device runs.

use super::chain::{Chain, Segment};
use super::feature;
use c2w_engine::addr::Gpa;
use c2w_engine::mem::ram::{OutsideRam, Ram};
use serde::{Deserialize, Serialize};

/// Most descriptors in one chain, indirect ones included.
pub const CHAIN_SEGMENTS: usize = 1024;
/// Most bytes in one chain (virtio 1.2 §2.7.5).
const CHAIN_BYTES: u64 = 1 << 32;

const DESCRIPTOR_BYTES: u64 = 16;
const DESCRIPTOR_NEXT: u16 = 1;
const DESCRIPTOR_WRITE: u16 = 2;
const DESCRIPTOR_INDIRECT: u16 = 4;

/// Offsets of the index field and of the entries in both rings.
const RING_INDEX: u64 = 2;
const RING_ENTRIES: u64 = 4;
const AVAILABLE_ENTRY_BYTES: u64 = 2;
const USED_ENTRY_BYTES: u64 = 8;
/// The driver wants no interrupts (§2.7.7).
const AVAILABLE_NO_INTERRUPT: u16 = 1;

/// Number of a virtqueue of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueIndex(pub u16);

/// How the guest broke the rules of a virtqueue. The device needs a reset afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// A ring, table or buffer is not wholly in RAM.
    #[error(transparent)]
    OutsideRam(#[from] OutsideRam),
    /// The available index is more than the queue size ahead.
    #[error("available index {available} is more than {size} ahead of {next}")]
    IndexJump {
        /// The index the driver wrote.
        available: u16,
        /// The next entry the device would have taken.
        next: u16,
        /// Queue size.
        size: u16,
    },
    /// A ring entry or a next field names no descriptor.
    #[error("descriptor {index} of a table with {entries}")]
    NoSuchDescriptor {
        /// The number.
        index: u16,
        /// Length of the table.
        entries: u32,
    },
    /// A chain loops or is longer than any request needs.
    #[error("descriptor chain is too long")]
    ChainTooLong,
    /// A device-readable descriptor follows a device-writable one.
    #[error("readable descriptor after a writable one")]
    ReadableAfterWritable,
    /// An indirect descriptor without the feature, inside an indirect table, or with a next field.
    #[error("misplaced indirect descriptor")]
    MisplacedIndirect,
    /// The length of an indirect table is zero or no multiple of the descriptor size.
    #[error("indirect table of {len_bytes} bytes")]
    IndirectLength {
        /// The length.
        len_bytes: u32,
    },
}

/// Registers and positions of a queue, as they are saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Entries in each ring, as the driver chose.
    pub size: u16,
    /// The driver finished setting the queue up.
    pub ready: bool,
    /// Guest physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest physical address of the available ring.
    pub available: u64,
    /// Guest physical address of the used ring.
    pub used: u64,
    /// Next entry of the available ring to take.
    pub next_available: u16,
    /// Next entry of the used ring to fill.
    pub next_used: u16,
    /// Value of `next_used` when the driver was last considered for an interrupt.
    pub signalled_used: u16,
}

/// One virtqueue.
#[derive(Debug)]
pub struct Queue {
    max_size: u16,
    indirect: bool,
    event_index: bool,
    /// Chains that may still be popped in this turn.
    turn_chains: u16,
    state: QueueState,
}

impl Queue {
    /// A queue that is not set up, of at most `max_size` entries.
    pub fn new(max_size: u16) -> Self {
        let state = QueueState { size: max_size, ..QueueState::default() };
        Self { max_size, indirect: false, event_index: false, turn_chains: max_size, state }
    }

    /// The saved queue with the features the driver agreed on, or `None` if its size is impossible.
    pub fn restore(max_size: u16, features: u64, state: &QueueState) -> Option<Self> {
        let mut queue =
            Self { max_size, indirect: false, event_index: false, turn_chains: max_size, state: *state };
        queue.set_features(features);
        (!state.ready || queue.has_valid_size()).then_some(queue)
    }

    /// Registers and positions.
    pub fn save(&self) -> QueueState {
        self.state
    }

    /// Greatest size the driver may choose.
    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// Whether the driver set the queue up.
    pub fn is_ready(&self) -> bool {
        self.state.ready
    }

    /// Follows the features the driver agreed on.
    pub(super) fn set_features(&mut self, features: u64) {
        self.indirect = features & feature::INDIRECT_DESCRIPTORS != 0;
        self.event_index = features & feature::EVENT_INDEX != 0;
    }

    /// The registers, for the transport, while the queue is not ready.
    pub(super) fn setup(&mut self) -> Option<&mut QueueState> {
        (!self.state.ready).then_some(&mut self.state)
    }

    /// Starts or stops the queue. A queue with impossible registers does not become ready.
    pub(super) fn set_ready(&mut self, ready: bool, ram: &Ram) {
        if ready && !self.state.ready {
            self.state.ready = self.has_valid_size() && self.rings_are_valid(ram);
            self.state.next_available = 0;
            self.state.next_used = 0;
            self.state.signalled_used = 0;
        } else if !ready {
            self.state.ready = false;
        }
    }

    fn has_valid_size(&self) -> bool {
        self.state.size.is_power_of_two() && self.state.size <= self.max_size
    }

    /// Alignment and place of the three areas (§2.7).
    fn rings_are_valid(&self, ram: &Ram) -> bool {
        let size = u64::from(self.state.size);
        [
            (self.state.descriptors, 16, DESCRIPTOR_BYTES * size),
            (self.state.available, 2, RING_ENTRIES + AVAILABLE_ENTRY_BYTES * size + 2),
            (self.state.used, 4, RING_ENTRIES + USED_ENTRY_BYTES * size + 2),
        ]
        .into_iter()
        .all(|(base, align, len_bytes): (u64, u64, u64)| {
            base.is_multiple_of(align) && ram.offset(Gpa(base), len_bytes).is_ok()
        })
    }

    /// Starts a turn of the device: it may pop as many chains as the queue has entries, which is all that a driver can
    /// have made available by now.
    pub(super) fn begin_turn(&mut self) {
        self.turn_chains = self.max_size;
    }

    /// Takes the next available chain. False if there is none or the turn is over; the driver then notifies about the
    /// next.
    pub fn pop(&mut self, ram: &mut Ram, chain: &mut Chain) -> Result<bool, QueueError> {
        if !self.state.ready {
            return Ok(false);
        }
        if self.pending(ram)? == 0 || self.turn_chains == 0 {
            self.ask_for_notification(ram)?;
            return Ok(false);
        }
        let slot = u64::from(self.state.next_available % self.state.size);
        let entry = Gpa(self.state.available).offset(RING_ENTRIES + AVAILABLE_ENTRY_BYTES * slot);
        let head = ram.read_u16(entry)?;
        chain.clear(head);
        self.collect(ram, head, chain)?;
        self.state.next_available = self.state.next_available.wrapping_add(1);
        self.turn_chains -= 1;
        Ok(true)
    }

    /// Gives the chain just taken back to the available ring: the next [`Queue::pop`] takes it again.
    pub fn undo_pop(&mut self) {
        self.state.next_available = self.state.next_available.wrapping_sub(1);
        self.turn_chains += 1;
    }

    /// Chains that wait in the available ring.
    pub fn pending(&self, ram: &Ram) -> Result<u16, QueueError> {
        if !self.state.ready {
            return Ok(0);
        }
        let available = ram.read_u16(Gpa(self.state.available).offset(RING_INDEX))?;
        let pending = available.wrapping_sub(self.state.next_available);
        if pending > self.state.size {
            let QueueState { next_available: next, size, .. } = self.state;
            return Err(QueueError::IndexJump { available, next, size });
        }
        Ok(pending)
    }

    /// Returns a chain to the driver, `written_bytes` of its writable part filled.
    pub fn push(&mut self, ram: &mut Ram, chain: &Chain, written_bytes: u32) -> Result<(), QueueError> {
        let slot = u64::from(self.state.next_used % self.state.size);
        let entry = u64::from(written_bytes) << 32 | u64::from(chain.head);
        let used = Gpa(self.state.used);
        ram.write(used.offset(RING_ENTRIES + USED_ENTRY_BYTES * slot), &entry.to_le_bytes())?;
        self.state.next_used = self.state.next_used.wrapping_add(1);
        ram.write(used.offset(RING_INDEX), &self.state.next_used.to_le_bytes())?;
        Ok(())
    }

    /// Whether the driver wants an interrupt for the chains returned since the last call (§2.7.7, §2.7.10).
    pub(super) fn take_interrupt(&mut self, ram: &Ram) -> Result<bool, QueueError> {
        let QueueState { next_used: new, signalled_used: old, .. } = self.state;
        if !self.state.ready || new == old {
            return Ok(false);
        }
        self.state.signalled_used = new;
        let available = Gpa(self.state.available);
        if self.event_index {
            let past_entries = RING_ENTRIES + AVAILABLE_ENTRY_BYTES * u64::from(self.state.size);
            let used_event = ram.read_u16(available.offset(past_entries))?;
            Ok(new.wrapping_sub(used_event).wrapping_sub(1) < new.wrapping_sub(old))
        } else {
            Ok(ram.read_u16(available)? & AVAILABLE_NO_INTERRUPT == 0)
        }
    }

    /// With event indices the driver notifies only when it passes the entry the device named. Without them it always
    /// does: the flag that would stop it is never set, since requests are handled at once.
    fn ask_for_notification(&mut self, ram: &mut Ram) -> Result<(), QueueError> {
        if self.event_index {
            let past_entries = RING_ENTRIES + USED_ENTRY_BYTES * u64::from(self.state.size);
            let gpa = Gpa(self.state.used).offset(past_entries);
            if ram.read_u16(gpa)? != self.state.next_available {
                ram.write(gpa, &self.state.next_available.to_le_bytes())?;
            }
        }
        Ok(())
    }

    fn collect(&self, ram: &Ram, head: u16, chain: &mut Chain) -> Result<(), QueueError> {
        let mut table = Table { base: Gpa(self.state.descriptors), entries: self.state.size.into() };
        let mut inside_indirect = false;
        let mut index = head;
        for _ in 0..=CHAIN_SEGMENTS {
            let descriptor = table.descriptor(ram, index)?;
            let has_next = descriptor.flags & DESCRIPTOR_NEXT != 0;
            if descriptor.flags & DESCRIPTOR_INDIRECT != 0 {
                if inside_indirect || !self.indirect || has_next {
                    return Err(QueueError::MisplacedIndirect);
                }
                table = Table::indirect(&descriptor, ram)?;
                inside_indirect = true;
                index = 0;
                continue;
            }
            descriptor.add_to(chain, ram)?;
            if !has_next {
                return Ok(());
            }
            index = descriptor.next;
        }
        Err(QueueError::ChainTooLong)
    }
}

/// A descriptor table whose bytes are all in RAM.
struct Table {
    base: Gpa,
    entries: u32,
}

impl Table {
    fn indirect(descriptor: &Descriptor, ram: &Ram) -> Result<Self, QueueError> {
        let len_bytes = descriptor.len_bytes;
        let entries = len_bytes / DESCRIPTOR_BYTES as u32;
        if entries == 0 || !u64::from(len_bytes).is_multiple_of(DESCRIPTOR_BYTES) {
            return Err(QueueError::IndirectLength { len_bytes });
        }
        ram.offset(descriptor.gpa, len_bytes.into())?;
        Ok(Self { base: descriptor.gpa, entries })
    }

    fn descriptor(&self, ram: &Ram, index: u16) -> Result<Descriptor, QueueError> {
        if u32::from(index) >= self.entries {
            return Err(QueueError::NoSuchDescriptor { index, entries: self.entries });
        }
        let gpa = self.base.offset(DESCRIPTOR_BYTES * u64::from(index));
        let mut bytes = [0; DESCRIPTOR_BYTES as usize];
        ram.read(gpa, &mut bytes)?;
        let raw = u128::from_le_bytes(bytes);
        Ok(Descriptor {
            gpa: Gpa(raw as u64),
            len_bytes: (raw >> 64) as u32,
            flags: (raw >> 96) as u16,
            next: (raw >> 112) as u16,
        })
    }
}

struct Descriptor {
    gpa: Gpa,
    len_bytes: u32,
    flags: u16,
    next: u16,
}

impl Descriptor {
    fn add_to(&self, chain: &mut Chain, ram: &Ram) -> Result<(), QueueError> {
        let writable = self.flags & DESCRIPTOR_WRITE != 0;
        if !writable && !chain.writable.is_empty() {
            return Err(QueueError::ReadableAfterWritable);
        }
        // Drivers may pass empty buffers; no device has a use for them.
        if self.len_bytes == 0 {
            return Ok(());
        }
        ram.offset(self.gpa, self.len_bytes.into())?;
        let total = chain.readable.len_bytes() + chain.writable.len_bytes() + u64::from(self.len_bytes);
        if total > CHAIN_BYTES {
            return Err(QueueError::ChainTooLong);
        }
        let segments = if writable { &mut chain.writable } else { &mut chain.readable };
        segments.push(Segment { gpa: self.gpa, len_bytes: self.len_bytes });
        Ok(())
    }
}
