//! Manifests, indexes and configurations: parsing, in OCI's form and in docker's.

use super::error::{OciError, plain};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use std::io::Read;

/// Longest document that is read; registries refuse manifests of more than 4 MiB.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 8 << 20;
/// More layers than any tool makes: docker stops at 127.
const MAX_LAYERS: usize = 1024;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYERS: [&str; 6] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.diff.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// What a registry is asked for: every kind of manifest that is understood.
pub(super) const ACCEPTED_MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    DOCKER_MANIFEST,
    DOCKER_INDEX,
];

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Box<ImageManifest>),
    /// Images for several platforms.
    Index(Box<ImageIndex>),
}

/// The fields that tell documents apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    schema_version: Option<u32>,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Parses a document; `media_type` is what the server or a descriptor says of it.
    ///
    /// # Errors
    /// [`OciError::Document`], or [`OciError::MediaType`] for a kind of document that is no image.
    pub fn parse(bytes: &[u8], media_type: Option<&MediaType>) -> Result<Document, OciError> {
        const WHAT: &str = "manifest";
        let outline: Outline =
            serde_json::from_slice(bytes).map_err(|error| OciError::document(WHAT, error))?;
        let own = outline.media_type.as_deref().map(MediaType::from);
        let media_type = own.as_ref().or(media_type);
        let unsupported = |media_type: &str, hint| {
            Err(OciError::MediaType { what: WHAT, media_type: plain(media_type), hint })
        };
        if outline.schema_version == Some(1) {
            return unsupported(DOCKER_SCHEMA_1, "; push the image again with a current tool");
        }
        let is_index = match media_type {
            Some(MediaType::ImageManifest) => false,
            Some(MediaType::ImageIndex) => true,
            Some(MediaType::Other(other)) if other == DOCKER_MANIFEST => false,
            Some(MediaType::Other(other)) if other == DOCKER_INDEX => true,
            // Servers of plain files know no better.
            None => outline.manifests.is_some(),
            Some(MediaType::Other(other))
                if other.starts_with("application/json") || other.starts_with("application/octet-stream") =>
            {
                outline.manifests.is_some()
            }
            Some(other) => return unsupported(other.as_ref(), ""),
        };
        if is_index {
            let index: ImageIndex =
                serde_json::from_slice(bytes).map_err(|error| OciError::document("index", error))?;
            return Ok(Document::Index(Box::new(index)));
        }
        let manifest: ImageManifest =
            serde_json::from_slice(bytes).map_err(|error| OciError::document(WHAT, error))?;
        if manifest.layers().len() > MAX_LAYERS {
            let count = manifest.layers().len();
            return Err(OciError::document(WHAT, format!("{count} layers, at most {MAX_LAYERS} are read")));
        }
        Ok(Document::Manifest(Box::new(manifest)))
    }
}

/// Refuses what is a manifest but not of a container image.
pub(super) fn check_is_image(manifest: &ImageManifest) -> Result<(), OciError> {
    let config = manifest.config().media_type();
    let is_config = *config == MediaType::ImageConfig || config.as_ref() == DOCKER_CONFIG;
    if !is_config {
        let kind = manifest.artifact_type().as_ref().unwrap_or(config).as_ref();
        let is_ours = kind.starts_with("application/vnd.c2w.");
        let hint = if is_ours { "; c2w pull gets an image.c2w" } else { "" };
        return Err(OciError::MediaType { what: "image", media_type: plain(kind), hint });
    }
    manifest.layers().iter().try_for_each(check_is_layer)
}

fn check_is_layer(layer: &Descriptor) -> Result<(), OciError> {
    use MediaType as M;
    match layer.media_type() {
        M::ImageLayer | M::ImageLayerGzip | M::ImageLayerZstd => Ok(()),
        M::ImageLayerNonDistributable
        | M::ImageLayerNonDistributableGzip
        | M::ImageLayerNonDistributableZstd => Ok(()),
        M::Other(other) if DOCKER_LAYERS.contains(&other.as_str()) => Ok(()),
        other => Err(OciError::MediaType { what: "layer", media_type: plain(other.as_ref()), hint: "" }),
    }
}

/// Parses an image's configuration.
///
/// # Errors
/// [`OciError::Document`].
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfiguration, OciError> {
    serde_json::from_slice(bytes).map_err(|error| OciError::document("image configuration", error))
}

/// A document as a whole, if it is not too long.
pub(super) fn read_document(what: &'static str, reader: impl Read) -> Result<Vec<u8>, OciError> {
    let mut bytes = Vec::new();
    let read = reader.take(MAX_DOCUMENT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| OciError::document(what, error))?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(OciError::document(what, format!("longer than {MAX_DOCUMENT_BYTES} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn manifest(media_type: &str, config: &str, layer: &str) -> String {
        format!(
            r#"{{"schemaVersion": 2, {media_type}
                "config": {{"mediaType": "{config}", "digest": "{DIGEST}", "size": 1}},
                "layers": [{{"mediaType": "{layer}", "digest": "{DIGEST}", "size": 1}}]}}"#
        )
    }

    /// What becomes of a document: its kind, or the error.
    fn outcome(text: &str, media_type: Option<&str>) -> String {
        let media_type = media_type.map(MediaType::from);
        let parsed = Document::parse(text.as_bytes(), media_type.as_ref());
        let checked = parsed.and_then(|document| match document {
            Document::Manifest(manifest) => check_is_image(&manifest).map(|()| "manifest".to_string()),
            Document::Index(_) => Ok("index".to_string()),
        });
        checked.unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn documents_are_told_apart() {
        let oci_config = "application/vnd.oci.image.config.v1+json";
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let plain = manifest("", oci_config, gzip);
        let named = |name: &str| manifest(&format!(r#""mediaType": "{name}","#), oci_config, gzip);
        let index = r#"{"schemaVersion": 2, "manifests": []}"#;
        #[rustfmt::skip]
        let cases: &[(&str, Option<&str>, &str)] = &[
            (&plain, None, "manifest"),
            (&plain, Some("application/json"), "manifest"),
            (&plain, Some(ACCEPTED_MANIFESTS[0]), "manifest"),
            (&named(DOCKER_MANIFEST), Some("text/plain"), "manifest"),
            (&manifest("", DOCKER_CONFIG, DOCKER_LAYERS[1]), None, "manifest"),
            (index, None, "index"),
            (index, Some(DOCKER_INDEX), "index"),
            (&named("a/b"), None, "unsupported media type \"a/b\" of the manifest"),
            (&plain, Some("text/html"), "unsupported media type \"text/html\" of the manifest"),
            (r#"{"schemaVersion": 1}"#, None,
             "unsupported media type \"application/vnd.docker.distribution.manifest.v1\" of the manifest; \
              push the image again with a current tool"),
            (&manifest("", oci_config, "application/vnd.oci.image.layer.v1.tar+encrypted"), None,
             "unsupported media type \"application/vnd.oci.image.layer.v1.tar+encrypted\" of the layer"),
            (&manifest("", "application/vnd.cncf.helm.config.v1+json", gzip), None,
             "unsupported media type \"application/vnd.cncf.helm.config.v1+json\" of the image"),
            (&manifest(r#""artifactType": "application/vnd.c2w.image.v1","#, "application/vnd.oci.empty.v1+json", gzip), None,
             "unsupported media type \"application/vnd.c2w.image.v1\" of the image; c2w pull gets an image.c2w"),
            ("<html>", None, "malformed manifest: expected value at line 1 column 1"),
            ("{}", None, "malformed manifest: missing field `schemaVersion` at line 1 column 2"),
            (r#"{"schemaVersion": 2, "manifests": 1}"#, None,
             "malformed index: invalid type: integer `1`, expected a sequence at line 1 column 35"),
        ];
        for (text, media_type, expected) in cases {
            assert_eq!(outcome(text, *media_type), *expected, "{text}");
        }
    }

    #[test]
    fn digests_in_documents_cannot_be_paths() {
        let text = manifest("", "a/b", "c/d").replace(DIGEST, "sha256:../../../etc/passwd");
        assert!(outcome(&text, None).starts_with("malformed manifest: "), "{}", outcome(&text, None));
    }
}
