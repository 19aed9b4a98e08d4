//! Container images as the OCI image specification describes them (and docker's older forms of the
//! same): where they are read from, and how one becomes a tree of files and a configuration.
//!
//! [`reference`](Reference) names an image, a `source` (`layout`, `docker_archive`, `registry`) hands
//! out its documents and layers, [`OciImage::resolve`] picks the manifest for one platform, `layers`
//! applies the layers to a tree. Nothing is believed: every document and every layer is checked
//! against its digest and its length, and what is read into memory has a limit.

mod artifact;
mod blob_cache;
mod config;
mod digest;
mod docker_archive;
mod document;
mod error;
mod export;
mod files;
mod image;
mod layers;
mod layout;
mod platform;
mod progress;
mod registry;

pub use artifact::{ArtifactError, pull, push};
pub use blob_cache::BlobCache;
pub use config::container_config;
pub use digest::{DigestReader, Hasher};
pub use docker_archive::DockerArchive;
pub use document::{Document, parse_config};
pub use error::OciError;
pub use export::{ExportError, export};
pub use files::{Archive, Directory, Files};
pub use image::{BlobSource, ImageLayer, OciImage};
pub use layers::{Limits, apply_layers, fetch_layers};
pub use layout::Layout;
pub use oci_spec::distribution::Reference;
pub use oci_spec::image::{Descriptor, Digest, ImageConfiguration, MediaType};
pub use platform::Platform;
pub use progress::{Meter, Quiet, Watcher};
pub use registry::{Mirror, RegistryOptions, Repository, Retry};
