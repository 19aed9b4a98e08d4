//! Images in an OCI image layout (image-layout.md of the specification), in a directory or in an
//! archive of one.

use super::digest::parse_digest;
use super::document::{Document, read_document};
use super::error::{OciError, plain};
use super::files::Files;
use super::image::{BlobSource, ImageLayer};
use oci_spec::image::{Descriptor, ImageIndex, MediaType};
use serde::Deserialize;
use std::io::Read;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The whole reference, as containerd and docker write it beside the tag.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A layout.
pub struct Layout {
    files: Box<dyn Files>,
    index: ImageIndex,
    /// The index as a blob: what there is if no tag is asked for.
    whole: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LayoutFile {
    image_layout_version: String,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// [`OciError::NotAnImage`] if it is none.
    pub fn open(files: Box<dyn Files>) -> Result<Layout, OciError> {
        const NONE: &str = "not an OCI image layout";
        let read = |name: &str| match files.open(name)? {
            Some(reader) => read_document("layout", reader),
            None => Err(OciError::NotAnImage(format!("{NONE}: it has no {name}"))),
        };
        let version: LayoutFile = serde_json::from_slice(&read("oci-layout")?)
            .map_err(|error| OciError::document("oci-layout", error))?;
        if !version.image_layout_version.starts_with("1.") {
            let version = plain(&version.image_layout_version);
            return Err(OciError::NotAnImage(format!(
                "OCI image layout of version {version}, only 1.x is read"
            )));
        }
        let whole = read("index.json")?;
        let Document::Index(index) = Document::parse(&whole, Some(&MediaType::ImageIndex))? else {
            return Err(OciError::document("index", "it is a manifest"));
        };
        Ok(Layout { files, index: *index, whole })
    }

    /// What a tag, or a digest, stands for. Without either: the only image there is, or the index
    /// if it tells platforms apart.
    ///
    /// # Errors
    /// [`OciError::NoImage`] if there is none, or several that could be meant.
    pub fn find(&self, wanted: Option<&str>) -> Result<Descriptor, OciError> {
        let manifests = self.index.manifests();
        let matches = |entry: &&Descriptor| match wanted {
            Some(wanted) => {
                entry.digest().as_ref() == wanted || names(entry).any(|name| is_tag(name, wanted))
            }
            None => true,
        };
        let found: Vec<&Descriptor> = manifests.iter().filter(matches).collect();
        let tags = || manifests.iter().filter_map(|entry| names(entry).next()).map(str::to_string).collect();
        match (&found[..], wanted) {
            ([only], _) => Ok((*only).clone()),
            ([], Some(_)) => Err(OciError::NoImage { problem: "no such tag", tags: tags() }),
            ([], None) => Err(OciError::NoImage { problem: "the layout is empty", tags: Vec::new() }),
            ([..], None)
                if found.iter().all(|entry| entry.platform().is_some() && names(entry).next().is_none()) =>
            {
                let len_bytes = self.whole.len() as u64;
                Ok(Descriptor::new(MediaType::ImageIndex, len_bytes, super::digest::sha256_of(&self.whole)?))
            }
            ([..], None) => {
                Err(OciError::NoImage { problem: "several images, name one by its tag", tags: tags() })
            }
            ([..], Some(_)) => {
                Err(OciError::NoImage { problem: "several images have this tag", tags: Vec::new() })
            }
        }
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        let digest = descriptor.digest();
        // Its parts are letters, digits and a few signs, never a slash or two dots alone.
        let path = format!("blobs/{}/{}", digest.algorithm(), parse_digest(digest.as_ref())?.digest());
        match self.files.open(&path)? {
            Some(reader) => Ok(reader),
            None => Err(OciError::MissingBlob(digest.to_string())),
        }
    }
}

impl BlobSource for Layout {
    fn open_manifest(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        if *descriptor.digest() == super::digest::sha256_of(&self.whole)? {
            return Ok(Box::new(&self.whole[..]));
        }
        self.blob(descriptor)
    }

    fn open_config(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        self.blob(descriptor)
    }

    fn open_layer(&self, layer: &ImageLayer) -> Result<Box<dyn Read + '_>, OciError> {
        match &layer.stored {
            Some(descriptor) => self.blob(descriptor),
            None => Err(OciError::MissingBlob(layer.name.clone())),
        }
    }
}

/// The names that an entry has.
fn names(entry: &Descriptor) -> impl Iterator<Item = &str> {
    let annotations = entry.annotations().as_ref();
    [REF_NAME, CONTAINERD_NAME].into_iter().filter_map(move |key| Some(annotations?.get(key)?.as_str()))
}

/// Whether a name is the tag that was asked for, alone or at the end of a reference.
fn is_tag(name: &str, wanted: &str) -> bool {
    name == wanted || name.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted && !tag.contains('/'))
}

impl std::fmt::Debug for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layout").field("index", &self.index).finish_non_exhaustive()
    }
}
