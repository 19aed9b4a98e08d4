//! An image.c2w in a registry: an OCI artifact (image specification, "Guidelines for Artifact Usage")
//! with one compressed blob.

use super::digest::{Hasher, parse_digest, sha256_of};
use super::document::{Document, read_document};
use super::error::{OciError, plain};
use super::image::BlobSource;
use super::registry::Repository;
use crate::image::{AtomicFile, Header, Image, ImageError, write_sparse};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder};
use oci_spec::distribution::Reference;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;

/// What kind of artifact it is.
const ARTIFACT: &str = "application/vnd.c2w.image.v1";
/// Its one blob.
const BLOB: &str = "application/vnd.c2w.image.v1+gzip";
const BUFFER_BYTES: usize = 1 << 20;

/// Why an image.c2w cannot be sent or fetched.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The registry, or what it has.
    #[error("{reference}: {error}")]
    Oci {
        /// What was asked for.
        reference: String,
        /// What is wrong.
        error: OciError,
    },
    /// The image file.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Temporary data cannot be written.
    #[error("cannot write temporary data: {0}")]
    Temporary(io::Error),
}

/// Sends an image that has been checked. `scratch_directory` is for a temporary file as large as the
/// compressed image. Returns the digest of the manifest.
///
/// # Errors
/// [`ArtifactError`].
pub fn push(
    image: &Image,
    reference: &Reference,
    repository: &Repository<'_>,
    scratch_directory: &Path,
) -> Result<String, ArtifactError> {
    let oci = |error| ArtifactError::Oci { reference: reference.to_string(), error };
    let read = |error| ImageError::Read { path: image.path().to_path_buf(), error };
    let mut blob = tempfile::tempfile_in(scratch_directory).map_err(ArtifactError::Temporary)?;
    let source = File::open(image.path()).map_err(read)?;
    // The header has been read through another descriptor: both must be of one file.
    let mut compressed = GzEncoder::new(BufReader::new(source), Compression::fast());
    let (mut hasher, mut len_bytes) = (Hasher::sha256(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = compressed.read(&mut buffer).map_err(read)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        len_bytes += count as u64;
        blob.write_all(&buffer[..count]).map_err(ArtifactError::Temporary)?;
    }
    blob.rewind().map_err(ArtifactError::Temporary)?;
    let digest = parse_digest(&hasher.finish()).map_err(oci)?;
    let blob_descriptor = Descriptor::new(MediaType::Other(BLOB.to_string()), len_bytes, digest);

    let empty = b"{}";
    let empty_descriptor = Descriptor::new(MediaType::EmptyJSON, 2, sha256_of(empty).map_err(oci)?);
    let mut empty_file = tempfile::tempfile_in(scratch_directory).map_err(ArtifactError::Temporary)?;
    empty_file.write_all(empty).map_err(ArtifactError::Temporary)?;

    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.as_ref(),
        "artifactType": ARTIFACT,
        "config": empty_descriptor,
        "layers": [blob_descriptor],
        "annotations": {"c2w.architecture": image.arch().to_string()},
    });
    let manifest = manifest.to_string().into_bytes();
    let digest = sha256_of(&manifest).map_err(oci)?.to_string();
    repository.push_blob(&blob_descriptor, &blob).map_err(oci)?;
    repository.push_blob(&empty_descriptor, &empty_file).map_err(oci)?;
    let name = reference.tag().unwrap_or(&digest);
    repository.push_manifest(name, &MediaType::ImageManifest, &manifest).map_err(oci)?;
    Ok(digest)
}

/// Fetches an image into `output`, which appears when it is whole. Returns its length in bytes.
///
/// # Errors
/// [`ArtifactError`]; the output is then as it was before.
pub fn pull(
    reference: &Reference,
    repository: &Repository<'_>,
    output: &Path,
    limit_bytes: u64,
) -> Result<u64, ArtifactError> {
    let oci = |error| ArtifactError::Oci { reference: reference.to_string(), error };
    let file = AtomicFile::create(output)?;
    let blob = find_blob(reference, repository).map_err(oci)?;
    if blob.size() > limit_bytes {
        return Err(oci(OciError::TooLarge { what: "the image".to_string(), limit_bytes }));
    }
    let mut content = GzDecoder::new(BufReader::new(repository.blob(&blob).map_err(oci)?));
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    let write = |error| ImageError::Write { path: output.to_path_buf(), error };
    loop {
        let count = read_full(&mut content, &mut buffer)
            .map_err(|error| oci(OciError::document("image", format!("damaged gzip data: {error}"))))?;
        if done == 0 {
            check_start(&buffer[..count]).map_err(oci)?;
        }
        write_sparse(file.file(), &buffer[..count], done).map_err(write)?;
        done += count as u64;
        if done > limit_bytes {
            return Err(oci(OciError::TooLarge { what: "the image".to_string(), limit_bytes }));
        }
        if count < buffer.len() {
            break;
        }
    }
    file.file().set_len(done).map_err(write)?;
    check_whole(file.file()).map_err(oci)?;
    file.commit()?;
    Ok(done)
}

/// The blob of the artifact that a reference stands for.
fn find_blob(reference: &Reference, repository: &Repository<'_>) -> Result<Descriptor, OciError> {
    let descriptor = repository.find(reference)?;
    let bytes = read_document("manifest", repository.open_manifest(&descriptor)?)?;
    let other = |media_type: &str, hint| {
        Err(OciError::MediaType { what: "image", media_type: plain(media_type), hint })
    };
    let Document::Manifest(manifest) = Document::parse(&bytes, Some(descriptor.media_type()))? else {
        return other(descriptor.media_type().as_ref(), "; c2w pack packs a container image");
    };
    let kind = manifest.artifact_type().as_ref().unwrap_or(manifest.config().media_type());
    if kind.as_ref() != ARTIFACT {
        return other(kind.as_ref(), "; c2w pack packs a container image");
    }
    match &manifest.layers()[..] {
        [blob] if blob.media_type().as_ref() == BLOB => Ok(blob.clone()),
        [blob] => other(blob.media_type().as_ref(), ""),
        blobs => Err(OciError::document("manifest", format!("{} blobs instead of one", blobs.len()))),
    }
}

/// The start of a file must be that of an image.
fn check_start(start: &[u8]) -> Result<(), OciError> {
    let promised = start.get(16..24).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let parsed = Header::parse(&start[..start.len().min(crate::image::HEADER_BYTES)], promised);
    parsed.map(drop).map_err(|error| OciError::NotAnImage(error.to_string()))
}

/// The digest was right; what was sent may still be no image. The file has no name yet but this.
fn check_whole(file: &File) -> Result<(), OciError> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    match Image::open(Path::new(&path)) {
        Ok(_) => Ok(()),
        Err(ImageError::Format { error, .. }) => Err(OciError::NotAnImage(error.to_string())),
        Err(error) => Err(OciError::NotAnImage(error.to_string())),
    }
}

/// Fills the buffer unless the stream ends before.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
