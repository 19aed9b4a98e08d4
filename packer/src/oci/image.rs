//! One image, found: its configuration and its layers, each still where it is stored.

use super::digest::check;
use super::document::{Document, check_is_image, parse_config, read_document};
use super::error::OciError;
use super::platform::{Platform, describe};
use oci_spec::image::{Descriptor, Digest, ImageConfiguration, ImageIndex, ImageManifest};
use std::io::Read;
use std::str::FromStr;

/// Indexes inside of indexes that are followed.
const MAX_INDEX_DEPTH: usize = 4;

/// Where the parts of images are.
pub trait BlobSource {
    /// A manifest or an index.
    ///
    /// # Errors
    /// [`OciError::MissingBlob`], or why it cannot be read.
    fn open_manifest(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError>;

    /// A configuration.
    ///
    /// # Errors
    /// As [`BlobSource::open_manifest`].
    fn open_config(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + '_>, OciError>;

    /// A layer as it is stored.
    ///
    /// # Errors
    /// As [`BlobSource::open_manifest`].
    fn open_layer(&self, layer: &ImageLayer) -> Result<Box<dyn Read + '_>, OciError>;

    /// Brings layers near that are far.
    ///
    /// # Errors
    /// Why one cannot be had.
    fn prefetch(&self, _layers: &[ImageLayer]) -> Result<(), OciError> {
        Ok(())
    }
}

/// A layer, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayer {
    /// Its digest as text, or its name in an archive.
    pub name: String,
    /// Digest and length of what is stored, where documents tell them.
    pub stored: Option<Descriptor>,
    /// Digest of the archive when it is not compressed.
    pub diff_id: Option<Digest>,
}

/// An image for one platform.
pub struct OciImage<'a> {
    /// The digest of its manifest; `None` in a docker archive, which has none.
    pub digest: Option<Digest>,
    /// Its configuration.
    pub config: ImageConfiguration,
    /// The lowest first.
    pub layers: Vec<ImageLayer>,
    source: Box<dyn BlobSource + 'a>,
}

impl<'a> OciImage<'a> {
    /// Follows `root` to the image for `platform`.
    ///
    /// # Errors
    /// [`OciError::OtherPlatform`] if there is none for it; else what is wrong with the documents.
    pub fn resolve(
        source: Box<dyn BlobSource + 'a>,
        root: &Descriptor,
        platform: &Platform,
    ) -> Result<Self, OciError> {
        let (descriptor, manifest) = find_manifest(&*source, root, platform)?;
        check_is_image(&manifest)?;
        let bytes =
            read_checked("image configuration", manifest.config(), |config| source.open_config(config))?;
        let config = parse_config(&bytes)?;
        let layers = layers_of(&manifest, &config)?;
        let digest = Some(descriptor.digest().clone());
        OciImage::new(source, digest, config, layers, platform)
    }

    /// An image whose parts are known.
    ///
    /// # Errors
    /// [`OciError::OtherPlatform`] if it is not for `platform`.
    pub fn new(
        source: Box<dyn BlobSource + 'a>,
        digest: Option<Digest>,
        config: ImageConfiguration,
        layers: Vec<ImageLayer>,
        platform: &Platform,
    ) -> Result<Self, OciError> {
        let (os, architecture) = (config.os().to_string(), config.architecture().to_string());
        let variant = config.variant().as_deref();
        if !platform.runs(&os, &architecture, variant) {
            let available = vec![describe(&os, &architecture, variant)];
            let hint = Platform::hint(&available);
            return Err(OciError::OtherPlatform { wanted: platform.clone(), available, hint });
        }
        Ok(OciImage { digest, config, layers, source })
    }

    /// A layer as it is stored.
    ///
    /// # Errors
    /// [`OciError::MissingBlob`], or why it cannot be read.
    pub fn open_layer(&self, layer: &ImageLayer) -> Result<Box<dyn Read + '_>, OciError> {
        self.source.open_layer(layer)
    }

    /// Brings all layers near.
    ///
    /// # Errors
    /// Why one cannot be had.
    pub fn prefetch(&self) -> Result<(), OciError> {
        self.source.prefetch(&self.layers)
    }
}

impl std::fmt::Debug for OciImage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OciImage").field("digest", &self.digest).field("layers", &self.layers).finish()
    }
}

/// From an index to the manifest that it has for the platform.
fn find_manifest(
    source: &dyn BlobSource,
    root: &Descriptor,
    platform: &Platform,
) -> Result<(Descriptor, ImageManifest), OciError> {
    let mut descriptor = root.clone();
    for _ in 0..=MAX_INDEX_DEPTH {
        let bytes = read_checked("manifest", &descriptor, |wanted| source.open_manifest(wanted))?;
        let index = match Document::parse(&bytes, Some(descriptor.media_type()))? {
            Document::Manifest(manifest) => return Ok((descriptor, *manifest)),
            Document::Index(index) => index,
        };
        descriptor = choose(&index, platform)?;
    }
    Err(OciError::document("index", format!("more than {MAX_INDEX_DEPTH} indexes inside of each other")))
}

/// The entry of an index for the platform. An only entry that does not say what it is for is taken:
/// its configuration will tell.
pub(super) fn choose(index: &ImageIndex, platform: &Platform) -> Result<Descriptor, OciError> {
    let manifests = index.manifests();
    if let Some(chosen) = platform.choose(manifests) {
        return Ok(chosen.clone());
    }
    let unknown: Vec<&Descriptor> = manifests.iter().filter(|entry| entry.platform().is_none()).collect();
    if let [only] = unknown[..] {
        return Ok(only.clone());
    }
    let available: Vec<String> = manifests
        .iter()
        .filter_map(|entry| entry.platform().as_ref())
        .map(|platform| {
            let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
            describe(&os, &architecture, platform.variant().as_deref())
        })
        // What goes with images, such as signatures, says this.
        .filter(|name| name != "unknown/unknown")
        .collect();
    match (available.is_empty(), unknown.is_empty()) {
        (true, true) => Err(OciError::NotAnImage("the index has no images".to_string())),
        (true, false) => Err(OciError::NotAnImage(
            "the index has several images and does not say for which platforms".to_string(),
        )),
        (false, _) => {
            let hint = Platform::hint(&available);
            Err(OciError::OtherPlatform { wanted: platform.clone(), available, hint })
        }
    }
}

fn layers_of(manifest: &ImageManifest, config: &ImageConfiguration) -> Result<Vec<ImageLayer>, OciError> {
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != manifest.layers().len() {
        let (layers, ids) = (manifest.layers().len(), diff_ids.len());
        return Err(OciError::document("image configuration", format!("{ids} diff_ids for {layers} layers")));
    }
    let layer = |(descriptor, diff_id): (&Descriptor, &String)| {
        Ok(ImageLayer {
            name: descriptor.digest().to_string(),
            stored: Some(descriptor.clone()),
            diff_id: Some(diff_id_of(diff_id)?),
        })
    };
    manifest.layers().iter().zip(diff_ids).map(layer).collect()
}

/// A digest from a configuration's list.
pub(super) fn diff_id_of(text: &str) -> Result<Digest, OciError> {
    Digest::from_str(text)
        .map_err(|_| OciError::document("image configuration", format!("diff_id {text:?} is no digest")))
}

/// A document of a known digest and length.
fn read_checked<'a>(
    what: &'static str,
    descriptor: &Descriptor,
    open: impl FnOnce(&Descriptor) -> Result<Box<dyn Read + 'a>, OciError>,
) -> Result<Vec<u8>, OciError> {
    let bytes = read_document(what, open(descriptor)?)?;
    check(&format!("the {what}"), &bytes, descriptor.digest())?;
    Ok(bytes)
}
