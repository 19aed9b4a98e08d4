//! Building the guest's agent: a static program of the guest's architecture, compiled on this
//! machine from the sources that are part of this crate.

use crate::cache::{Build, Cache, CacheError, CommandError, Key, Progress};
use crate::image::Arch;
use crate::toolchain::{GuestRust, ToolchainError, guest_rust};
use std::fs;
use std::path::{Path, PathBuf};

/// Files of a workspace that holds the agent alone, by name.
const SOURCES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/agent_sources.rs"));

/// The agent's program.
const PROGRAM: &str = "c2w-init";

/// Changes with every change of the steps below that changes what they make.
const RECIPE: &str = "1";

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// Cargo failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// There is no compiler for the guest.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
}

/// The agent as a static ELF file of the guest, compiled by the first call.
///
/// # Errors
/// [`AgentError`]; where a program failed, its text names the log.
pub fn build(arch: Arch, progress: Progress<'_>) -> Result<PathBuf, AgentError> {
    let cache = Cache::of_user()?;
    let rust = guest_rust(&cache, arch, &cache.log("agent-tools")?, progress)?;
    let sources = sources();
    let mut key =
        Key::new("agent").with("recipe", RECIPE).with("target", rust.target).with("compiler", rust.version());
    for (name, content) in &sources {
        key = key.with(name, content);
    }
    let dir = cache.get_or_build(&key, progress, |build| {
        progress(&format!("compiling the {arch} guest agent"));
        compile(&rust, &sources, build)
    })?;
    Ok(dir.join(PROGRAM))
}

/// The sources with a workspace reduced to the one member that is here.
fn sources() -> Vec<(&'static str, Vec<u8>)> {
    let reduce = |name: &str, content: &[u8]| {
        if name != "Cargo.toml" {
            return content.to_vec();
        }
        let text = String::from_utf8_lossy(content);
        let lines = text.lines().map(|line| match line.starts_with("members = ") {
            true => "members = [\"packer/agent\"]",
            false => line,
        });
        lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
    };
    SOURCES.iter().map(|(name, content)| (*name, reduce(name, content))).collect()
}

fn compile(rust: &GuestRust, sources: &[(&str, Vec<u8>)], build: &Build<'_>) -> Result<(), AgentError> {
    for (name, content) in sources {
        let path = build.scratch.join(name);
        let dir = path.parent().unwrap_or(build.scratch);
        fs::create_dir_all(dir).map_err(CacheError::io("create", dir))?;
        fs::write(&path, content).map_err(CacheError::io("write", &path))?;
    }
    // Neither the place of the build nor of the crates' sources may be read out of an image.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let mut remap = vec![(build.scratch, "c2w")];
    if !home.as_os_str().is_empty() {
        remap.push((&home, "cargo"));
    }
    let mut cargo = rust.cargo(&remap);
    cargo.current_dir(build.scratch).args(["build", "--release", "--package", "c2w-agent", "--bin", PROGRAM]);
    cargo.args(["--target", rust.target]);
    // It is loaded at every start and has no need of speed.
    for (setting, value) in [
        ("OPT_LEVEL", "s"),
        ("LTO", "fat"),
        ("CODEGEN_UNITS", "1"),
        ("PANIC", "abort"),
        ("DEBUG", "none"),
        ("STRIP", "symbols"),
    ] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    build.log.run("compiling the guest agent", &mut cargo)?;
    let program = build.scratch.join("target").join(rust.target).join("release").join(PROGRAM);
    fs::copy(&program, build.out.join(PROGRAM)).map_err(CacheError::io("copy", Path::new(&program)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_a_workspace_of_the_agent_alone() {
        let sources = sources();
        let text = |wanted: &str| {
            let found = sources.iter().find(|(name, _)| *name == wanted).map(|(_, content)| content.clone());
            String::from_utf8(found.unwrap_or_default()).unwrap()
        };
        let members: Vec<_> =
            text("Cargo.toml").lines().filter(|line| line.contains("members")).map(str::to_owned).collect();
        assert_eq!(members, ["members = [\"packer/agent\"]"]);
        assert!(text("packer/agent/Cargo.toml").contains(&format!("name = \"{PROGRAM}\"")));
        assert!(text("packer/agent/src/lib.rs").starts_with("//!"));
        assert!(text("Cargo.lock").contains("[[package]]"));
    }
}
