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
pub const DEFAULT_MEMORY: &str = "512M";

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
    /// Memory of the guest.
    #[arg(short, long, value_name = "SIZE", default_value = DEFAULT_MEMORY, value_parser = size::parse)]
    memory: u64,
    /// Leave the snapshot out: the same input then gives the same bytes, and every run boots.
    #[arg(long)]
    no_snapshot: bool,
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
    let config = args.config.over(source.config().clone())?;
    let parts = GuestParts { kernel: args.kernel.clone(), ..GuestParts::default() };
    image_of(source, &args.output, options.platform.machine(), config, args.memory, &parts, snapshot)?;
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

/// Packs an image, with a snapshot unless there is to be none, and reports on stderr.
///
/// # Errors
/// One line that names the file concerned; there is no partial image then.
pub fn image(
    source: &Source,
    output: &Path,
    arch: Arch,
    config: ContainerConfig,
    memory_bytes: u64,
    parts: &GuestParts,
    snapshot: Option<SnapshotOptions>,
) -> Result<()> {
    check_output(output)?;
    let watcher = TransferBars::default();
    let options = SourceArgs::of(arch).options(output, &watcher)?;
    let source = OpenSource::open(source, &options)?;
    image_of(source, output, arch, config, memory_bytes, parts, snapshot)
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

fn image_of(
    source: OpenSource<'_>,
    output: &Path,
    arch: Arch,
    config: ContainerConfig,
    memory_bytes: u64,
    parts: &GuestParts,
    snapshot: Option<SnapshotOptions>,
) -> Result<()> {
    let kernel = match &parts.kernel {
        Some(path) => path.clone(),
        None => kernel::build(arch, &progress)?,
    };
    let agent = match &parts.agent {
        Some(path) => path.clone(),
        None => agent_build::build(arch, &progress)?,
    };
    let agent = fs::read(&agent).with_context(|| agent.display().to_string())?;
    let options = PackOptions {
        output: output.to_path_buf(),
        arch,
        config,
        memory_bytes,
        cmdline: String::new(),
        kernel,
        initrd: initramfs(&agent),
        owners: Owners::of_this_process(),
    };
    let summary = pack::pack_with(source, &options, |writer| {
        snapshot.as_ref().map_or(Ok(()), |options| snapshot::pack::append(writer, options))
    })?;
    for warning in &summary.warnings {
        eprintln!("c2w: warning: {warning}");
    }
    eprintln!("{}: {:.1} MB, {} files", output.display(), summary.image_bytes as f64 / 1e6, summary.inodes);
    Ok(())
}

/// Says on stderr what takes long.
pub fn progress(text: &str) {
    eprintln!("c2w: {text}");
}
