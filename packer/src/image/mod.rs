//! The `image.c2w` file format: one file that holds a machine, ready to run.
//!
//! [`ImageWriter`] makes such a file, streaming and atomically; [`Image`] opens one, checks it and
//! hands out its sections. `format` owns the bytes of the header, [`Manifest`] what the image says
//! about itself, [`SeenImages`] which files need no second full check.
//!
//! [`compress`] makes an image smaller, section by section, and [`ExpandedImages`] keeps what such a one
//! is expanded to: a machine maps its memory and its disk, which it can do with plain sections only.
//!
//! Every byte of the file is covered: the header page by its own hash, each section by the hash in
//! its table entry, and all padding must be zero. So [`Image::verify`] finds any flipped bit.

mod atomic;
mod bytes;
mod chunks;
mod compress;
mod content;
mod error;
mod expanded;
mod format;
mod manifest;
pub mod ram;
mod reader;
mod seen;
mod writer;

pub use atomic::AtomicFile;
pub use bytes::ByteString;
pub use chunks::ChunkError;
pub use compress::compress;
pub use content::Content;
pub use error::{FormatError, ImageError};
pub use expanded::ExpandedImages;
pub use format::{Arch, Encoding, FORMAT_VERSION, HEADER_BYTES, Header, PAGE_BYTES, Section, SectionId};
pub use manifest::{ContainerConfig, MachineConfig, Manifest, Provenance};
pub use reader::{Image, SectionFile};
pub use seen::SeenImages;
pub use writer::ImageWriter;
pub(crate) use writer::write_sparse;
