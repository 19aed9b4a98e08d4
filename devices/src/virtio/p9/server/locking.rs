//! `Tlock` and `Tgetlock`. The server never waits: Linux asks again when it is told that a lock is blocked.

use super::contents::open_place;
use super::{Fid, Role, Server};
use crate::backend::fs::{Access, Errno, FileId, FileSystem, LockKind, LockRange, OpenFlags, Result};
use crate::virtio::p9::locks::{Lock, LockOutcome};
use crate::virtio::p9::places::{PlaceId, Places};
use crate::virtio::p9::reply::Reply;
use crate::virtio::p9::request::{LockOwner, UNLOCK};

/// `P9_LOCK_SUCCESS`
const SUCCESS: u8 = 0;
/// `P9_LOCK_BLOCKED`
const BLOCKED: u8 = 1;

impl<F: FileSystem> Server<F> {
    pub(super) fn lock(
        &mut self,
        number: u32,
        kind: Option<LockKind>,
        range: LockRange,
        owner: LockOwner<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let outcome = match kind {
            None => {
                let (_, file) = self.file_of(number)?;
                let host = |holder: &F::File, range, kind| self.fs.lock(holder, range, kind);
                self.locks.unlock(file, number, owner, range, host)?;
                LockOutcome::Granted
            }
            Some(kind) => self.take_lock(number, kind, range, owner)?,
        };
        reply.u8(if outcome == LockOutcome::Granted { SUCCESS } else { BLOCKED })
    }

    pub(super) fn take_lock(
        &mut self,
        number: u32,
        kind: LockKind,
        range: LockRange,
        owner: LockOwner<'_>,
    ) -> Result<LockOutcome> {
        let (place, file) = self.file_of(number)?;
        let wish = Lock { fid: number, process: owner.process, client: owner.client.into(), kind, range };
        let (fs, places, read_only) = (&self.fs, &mut self.places, self.options.read_only);
        let open = || open_for_lock(fs, places, place, read_only);
        self.locks.lock(file, wish, open, |holder, range, kind| fs.lock(holder, range, kind))
    }

    pub(super) fn get_lock(
        &mut self,
        number: u32,
        kind: LockKind,
        (start, length): (u64, u64),
        range: LockRange,
        owner: LockOwner<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let (_, file) = self.file_of(number)?;
        match self.locks.conflict(file, number, owner, kind, range) {
            Some(lock) => {
                reply.u8(if lock.kind == LockKind::Read { 0 } else { 1 })?;
                reply.u64(lock.range.first)?;
                // To the end is length 0, which is also what all 2^64 bytes come to.
                let distance = lock.range.last - lock.range.first;
                reply.u64(if lock.range.last == u64::MAX { 0 } else { distance + 1 })?;
                reply.u32(lock.process)?;
                reply.string(&lock.client)
            }
            None => {
                reply.u8(UNLOCK)?;
                reply.u64(start)?;
                reply.u64(length)?;
                reply.u32(owner.process)?;
                reply.string(owner.client)
            }
        }
    }

    /// Place and file of an opened fid. Others hold no locks: they may still move to another file.
    fn file_of(&mut self, number: u32) -> Result<(PlaceId, FileId)> {
        let Fid { place, role: Role::Open { .. }, .. } = *self.fid(number)? else {
            return Err(Errno::EBADF);
        };
        let file = match self.places.file(place) {
            Some(file) => file,
            None => {
                self.places.node(&self.fs, place)?;
                self.places.file(place).ok_or(Errno::ESTALE)?
            }
        };
        Ok((place, file))
    }
}

/// Opens a file for the host's lock: for writing if possible, since an exclusive lock needs that.
fn open_for_lock<F: FileSystem>(
    fs: &F,
    places: &mut Places<F>,
    place: PlaceId,
    read_only: bool,
) -> Result<F::File> {
    let read = OpenFlags::new(Access::Read);
    if read_only {
        return open_place(fs, places, place, read);
    }
    match open_place(fs, places, place, OpenFlags::new(Access::ReadWrite)) {
        Err(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::EISDIR | Errno::ETXTBSY) => {
            open_place(fs, places, place, read)
        }
        opened => opened,
    }
}
