//! A directory of a Linux host.
//!
//! Confinement: every name is opened relative to the descriptor of its directory with `O_PATH | O_NOFOLLOW`,
//! names hold no `/` and are never `..`, and contents are reached only through the descriptor of a file whose
//! type was checked on that same descriptor. So neither symbolic links nor changes made meanwhile by other
//! programs lead outside. A directory that the host itself moves out of the share stays reachable to a guest
//! that already holds it, as it would to a container with a bind mount.
//!
//! A single file can be shared, too: then the root shows that name only.
//!
//! Ownership: see [`Ownership`]. Needs `/proc`.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Timespec, Timestamps, XattrFlags};
use rustix::path::DecInt;
use rustix::process::{Resource, Rlimit, getegid, geteuid, getrlimit, setrlimit};

use super::{
    Access, Attr, Birth, DirEntry, Errno, FileSystem, Kind, LockKind, LockRange, Name, NodeKind, OpenFlags,
    Result, SetAttr, SetTime, StatFs, TARGET_MAX_BYTES, XATTR_MAX_BYTES, XattrMode,
};
use errno::to_guest;
use handle::{FdPath, ProcFds, fd_name, kind_of, open_entry, open_flags, retry, stat, stat_entry};

mod errno;
mod handle;
mod lock;

pub use handle::{NativeFile, NativeNode};

/// Room for reading a directory: more than one name at least, at most what one answer can hold.
const DIRECTORY_BUFFER_BYTES: std::ops::RangeInclusive<usize> = 512..=64 * 1024;
/// User and group for files whose owner the guest has no number for (`/proc/sys/fs/overflowuid`).
const NOBODY: u32 = 65534;

/// How owners of host files appear in the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ownership {
    /// Numbers are the same on both sides, as with a container's bind mount. Files made by the guest belong to
    /// the guest's user; that, and `chown`, need a server with root's rights, else the host says `EPERM`.
    Passthrough,
    /// The user and group that run the server are 0 in the guest, and the host's 0 is "nobody" there, as with a
    /// rootless container. Files made by the guest belong to the server's user.
    ServerIsRoot,
}

/// What a guest may do in a shared directory beyond what the host allows the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NativeOptions {
    /// How owners appear.
    pub ownership: Ownership,
    /// Whether device nodes may be made; the host has to allow it, too. Others on the host could use them.
    pub device_nodes: bool,
}

impl Default for NativeOptions {
    /// Root passes numbers through, others are root in the guest. No device nodes.
    fn default() -> Self {
        let ownership = if geteuid().is_root() { Ownership::Passthrough } else { Ownership::ServerIsRoot };
        NativeOptions { ownership, device_nodes: false }
    }
}

/// A host directory.
#[derive(Debug)]
pub struct NativeFs {
    root: OwnedFd,
    proc_fds: ProcFds,
    /// The one entry of the root that is shared; `None` for all.
    only: Option<Box<[u8]>>,
    options: NativeOptions,
    server_uid: u32,
    server_gid: u32,
    directory_buffer: Mutex<Vec<MaybeUninit<u8>>>,
}

/// Why a host directory cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// It cannot be opened as a directory.
    #[error("cannot open the directory: {0}")]
    Directory(rustix::io::Errno),
    /// It cannot be found, or is no regular file.
    #[error("cannot share the file: {0}")]
    File(rustix::io::Errno),
    /// `/proc` is missing.
    #[error("cannot use /proc/self/fd: {0}")]
    Proc(rustix::io::Errno),
}

impl NativeFs {
    /// Shares `directory`, following links in that path only.
    ///
    /// # Errors
    /// It is no directory, may not be read, or `/proc` is not mounted.
    pub fn new(directory: &Path, options: NativeOptions) -> std::result::Result<Self, NativeError> {
        Self::with(directory, None, options)
    }

    /// Shares one regular file, following links in the path: a root directory that holds nothing else and whose
    /// entries cannot be changed. The file is found by its name each time, so that one that is put in its place
    /// is seen.
    ///
    /// # Errors
    /// There is no such file, or `/proc` is not mounted.
    pub fn new_file(file: &Path, options: NativeOptions) -> std::result::Result<Self, NativeError> {
        let failed = |error: std::io::Error| {
            let errno =
                error.raw_os_error().map_or(rustix::io::Errno::INVAL, rustix::io::Errno::from_raw_os_error);
            NativeError::File(errno)
        };
        let file = file.canonicalize().map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(NativeError::File(rustix::io::Errno::INVAL));
        }
        match (file.parent(), file.file_name()) {
            (Some(directory), Some(name)) => Self::with(directory, Some(name.as_bytes().into()), options),
            _ => Err(NativeError::File(rustix::io::Errno::INVAL)),
        }
    }

    fn with(
        directory: &Path,
        only: Option<Box<[u8]>>,
        options: NativeOptions,
    ) -> std::result::Result<Self, NativeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(NativeFs {
            root: rustix::fs::open(directory, flags, Mode::empty()).map_err(NativeError::Directory)?,
            proc_fds: ProcFds::open().map_err(NativeError::Proc)?,
            only,
            options,
            server_uid: geteuid().as_raw(),
            server_gid: getegid().as_raw(),
            directory_buffer: Mutex::new(Vec::new()),
        })
    }

    /// Fails unless the entry `name` of `directory` is shared.
    fn check_shared(&self, directory: &NativeNode, name: Name<'_>) -> Result<()> {
        match &self.only {
            Some(only) if directory.is_root && **only != *name.bytes() => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }

    /// Fails if `directory`, or what it holds, must stay as it is.
    fn check_changeable(&self, directory: &NativeNode) -> Result<()> {
        if directory.is_root && self.only.is_some() { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Lists a root with one entry.
    fn list_only(
        &self,
        only: &[u8],
        file: &NativeFile,
        offset: u64,
        take: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let root = stat(&file.fd)?;
        let found = Name::new(only).ok().and_then(|name| stat_entry(file.fd.as_fd(), name).ok());
        let dots = [(Some(root), &b"."[..]), (Some(root), b"..")];
        for (at, (attr, name)) in dots.into_iter().chain([(found, only)]).enumerate() {
            let next_offset = at as u64 + 1;
            let Some(attr) = attr.filter(|_| next_offset > offset) else { continue };
            if !take(&DirEntry { inode: attr.id.inode, kind: attr.kind, next_offset, name }) {
                break;
            }
        }
        Ok(())
    }

    fn shown(&self, mut attr: Attr) -> Attr {
        if self.options.ownership == Ownership::ServerIsRoot {
            let shown = |id: u32, server: u32| match id {
                id if id == server => 0,
                0 => NOBODY,
                id => id,
            };
            attr.uid = shown(attr.uid, self.server_uid);
            attr.gid = shown(attr.gid, self.server_gid);
        }
        attr
    }

    fn set_owner(&self, node: &NativeNode, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let to_host = |id: u32, server: u32| match (self.options.ownership, id) {
            (Ownership::ServerIsRoot, 0) => server,
            _ => id,
        };
        // -1 means "leave alone" to the host, so it is nobody's number.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Errno::EINVAL);
        }
        let uid = uid.map(|id| rustix::fs::Uid::from_raw(to_host(id, self.server_uid)));
        let gid = gid.map(|id| rustix::fs::Gid::from_raw(to_host(id, self.server_gid)));
        rustix::fs::chownat(&node.fd, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(to_guest)
    }

    fn set_permissions(&self, node: &NativeNode, permissions: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(permissions & 0o7777);
        rustix::fs::chmodat(self.proc_fds.fd(), fd_name(node), mode, AtFlags::empty()).map_err(to_guest)
    }

    /// Gives a new file the owner and the exact permissions it was to have, whatever the host made of them
    /// (its umask, a set-group-id parent).
    fn settle(&self, node: &NativeNode, birth: Birth) -> Result<()> {
        let attr = stat(&node.fd)?;
        if self.options.ownership == Ownership::Passthrough && self.server_uid == 0 {
            let uid = birth.uid.filter(|&uid| uid != attr.uid);
            let gid = birth.gid.filter(|&gid| gid != attr.gid);
            if uid.is_some() || gid.is_some() {
                match self.set_owner(node, uid, gid) {
                    // File systems without owners, users outside a user namespace.
                    Err(Errno::EPERM | Errno::EINVAL | Errno::EOPNOTSUPP) => {}
                    done => done?,
                }
            }
        }
        // A change of owner may have cleared set-id bits, so those are always set again.
        let set_ids = birth.permissions & 0o6000 != 0;
        if attr.kind != Kind::Symlink && (attr.permissions != birth.permissions & 0o7777 || set_ids) {
            match self.set_permissions(node, birth.permissions) {
                Err(Errno::EPERM | Errno::EOPNOTSUPP) => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// Opens what was just made under `name`. Somebody else may have put another file there meanwhile: what
    /// is not of the type that was made, or has further names, gets no new owner or permissions.
    fn made(&self, directory: &NativeNode, name: Name<'_>, kind: Kind, birth: Birth) -> Result<NativeNode> {
        let node = open_entry(directory.fd.as_fd(), name, OFlags::empty())?;
        let found = stat(&node.fd)?;
        let links_of_new = if kind == Kind::Directory { 2 } else { 1 };
        if found.kind != kind || found.links > links_of_new {
            return Err(Errno::ESTALE);
        }
        self.settle(&node, birth)?;
        Ok(node)
    }
}

/// Lets this program have as many open files as its user may, since a guest may open many. Best called once, early.
pub fn raise_handle_limit() {
    let limit = getrlimit(Resource::Nofile);
    // If it is refused, guests run into the old limit, which is answered in protocol.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

impl FileSystem for NativeFs {
    type Node = NativeNode;
    type File = NativeFile;

    fn max_handles(&self) -> Option<usize> {
        getrlimit(Resource::Nofile).current.map(|current| usize::try_from(current).unwrap_or(usize::MAX))
    }

    fn root(&self) -> Result<NativeNode> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.root, 0).map_err(to_guest)?;
        Ok(NativeNode { fd, is_root: true })
    }

    fn lookup(&self, directory: &NativeNode, name: Name<'_>) -> Result<(NativeNode, Attr)> {
        self.check_shared(directory, name)?;
        let node = open_entry(directory.fd.as_fd(), name, OFlags::empty())?;
        let attr = self.shown(stat(&node.fd)?);
        Ok((node, attr))
    }

    fn attr_at(&self, directory: &NativeNode, name: Name<'_>) -> Result<Attr> {
        self.check_shared(directory, name)?;
        Ok(self.shown(stat_entry(directory.fd.as_fd(), name)?))
    }

    fn attr(&self, node: &NativeNode) -> Result<Attr> {
        Ok(self.shown(stat(&node.fd)?))
    }

    fn set_attr(&self, node: &NativeNode, file: Option<&NativeFile>, change: &SetAttr) -> Result<()> {
        self.check_changeable(node)?;
        if change.uid.is_some() || change.gid.is_some() || *change == SetAttr::default() {
            // With nothing to change, the call sets the time of the last change, as was asked for.
            self.set_owner(node, change.uid, change.gid)?;
        }
        if let Some(permissions) = change.permissions {
            self.set_permissions(node, permissions)?;
        }
        if let Some(size_bytes) = change.size_bytes {
            match file.filter(|file| file.access.writes()) {
                Some(file) => retry(|| rustix::fs::ftruncate(&file.fd, size_bytes)).map_err(to_guest)?,
                None => {
                    match stat(&node.fd)?.kind {
                        Kind::Regular => {}
                        Kind::Directory => return Err(Errno::EISDIR),
                        _ => return Err(Errno::EINVAL),
                    }
                    let fd = self.proc_fds.reopen(node, OFlags::WRONLY)?;
                    retry(|| rustix::fs::ftruncate(&fd, size_bytes)).map_err(to_guest)?;
                }
            }
        }
        if change.accessed.is_some() || change.modified.is_some() {
            let times =
                Timestamps { last_access: time(change.accessed), last_modification: time(change.modified) };
            rustix::fs::utimensat(self.proc_fds.fd(), fd_name(node), &times, AtFlags::empty())
                .map_err(to_guest)?;
        }
        Ok(())
    }

    fn open(&self, node: &NativeNode, flags: OpenFlags) -> Result<NativeFile> {
        match stat(&node.fd)?.kind {
            Kind::Directory if flags.access.writes() || flags.truncate => return Err(Errno::EISDIR),
            Kind::Regular if flags.directory => return Err(Errno::ENOTDIR),
            Kind::Regular | Kind::Directory => {}
            Kind::Symlink => return Err(Errno::ELOOP),
            _ => return Err(Errno::ENXIO),
        }
        let file = NativeFile::new(self.proc_fds.reopen(node, open_flags(flags))?, flags.access);
        Ok(NativeFile { is_root: node.is_root, ..file })
    }

    fn create(
        &self,
        directory: &NativeNode,
        name: Name<'_>,
        flags: OpenFlags,
        birth: Birth,
    ) -> Result<(NativeNode, NativeFile)> {
        if self.check_changeable(directory).is_err() {
            let (node, attr) = self.lookup(directory, name).map_err(|_| Errno::EPERM)?;
            if flags.exclusive || attr.kind != Kind::Regular {
                return Err(Errno::EEXIST);
            }
            let file = self.open(&node, flags)?;
            return Ok((node, file));
        }
        // Always exclusive at first: opening what exists could open a device.
        let host = open_flags(OpenFlags { truncate: false, directory: false, ..flags })
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(birth.permissions & 0o777);
        match retry(|| rustix::fs::openat(&directory.fd, name.bytes(), host, mode)) {
            Ok(fd) => {
                let opened = DecInt::from_fd(&fd);
                let node = rustix::fs::openat(
                    self.proc_fds.fd(),
                    opened,
                    OFlags::PATH | OFlags::CLOEXEC,
                    Mode::empty(),
                );
                let node = NativeNode { fd: node.map_err(to_guest)?, is_root: false };
                self.settle(&node, birth)?;
                Ok((node, NativeFile::new(fd, flags.access)))
            }
            Err(rustix::io::Errno::EXIST) if !flags.exclusive => {
                let node = open_entry(directory.fd.as_fd(), name, OFlags::empty())?;
                let file = self.open(&node, flags)?;
                Ok((node, file))
            }
            Err(errno) => Err(to_guest(errno)),
        }
    }

    fn read(&self, file: &NativeFile, offset: u64, into: &mut [u8]) -> Result<usize> {
        retry(|| rustix::io::pread(&file.fd, &mut *into, offset)).map_err(to_guest)
    }

    fn write(&self, file: &NativeFile, offset: u64, from: &[u8]) -> Result<usize> {
        retry(|| rustix::io::pwrite(&file.fd, from, offset)).map_err(to_guest)
    }

    fn sync(&self, file: &NativeFile, data_only: bool) -> Result<()> {
        let done = if data_only {
            retry(|| rustix::fs::fdatasync(&file.fd))
        } else {
            retry(|| rustix::fs::fsync(&file.fd))
        };
        done.map_err(to_guest)
    }

    fn read_dir(
        &self,
        file: &NativeFile,
        offset: u64,
        room_bytes: usize,
        take: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        if let (true, Some(only)) = (file.is_root, &self.only) {
            return self.list_only(only, file, offset, take);
        }
        file.seek_directory(offset)?;
        // The host's record of a name takes at least 24 bytes and the taker's 24 bytes and the name: with 6/7
        // of the taker's room, all that the host returns will be taken and nothing has to be read twice.
        let bytes =
            (room_bytes / 7 * 6).clamp(*DIRECTORY_BUFFER_BYTES.start(), *DIRECTORY_BUFFER_BYTES.end());
        let mut buffer = self.directory_buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.len() < bytes {
            buffer.resize(bytes, MaybeUninit::uninit());
        }
        let mut entries = RawDir::new(&file.fd, &mut buffer[..bytes]);
        let mut reached = offset;
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(to_guest)?;
            let name = entry.file_name().to_bytes();
            let kind = match (kind_of(entry.file_type()), Name::new(name)) {
                (Some(kind), _) => Some(kind),
                (None, Ok(name)) => stat_entry(file.fd.as_fd(), name).ok().map(|attr| attr.kind),
                (None, Err(_)) => Some(Kind::Directory),
            };
            let next_offset = entry.next_entry_cookie();
            // An entry that vanished before it could be asked for its type is not there.
            let taken =
                kind.is_none_or(|kind| take(&DirEntry { inode: entry.ino(), kind, next_offset, name }));
            if !taken {
                // The host has gone on to the end of the buffer: make the next call seek back.
                file.directory_offset.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
                return Ok(());
            }
            reached = next_offset;
            if entries.is_buffer_empty() {
                break;
            }
        }
        file.directory_offset.store(reached, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn make_directory(&self, directory: &NativeNode, name: Name<'_>, birth: Birth) -> Result<NativeNode> {
        self.check_changeable(directory)?;
        let mode = Mode::from_raw_mode(birth.permissions & 0o7777);
        rustix::fs::mkdirat(&directory.fd, name.bytes(), mode).map_err(to_guest)?;
        self.made(directory, name, Kind::Directory, birth)
    }

    fn make_symlink(
        &self,
        directory: &NativeNode,
        name: Name<'_>,
        target: &[u8],
        birth: Birth,
    ) -> Result<NativeNode> {
        self.check_changeable(directory)?;
        if target.len() > TARGET_MAX_BYTES {
            return Err(Errno::ENAMETOOLONG);
        }
        rustix::fs::symlinkat(target, &directory.fd, name.bytes()).map_err(to_guest)?;
        self.made(directory, name, Kind::Symlink, birth)
    }

    fn make_node(
        &self,
        directory: &NativeNode,
        name: Name<'_>,
        kind: NodeKind,
        birth: Birth,
    ) -> Result<NativeNode> {
        self.check_changeable(directory)?;
        let (kind, host, device) = match kind {
            NodeKind::Regular => {
                let flags = OpenFlags { exclusive: true, ..OpenFlags::new(Access::Write) };
                return self.create(directory, name, flags, birth).map(|(node, _)| node);
            }
            NodeKind::Fifo => (Kind::Fifo, FileType::Fifo, 0),
            NodeKind::Socket => (Kind::Socket, FileType::Socket, 0),
            NodeKind::CharDevice { major, minor } => {
                (Kind::CharDevice, FileType::CharacterDevice, rustix::fs::makedev(major, minor))
            }
            NodeKind::BlockDevice { major, minor } => {
                (Kind::BlockDevice, FileType::BlockDevice, rustix::fs::makedev(major, minor))
            }
        };
        // Character device 0/0 is no device but the mark of a deletion in overlay file systems.
        let is_device = matches!(kind, Kind::BlockDevice) || (kind == Kind::CharDevice && device != 0);
        if is_device && !self.options.device_nodes {
            return Err(Errno::EPERM);
        }
        let mode = Mode::from_raw_mode(birth.permissions & 0o7777);
        rustix::fs::mknodat(&directory.fd, name.bytes(), host, mode, device).map_err(to_guest)?;
        self.made(directory, name, kind, birth)
    }

    fn link(&self, node: &NativeNode, directory: &NativeNode, name: Name<'_>) -> Result<()> {
        self.check_changeable(directory)?;
        let flags = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(self.proc_fds.fd(), fd_name(node), &directory.fd, name.bytes(), flags)
            .map_err(to_guest)
    }

    fn rename(
        &self,
        from: &NativeNode,
        from_name: Name<'_>,
        to: &NativeNode,
        to_name: Name<'_>,
    ) -> Result<()> {
        self.check_changeable(from)?;
        self.check_changeable(to)?;
        rustix::fs::renameat(&from.fd, from_name.bytes(), &to.fd, to_name.bytes()).map_err(to_guest)
    }

    fn unlink(&self, directory: &NativeNode, name: Name<'_>, directory_wanted: bool) -> Result<()> {
        self.check_changeable(directory)?;
        let flags = if directory_wanted { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&directory.fd, name.bytes(), flags).map_err(to_guest)
    }

    fn read_link(&self, node: &NativeNode, into: &mut [u8]) -> Result<usize> {
        match rustix::fs::readlinkat_raw(&node.fd, c"", into) {
            // The host says so for any other type when the path is empty.
            Err(rustix::io::Errno::NOENT) => Err(Errno::EINVAL),
            read => read.map_err(to_guest),
        }
    }

    #[allow(clippy::unnecessary_cast, reason = "widths of the fields differ between host architectures")]
    fn stat_fs(&self, node: &NativeNode) -> Result<StatFs> {
        let host = rustix::fs::fstatfs(&node.fd).map_err(to_guest)?;
        Ok(StatFs {
            magic: host.f_type as u32,
            block_bytes: host.f_bsize as u32,
            blocks: host.f_blocks as u64,
            blocks_free: host.f_bfree as u64,
            blocks_available: host.f_bavail as u64,
            files: host.f_files as u64,
            files_free: host.f_ffree as u64,
            id: stat(&node.fd)?.id.device,
            name_max_bytes: host.f_namelen as u32,
        })
    }

    fn xattr(&self, node: &NativeNode, name: &[u8]) -> Result<Vec<u8>> {
        fill_vec(|buffer| rustix::fs::getxattr(FdPath::of(node).bytes(), name, buffer))
    }

    fn xattr_names(&self, node: &NativeNode) -> Result<Vec<u8>> {
        fill_vec(|buffer| rustix::fs::listxattr(FdPath::of(node).bytes(), buffer))
    }

    fn set_xattr(&self, node: &NativeNode, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.check_changeable(node)?;
        let flags = match mode {
            XattrMode::Either => XattrFlags::empty(),
            XattrMode::Create => XattrFlags::CREATE,
            XattrMode::Replace => XattrFlags::REPLACE,
        };
        rustix::fs::setxattr(FdPath::of(node).bytes(), name, value, flags).map_err(to_guest)
    }

    fn remove_xattr(&self, node: &NativeNode, name: &[u8]) -> Result<()> {
        self.check_changeable(node)?;
        rustix::fs::removexattr(FdPath::of(node).bytes(), name).map_err(to_guest)
    }

    fn lock(&self, file: &NativeFile, range: LockRange, kind: Option<LockKind>) -> Result<bool> {
        lock::set(file, range, kind)
    }
}

/// What `read` puts into a buffer, which is small at first: most values are, and most files have none.
fn fill_vec(read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; 512];
    match read(&mut small) {
        Ok(count) => Ok(small[..count].to_vec()),
        Err(rustix::io::Errno::RANGE) => {
            let mut bytes = vec![0; XATTR_MAX_BYTES];
            let count = read(&mut bytes).map_err(to_guest)?;
            bytes.truncate(count);
            Ok(bytes)
        }
        Err(errno) => Err(to_guest(errno)),
    }
}

fn time(set: Option<SetTime>) -> Timespec {
    match set {
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        Some(SetTime::At(at)) => Timespec { tv_sec: at.sec, tv_nsec: at.nsec.into() },
    }
}
