//! What an image says about itself, as JSON: the machine it needs, the process it runs by default
//! (named as in an OCI image configuration) and the c2w that made it. It never holds a path, a
//! name or a time of the machine that packed it.

use super::bytes::ByteString;
use super::error::FormatError;
use super::format::Arch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole manifest section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The computer to build.
    pub machine: MachineConfig,
    /// The process to start in it.
    #[serde(default)]
    pub config: ContainerConfig,
    /// Who made the image.
    pub provenance: Provenance,
}

/// The computer that the image expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// Guest architecture; equal to the one in the file's header.
    pub arch: Arch,
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
    /// Kernel command line, without what the board itself adds.
    #[serde(default)]
    pub cmdline: String,
}

/// The container's defaults: OCI image specification, `config` object, with its field names.
/// `ExposedPorts` and `Volumes` are objects with empty values there, and so here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// Arguments put before `cmd`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<ByteString>,
    /// Default command, or default arguments of the entry point.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<ByteString>,
    /// `NAME=value` entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<ByteString>,
    /// Directory to start in; empty means `/`.
    pub working_dir: ByteString,
    /// `user[:group]`, by name or number; empty means root.
    pub user: String,
    /// Signal that asks the process to stop, e.g. `SIGTERM`; empty means that one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Ports, e.g. `80/tcp`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Paths that are volumes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Empty>,
    /// Free-form labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The empty JSON object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Who made the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of c2w.
    pub c2w_version: String,
    /// Digest of the manifest of the container image that was packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
}

impl Default for Provenance {
    fn default() -> Self {
        Provenance { c2w_version: env!("CARGO_PKG_VERSION").to_string(), image_digest: None }
    }
}

impl Manifest {
    /// The JSON text that goes into the manifest section; the same manifest gives the same bytes.
    pub fn to_json(&self) -> Vec<u8> {
        // Only a map with keys that are not strings can fail here, and there is none.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads a manifest section.
    pub fn from_json(json: &[u8]) -> Result<Self, FormatError> {
        // The reason may quote the image, which must not steer the reader's terminal.
        let reason = |error: serde_json::Error| FormatError::Manifest(plain(&error.to_string()));
        let manifest: Manifest = serde_json::from_slice(json).map_err(reason)?;
        let config = &manifest.config;
        let has_nul = |value: &ByteString| value.0.contains(&0);
        if config.entrypoint.iter().chain(&config.cmd).chain(&config.env).any(has_nul)
            || has_nul(&config.working_dir)
        {
            return Err(FormatError::Manifest("a NUL byte in the command or environment".to_string()));
        }
        Ok(manifest)
    }
}

/// The text without control characters.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_quotes_no_control_characters_of_the_image() {
        let json = br#"{"machine": {"arch": "\u001b]0;title\u0007", "memory_bytes": 1}, "provenance": {}}"#;
        let text = Manifest::from_json(json).unwrap_err().to_string();
        assert!(text.contains("]0;title") && !text.contains(char::is_control), "{text:?}");
    }
}
