//! From results to the bytes of a 9P2000.L reply, written straight into the buffer the guest gave.

use super::request::{HEADER_BYTES, kind};
use crate::backend::fs::{Attr, Errno, FileId, Kind, Result, StatFs, Timestamp};

/// Bytes of an `Rlerror`: the least that any reply buffer must hold.
pub const ERROR_BYTES: usize = HEADER_BYTES + 4;
/// Bytes before the data of `Rread` and `Rreaddir`.
pub const DATA_AT: usize = HEADER_BYTES + 4;
/// Bytes of an entry of `Rreaddir` before its name: qid, offset, type, length of the name.
const ENTRY_BYTES: usize = 13 + 8 + 1 + 2;

/// A server's unique identification of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Qid {
    /// `QTDIR`, `QTSYMLINK` or 0.
    pub kind: u8,
    /// Differs when the contents differ.
    pub version: u32,
    /// Differs between files.
    pub path: u64,
}

impl Qid {
    /// The qid of a file in a share whose root lies on `root_device`.
    pub fn of_attr(attr: &Attr, root_device: u64) -> Self {
        let mut qid = Self::of_entry(attr.id, attr.kind, root_device);
        let Timestamp { sec, nsec } = attr.modified;
        let version = (sec.cast_unsigned() as u32) ^ nsec.rotate_left(2) ^ ((attr.size_bytes as u32) << 8);
        qid.version = version ^ attr.changed.nsec.rotate_left(17);
        qid
    }

    /// The qid as far as a directory entry tells.
    pub fn of_entry(id: FileId, kind: Kind, root_device: u64) -> Self {
        let kind = match kind {
            Kind::Directory => 0x80,
            Kind::Symlink => 0x02,
            _ => 0,
        };
        // Inode numbers of the root's file system stay as they are; those of other file systems mounted below
        // it are mixed with the device number, which keeps them apart from each other in all likelihood.
        let path = if id.device == root_device { id.inode } else { id.inode ^ scatter(id.device) };
        Qid { kind, version: 0, path }
    }
}

/// A bijection that spreads small differences over all bits (the finaliser of SplitMix64).
fn scatter(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Writes the fields of one reply.
///
/// Invariant: `at <= buffer.len()`, and the buffer holds at least [`ERROR_BYTES`].
pub(super) struct Reply<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Reply<'a> {
    /// `None` if not even an error fits.
    pub(super) fn new(buffer: &'a mut [u8]) -> Option<Self> {
        (buffer.len() >= ERROR_BYTES).then_some(Reply { buffer, at: HEADER_BYTES })
    }

    /// Writes the header for what `result` says, and returns the length of the reply.
    pub(super) fn finish(mut self, request_kind: u8, tag: u16, result: Result<()>) -> usize {
        let kind = match result {
            // A version request is never answered by a reply of another protocol.
            Ok(()) => request_kind.wrapping_add(1),
            Err(errno) => {
                self.buffer[HEADER_BYTES..ERROR_BYTES].copy_from_slice(&errno.0.to_le_bytes());
                self.at = ERROR_BYTES;
                kind::RLERROR
            }
        };
        // A reply is never longer than the largest message, which is far below 4 GiB.
        self.buffer[..4].copy_from_slice(&(self.at as u32).to_le_bytes());
        self.buffer[4] = kind;
        self.buffer[5..HEADER_BYTES].copy_from_slice(&tag.to_le_bytes());
        self.at
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.at + bytes.len();
        self.buffer.get_mut(self.at..end).ok_or(Errno::EMSGSIZE)?.copy_from_slice(bytes);
        self.at = end;
        Ok(())
    }

    pub(super) fn u8(&mut self, value: u8) -> Result<()> {
        self.bytes(&[value])
    }

    pub(super) fn u16(&mut self, value: u16) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u32(&mut self, value: u32) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn u64(&mut self, value: u64) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    pub(super) fn string(&mut self, value: &[u8]) -> Result<()> {
        self.u16(u16::try_from(value.len()).map_err(|_| Errno::EMSGSIZE)?)?;
        self.bytes(value)
    }

    pub(super) fn qid(&mut self, qid: Qid) -> Result<()> {
        self.u8(qid.kind)?;
        self.u32(qid.version)?;
        self.u64(qid.path)
    }

    /// A 16-bit length and what `fill` put into the buffer after it, at most `max` bytes.
    pub(super) fn string_with(
        &mut self,
        max: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<()> {
        let start = self.at + 2;
        let room = self.buffer.get_mut(start..).ok_or(Errno::EMSGSIZE)?;
        let room_bytes = room.len();
        let count = fill(&mut room[..room_bytes.min(max)])?;
        // A string that fills the room may have been cut.
        if count == room_bytes && room_bytes < max {
            return Err(Errno::EMSGSIZE);
        }
        self.u16(u16::try_from(count).map_err(|_| Errno::EMSGSIZE)?)?;
        self.at = start + count;
        Ok(())
    }

    /// A 32-bit count and the data that `fill` put after it, at most `max` bytes.
    pub(super) fn data_with(
        &mut self,
        max: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<usize>,
    ) -> Result<()> {
        let room = self.buffer.get_mut(DATA_AT..).ok_or(Errno::EMSGSIZE)?;
        let room_bytes = room.len().min(usize::try_from(max).unwrap_or(usize::MAX));
        let count = fill(&mut room[..room_bytes])?;
        self.u32(count as u32)?;
        self.at = DATA_AT + count;
        Ok(())
    }

    /// Everything `Rgetattr` carries after `valid`: the fields of `P9_STATS_BASIC`, and zeroes for the rest.
    pub(super) fn attr(&mut self, attr: &Attr, qid: Qid, block_bytes: u64) -> Result<()> {
        self.qid(qid)?;
        self.u32(attr.kind.mode_bits() | attr.permissions)?;
        self.u32(attr.uid)?;
        self.u32(attr.gid)?;
        for value in [attr.links, attr.device_number, attr.size_bytes, block_bytes, attr.blocks_512] {
            self.u64(value)?;
        }
        for time in [attr.accessed, attr.modified, attr.changed, Timestamp::default()] {
            self.u64(time.sec.cast_unsigned())?;
            self.u64(time.nsec.into())?;
        }
        self.u64(0)?; // gen
        self.u64(0) // data_version
    }

    pub(super) fn stat_fs(&mut self, stat: &StatFs) -> Result<()> {
        self.u32(stat.magic)?;
        self.u32(stat.block_bytes)?;
        let counts = [stat.blocks, stat.blocks_free, stat.blocks_available, stat.files, stat.files_free];
        for value in counts.into_iter().chain([stat.id]) {
            self.u64(value)?;
        }
        self.u32(stat.name_max_bytes)
    }
}

/// Appends an entry of `Rreaddir` to `into` at `at`; `false`, and nothing written, if it does not fit.
pub(super) fn put_entry(
    into: &mut [u8],
    at: &mut usize,
    qid: Qid,
    next_offset: u64,
    kind: Kind,
    name: &[u8],
) -> bool {
    let end = *at + ENTRY_BYTES + name.len();
    let (Some(entry), Ok(name_len)) = (into.get_mut(*at..end), u16::try_from(name.len())) else {
        return false;
    };
    entry[0] = qid.kind;
    entry[1..5].copy_from_slice(&qid.version.to_le_bytes());
    entry[5..13].copy_from_slice(&qid.path.to_le_bytes());
    entry[13..21].copy_from_slice(&next_offset.to_le_bytes());
    // The type numbers of `d_type` are those of the mode's type bits.
    entry[21] = (kind.mode_bits() >> 12) as u8;
    entry[22..24].copy_from_slice(&name_len.to_le_bytes());
    entry[24..].copy_from_slice(name);
    *at = end;
    true
}
