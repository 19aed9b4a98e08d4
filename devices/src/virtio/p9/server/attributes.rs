//! Requests about what is known of a file besides its contents: attributes, the target of a link, extended
//! attributes, figures of the file system.

use super::{Fid, Role, Server};
use crate::backend::fs::{
    Attr, Errno, FileSystem, Kind, Result, SetAttr, TARGET_MAX_BYTES, XATTR_MAX_BYTES, XattrMode,
};
use crate::virtio::p9::places::PlaceId;
use crate::virtio::p9::reply::Reply;

/// `P9_STATS_BASIC`: what every `Rgetattr` holds.
const STATS_BASIC: u64 = 0x7ff;
/// Largest block size that is reported: programs make buffers of this size, and each one costs a request.
const BLOCK_MAX_BYTES: u64 = 64 * 1024;
/// `XATTR_CREATE` of Linux `xattr.h`.
const XATTR_CREATE: u32 = 1;
/// `XATTR_REPLACE` of Linux `xattr.h`.
const XATTR_REPLACE: u32 = 2;

impl<F: FileSystem> Server<F> {
    pub(super) fn get_attr(&mut self, number: u32, reply: &mut Reply<'_>) -> Result<()> {
        let place = self.place(number)?;
        let attr = self.attr(place)?;
        reply.u64(STATS_BASIC)?;
        reply.attr(&attr, self.qid(&attr), self.block_bytes(&attr))
    }

    /// For regular files a large multiple of the host's block size.
    fn block_bytes(&self, attr: &Attr) -> u64 {
        let host = attr.block_bytes.max(512);
        let most = BLOCK_MAX_BYTES.min(u64::from(self.msize_bytes));
        if attr.kind == Kind::Regular { host.max(most / host * host) } else { host }
    }

    pub(super) fn set_attr(&mut self, number: u32, change: &SetAttr) -> Result<()> {
        let place = self.place(number)?;
        let node = self.places.node(&self.fs, place)?;
        let file = match self.fids.get(&number).map(|fid| &fid.role) {
            Some(Role::Open { file, .. }) => file.as_ref(),
            _ => None,
        };
        self.fs.set_attr(node, file, change)
    }

    pub(super) fn stat_fs(&mut self, number: u32, reply: &mut Reply<'_>) -> Result<()> {
        let place = self.place(number)?;
        let stat = self.fs.stat_fs(self.places.node(&self.fs, place)?)?;
        reply.stat_fs(&stat)
    }

    pub(super) fn read_link(&mut self, number: u32, reply: &mut Reply<'_>) -> Result<()> {
        let place = self.place(number)?;
        let node = self.places.node(&self.fs, place)?;
        reply.string_with(TARGET_MAX_BYTES, |room| self.fs.read_link(node, room))
    }

    pub(super) fn xattr_walk(
        &mut self,
        number: u32,
        newfid: u32,
        name: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        let place = self.place(number)?;
        let uid = self.fid(number)?.uid;
        self.check_new(newfid)?;
        let node = self.places.node(&self.fs, place)?;
        let value = if name.is_empty() { self.fs.xattr_names(node)? } else { self.fs.xattr(node, name)? };
        let size_bytes = value.len() as u64;
        self.charge_xattr(size_bytes)?;
        self.places.acquire(place);
        self.fids.insert(newfid, Fid { place, uid, role: Role::XattrRead(value.into()) });
        reply.u64(size_bytes)
    }

    pub(super) fn xattr_create(
        &mut self,
        number: u32,
        name: &[u8],
        size_bytes: u64,
        flags: u32,
    ) -> Result<()> {
        if !matches!(self.fid(number)?.role, Role::Walk) {
            return Err(Errno::EINVAL);
        }
        if size_bytes > XATTR_MAX_BYTES as u64 {
            return Err(Errno::E2BIG);
        }
        if ![0, XATTR_CREATE, XATTR_REPLACE].contains(&flags) {
            return Err(Errno::EINVAL);
        }
        self.charge_xattr(size_bytes)?;
        if let Some(fid) = self.fids.get_mut(&number) {
            fid.role = Role::XattrWrite { name: name.into(), flags, size_bytes, value: Vec::new() };
        }
        Ok(())
    }

    pub(super) fn charge_xattr(&mut self, size_bytes: u64) -> Result<()> {
        let charged = self.xattr_bytes + size_bytes;
        if charged > self.options.limits.xattr_bytes {
            return Err(Errno::ENOMEM);
        }
        self.xattr_bytes = charged;
        Ok(())
    }

    /// What the clunk of a fid made by `Txattrcreate` does. Linux removes an attribute by replacing it with nothing.
    pub(super) fn set_xattr(
        &mut self,
        place: PlaceId,
        name: &[u8],
        flags: u32,
        size_bytes: u64,
        value: &[u8],
    ) -> Result<()> {
        if value.len() as u64 != size_bytes {
            return Err(Errno::EINVAL);
        }
        let node = self.places.node(&self.fs, place)?;
        match flags {
            XATTR_REPLACE if value.is_empty() => self.fs.remove_xattr(node, name),
            XATTR_REPLACE => self.fs.set_xattr(node, name, value, XattrMode::Replace),
            XATTR_CREATE => self.fs.set_xattr(node, name, value, XattrMode::Create),
            _ => self.fs.set_xattr(node, name, value, XattrMode::Either),
        }
    }
}
