//! Reads tar archives as a stream: v7, ustar, pax (POSIX.1-2008), GNU long names and sparse files
//! of every kind GNU tar has made.
//!
//! [`TarReader`] gives one [`Entry`] after another, with all extensions already applied, and then
//! that entry's data. Every length is bounded before memory is taken for it. `apply` puts the
//! entries into an [`super::FsTree`].

mod acl;
mod apply;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use apply::{TarOptions, apply_tar};
pub use reader::{Entry, EntryKind, TarReader};
pub use writer::write_tar;
