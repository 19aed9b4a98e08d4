//! `c2w demo`: the whole way once, from packages to the output of a command in a container.

use super::pack::{ImageOptions, image, progress};
use crate::container::{self, RunOptions};
use crate::exit;
use anyhow::{Context, Result};
use c2w_packer::cache::Cache;
use c2w_packer::demo;
use c2w_packer::image::{Arch, ByteString, ContainerConfig, Image};
use c2w_packer::pack::Source;
use std::ffi::OsString;
use std::fs;
use std::time::Instant;

/// What the demonstration runs.
const SCRIPT: &str = "echo \"Hello from $(uname -sm), process $$ of a container\"; . /etc/os-release; \
     echo \"$PRETTY_NAME on a kernel $(uname -r)\"; ls /";

/// Get or build a guest kernel, pack a small Debian, and run a command in it.
#[derive(clap::Args)]
pub struct Args {
    /// Architecture of the guest.
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// Command to run instead of the demonstration's.
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let rootfs = demo::rootfs(args.arch, &progress)?;
    let directory = Cache::of_user()?.root().join("demo-images");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let path = directory.join(format!("{}.c2w", args.arch));
    let config = ContainerConfig {
        cmd: ["sh", "-c", SCRIPT].map(|word| ByteString(word.as_bytes().to_vec())).to_vec(),
        ..ContainerConfig::default()
    };
    image(&Source::Rootfs(rootfs), &path, &ImageOptions { config, ..ImageOptions::of(args.arch) })?;
    eprintln!("c2w: starting it; the same is:  c2w-run {}", path.display());
    let start = Instant::now();
    let options = RunOptions { command: args.command.clone(), ..RunOptions::default() };
    let status = container::run(&Image::open(&path)?, &options)?;
    eprintln!(
        "c2w: the container ran for {} ms, resuming the machine included; exit status {status}",
        start.elapsed().as_millis()
    );
    Ok(if status == 0 { 0 } else { status.max(exit::FAILURE) })
}
