//! Handles of host files, and the ways from a handle that gives no access to one that does.
//!
//! A node is an `O_PATH` descriptor. What needs more goes through the entry that `/proc/self/fd` has for it:
//! that entry leads to the very file the descriptor names, whatever its names are by now.

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::path::DecInt;

use super::errno::to_guest;
use crate::backend::fs::{Access, Attr, Errno, FileId, Kind, Name, OpenFlags, Result, Timestamp};

/// Handle of a host file of any type.
#[derive(Debug)]
pub struct NativeNode {
    pub(super) fd: OwnedFd,
    /// The root directory of the share.
    pub(super) is_root: bool,
}

/// Host file opened for reading or writing.
#[derive(Debug)]
pub struct NativeFile {
    pub(super) fd: OwnedFd,
    pub(super) access: Access,
    /// Where the next read of a directory starts if nobody seeks.
    pub(super) directory_offset: AtomicU64,
    pub(super) is_root: bool,
}

impl NativeFile {
    pub(super) fn new(fd: OwnedFd, access: Access) -> Self {
        NativeFile { fd, access, directory_offset: AtomicU64::new(0), is_root: false }
    }

    /// Makes `offset` the place where the directory is read next.
    pub(super) fn seek_directory(&self, offset: u64) -> Result<()> {
        if self.directory_offset.load(Ordering::Relaxed) != offset {
            rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(offset)).map_err(to_guest)?;
            self.directory_offset.store(offset, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The directory `/proc/self/fd`.
#[derive(Debug)]
pub(super) struct ProcFds(OwnedFd);

impl ProcFds {
    pub(super) fn open() -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/proc/self/fd", flags, Mode::empty())?;
        // Only the real thing resolves the way the module's text says.
        if rustix::fs::fstatfs(&fd)?.f_type as u64 != PROC_SUPER_MAGIC {
            return Err(rustix::io::Errno::NOENT);
        }
        Ok(ProcFds(fd))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens the file that `node` names. The caller knows its type: opening a device acts on it.
    pub(super) fn reopen(&self, node: &NativeNode, flags: OFlags) -> Result<OwnedFd> {
        // O_NONBLOCK only matters for types that are never opened here; it keeps a mistake from hanging the guest.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let opened = retry(|| rustix::fs::openat(&self.0, fd_name(node), flags, Mode::empty()));
        opened.map_err(to_guest)
    }
}

/// `PROC_SUPER_MAGIC` of Linux `magic.h`.
const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// The entry of `/proc/self/fd` for a node.
pub(super) fn fd_name(node: &NativeNode) -> DecInt {
    DecInt::from_fd(&node.fd)
}

/// The path of that entry, for calls that take no directory; built without the heap.
pub(super) struct FdPath {
    bytes: [u8; 40],
    len: usize,
}

impl FdPath {
    pub(super) fn of(node: &NativeNode) -> Self {
        let mut bytes = [0; 40];
        let mut rest = &mut bytes[..];
        // "/proc/self/fd/" and a number of at most ten digits always fit.
        let _ = write!(rest, "/proc/self/fd/");
        let _ = rest.write_all(fd_name(node).as_bytes());
        let len = 40 - rest.len();
        FdPath { bytes, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Opens the entry itself: no link is followed, no device is touched.
pub(super) fn open_entry(directory: BorrowedFd<'_>, name: Name<'_>, also: OFlags) -> Result<NativeNode> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | also;
    let fd = retry(|| rustix::fs::openat(directory, name.bytes(), flags, Mode::empty()));
    Ok(NativeNode { fd: fd.map_err(to_guest)?, is_root: false })
}

pub(super) fn stat(fd: impl AsFd) -> Result<Attr> {
    attr_of(&rustix::fs::fstat(fd).map_err(to_guest)?)
}

pub(super) fn stat_entry(directory: BorrowedFd<'_>, name: Name<'_>) -> Result<Attr> {
    attr_of(&rustix::fs::statat(directory, name.bytes(), AtFlags::SYMLINK_NOFOLLOW).map_err(to_guest)?)
}

#[allow(clippy::unnecessary_cast, reason = "widths of the fields differ between host architectures")]
fn attr_of(stat: &Stat) -> Result<Attr> {
    let mode = stat.st_mode as u32;
    let time = |sec: i64, nsec: i64| Timestamp { sec, nsec: nsec.clamp(0, 999_999_999) as u32 };
    Ok(Attr {
        id: FileId { device: stat.st_dev as u64, inode: stat.st_ino as u64 },
        kind: Kind::of_mode(mode).ok_or(Errno::EIO)?,
        permissions: mode & crate::backend::fs::mode::PERMISSIONS,
        links: stat.st_nlink as u64,
        uid: stat.st_uid,
        gid: stat.st_gid,
        device_number: stat.st_rdev as u64,
        size_bytes: stat.st_size as u64,
        block_bytes: stat.st_blksize as u64,
        blocks_512: stat.st_blocks as u64,
        accessed: time(stat.st_atime as i64, stat.st_atime_nsec as i64),
        modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
    })
}

/// The type that a directory entry says it has, if it says.
pub(super) fn kind_of(file_type: FileType) -> Option<Kind> {
    Some(match file_type {
        FileType::RegularFile => Kind::Regular,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => return None,
    })
}

/// The host's flags for opening an existing file.
pub(super) fn open_flags(flags: OpenFlags) -> OFlags {
    let mut host = match flags.access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::WRONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    host.set(OFlags::APPEND, flags.append);
    host.set(OFlags::TRUNC, flags.truncate);
    host.set(OFlags::DIRECTORY, flags.directory);
    host.set(OFlags::SYNC, flags.sync);
    host.set(OFlags::DSYNC, flags.data_sync && !flags.sync);
    host
}

/// Repeats a call that a signal interrupted.
pub(super) fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}
