//! The server: fids, and the requests that make, move and end them. What requests do with files is in the files
//! beside this one.

use std::collections::BTreeMap;

use super::locks::Locks;
use super::places::{PlaceId, Places, ROOT};
use super::reply::{Qid, Reply};
use super::request::{self, Header, NO_FID, Request, Step, Steps, WALK_MAX_NAMES};
use crate::backend::fs::{Attr, Errno, FileSystem, Kind, Name, OpenFlags, Result};

mod attributes;
mod contents;
mod locking;
mod names;
mod saved;

/// The one version of the protocol that is spoken.
const VERSION: &[u8] = b"9P2000.L";
/// The tag of a message that has none.
const NO_TAG: u16 = u16::MAX;
/// Largest message size that is agreed to, in bytes.
pub const MSIZE_MAX_BYTES: u32 = 1 << 20;
/// Smallest message size that is agreed to, in bytes: Linux asks for no less.
pub const MSIZE_MIN_BYTES: u32 = 4096;

/// How much of the host's memory and handles a guest may take up. Past a limit a request fails. What the back end
/// says it can give lowers the limits of handles and open files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest message, in bytes; at most [`MSIZE_MAX_BYTES`].
    pub msize_bytes: u32,
    /// Fids. Linux keeps one for each cached name, so large trees need many.
    pub fids: usize,
    /// Places in the tree that fids stand in or below.
    pub places: usize,
    /// Handles for places, beyond which the least used are closed and opened again on demand.
    pub handles: usize,
    /// Opened files.
    pub open_files: usize,
    /// Values of extended attributes on their way, in bytes.
    pub xattr_bytes: u64,
    /// Locks.
    pub locks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            msize_bytes: MSIZE_MAX_BYTES,
            fids: 1 << 18,
            places: 1 << 19,
            handles: 1 << 11,
            open_files: 1 << 16,
            xattr_bytes: 16 << 20,
            locks: 1 << 16,
        }
    }
}

/// How a directory is shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Every request that would change something answers `EROFS`.
    pub read_only: bool,
    /// Limits.
    pub limits: Limits,
}

/// What a fid is besides a place.
#[derive(Debug)]
enum Role<H> {
    /// Only names a file.
    Walk,
    /// Opened. `file` is `None` after a restore, until it is used.
    Open { flags: OpenFlags, file: Option<H> },
    /// A value or list to be read.
    XattrRead(Box<[u8]>),
    /// A value being written, set at the end.
    XattrWrite { name: Box<[u8]>, flags: u32, size_bytes: u64, value: Vec<u8> },
}

impl<H> Role<H> {
    /// Bytes that count against [`Limits::xattr_bytes`].
    fn xattr_bytes(&self) -> u64 {
        match self {
            Role::XattrRead(value) => value.len() as u64,
            Role::XattrWrite { size_bytes, .. } => *size_bytes,
            Role::Walk | Role::Open { .. } => 0,
        }
    }

    fn names_a_file(&self) -> bool {
        matches!(self, Role::Walk | Role::Open { .. })
    }
}

#[derive(Debug)]
struct Fid<H> {
    place: PlaceId,
    uid: Option<u32>,
    role: Role<H>,
}

/// A 9P2000.L server for one guest and one shared tree.
pub struct Server<F: FileSystem> {
    fs: F,
    options: Options,
    root_device: u64,
    /// 0 until a version was agreed on.
    msize_bytes: u32,
    fids: BTreeMap<u32, Fid<F::File>>,
    places: Places<F>,
    locks: Locks<F::File>,
    open_files: usize,
    xattr_bytes: u64,
}

impl<F: FileSystem> Server<F> {
    /// A server that shares all of `fs`.
    ///
    /// # Errors
    /// The root does not answer.
    pub fn new(fs: F, mut options: Options) -> Result<Self> {
        let limits = &mut options.limits;
        limits.msize_bytes = limits.msize_bytes.clamp(MSIZE_MIN_BYTES, MSIZE_MAX_BYTES);
        // The program that the server runs in needs some handles itself.
        if let Some(max_handles) = fs.max_handles() {
            limits.handles = limits.handles.min(max_handles / 8);
            limits.open_files = limits.open_files.min(max_handles / 4 * 3);
        }
        let places = Places::new(&fs, limits.handles, limits.places)?;
        let root_device = places.file(ROOT).ok_or(Errno::EIO)?.device;
        let locks = Locks::new(limits.locks);
        Ok(Server {
            fs,
            options,
            root_device,
            msize_bytes: 0,
            fids: BTreeMap::new(),
            places,
            locks,
            open_files: 0,
            xattr_bytes: 0,
        })
    }

    /// The shared tree.
    pub fn file_system(&self) -> &F {
        &self.fs
    }

    /// Handles one message and writes the reply; returns its length. It is 0 only if `reply` has no room for an
    /// error reply ([`super::ERROR_BYTES`]); then nothing was done.
    pub fn handle(&mut self, message: &[u8], reply: &mut [u8]) -> usize {
        let reply_bytes = match self.msize_bytes {
            0 => MSIZE_MIN_BYTES as usize,
            agreed => agreed as usize,
        };
        let reply_bytes = reply_bytes.min(reply.len());
        let Some(mut reply) = Reply::new(&mut reply[..reply_bytes]) else { return 0 };
        let Ok(header) = request::parse_header(message) else {
            return reply.finish(0, NO_TAG, Err(Errno::EINVAL));
        };
        let result = self.answer(header, message, &mut reply);
        reply.finish(header.kind, header.tag, result)
    }

    /// Ends all fids, as when the guest starts anew. What they name stays as it is.
    pub fn reset(&mut self) {
        self.msize_bytes = 0;
        while let Some((number, fid)) = self.fids.pop_first() {
            self.end(number, fid);
        }
    }

    fn answer(&mut self, header: Header, message: &[u8], reply: &mut Reply<'_>) -> Result<()> {
        if self.msize_bytes != 0 && header.size_bytes > self.msize_bytes {
            return Err(Errno::EMSGSIZE);
        }
        let request = request::parse(message).map_err(request::ParseError::errno)?;
        match request {
            Request::Version { msize, version } => return self.version(msize, version, reply),
            Request::Flush => return Ok(()),
            _ if self.msize_bytes == 0 => return Err(Errno::EINVAL),
            Request::Remove { fid } if self.options.read_only => {
                return self.clunk(fid).and(Err(Errno::EROFS));
            }
            _ if self.options.read_only && changes_something(&request) => return Err(Errno::EROFS),
            _ => {}
        }
        match request {
            Request::Version { .. } | Request::Flush => Ok(()),
            // There is nobody to authenticate to: what may be reached was decided when the machine was started.
            Request::Auth => Err(Errno::EOPNOTSUPP),
            Request::Attach { fid, afid, aname, n_uname } => self.attach(fid, afid, aname, n_uname, reply),
            Request::Walk { fid, newfid, steps } => self.walk(fid, newfid, &steps, reply),
            Request::Clunk { fid } => self.clunk(fid),
            Request::Lopen { fid, flags } => self.open(fid, flags, reply),
            Request::Lcreate { fid, name, flags, mode, gid } => {
                self.create(fid, name, flags, (mode, gid), reply)
            }
            Request::Read { fid, offset, count } => self.read(fid, offset, count, reply),
            Request::Write { fid, offset, data } => self.write(fid, offset, data, reply),
            Request::Readdir { fid, offset, count } => self.read_dir(fid, offset, count, reply),
            Request::Fsync { fid, data_only } => self.sync(fid, data_only),
            Request::Getattr { fid, mask: _ } => self.get_attr(fid, reply),
            Request::Setattr { fid, change } => self.set_attr(fid, &change),
            Request::Statfs { fid } => self.stat_fs(fid, reply),
            Request::Readlink { fid } => self.read_link(fid, reply),
            Request::Xattrwalk { fid, newfid, name } => self.xattr_walk(fid, newfid, name, reply),
            Request::Xattrcreate { fid, name, size_bytes, flags } => {
                self.xattr_create(fid, name, size_bytes, flags)
            }
            Request::Symlink { fid, name, target, gid } => self.make_symlink(fid, name, target, gid, reply),
            Request::Mknod { fid, name, mode, major, minor, gid } => {
                self.make_node(fid, name, (mode, gid), (major, minor), reply)
            }
            Request::Mkdir { fid, name, mode, gid } => self.make_directory(fid, name, (mode, gid), reply),
            Request::Link { directory, fid, name } => self.link(directory, fid, name),
            Request::Rename { fid, directory, name } => self.rename(fid, directory, name),
            Request::Renameat { from, from_name, to, to_name } => {
                self.rename_at(from, from_name, to, to_name)
            }
            Request::Unlinkat { fid, name, directory_wanted } => self.unlink_at(fid, name, directory_wanted),
            Request::Remove { fid } => self.remove(fid),
            Request::Lock { fid, kind, range, owner } => self.lock(fid, kind, range, owner, reply),
            Request::Getlock { fid, kind, start, length, range, owner } => {
                self.get_lock(fid, kind, (start, length), range, owner, reply)
            }
        }
    }

    fn version(&mut self, msize: u32, version: &[u8], reply: &mut Reply<'_>) -> Result<()> {
        self.reset();
        if msize < MSIZE_MIN_BYTES {
            return Err(Errno::EMSGSIZE);
        }
        let msize = msize.min(self.options.limits.msize_bytes);
        reply.u32(msize)?;
        if version != VERSION {
            return reply.string(b"unknown");
        }
        self.msize_bytes = msize;
        reply.string(VERSION)
    }

    fn attach(
        &mut self,
        fid: u32,
        afid: u32,
        aname: &[u8],
        n_uname: u32,
        reply: &mut Reply<'_>,
    ) -> Result<()> {
        /// `P9_NONUNAME`: no number is given for the user.
        const NO_UNAME: u32 = u32::MAX;
        if afid != NO_FID {
            return Err(Errno::EINVAL);
        }
        self.check_new(fid)?;
        let mut place = ROOT;
        self.places.acquire(place);
        for component in aname.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            let step = Name::new(component).map(Step::Down).map_err(|_| Errno::EINVAL);
            (place, _) = match step.and_then(|step| self.step(place, step)) {
                Ok(next) => next,
                Err(errno) => {
                    self.places.release(place);
                    return Err(errno);
                }
            };
        }
        let uid = (n_uname != NO_UNAME).then_some(n_uname);
        self.fids.insert(fid, Fid { place, uid, role: Role::Walk });
        let attr = self.attr(place)?;
        reply.qid(self.qid(&attr))
    }

    fn walk(&mut self, fid: u32, newfid: u32, steps: &Steps<'_>, reply: &mut Reply<'_>) -> Result<()> {
        let source = self.fid(fid)?;
        match source.role {
            Role::Walk => {}
            Role::Open { .. } if fid != newfid => {}
            _ => return Err(Errno::EINVAL),
        }
        let (mut place, uid) = (source.place, source.uid);
        if newfid != fid {
            self.check_new(newfid)?;
        }
        let mut qids = [Qid { kind: 0, version: 0, path: 0 }; WALK_MAX_NAMES];
        let mut count = 0;
        self.places.acquire(place);
        for &step in steps.as_slice() {
            match self.step(place, step) {
                Ok((next, attr)) => {
                    place = next;
                    qids[count] = self.qid(&attr);
                    count += 1;
                }
                Err(errno) => {
                    self.places.release(place);
                    // Only the failure of the first step is an error; later ones end the list early.
                    if count == 0 {
                        return Err(errno);
                    }
                    return put_walk(reply, &qids[..count]);
                }
            }
        }
        let walked = Fid { place, uid, role: Role::Walk };
        if let Some(former) = self.fids.insert(newfid, walked) {
            self.places.release(former.place);
        }
        put_walk(reply, &qids[..count])
    }

    /// Exchanges a reference to `place` for one to the place a step away; on failure the former stays.
    fn step(&mut self, place: PlaceId, step: Step<'_>) -> Result<(PlaceId, Attr)> {
        let (next, attr) = match step {
            Step::Down(name) => self.places.child(&self.fs, place, name)?,
            Step::Up => {
                if self.attr(place)?.kind != Kind::Directory {
                    return Err(Errno::ENOTDIR);
                }
                let above = self.places.above(place);
                let attr = self.attr(above)?;
                self.places.acquire(above);
                (above, attr)
            }
        };
        self.places.release(place);
        Ok((next, attr))
    }

    fn clunk(&mut self, number: u32) -> Result<()> {
        let fid = self.fids.remove(&number).ok_or(Errno::EBADF)?;
        let result = match &fid.role {
            Role::XattrWrite { name, flags, size_bytes, value } => {
                self.set_xattr(fid.place, name, *flags, *size_bytes, value)
            }
            _ => Ok(()),
        };
        self.end(number, fid);
        result
    }

    /// Gives back all that a fid, which is no longer in the table, held.
    fn end(&mut self, number: u32, fid: Fid<F::File>) {
        if let Some(file) = self.places.file(fid.place) {
            self.locks.clunk(file, number, |holder, range, kind| self.fs.lock(holder, range, kind));
        }
        self.xattr_bytes -= fid.role.xattr_bytes();
        if matches!(fid.role, Role::Open { .. }) {
            self.open_files -= 1;
            self.places.closed(fid.place);
        }
        self.places.release(fid.place);
    }

    /// Fails unless `number` may become a fid.
    fn check_new(&self, number: u32) -> Result<()> {
        if number == NO_FID || self.fids.contains_key(&number) {
            return Err(Errno::EINVAL);
        }
        if self.fids.len() >= self.options.limits.fids {
            return Err(Errno::ENFILE);
        }
        Ok(())
    }

    fn fid(&self, number: u32) -> Result<&Fid<F::File>> {
        self.fids.get(&number).ok_or(Errno::EBADF)
    }

    /// The place of a fid that names a file.
    fn place(&self, number: u32) -> Result<PlaceId> {
        let fid = self.fid(number)?;
        if fid.role.names_a_file() { Ok(fid.place) } else { Err(Errno::EBADF) }
    }

    fn attr(&mut self, place: PlaceId) -> Result<Attr> {
        self.fs.attr(self.places.node(&self.fs, place)?)
    }

    fn qid(&self, attr: &Attr) -> Qid {
        Qid::of_attr(attr, self.root_device)
    }
}

fn put_walk(reply: &mut Reply<'_>, qids: &[Qid]) -> Result<()> {
    reply.u16(qids.len() as u16)?;
    qids.iter().try_for_each(|&qid| reply.qid(qid))
}

/// Whether a request is refused on a read-only share.
fn changes_something(request: &Request<'_>) -> bool {
    match request {
        Request::Lopen { flags, .. } => flags.access.writes() || flags.truncate,
        Request::Lcreate { .. }
        | Request::Write { .. }
        | Request::Remove { .. }
        | Request::Setattr { .. }
        | Request::Symlink { .. }
        | Request::Mknod { .. }
        | Request::Mkdir { .. }
        | Request::Link { .. }
        | Request::Rename { .. }
        | Request::Renameat { .. }
        | Request::Unlinkat { .. }
        | Request::Xattrcreate { .. } => true,
        _ => false,
    }
}
