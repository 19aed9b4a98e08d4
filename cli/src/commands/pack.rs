//! `c2w pack`: a root file system, the guest kernel and the agent into one image.

use crate::jit::Jit;
use crate::size;
use crate::snapshot::{self, pack::SnapshotOptions};
use anyhow::{Context, Result};
use c2w_agent::initramfs;
use c2w_packer::image::{Arch, ByteString, ContainerConfig};
use c2w_packer::pack::{PackOptions, Source};
use c2w_packer::rootfs::Owners;
use c2w_packer::{agent_build, kernel, pack};
use clap::builder::NonEmptyStringValueParser;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Guest memory of an image that is not told otherwise.
pub const DEFAULT_MEMORY: &str = "512M";

/// Pack a root file system into an image that c2w-run runs.
#[derive(clap::Args)]
pub struct Args {
    /// `rootfs:DIR`, `rootfs:FILE.tar`, also compressed with gzip or zstd, or `rootfs:-` for standard input.
    source: Source,
    /// The image to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Architecture of the root file system's programs.
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// Default command with its arguments, as a shell would split it, or a JSON array.
    #[arg(long, value_name = "COMMAND")]
    cmd: Option<String>,
    /// Set an environment variable. May be given several times.
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// Directory to start in.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,
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
    let mut config = ContainerConfig::default();
    if let Some(cmd) = &args.cmd {
        config.cmd = split_command("--cmd", cmd)?;
    }
    for entry in &args.env {
        // Not at the start: a variable needs a name.
        if !entry.as_bytes().iter().skip(1).any(|byte| *byte == b'=') || entry.as_bytes()[0] == b'=' {
            anyhow::bail!("--env {}: expected NAME=VALUE", entry.display());
        }
        config.env.push(ByteString(entry.as_bytes().to_vec()));
    }
    if let Some(workdir) = &args.workdir {
        if !workdir.as_bytes().starts_with(b"/") {
            anyhow::bail!("--workdir {}: the directory must be an absolute path", workdir.display());
        }
        config.working_dir = ByteString(workdir.as_bytes().to_vec());
    }
    let parts = GuestParts { kernel: args.kernel.clone(), ..GuestParts::default() };
    let warm = args.warm.as_deref().map(|text| split_command("--warm", text)).transpose()?;
    let snapshot = (!args.no_snapshot).then(|| SnapshotOptions {
        jit: args.jit,
        warm: warm.unwrap_or_default().into_iter().map(|word| word.0).collect(),
        when: args.snapshot_when.clone(),
    });
    image(&args.source, &args.output, args.arch, config, args.memory, &parts, snapshot)?;
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
    // Bad input is said before minutes are spent on building a kernel.
    if let Source::Rootfs(path) = source {
        fs::metadata(path).with_context(|| path.display().to_string())?;
    }
    if output.is_dir() {
        anyhow::bail!("{}: is a directory; name the image file to write", output.display());
    }
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
        source: source.clone(),
        output: output.to_path_buf(),
        arch,
        config,
        memory_bytes,
        cmdline: String::new(),
        kernel,
        initrd: initramfs(&agent),
        owners: Owners::of_this_process(),
    };
    let summary = pack::pack_with(&options, |writer| {
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

/// A command line as an argument list: a JSON array of strings, else words as a POSIX shell quotes them.
fn split_command(option: &str, text: &str) -> Result<Vec<ByteString>> {
    let words = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<String>>(text)
            .with_context(|| format!("{option}: not a JSON array of strings"))?
    } else {
        shlex::split(text).with_context(|| format!("{option}: a quote is not closed"))?
    };
    Ok(words.into_iter().map(|word| ByteString(word.into_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_or_json() {
        let words = |text| {
            split_command("--cmd", text)
                .map(|list| list.iter().map(ByteString::display).collect::<Vec<_>>().join("|"))
                .ok()
        };
        assert_eq!(words("sh -c 'echo hi'").as_deref(), Some("sh|-c|echo hi"));
        assert_eq!(words(r#"["a b", ""]"#).as_deref(), Some("a b|"));
        assert_eq!(words("'open"), None);
        assert_eq!(words("[1]"), None);
    }
}
