//! Layers onto a tree: each decompressed, checked against its digests and applied over the ones
//! below it, in one pass.

use super::digest::{DigestReader, Hasher, compare};
use super::error::{OciError, plain};
use super::image::{ImageLayer, OciImage};
use super::progress::{Meter, Watcher};
use crate::rootfs::tar::{TarOptions, apply_tar};
use crate::rootfs::{DataStore, FsTree, RootfsError, decompress};
use oci_spec::image::{Descriptor, Digest};
use std::io::{self, Read};

/// Limits against archives that unpack to more than anybody meant.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that all layers together may unpack to, and that one may have as stored.
    pub unpacked_bytes: u64,
}

impl Limits {
    /// What is allowed if nobody says otherwise: more than the largest images in use, less than a disk.
    pub const DEFAULT_BYTES: u64 = 32 << 30;
}

impl Default for Limits {
    fn default() -> Self {
        Limits { unpacked_bytes: Limits::DEFAULT_BYTES }
    }
}

/// Applies all layers of `image`, the lowest first. Returns warnings, one line each.
///
/// # Errors
/// [`OciError`]; the tree is then of no use.
pub fn apply_layers(
    image: &OciImage,
    tree: &mut FsTree,
    store: &mut DataStore,
    limits: Limits,
    watcher: &dyn Watcher,
) -> Result<Vec<String>, OciError> {
    let count = image.layers.len();
    let mut warnings = Vec::new();
    let mut left_bytes = limits.unpacked_bytes;
    for (index, layer) in image.layers.iter().enumerate() {
        let name = format!("unpacking layer {} of {count}", index + 1);
        let total_bytes = layer.stored.as_ref().map(|stored| stored.size());
        let mut meter = watcher.begin(&name, total_bytes);
        let place = (index + 1, count);
        warnings.extend(apply_layer(image, layer, place, tree, store, &mut left_bytes, &mut *meter)?);
        if store.len_bytes() > limits.unpacked_bytes {
            let limit_bytes = limits.unpacked_bytes;
            return Err(OciError::TooLarge { what: "the image, unpacked,".to_string(), limit_bytes });
        }
    }
    warnings.sort();
    warnings.dedup();
    Ok(warnings)
}

/// Brings all layers of `image` near; too large ones are refused before anything is fetched.
///
/// # Errors
/// [`OciError`], if one is too large or cannot be had.
pub fn fetch_layers(image: &OciImage, limits: Limits) -> Result<(), OciError> {
    let limit_bytes = limits.unpacked_bytes;
    for stored in image.layers.iter().filter_map(|layer| layer.stored.as_ref()) {
        if stored.size() > limit_bytes {
            return Err(OciError::TooLarge { what: format!("layer {}", stored.digest()), limit_bytes });
        }
    }
    image.prefetch()
}

fn apply_layer(
    image: &OciImage,
    layer: &ImageLayer,
    (number, count): (usize, usize),
    tree: &mut FsTree,
    store: &mut DataStore,
    left_bytes: &mut u64,
    meter: &mut dyn Meter,
) -> Result<Vec<String>, OciError> {
    let hasher = |digest: Option<&Digest>| digest.map_or_else(|| Ok(Hasher::sha256()), Hasher::like);
    let stored_digest = layer.stored.as_ref().map(Descriptor::digest);
    // One byte more than promised is enough to see that there are too many.
    let most_bytes = layer.stored.as_ref().map_or(u64::MAX, |stored| stored.size().saturating_add(1));
    let stored = Metered { inner: image.open_layer(layer)?.take(most_bytes), done_bytes: 0, meter };
    let mut stored = DigestReader::new(stored, hasher(stored_digest)?);
    let unpacked_hasher = hasher(layer.diff_id.as_ref())?;
    let applied = apply_content(&mut stored, unpacked_hasher, tree, store, left_bytes);

    let failed = |error| OciError::Layer { number, count, name: plain(&layer.name), error };
    let what = || format!("layer {number} of {count}");
    if let (Some(descriptor), true) = (&layer.stored, may_be_damage(&applied)) {
        let (digest, len_bytes) = stored.finish().map_err(|error| failed(RootfsError::Input(error)))?;
        if len_bytes != descriptor.size() {
            let (expected, actual) = (descriptor.size(), len_bytes);
            return Err(OciError::LengthMismatch { what: what(), expected, actual });
        }
        compare(&what(), digest, descriptor.digest())?;
    }
    let (warnings, digest) = applied.map_err(failed)?;
    if let Some(diff_id) = &layer.diff_id {
        compare(&format!("{}, unpacked,", what()), digest, diff_id)?;
    }
    Ok(warnings)
}

/// Applies a layer and reads it to its end. Returns warnings, and the digest of the archive.
fn apply_content(
    stored: &mut dyn Read,
    hasher: Hasher,
    tree: &mut FsTree,
    store: &mut DataStore,
    left_bytes: &mut u64,
) -> Result<(Vec<String>, String), RootfsError> {
    let unpacked = Limited { inner: decompress(stored)?, left_bytes };
    let mut unpacked = DigestReader::new(unpacked, hasher);
    let warnings = apply_tar(tree, store, &mut unpacked, TarOptions { whiteouts: true })?;
    let (digest, _) = unpacked.finish().map_err(RootfsError::Input)?;
    Ok((warnings, digest))
}

/// Whether it is worth to compare digests: always but after an error that has nothing to do with
/// the content, or that bounds how much of it is read.
fn may_be_damage<T>(applied: &Result<T, RootfsError>) -> bool {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match applied {
        Ok(_) | Err(RootfsError::Archive(_) | RootfsError::Entry { .. }) => true,
        Err(RootfsError::Input(error)) => matches!(error.kind(), InvalidData | UnexpectedEof),
        Err(_) => false,
    }
}

/// Fails when more than `left_bytes` come out.
struct Limited<'a, R> {
    inner: R,
    left_bytes: &'a mut u64,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left_bytes.checked_sub(count as u64) {
            Some(left) => *self.left_bytes = left,
            None => {
                let text = "it unpacks to more than is allowed; --max-size sets the limit";
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
            }
        }
        Ok(count)
    }
}

/// Reports how much has been read.
struct Metered<'a, R> {
    inner: R,
    done_bytes: u64,
    meter: &'a mut dyn Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.done_bytes += count as u64;
        self.meter.at(self.done_bytes);
        Ok(count)
    }
}
