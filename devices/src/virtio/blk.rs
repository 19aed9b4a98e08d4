//! The virtio block device (virtio 1.2 §5.2).
//!
//! A request is parsed in full, then carried out; data moves directly between the backend and guest RAM. What the
//! guest got wrong and what the host could not do end in the request's status byte.

use super::queue::{QueueError, QueueIndex};
use super::{
    Chain, DeviceId, DeviceState, RestoreError, Segments, VirtioDevice, VirtioIo, read_config_bytes,
};
use crate::backend::block::{BlockBackend, OverlayState};
use c2w_engine::mem::ram::Ram;
use serde::{Deserialize, Serialize};
use std::io;

/// Unit of addresses and lengths in the protocol, whatever the block size (§5.2.4).
pub const SECTOR_BYTES: u64 = 512;
/// Block size announced to the guest: what host file systems and page caches work in is 4096, but images need not
/// be a multiple of that.
const BLOCK_BYTES: u32 = 512;
const QUEUE_SIZE: u16 = 256;
/// A request's header and status take a descriptor each.
const MAX_DATA_SEGMENTS: u32 = QUEUE_SIZE as u32 - 2;
/// Longest segment that drivers are asked to make.
const MAX_SEGMENT_BYTES: u32 = 64 << 10;
/// Longest transfer of a driver that keeps both limits; longer ones are refused. It bounds the work of one
/// notification, as the same bytes of RAM may be in many segments.
const MAX_TRANSFER_BYTES: u64 = MAX_DATA_SEGMENTS as u64 * MAX_SEGMENT_BYTES as u64;
/// One discard or write-zeroes request covers at most 1 GiB, in one range: it bounds the work of one notification.
const MAX_RANGE_SECTORS: u32 = 1 << 21;
const HEADER_BYTES: u64 = 16;
const RANGE_BYTES: u64 = 16;
const RANGE_UNMAP: u32 = 1;
const ID_BYTES: usize = 20;

/// Feature bits (§5.2.3).
mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const READ_ONLY: u64 = 1 << 5;
    pub const BLOCK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// Request types (§5.2.6).
mod kind {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
    pub const DISCARD: u32 = 11;
    pub const WRITE_ZEROES: u32 = 13;
}

/// Values of the status byte (§5.2.6).
mod status {
    pub const OK: u8 = 0;
    pub const IO_ERROR: u8 = 1;
    pub const UNSUPPORTED: u8 = 2;
}

/// Why a block request could not be carried out.
#[derive(Debug, thiserror::Error)]
enum BlkError {
    #[error("the request has no header")]
    NoHeader,
    #[error("{len_bytes} bytes are no whole number of sectors")]
    PartialSector { len_bytes: u64 },
    #[error("{sectors} sectors from {sector} on reach past the end")]
    PastEnd { sector: u64, sectors: u64 },
    #[error("the device is read-only")]
    ReadOnly,
    #[error("request type {0}")]
    UnknownKind(u32),
    #[error("a transfer or range that is too long, or more than one range")]
    TooMuch,
    #[error("flags {0:#x} of a range")]
    UnknownFlags(u32),
    #[error(transparent)]
    Host(#[from] io::Error),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl BlkError {
    /// How the guest is told.
    fn status(&self) -> u8 {
        match self {
            Self::UnknownKind(_) | Self::UnknownFlags(_) => status::UNSUPPORTED,
            _ => status::IO_ERROR,
        }
    }
}

/// A request without a mistake. Offsets and lengths are in bytes and inside the store.
#[derive(Debug, PartialEq, Eq)]
enum BlkRequest {
    Read { offset: u64, len_bytes: u64 },
    Write { offset: u64, len_bytes: u64 },
    Flush,
    GetId,
    Discard { offset: u64, len_bytes: u64 },
    WriteZeroes { offset: u64, len_bytes: u64, may_unmap: bool },
}

/// State of a block device: what the guest was told about its store, and what the store keeps in memory only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkState {
    /// Size of the store.
    pub capacity_sectors: u64,
    /// Whether it refuses changes.
    pub read_only: bool,
    /// Changes in memory, from which the caller restores an overlay store.
    pub changes: OverlayState,
}

/// The block device.
pub struct Blk {
    backend: Box<dyn BlockBackend>,
    id: [u8; ID_BYTES],
    chain: Chain,
}

impl Blk {
    /// A disk over `backend`. `id` is its serial number; 20 bytes of it are shown. A last part of the store that is no
    /// whole sector is out of reach.
    pub fn new(backend: Box<dyn BlockBackend>, id: &str) -> Self {
        let mut id_bytes = [0; ID_BYTES];
        let count = id.len().min(ID_BYTES);
        id_bytes[..count].copy_from_slice(&id.as_bytes()[..count]);
        Self { backend, id: id_bytes, chain: Chain::default() }
    }

    /// The saved disk over `backend`, which must look as it did: an overlay holds `state.changes` again.
    pub fn restore(backend: Box<dyn BlockBackend>, id: &str, state: &BlkState) -> Result<Self, RestoreError> {
        let blk = Self::new(backend, id);
        if blk.state() == *state {
            Ok(blk)
        } else {
            Err(RestoreError::Impossible { device: DeviceId::Block, field: "store" })
        }
    }

    fn state(&self) -> BlkState {
        BlkState {
            capacity_sectors: self.capacity_sectors(),
            read_only: self.backend.is_read_only(),
            changes: self.backend.changes(),
        }
    }

    fn capacity_sectors(&self) -> u64 {
        self.backend.capacity_bytes() / SECTOR_BYTES
    }

    /// Handles the chain; returns how many bytes were written to it.
    fn handle(&mut self, ram: &mut Ram) -> Result<u32, QueueError> {
        let writable = self.chain.writable().len_bytes();
        // Without a status byte there is no way to answer.
        let Some(data_bytes) = writable.checked_sub(1) else {
            return Ok(0);
        };
        let result = self.parse(ram, data_bytes).and_then(|request| self.execute(&request, ram));
        let (status, written) = match result {
            Ok(written) => (status::OK, written + 1),
            Err(BlkError::Queue(error)) => return Err(error),
            Err(error) => (error.status(), 1),
        };
        self.chain.writable().copy_from(ram, data_bytes, &[status])?;
        Ok(u32::try_from(written).unwrap_or(u32::MAX))
    }

    fn parse(&self, ram: &Ram, writable_bytes: u64) -> Result<BlkRequest, BlkError> {
        let readable = self.chain.readable();
        let header = readable.header::<{ HEADER_BYTES as usize }>(ram)?.ok_or(BlkError::NoHeader)?;
        let header = u128::from_le_bytes(header);
        let (kind, sector) = (header as u32, (header >> 64) as u64);
        let readable_bytes = readable.len_bytes() - HEADER_BYTES;
        match kind {
            kind::IN => {
                check_length(writable_bytes)?;
                let (offset, len_bytes) = self.transfer(sector, writable_bytes)?;
                Ok(BlkRequest::Read { offset, len_bytes })
            }
            kind::OUT => {
                self.check_writable()?;
                check_length(readable_bytes)?;
                let (offset, len_bytes) = self.transfer(sector, readable_bytes)?;
                Ok(BlkRequest::Write { offset, len_bytes })
            }
            kind::FLUSH => Ok(BlkRequest::Flush),
            kind::GET_ID => Ok(BlkRequest::GetId),
            kind::DISCARD => {
                let (offset, len_bytes, flags) = self.range(ram, readable, readable_bytes)?;
                match flags {
                    0 => Ok(BlkRequest::Discard { offset, len_bytes }),
                    _ => Err(BlkError::UnknownFlags(flags)),
                }
            }
            kind::WRITE_ZEROES => {
                let (offset, len_bytes, flags) = self.range(ram, readable, readable_bytes)?;
                match flags & !RANGE_UNMAP {
                    0 => {
                        Ok(BlkRequest::WriteZeroes { offset, len_bytes, may_unmap: flags & RANGE_UNMAP != 0 })
                    }
                    unknown => Err(BlkError::UnknownFlags(unknown)),
                }
            }
            kind => Err(BlkError::UnknownKind(kind)),
        }
    }

    fn check_writable(&self) -> Result<(), BlkError> {
        if self.backend.is_read_only() { Err(BlkError::ReadOnly) } else { Ok(()) }
    }

    /// Byte offset and length of a transfer.
    fn transfer(&self, sector: u64, len_bytes: u64) -> Result<(u64, u64), BlkError> {
        if !len_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(BlkError::PartialSector { len_bytes });
        }
        let sectors = len_bytes / SECTOR_BYTES;
        match sector.checked_add(sectors) {
            Some(end) if end <= self.capacity_sectors() => Ok((sector * SECTOR_BYTES, len_bytes)),
            _ => Err(BlkError::PastEnd { sector, sectors }),
        }
    }

    /// The one range of a discard or write-zeroes request, and its flags.
    fn range(&self, ram: &Ram, readable: &Segments, data_bytes: u64) -> Result<(u64, u64, u32), BlkError> {
        self.check_writable()?;
        if data_bytes != RANGE_BYTES {
            return Err(BlkError::TooMuch);
        }
        let mut range = [0; RANGE_BYTES as usize];
        readable.copy_to(ram, HEADER_BYTES, &mut range)?;
        let range = u128::from_le_bytes(range);
        let (sector, sectors, flags) = (range as u64, (range >> 64) as u32, (range >> 96) as u32);
        if sectors > MAX_RANGE_SECTORS {
            return Err(BlkError::TooMuch);
        }
        let (offset, len_bytes) = self.transfer(sector, u64::from(sectors) * SECTOR_BYTES)?;
        Ok((offset, len_bytes, flags))
    }

    /// Carries a request out; returns how many bytes of data were written to the chain.
    fn execute(&mut self, request: &BlkRequest, ram: &mut Ram) -> Result<u64, BlkError> {
        let backend = &mut *self.backend;
        match *request {
            BlkRequest::Read { offset, len_bytes } => {
                self.chain.writable().scatter(ram, 0, len_bytes, |done, slices| {
                    backend.read_at(offset + done, slices).map_err(BlkError::Host)
                })?;
                return Ok(len_bytes);
            }
            BlkRequest::Write { offset, len_bytes } => {
                self.chain.readable().gather(ram, HEADER_BYTES, len_bytes, |done, slices| {
                    backend.write_at(offset + done, slices).map_err(BlkError::Host)
                })?;
            }
            BlkRequest::Flush => backend.flush()?,
            BlkRequest::GetId => {
                let room = self.chain.writable().len_bytes() - 1;
                let count = room.min(ID_BYTES as u64) as usize;
                self.chain.writable().copy_from(ram, 0, &self.id[..count])?;
                return Ok(count as u64);
            }
            BlkRequest::Discard { offset, len_bytes } => backend.discard(offset, len_bytes)?,
            BlkRequest::WriteZeroes { offset, len_bytes, may_unmap } => {
                backend.write_zeroes(offset, len_bytes, may_unmap)?;
            }
        }
        Ok(0)
    }
}

fn check_length(transfer_bytes: u64) -> Result<(), BlkError> {
    if transfer_bytes > MAX_TRANSFER_BYTES { Err(BlkError::TooMuch) } else { Ok(()) }
}

impl VirtioDevice for Blk {
    fn id(&self) -> DeviceId {
        DeviceId::Block
    }

    fn features(&self) -> u64 {
        let always = feature::SIZE_MAX | feature::SEG_MAX | feature::BLOCK_SIZE | feature::FLUSH;
        let changes = feature::DISCARD | feature::WRITE_ZEROES;
        always | if self.backend.is_read_only() { feature::READ_ONLY } else { changes }
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, to: &mut [u8]) {
        // struct virtio_blk_config, §5.2.4.
        let mut config = [0; 60];
        let mut put = |at: usize, bytes: &[u8]| config[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.capacity_sectors().to_le_bytes());
        put(8, &MAX_SEGMENT_BYTES.to_le_bytes());
        put(12, &MAX_DATA_SEGMENTS.to_le_bytes());
        put(20, &BLOCK_BYTES.to_le_bytes());
        // Discard: greatest range, number of ranges, alignment. Write-zeroes: greatest range, number, may unmap.
        for (at, value) in [(36, MAX_RANGE_SECTORS), (40, 1), (44, 1), (48, MAX_RANGE_SECTORS), (52, 1)] {
            put(at, &value.to_le_bytes());
        }
        put(56, &[1]);
        read_config_bytes(&config, offset, to);
    }

    fn reset(&mut self) {}

    fn notify(&mut self, queue: QueueIndex, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let queue = &mut io.queues[usize::from(queue.0)];
        while queue.pop(io.ram, &mut self.chain)? {
            let written = self.handle(io.ram)?;
            queue.push(io.ram, &self.chain, written)?;
        }
        Ok(())
    }

    fn save(&self) -> DeviceState {
        DeviceState::Blk(self.state())
    }
}
