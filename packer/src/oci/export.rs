//! An image.c2w back into an OCI image layout: one layer, and the configuration that it was packed
//! with, as far as it governs a run.

use super::digest::{Hasher, parse_digest, sha256_of};
use super::error::OciError;
use super::platform::Platform;
use crate::image::{ByteString, ContainerConfig, Image, SectionId};
use crate::rootfs::erofs::{Reader, ReaderError};
use crate::rootfs::tar::write_tar;
use flate2::Compression;
use flate2::write::GzEncoder;
use oci_spec::image::{Descriptor, MediaType};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

const DEFAULT_TAG: &str = "latest";

/// Why an image cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The root filesystem cannot be read.
    #[error("root filesystem: {0}")]
    Rootfs(#[from] ReaderError),
    /// Something in the image has no place in an OCI image.
    #[error("{0} is not UTF-8, which an OCI image cannot hold")]
    NotText(&'static str),
    /// The layout cannot be written.
    #[error("{}: {error}", path.display())]
    Write {
        /// The file or directory.
        path: std::path::PathBuf,
        /// The host's reason.
        error: io::Error,
    },
    /// What is there is no layout.
    #[error(transparent)]
    Oci(#[from] OciError),
}

/// Writes `image` into the layout at `directory`, which is made if it is not there, under `tag`.
/// Images with other tags stay. Returns the digest of its manifest and warnings.
///
/// # Errors
/// [`ExportError`]; the layout then has no new tag.
pub fn export(
    image: &Image,
    directory: &Path,
    tag: Option<&str>,
) -> Result<(String, Vec<String>), ExportError> {
    let tag = tag.unwrap_or(DEFAULT_TAG);
    let blobs = directory.join("blobs/sha256");
    let write = |path: &Path| {
        let path = path.to_path_buf();
        move |error| ExportError::Write { path, error }
    };
    fs::create_dir_all(&blobs).map_err(write(&blobs))?;
    let index_path = directory.join("index.json");
    let mut entries = existing_entries(&index_path)?;
    entries.retain(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] != tag);

    let (layer, diff_id, sockets) = write_layer(image, &blobs)?;
    let platform = Platform::of(image.arch());
    let config = json!({
        "architecture": platform.architecture(),
        "os": "linux",
        "config": config_object(&image.manifest().config)?,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let put = |media_type: MediaType, document: &Value| -> Result<Descriptor, ExportError> {
        let bytes = document.to_string().into_bytes();
        let digest = sha256_of(&bytes)?;
        put_file(&blobs.join(digest.digest()), &bytes)?;
        Ok(Descriptor::new(media_type, bytes.len() as u64, digest))
    };
    let config = put(MediaType::ImageConfig, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest.as_ref(),
        "config": entry_of(&config),
        "layers": [entry_of(&layer)],
    });
    let manifest = put(MediaType::ImageManifest, &manifest)?;
    let mut entry = entry_of(&manifest);
    entry["platform"] = json!({"architecture": platform.architecture(), "os": "linux"});
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    entries.push(entry);
    put_file(&directory.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
    let index =
        json!({"schemaVersion": 2, "mediaType": MediaType::ImageIndex.as_ref(), "manifests": entries});
    put_file(&index_path, index.to_string().as_bytes())?;
    let warnings = match sockets {
        0 => Vec::new(),
        count => vec![format!("sockets left out: no layer can hold one ({count})")],
    };
    Ok((manifest.digest().to_string(), warnings))
}

fn entry_of(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type().as_ref(),
        "digest": descriptor.digest().as_ref(),
        "size": descriptor.size(),
    })
}

/// The images that a layout has already.
fn existing_entries(index_path: &Path) -> Result<Vec<Value>, ExportError> {
    let bytes = match fs::read(index_path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ExportError::Write { path: index_path.to_path_buf(), error }),
    };
    let index: Value = serde_json::from_slice(&bytes).map_err(|error| OciError::document("index", error))?;
    match index["manifests"].as_array() {
        Some(entries) => Ok(entries.clone()),
        None => Err(OciError::document("index", "it has no manifests").into()),
    }
}

/// The root filesystem as one compressed layer: its descriptor, its diff_id and the sockets left out.
fn write_layer(image: &Image, blobs: &Path) -> Result<(Descriptor, String, u64), ExportError> {
    let write = |error| ExportError::Write { path: blobs.to_path_buf(), error };
    let rootfs = image.content(SectionId::Rootfs);
    let rootfs = rootfs.map_err(|error| ReaderError::Io(io::Error::other(error.to_string())))?;
    let reader = Reader::open(rootfs)?;
    let file = tempfile::NamedTempFile::new_in(blobs).map_err(write)?;
    let stored = HashWriter::new(BufWriter::new(file));
    let mut unpacked = HashWriter::new(GzEncoder::new(stored, Compression::default()));
    let sockets = write_tar(&reader, &mut unpacked)?;
    let diff_id = unpacked.hasher.finish();
    let stored = unpacked.inner.finish().map_err(write)?;
    let (digest, len_bytes) = (stored.hasher.finish(), stored.len_bytes);
    let file = stored.inner.into_inner().map_err(|error| write(error.into_error()))?;
    let digest = parse_digest(&digest)?;
    publish(file, &blobs.join(digest.digest()))?;
    Ok((Descriptor::new(MediaType::ImageLayerGzip, len_bytes, digest), diff_id, sockets))
}

/// The `config` object of an image configuration, without what is empty.
fn config_object(config: &ContainerConfig) -> Result<Value, ExportError> {
    let text = |what: &'static str, value: &ByteString| {
        String::from_utf8(value.0.clone()).map_err(|_| ExportError::NotText(what))
    };
    let list = |what, values: &[ByteString]| {
        values.iter().map(|value| text(what, value)).collect::<Result<Vec<_>, _>>().map(|list| json!(list))
    };
    let mut object = Map::new();
    let fields = [
        ("Entrypoint", list("the entry point", &config.entrypoint)?),
        ("Cmd", list("the command", &config.cmd)?),
        ("Env", list("the environment", &config.env)?),
        ("WorkingDir", json!(text("the directory", &config.working_dir)?)),
        ("User", json!(config.user)),
        ("StopSignal", json!(config.stop_signal)),
        ("ExposedPorts", json!(config.exposed_ports)),
        ("Volumes", json!(config.volumes)),
        ("Labels", json!(config.labels)),
    ];
    for (name, value) in fields {
        let is_empty = match &value {
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if !is_empty {
            object.insert(name.to_string(), value);
        }
    }
    Ok(Value::Object(object))
}

/// A whole file under its name, or none.
fn put_file(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    let write = |error| ExportError::Write { path: path.to_path_buf(), error };
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("."))).map_err(write)?;
    file.write_all(bytes).map_err(write)?;
    publish(file, path)
}

fn publish(file: tempfile::NamedTempFile, path: &Path) -> Result<(), ExportError> {
    use std::os::unix::fs::PermissionsExt;
    let write = |error| ExportError::Write { path: path.to_path_buf(), error };
    // Temporary files are for one user alone.
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(write)?;
    file.persist(path).map(drop).map_err(|error| write(error.error))
}

struct HashWriter<W> {
    inner: W,
    hasher: Hasher,
    len_bytes: u64,
}

impl<W: Write> HashWriter<W> {
    fn new(inner: W) -> Self {
        HashWriter { inner, hasher: Hasher::sha256(), len_bytes: 0 }
    }
}

impl<W: Write> Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.len_bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
