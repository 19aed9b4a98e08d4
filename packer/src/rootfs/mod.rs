//! From a directory or an archive to one read-only filesystem image for the guest, without root
//! privileges on the host.
//!
//! A source is applied to an [`FsTree`] (names and metadata, in memory) while its file data goes
//! straight into the image through a [`DataStore`]; [`erofs::write`] then puts the metadata behind
//! it. Owners, modes, attributes, hard links and device nodes live only in the tree, so nothing of
//! the kind is ever created on the host.

mod compress;
mod dir;
pub mod erofs;
mod error;
mod extract;
mod store;
pub mod tar;
mod tree;
mod xattr;

pub use compress::decompress;
pub use dir::{DirectoryOptions, Owners, apply_directory};
pub use error::RootfsError;
pub use error::escape;
pub use extract::{ExtractError, Extracted, extract};
pub use store::{DataStore, FileData, Region};
pub use tree::{Content, DeviceNumber, FsTree, Inode, InodeId, Metadata, Time, TreeError};
pub use xattr::{XattrError, Xattrs};
