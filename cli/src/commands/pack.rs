//! `c2w pack`: a container's files, the guest kernel and the agent into one image.

use crate::config_args::{ConfigArgs, split_command};
use crate::jit::Jit;
use crate::progress::TransferBars;
use crate::size;
use crate::snapshot::{self, pack::SnapshotOptions};
use crate::source_args::SourceArgs;
use anyhow::{Context, Result};
use c2w_agent::initramfs;
use c2w_packer::image::{Arch, ContainerConfig};
use c2w_packer::pack::{OpenSource, PackOptions, Source};
use c2w_packer::rootfs::Owners;
use c2w_packer::{agent_build, kernel, pack};
use clap::builder::NonEmptyStringValueParser;
use std::fs;
use std::path::{Path, PathBuf};

/// Guest memory of an image that is not told otherwise.
const DEFAULT_MEMORY_BYTES: u64 = 512 << 20;

/// Pack a container image, or a root file system, into an image that c2w-run runs.
#[derive(clap::Args)]
pub struct Args {
    /// What to pack.
    ///
    /// An image of a registry, such as `alpine:3.20` or `localhost:5000/x@sha256:..`; `oci:DIR[:TAG]`,
    /// `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`; or a root file system: `rootfs:DIR`,
    /// `rootfs:FILE.tar`, also compressed with gzip or zstd, `-` for a tar on standard input.
    source: Source,
    /// The image to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    config: ConfigArgs,
    /// Memory of the guest, 512M if nothing is said.
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
    /// Leave the snapshot out: the same input then gives the same bytes, and every run boots.
    #[arg(long)]
    no_snapshot: bool,
    /// Compress the image: several times smaller; the first run of it on a machine takes longer.
    #[arg(long)]
    compress: bool,
    /// Run this command in a container before the snapshot, so that what it needs is in the guest's memory.
    #[arg(long, value_name = "COMMAND", conflicts_with = "no_snapshot")]
    warm: Option<String>,
    /// Start the image's command and take the snapshot when it prints this: every run goes on from there.
    #[arg(long, value_name = "TEXT", conflicts_with = "no_snapshot", value_parser = NonEmptyStringValueParser::new())]
    snapshot_when: Option<String>,
    /// How guest code is run for the snapshot.
    #[arg(long, value_enum, default_value_t, env = "C2W_JIT")]
    jit: Jit,
    /// A guest kernel of your own instead of the one c2w builds.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    // Bad input is said before minutes are spent on building a kernel.
    check_output(&args.output)?;
    let warm = args.warm.as_deref().map(|text| split_command("--warm", text)).transpose()?;
    let snapshot = (!args.no_snapshot).then(|| SnapshotOptions {
        jit: args.jit,
        warm: warm.unwrap_or_default().into_iter().map(|word| word.0).collect(),
        when: args.snapshot_when.clone(),
    });
    let watcher = TransferBars::default();
    let options = args.sources.options(&args.output, &watcher)?;
    let source = OpenSource::open(&args.source, &options)?;
    let defaults = ImageOptions::of(options.platform.machine());
    let options = ImageOptions {
        config: args.config.over(source.config().clone())?,
        memory_bytes: args.memory.unwrap_or(defaults.memory_bytes),
        parts: GuestParts { kernel: args.kernel.clone(), ..GuestParts::default() },
        snapshot,
        compress: args.compress,
        ..defaults
    };
    options.pack(source, &args.output)?;
    Ok(0)
}

/// What c2w itself puts into an image; what is missing is built or taken from the cache.
#[derive(Default)]
pub struct GuestParts {
    /// The kernel.
    pub kernel: Option<PathBuf>,
    /// The agent's program.
    pub agent: Option<PathBuf>,
}

/// What an image is to be.
pub struct ImageOptions {
    /// Architecture of the guest.
    pub arch: Arch,
    /// How it runs.
    pub config: ContainerConfig,
    /// Memory of the guest.
    pub memory_bytes: u64,
    /// What c2w puts into it.
    pub parts: GuestParts,
    /// How its snapshot is made; `None` for an image without.
    pub snapshot: Option<SnapshotOptions>,
    /// Whether it is compressed.
    pub compress: bool,
}

impl ImageOptions {
    /// Those of an image that is not told otherwise.
    pub fn of(arch: Arch) -> Self {
        Self {
            arch,
            config: ContainerConfig::default(),
            memory_bytes: DEFAULT_MEMORY_BYTES,
            parts: GuestParts::default(),
            snapshot: Some(SnapshotOptions::default()),
            compress: false,
        }
    }
}

/// Packs an image and reports on stderr.
///
/// # Errors
/// One line that names the file concerned; there is no partial image then.
pub fn image(source: &Source, output: &Path, options: &ImageOptions) -> Result<()> {
    check_output(output)?;
    let watcher = TransferBars::default();
    let source_options = SourceArgs::of(options.arch).options(output, &watcher)?;
    options.pack(OpenSource::open(source, &source_options)?, output)
}

/// Refuses an output that cannot be a file, before anything else is done.
///
/// # Errors
/// One line that names it.
pub(super) fn check_output(output: &Path) -> Result<()> {
    if output.is_dir() {
        anyhow::bail!("{}: is a directory; name the image file to write", output.display());
    }
    Ok(())
}

impl ImageOptions {
    fn pack(&self, source: OpenSource<'_>, output: &Path) -> Result<()> {
        let kernel = match &self.parts.kernel {
            Some(path) => path.clone(),
            None => kernel::build(self.arch, &progress)?,
        };
        let agent = match &self.parts.agent {
            Some(path) => path.clone(),
            None => agent_build::build(self.arch, &progress)?,
        };
        let agent = fs::read(&agent).with_context(|| agent.display().to_string())?;
        let options = PackOptions {
            output: output.to_path_buf(),
            arch: self.arch,
            config: self.config.clone(),
            memory_bytes: self.memory_bytes,
            cmdline: String::new(),
            kernel,
            initrd: initramfs(&agent),
            owners: Owners::of_this_process(),
            compress: self.compress,
        };
        let summary = pack::pack_with(source, &options, |writer| {
            self.snapshot.as_ref().map_or(Ok(()), |options| snapshot::pack::append(writer, options))
        })?;
        for warning in &summary.warnings {
            eprintln!("c2w: warning: {warning}");
        }
        eprintln!(
            "{}: {:.1} MB, {} files",
            output.display(),
            summary.image_bytes as f64 / 1e6,
            summary.inodes
        );
        Ok(())
    }
}

/// Says on stderr what takes long.
pub fn progress(text: &str) {
    eprintln!("c2w: {text}");
}
