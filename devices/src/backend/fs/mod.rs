//! The narrow trait through which a file server reaches files, and the types of its arguments.
//!
//! Everything is relative to a handle: a [`FileSystem::Node`] names one file for as long as the
//! handle lives, whatever happens to the file's name, and a name is always a single component
//! ([`Name`]). No call takes a path and none follows a symbolic link, so a back end that keeps to
//! this trait cannot be led outside its tree by what the tree contains.
//!
//! [`MemoryFs`] works on every host. `native` (cargo feature, Linux hosts) serves a host directory.

use serde::{Deserialize, Serialize};

mod errno;
mod memory;
#[cfg(all(feature = "native", target_os = "linux"))]
pub mod native;

pub use errno::Errno;
pub use memory::{MemoryFs, MemoryLimits};

/// Result of a file operation; the error is what the guest is told.
pub type Result<T> = std::result::Result<T, Errno>;

/// File type and permission bits of a mode, as in Linux `stat.h`.
pub mod mode {
    /// Mask of the file type.
    pub const TYPE: u32 = 0o170_000;
    /// Socket.
    pub const SOCKET: u32 = 0o140_000;
    /// Symbolic link.
    pub const SYMLINK: u32 = 0o120_000;
    /// Regular file.
    pub const REGULAR: u32 = 0o100_000;
    /// Block device.
    pub const BLOCK: u32 = 0o060_000;
    /// Directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// Character device.
    pub const CHAR: u32 = 0o020_000;
    /// Named pipe.
    pub const FIFO: u32 = 0o010_000;
    /// Mask of permissions, set-id and sticky bits.
    pub const PERMISSIONS: u32 = 0o7777;
}

/// Longest name of a directory entry (Linux `NAME_MAX`).
pub const NAME_MAX_BYTES: usize = 255;
/// Longest target of a symbolic link (Linux `PATH_MAX` less the terminating zero).
pub const TARGET_MAX_BYTES: usize = 4095;
/// Largest extended attribute, and largest list of names (Linux `XATTR_SIZE_MAX`).
pub const XATTR_MAX_BYTES: usize = 65536;

/// One directory entry's name: not empty, at most [`NAME_MAX_BYTES`], without `/` and zero bytes,
/// and neither `.` nor `..`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Name<'a>(&'a [u8]);

/// Why bytes are not the name of a directory entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// No byte at all.
    #[error("the name is empty")]
    Empty,
    /// More than [`NAME_MAX_BYTES`].
    #[error("the name is too long")]
    TooLong,
    /// A `/` or a zero byte.
    #[error("the name contains a slash or a zero byte")]
    ForbiddenByte,
    /// `.` or `..`.
    #[error("the name is . or ..")]
    Dots,
}

impl<'a> Name<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// Whatever keeps it from being the name of an entry.
    pub fn new(bytes: &'a [u8]) -> std::result::Result<Self, NameError> {
        match bytes {
            [] => Err(NameError::Empty),
            b"." | b".." => Err(NameError::Dots),
            _ if bytes.len() > NAME_MAX_BYTES => Err(NameError::TooLong),
            _ if bytes.iter().any(|b| matches!(b, 0 | b'/')) => Err(NameError::ForbiddenByte),
            _ => Ok(Name(bytes)),
        }
    }

    /// The bytes of the name.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// Type of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

impl Kind {
    /// The type in a mode; `None` if the type bits say nothing known.
    pub fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & mode::TYPE {
            mode::REGULAR => Kind::Regular,
            mode::DIRECTORY => Kind::Directory,
            mode::SYMLINK => Kind::Symlink,
            mode::FIFO => Kind::Fifo,
            mode::SOCKET => Kind::Socket,
            mode::CHAR => Kind::CharDevice,
            mode::BLOCK => Kind::BlockDevice,
            _ => return None,
        })
    }

    /// The type bits of a mode.
    pub fn mode_bits(self) -> u32 {
        match self {
            Kind::Regular => mode::REGULAR,
            Kind::Directory => mode::DIRECTORY,
            Kind::Symlink => mode::SYMLINK,
            Kind::Fifo => mode::FIFO,
            Kind::Socket => mode::SOCKET,
            Kind::CharDevice => mode::CHAR,
            Kind::BlockDevice => mode::BLOCK,
        }
    }
}

/// Identity of a file while it exists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct FileId {
    /// Device number of the file system that holds it.
    pub device: u64,
    /// Inode number within that file system.
    pub inode: u64,
}

/// Seconds and nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds, negative before 1970.
    pub sec: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nsec: u32,
}

/// What `stat` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Identity.
    pub id: FileId,
    /// Type of the file.
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub permissions: u32,
    /// Number of names.
    pub links: u64,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of the device that a device node stands for.
    pub device_number: u64,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Preferred size of a transfer.
    pub block_bytes: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks_512: u64,
    /// Last access.
    pub accessed: Timestamp,
    /// Last change of the contents.
    pub modified: Timestamp,
    /// Last change of contents or attributes.
    pub changed: Timestamp,
}

/// A time to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// The present time.
    Now,
    /// That time.
    At(Timestamp),
}

/// Attributes to change; `None` leaves one alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// Permission, set-id and sticky bits.
    pub permissions: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length; growing fills with zeroes.
    pub size_bytes: Option<u64>,
    /// Last access.
    pub accessed: Option<SetTime>,
    /// Last change of the contents.
    pub modified: Option<SetTime>,
}

/// What an open file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Access {
    /// `O_RDONLY`
    Read,
    /// `O_WRONLY`
    Write,
    /// `O_RDWR`
    ReadWrite,
}

impl Access {
    /// Whether reading is allowed.
    pub fn reads(self) -> bool {
        self != Access::Write
    }

    /// Whether writing is allowed.
    pub fn writes(self) -> bool {
        self != Access::Read
    }
}

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OpenFlags {
    /// Reading, writing or both.
    pub access: Access,
    /// Every write goes to the end.
    pub append: bool,
    /// Cut to nothing first.
    pub truncate: bool,
    /// Only in `create`: fail if the name exists.
    pub exclusive: bool,
    /// Fail unless it is a directory.
    pub directory: bool,
    /// Each write returns when contents and attributes are on stable storage (`O_SYNC`).
    pub sync: bool,
    /// Each write returns when the contents are on stable storage (`O_DSYNC`).
    pub data_sync: bool,
}

impl OpenFlags {
    /// Plain opening for `access`.
    pub const fn new(access: Access) -> Self {
        OpenFlags {
            access,
            append: false,
            truncate: false,
            exclusive: false,
            directory: false,
            sync: false,
            data_sync: false,
        }
    }
}

/// Permissions and owner of a file to be made. `None`: whatever the back end gives by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Birth {
    /// Permission, set-id and sticky bits, exactly (the guest has applied its umask).
    pub permissions: u32,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// What [`FileSystem::make_node`] makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// Empty regular file.
    Regular,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// One entry of a directory, as [`FileSystem::read_dir`] offers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// Inode number in the directory's own file system.
    pub inode: u64,
    /// Type of the file.
    pub kind: Kind,
    /// Where reading goes on after this entry.
    pub next_offset: u64,
    /// The name; `.` and `..` are listed too.
    pub name: &'a [u8],
}

/// What `statfs` tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatFs {
    /// Magic number of the file system type.
    pub magic: u32,
    /// Size of a block.
    pub block_bytes: u32,
    /// All blocks.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks that an ordinary user may take.
    pub blocks_available: u64,
    /// All inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Identity of the file system.
    pub id: u64,
    /// Longest name.
    pub name_max_bytes: u32,
}

/// How to set an extended attribute (`setxattr(2)`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrMode {
    /// Whether it exists or not.
    Either,
    /// It must not exist.
    Create,
    /// It must exist.
    Replace,
}

/// A stretch of a file to lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LockRange {
    /// First byte.
    pub first: u64,
    /// Last byte, inclusive; `u64::MAX` for "to the end, however far that is".
    pub last: u64,
}

/// Strength of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LockKind {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
}

/// A tree of files. See the module's text for the rule that keeps it closed.
pub trait FileSystem {
    /// Names one file, of any type, for as long as it lives; does not give access to contents.
    type Node;
    /// A regular file or directory opened for reading or writing.
    type File;

    /// How many handles, nodes and files together, the host gives at most; `None` if only memory limits them.
    fn max_handles(&self) -> Option<usize> {
        None
    }

    /// The root directory.
    ///
    /// # Errors
    /// Only host failures.
    fn root(&self) -> Result<Self::Node>;

    /// The entry `name` of `directory`, itself: a symbolic link is not followed.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EACCES`, and `EMFILE` when the host gives no more handles.
    fn lookup(&self, directory: &Self::Node, name: Name<'_>) -> Result<(Self::Node, Attr)>;

    /// Attributes of the entry `name` of `directory`, without making a handle.
    ///
    /// # Errors
    /// As `lookup`.
    fn attr_at(&self, directory: &Self::Node, name: Name<'_>) -> Result<Attr>;

    /// Attributes of a file.
    ///
    /// # Errors
    /// Only host failures.
    fn attr(&self, node: &Self::Node) -> Result<Attr>;

    /// Changes attributes: owner, then permissions, then size, then times. `file` is the same file
    /// opened, if it is; it lends its right to write to a change of size.
    ///
    /// # Errors
    /// `EPERM`, `EACCES`, `EINVAL` (size of something without contents), `EISDIR`.
    fn set_attr(&self, node: &Self::Node, file: Option<&Self::File>, change: &SetAttr) -> Result<()>;

    /// Opens a regular file or a directory.
    ///
    /// # Errors
    /// `ELOOP` for a symbolic link, `ENXIO` for other special files, `EISDIR`, `ENOTDIR`, `EACCES`, `EMFILE`.
    fn open(&self, node: &Self::Node, flags: OpenFlags) -> Result<Self::File>;

    /// Makes a regular file and opens it; unless `flags.exclusive` an existing regular file is opened instead.
    ///
    /// # Errors
    /// `EEXIST` if exclusive; else as `open` and `make_node`.
    fn create(
        &self,
        directory: &Self::Node,
        name: Name<'_>,
        flags: OpenFlags,
        birth: Birth,
    ) -> Result<(Self::Node, Self::File)>;

    /// Reads at `offset`; 0 bytes only at the end of the file.
    ///
    /// # Errors
    /// `EBADF` if not open for reading, `EISDIR`, `EINVAL` (offset), `EIO`.
    fn read(&self, file: &Self::File, offset: u64, into: &mut [u8]) -> Result<usize>;

    /// Writes at `offset` (at the end, if opened with `append`).
    ///
    /// # Errors
    /// `EBADF` if not open for writing, `EINVAL` (offset), `EFBIG`, `ENOSPC`, `EIO`.
    fn write(&self, file: &Self::File, offset: u64, from: &[u8]) -> Result<usize>;

    /// Waits until the contents, and unless `data_only` the attributes, are on stable storage.
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`.
    fn sync(&self, file: &Self::File, data_only: bool) -> Result<()>;

    /// Offers the entries of a directory from `offset` (0, or a `next_offset` seen before) until
    /// `take` answers `false`, which means "not taken, there is no room", or the directory ends.
    /// May stop early, but never without offering one entry unless the directory ends.
    /// `room_bytes` is a hint: 24 bytes and the name for each entry to be taken.
    ///
    /// Offsets stay good while entries are added or removed.
    ///
    /// # Errors
    /// `ENOTDIR`, `EINVAL`, `EIO`.
    fn read_dir(
        &self,
        file: &Self::File,
        offset: u64,
        room_bytes: usize,
        take: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()>;

    /// Makes a directory.
    ///
    /// # Errors
    /// `EEXIST`, `ENOTDIR`, `ENOENT` (the parent was removed), `EACCES`, `ENOSPC`.
    fn make_directory(&self, directory: &Self::Node, name: Name<'_>, birth: Birth) -> Result<Self::Node>;

    /// Makes a symbolic link. `birth.permissions` is without meaning.
    ///
    /// # Errors
    /// As `make_directory`.
    fn make_symlink(
        &self,
        directory: &Self::Node,
        name: Name<'_>,
        target: &[u8],
        birth: Birth,
    ) -> Result<Self::Node>;

    /// Makes an empty file, named pipe, socket or device node.
    ///
    /// # Errors
    /// As `make_directory`, and `EPERM` for devices that are not allowed.
    fn make_node(
        &self,
        directory: &Self::Node,
        name: Name<'_>,
        kind: NodeKind,
        birth: Birth,
    ) -> Result<Self::Node>;

    /// Gives `node` one more name.
    ///
    /// # Errors
    /// `EEXIST`, `EPERM` (a directory), `EXDEV`, `EMLINK`, `ENOENT` (it has no name any more).
    fn link(&self, node: &Self::Node, directory: &Self::Node, name: Name<'_>) -> Result<()>;

    /// Moves `from_name` of `from` to `to_name` of `to`, replacing what was there (`rename(2)`).
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EINVAL` (into itself), `EXDEV`.
    fn rename(
        &self,
        from: &Self::Node,
        from_name: Name<'_>,
        to: &Self::Node,
        to_name: Name<'_>,
    ) -> Result<()>;

    /// Removes a name: of an empty directory if `directory_wanted`, else of anything but a directory.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EBUSY`.
    fn unlink(&self, directory: &Self::Node, name: Name<'_>, directory_wanted: bool) -> Result<()>;

    /// The target of a symbolic link, as much as fits into `into`; returns its length.
    ///
    /// # Errors
    /// `EINVAL` if it is none.
    fn read_link(&self, node: &Self::Node, into: &mut [u8]) -> Result<usize>;

    /// Figures of the file system that holds `node`.
    ///
    /// # Errors
    /// Only host failures.
    fn stat_fs(&self, node: &Self::Node) -> Result<StatFs>;

    /// Value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`, `EPERM`, `E2BIG` (above [`XATTR_MAX_BYTES`]).
    fn xattr(&self, node: &Self::Node, name: &[u8]) -> Result<Vec<u8>>;

    /// Names of all extended attributes, each followed by a zero byte.
    ///
    /// # Errors
    /// As `xattr`.
    fn xattr_names(&self, node: &Self::Node) -> Result<Vec<u8>>;

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA` (by `mode`), `EOPNOTSUPP`, `EPERM`, `ENOSPC`.
    fn set_xattr(&self, node: &Self::Node, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()>;

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`, `EPERM`.
    fn remove_xattr(&self, node: &Self::Node, name: &[u8]) -> Result<()>;

    /// Takes (`Some`) or gives up (`None`) a lock that other programs respect, on behalf of `file`,
    /// without waiting. `false`: somebody else holds it. Locks taken through one `file` never
    /// exclude each other. A back end that nobody else uses keeps this default.
    ///
    /// # Errors
    /// `ENOLCK` and host failures.
    fn lock(&self, file: &Self::File, range: LockRange, kind: Option<LockKind>) -> Result<bool> {
        let _ = (file, range, kind);
        Ok(true)
    }
}
