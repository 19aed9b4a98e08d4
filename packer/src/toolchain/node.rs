//! A JavaScript engine, which tests of code for browsers run it in.

use super::ToolchainError;
use super::packages::{Tool, ensure_packages};
use crate::cache::Cache;

/// The command of Node.js, installed where it is missing and that is possible.
///
/// # Errors
/// [`ToolchainError`] when it is not there and cannot be installed.
pub fn node(cache: &Cache) -> Result<&'static str, ToolchainError> {
    ensure_packages(&[Tool::command("node", "nodejs")], &cache.log("node")?)?;
    Ok("node")
}
