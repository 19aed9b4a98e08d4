//! Requests about contents: opening, creating, reading, writing, listing, flushing to storage.

use super::{Fid, Role, Server};
use crate::backend::fs::{Birth, Errno, FileId, FileSystem, Name, OpenFlags, Result};
use crate::virtio::p9::places::{PlaceId, Places};
use crate::virtio::p9::reply::{Qid, Reply, put_entry};

impl<F: FileSystem> Server<F> {
    pub(super) fn open(&mut self, number: u32, flags: OpenFlags, reply: &mut Reply<'_>) -> Result<()> {
        let fid = self.fid(number)?;
        let place = fid.place;
        if !matches!(fid.role, Role::Walk) {
            return Err(Errno::EINVAL);
        }
        self.check_open_files()?;
        // Creating exclusively is a matter of `create` alone.
        let flags = OpenFlags { exclusive: false, ..flags };
        let file = open_place(&self.fs, &mut self.places, place, flags)?;
        let attr = self.attr(place)?;
        self.became_open(number, flags, file)?;
        self.put_opened(self.qid(&attr), reply)
    }

    pub(super) fn create(
        &mut self,
        number: u32,
        name: Name<'_>,
        flags: OpenFlags,
        (mode, gid): (u32, u32),
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let fid = self.fid(number)?;
        let (directory, birth) = (fid.place, birth(fid, mode, gid));
        if !matches!(fid.role, Role::Walk) {
            return Err(Errno::EINVAL);
        }
        self.check_open_files()?;
        self.places.make_room(1);
        let node = self.places.node(&self.fs, directory)?;
        let (node, file) = match self.fs.create(node, name, flags, birth) {
            Err(Errno::EMFILE | Errno::ENFILE) => {
                self.places.make_room(MAKE_ROOM_PLACES);
                let node = self.places.node(&self.fs, directory)?;
                self.fs.create(node, name, flags, birth)?
            }
            created => created?,
        };
        let attr = self.fs.attr(&node)?;
        let place = self.places.adopt(directory, name, node, attr.id)?;
        if let Some(fid) = self.fids.get_mut(&number) {
            fid.place = place;
        }
        self.places.release(directory);
        let flags = OpenFlags { exclusive: false, truncate: false, ..flags };
        self.became_open(number, flags, file)?;
        self.put_opened(self.qid(&attr), reply)
    }

    pub(super) fn check_open_files(&self) -> Result<()> {
        if self.open_files < self.options.limits.open_files { Ok(()) } else { Err(Errno::EMFILE) }
    }

    fn became_open(&mut self, number: u32, flags: OpenFlags, file: F::File) -> Result<()> {
        let fid = self.fids.get_mut(&number).ok_or(Errno::EBADF)?;
        // Opened again after a restore, it must not be cut again.
        let flags = OpenFlags { truncate: false, ..flags };
        fid.role = Role::Open { flags, file: Some(file) };
        self.places.opened(fid.place);
        self.open_files += 1;
        Ok(())
    }

    fn put_opened(&self, qid: Qid, reply: &mut Reply<'_>) -> Result<()> {
        reply.qid(qid)?;
        // iounit 0: as much as fits into a message.
        reply.u32(0)
    }

    pub(super) fn read(&mut self, number: u32, offset: u64, count: u32, reply: &mut Reply<'_>) -> Result<()> {
        if let Role::XattrRead(value) = &self.fid(number)?.role {
            let rest = usize::try_from(offset).ok().and_then(|offset| value.get(offset..)).unwrap_or(&[]);
            return reply.data_with(count, |room| {
                let count = room.len().min(rest.len());
                room[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            });
        }
        let (fs, file, _) = self.opened(number)?;
        reply.data_with(count, |room| fs.read(file, offset, room))
    }

    pub(super) fn write(
        &mut self,
        number: u32,
        offset: u64,
        data: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let fid = self.fids.get_mut(&number).ok_or(Errno::EBADF)?;
        let written = if let Role::XattrWrite { value, size_bytes, .. } = &mut fid.role {
            if offset != value.len() as u64 || data.len() as u64 > *size_bytes - offset {
                return Err(Errno::EINVAL);
            }
            value.extend_from_slice(data);
            data.len()
        } else {
            let (fs, file, _) = self.opened(number)?;
            fs.write(file, offset, data)?
        };
        reply.u32(written as u32)
    }

    pub(super) fn sync(&mut self, number: u32, data_only: bool) -> Result<()> {
        let (fs, file, _) = self.opened(number)?;
        fs.sync(file, data_only)
    }

    pub(super) fn read_dir(
        &mut self,
        number: u32,
        offset: u64,
        count: u32,
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let root_device = self.root_device;
        let (fs, file, [own, above]) = self.opened(number)?;
        let own = own.ok_or(Errno::ESTALE)?;
        reply.data_with(count, |room| {
            let (mut used, mut refused) = (0, false);
            let room_bytes = room.len();
            fs.read_dir(file, offset, room_bytes, &mut |entry| {
                let id = match entry.name {
                    // The host's parent of the root is none of the guest's business.
                    b".." => above.unwrap_or(own),
                    _ => FileId { device: own.device, inode: entry.inode },
                };
                let qid = Qid::of_entry(id, entry.kind, root_device);
                refused = !put_entry(room, &mut used, qid, entry.next_offset, entry.kind, entry.name);
                !refused
            })?;
            // No data means "no more entries", so an entry that fits nowhere has to be an error.
            if refused && used == 0 { Err(Errno::EINVAL) } else { Ok(used) }
        })
    }

    /// The opened file of a fid. Opens it first if that has not been done since a restore.
    fn opened(&mut self, number: u32) -> Result<Opened<'_, F>> {
        let fid = self.fids.get_mut(&number).ok_or(Errno::EBADF)?;
        let Role::Open { flags, file } = &mut fid.role else { return Err(Errno::EBADF) };
        let file = match file {
            Some(file) => file,
            None => file.insert(open_place(&self.fs, &mut self.places, fid.place, *flags)?),
        };
        let ids = [self.places.file(fid.place), self.places.file(self.places.above(fid.place))];
        Ok((&self.fs, file, ids))
    }
}

/// Back end, opened file, and the identities of its place and of the place above.
type Opened<'a, F> = (&'a F, &'a <F as FileSystem>::File, [Option<FileId>; 2]);

/// How many handles to close when the host has no more.
const MAKE_ROOM_PLACES: usize = 64;

/// Opens the file of a place; if the host is out of handles, some that are not in use are closed first.
pub(super) fn open_place<F: FileSystem>(
    fs: &F,
    places: &mut Places<F>,
    place: PlaceId,
    flags: OpenFlags,
) -> Result<F::File> {
    match fs.open(places.node(fs, place)?, flags) {
        Err(Errno::EMFILE | Errno::ENFILE) => {
            places.make_room(MAKE_ROOM_PLACES);
            fs.open(places.node(fs, place)?, flags)
        }
        opened => opened,
    }
}

/// Owner and permissions of what is made through `fid`.
pub(super) fn birth<H>(fid: &Fid<H>, mode: u32, gid: u32) -> Birth {
    let gid = (gid != u32::MAX).then_some(gid);
    Birth { permissions: mode & crate::backend::fs::mode::PERMISSIONS, uid: fid.uid, gid }
}
