//! Other tools for container images, which tests compare with and use as peers.

use super::ToolchainError;
use super::packages::{Tool, ensure_packages};
use crate::cache::Cache;

/// Makes sure that the commands `umoci`, `skopeo`, `buildah` and `docker-registry` are there; what is
/// missing is installed where that is possible.
///
/// # Errors
/// [`ToolchainError`] when one is not there and cannot be installed.
pub fn oci_tools(cache: &Cache) -> Result<(), ToolchainError> {
    let tools = ["umoci", "skopeo", "buildah", "docker-registry"].map(|name| Tool::command(name, name));
    ensure_packages(&tools, &cache.log("oci-tools")?)
}
