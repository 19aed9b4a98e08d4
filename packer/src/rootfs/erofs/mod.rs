//! EROFS, the read-only filesystem of the guest's root: uncompressed, 4 KiB blocks.
//!
//! `format` states the on-disk structures once, `layout` decides where inodes lie, `writer` writes
//! them behind the file data that [`super::DataStore`] has already placed, and [`Reader`] reads any
//! uncompressed EROFS image, including one made by a stranger with bad intent.
//!
//! The facts are those of Linux's `fs/erofs/erofs_fs.h` and
//! `Documentation/filesystems/erofs.rst`. Images mount on Linux 5.15 and later.

mod dirent;
mod format;
mod layout;
mod reader;
mod writer;

pub(super) use format::{BLOCK_BYTES, INODE_BYTES};
pub use reader::{DirEntry, EntryKind, FileRange, Inode, Nid, ReadAt, Reader, ReaderError};
pub use writer::{Written, write};
