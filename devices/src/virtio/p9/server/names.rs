//! Requests that make, move and remove names.

use super::Server;
use super::contents::birth;
use crate::backend::fs::{Errno, FileSystem, Kind, Name, NodeKind, Result, mode};
use crate::virtio::p9::places::{PlaceId, ROOT};
use crate::virtio::p9::reply::Reply;

impl<F: FileSystem> Server<F> {
    pub(super) fn make_directory(
        &mut self,
        number: u32,
        name: Name<'_>,
        (mode, gid): (u32, u32),
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let birth = birth(self.fid(number)?, mode, gid);
        let directory = self.place(number)?;
        let node = self.fs.make_directory(self.places.node(&self.fs, directory)?, name, birth)?;
        self.made(directory, name, &node, reply)
    }

    pub(super) fn make_symlink(
        &mut self,
        number: u32,
        name: Name<'_>,
        target: &[u8],
        gid: u32,
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let birth = birth(self.fid(number)?, 0o777, gid);
        let directory = self.place(number)?;
        let node = self.fs.make_symlink(self.places.node(&self.fs, directory)?, name, target, birth)?;
        self.made(directory, name, &node, reply)
    }

    pub(super) fn make_node(
        &mut self,
        number: u32,
        name: Name<'_>,
        (mode, gid): (u32, u32),
        (major, minor): (u32, u32),
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let birth = birth(self.fid(number)?, mode, gid);
        let kind = match kind_of_mode(mode)? {
            Kind::Regular => NodeKind::Regular,
            Kind::Fifo => NodeKind::Fifo,
            Kind::Socket => NodeKind::Socket,
            Kind::CharDevice => NodeKind::CharDevice { major, minor },
            Kind::BlockDevice => NodeKind::BlockDevice { major, minor },
            Kind::Directory | Kind::Symlink => return Err(Errno::EINVAL),
        };
        let directory = self.place(number)?;
        let node = self.fs.make_node(self.places.node(&self.fs, directory)?, name, kind, birth)?;
        self.made(directory, name, &node, reply)
    }

    /// Answers with the qid of what was just made.
    fn made(
        &mut self,
        directory: PlaceId,
        name: Name<'_>,
        node: &F::Node,
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        // If a place had this name its file was removed behind our back.
        self.places.removed(directory, name);
        let attr = self.fs.attr(node)?;
        reply.qid(self.qid(&attr))
    }

    pub(super) fn link(&mut self, directory: u32, fid: u32, name: Name<'_>) -> Result<()> {
        let (directory, place) = (self.place(directory)?, self.place(fid)?);
        let (node, to) = self.places.two_nodes(&self.fs, place, directory)?;
        self.fs.link(node, to, name)?;
        self.places.removed(directory, name);
        Ok(())
    }

    pub(super) fn rename_at(
        &mut self,
        from: u32,
        from_name: Name<'_>,
        to: u32,
        to_name: Name<'_>,
    ) -> Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        self.rename_places(from, from_name, to, to_name)
    }

    pub(super) fn rename(&mut self, fid: u32, directory: u32, to_name: Name<'_>) -> Result<()> {
        let (place, to) = (self.place(fid)?, self.place(directory)?);
        let (from, from_name, _) = self.name_of(place)?;
        let from_name = Name::new(&from_name).map_err(|_| Errno::ESTALE)?;
        self.rename_places(from, from_name, to, to_name)
    }

    fn rename_places(
        &mut self,
        from: PlaceId,
        from_name: Name<'_>,
        to: PlaceId,
        to_name: Name<'_>,
    ) -> Result<()> {
        // What is replaced may still be in use.
        self.places.hold(&self.fs, to, to_name);
        let (from_node, to_node) = self.places.two_nodes(&self.fs, from, to)?;
        self.fs.rename(from_node, from_name, to_node, to_name)?;
        self.places.renamed(from, from_name, to, to_name);
        Ok(())
    }

    pub(super) fn unlink_at(&mut self, number: u32, name: Name<'_>, directory_wanted: bool) -> Result<()> {
        let directory = self.place(number)?;
        self.unlink(directory, name, directory_wanted)
    }

    fn unlink(&mut self, directory: PlaceId, name: Name<'_>, directory_wanted: bool) -> Result<()> {
        self.places.hold(&self.fs, directory, name);
        self.fs.unlink(self.places.node(&self.fs, directory)?, name, directory_wanted)?;
        self.places.removed(directory, name);
        Ok(())
    }

    /// Removes the file of a fid, and the fid in any case.
    pub(super) fn remove(&mut self, number: u32) -> Result<()> {
        let removed = self.place(number).and_then(|place| {
            let (directory, name, kind) = self.name_of(place)?;
            let name = Name::new(&name).map_err(|_| Errno::ESTALE)?;
            self.unlink(directory, name, kind == Kind::Directory)
        });
        // A value that was being written is dropped, not set.
        if let Some(fid) = self.fids.remove(&number) {
            self.end(number, fid);
        }
        removed
    }

    /// Where the name of a place is, made sure that it still leads to the same file.
    fn name_of(&mut self, place: PlaceId) -> Result<(PlaceId, Box<[u8]>, Kind)> {
        if place == ROOT {
            return Err(Errno::EBUSY);
        }
        let (directory, name) = self.places.name(place).ok_or(Errno::ENOENT)?;
        let bytes: Box<[u8]> = name.into();
        let name = Name::new(&bytes).map_err(|_| Errno::ESTALE)?;
        let attr = self.fs.attr_at(self.places.node(&self.fs, directory)?, name)?;
        if self.places.file(place).is_some_and(|file| file != attr.id) {
            return Err(Errno::ESTALE);
        }
        Ok((directory, bytes, attr.kind))
    }
}

/// The type that `Tmknod` asks for. Type bits 0 mean a regular file, as in `mknod(2)`.
fn kind_of_mode(bits: u32) -> Result<Kind> {
    if bits & mode::TYPE == 0 {
        return Ok(Kind::Regular);
    }
    Kind::of_mode(bits).ok_or(Errno::EINVAL)
}
