//! Options of the commands that read container images: for which platform, within which limits, from
//! which registries.

use crate::size;
use anyhow::{Result, bail};
use c2w_packer::cache::Cache;
use c2w_packer::image::Arch;
use c2w_packer::oci::{Limits, Mirror, Platform, RegistryOptions, Watcher};
use c2w_packer::pack::SourceOptions;
use std::path::{Path, PathBuf};

/// Options that say how a source is read.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// Which of an image's platforms: linux/amd64, linux/riscv64 or linux/386.
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Architecture of the machine: x86_64 or riscv64; the same as --platform linux/ARCH.
    #[arg(long)]
    arch: Option<Arch>,
    /// Refuse images that unpack to more than this.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_size: Option<u64>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Options that say how registries are spoken to.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RegistryArgs {
    /// Speak HTTP without TLS to registries.
    #[arg(long)]
    plain_http: bool,
    /// Ask this server first; without a registry, for images that name none. May be given several times.
    #[arg(long, value_name = "[REGISTRY=]ADDRESS")]
    mirror: Vec<Mirror>,
}

impl RegistryArgs {
    /// What the options say.
    pub fn options(&self) -> RegistryOptions {
        let RegistryArgs { plain_http, mirror } = self.clone();
        RegistryOptions { plain_http, mirrors: mirror, ..RegistryOptions::default() }
    }
}

impl SourceArgs {
    /// No options but an architecture.
    pub fn of(arch: Arch) -> SourceArgs {
        SourceArgs { arch: Some(arch), ..SourceArgs::default() }
    }

    /// What the options say, for an image that will be written to `output`.
    ///
    /// # Errors
    /// One line if they contradict each other.
    pub fn options<'a>(&self, output: &Path, watcher: &'a dyn Watcher) -> Result<SourceOptions<'a>> {
        let platform = match (&self.platform, self.arch) {
            (Some(platform), Some(arch)) if platform.machine() != arch => {
                bail!("--platform {platform} and --arch {arch} are different machines")
            }
            (Some(platform), _) => platform.clone(),
            (None, arch) => Platform::of(arch.unwrap_or(Arch::X86_64)),
        };
        let limits = Limits { unpacked_bytes: self.max_size.unwrap_or(Limits::DEFAULT_BYTES) };
        let scratch_directory = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let (registry, cache) = (self.registry.options(), Cache::of_user()?);
        Ok(SourceOptions { platform, limits, scratch_directory, registry, cache, watcher })
    }
}
