//! Images in the archive that `docker save` writes: `manifest.json` with a list of images, each with
//! the name of its configuration and of its layers in the archive.

use super::document::{parse_config, read_document};
use super::error::{OciError, plain};
use super::files::{Archive, Files};
use super::image::{BlobSource, ImageLayer, OciImage, diff_id_of};
use super::platform::Platform;
use oci_spec::image::Descriptor;
use serde::Deserialize;
use std::io::Read;

/// An archive of images.
#[derive(Debug)]
pub struct DockerArchive {
    archive: Archive,
    images: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl DockerArchive {
    /// Reads the list of images.
    ///
    /// # Errors
    /// [`OciError::NotAnImage`] if there is none.
    pub fn open(archive: Archive) -> Result<DockerArchive, OciError> {
        let Some(list) = archive.open("manifest.json")? else {
            let hint = if archive.has("oci-layout") { "; it is an oci-archive" } else { "" };
            let text = format!("not an archive of docker's: it has no manifest.json{hint}");
            return Err(OciError::NotAnImage(text));
        };
        let list = read_document("manifest.json", list)?;
        let images =
            serde_json::from_slice(&list).map_err(|error| OciError::document("manifest.json", error))?;
        Ok(DockerArchive { archive, images })
    }

    /// The image with this tag, or reference; without one the only image there is.
    ///
    /// # Errors
    /// [`OciError::NoImage`], or what is wrong with the image.
    pub fn into_image(
        self,
        wanted: Option<&str>,
        platform: &Platform,
    ) -> Result<OciImage<'static>, OciError> {
        let tags =
            || self.images.iter().flat_map(|image| image.repo_tags.iter().flatten()).cloned().collect();
        let matches = |image: &&Entry| match wanted {
            Some(wanted) => image.repo_tags.iter().flatten().any(|tag| is_tag(tag, wanted)),
            None => true,
        };
        let found: Vec<&Entry> = self.images.iter().filter(matches).collect();
        let image = match (&found[..], wanted) {
            ([only], _) => *only,
            ([], Some(_)) => return Err(OciError::NoImage { problem: "no such tag", tags: tags() }),
            ([], None) => {
                return Err(OciError::NoImage { problem: "the archive is empty", tags: Vec::new() });
            }
            ([..], None) => {
                return Err(OciError::NoImage {
                    problem: "several images, name one by its tag",
                    tags: tags(),
                });
            }
            ([..], Some(_)) => {
                return Err(OciError::NoImage { problem: "several images have this tag", tags: tags() });
            }
        };
        let config = match self.archive.open(&image.config)? {
            Some(reader) => parse_config(&read_document("image configuration", reader)?)?,
            None => return Err(OciError::MissingBlob(plain(&image.config))),
        };
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != image.layers.len() {
            let (ids, layers) = (diff_ids.len(), image.layers.len());
            let text = format!("{ids} diff_ids for {layers} layers");
            return Err(OciError::document("image configuration", text));
        }
        let layer = |(name, diff_id): (&String, &String)| {
            Ok(ImageLayer { name: name.clone(), stored: None, diff_id: Some(diff_id_of(diff_id)?) })
        };
        let layers = image.layers.iter().zip(diff_ids).map(layer).collect::<Result<_, OciError>>()?;
        OciImage::new(Box::new(self), None, config, layers, platform)
    }
}

impl BlobSource for DockerArchive {
    fn open_manifest(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        Err(OciError::MissingBlob(descriptor.digest().to_string()))
    }

    fn open_config(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError> {
        Err(OciError::MissingBlob(descriptor.digest().to_string()))
    }

    fn open_layer(&self, layer: &ImageLayer) -> Result<Box<dyn Read + '_>, OciError> {
        match self.archive.open(&layer.name)? {
            Some(reader) => Ok(reader),
            None => Err(OciError::MissingBlob(plain(&layer.name))),
        }
    }
}

/// Whether a reference of the archive is the one that was asked for, or ends in its tag.
fn is_tag(reference: &str, wanted: &str) -> bool {
    reference == wanted
        || reference
            .rsplit_once(':')
            .is_some_and(|(name, tag)| tag == wanted || (name == wanted && tag == "latest"))
}
