//! `c2w pull`: an image.c2w out of a registry.

use super::pack::check_output;
use crate::output::size_text;
use crate::progress::TransferBars;
use crate::size;
use crate::source_args::RegistryArgs;
use anyhow::Result;
use c2w_packer::cache::Cache;
use c2w_packer::oci::{self, BlobCache, Limits, Reference, Repository};
use c2w_packer::source::reference;
use std::path::PathBuf;

/// Get an image that `c2w push` put into a registry.
#[derive(clap::Args)]
pub struct Args {
    /// Registry, name and tag or digest.
    #[arg(value_parser = reference)]
    reference: Reference,
    /// The image to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Refuse images larger than this.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_size: Option<u64>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    check_output(&args.output)?;
    let watcher = TransferBars::default();
    let cache = BlobCache::new(Cache::of_user()?);
    let repository = Repository::new(&args.reference, &args.registry.options(), cache, &watcher)?;
    let limit_bytes = args.max_size.unwrap_or(Limits::DEFAULT_BYTES);
    let len_bytes = oci::pull(&args.reference, &repository, &args.output, limit_bytes)?;
    eprintln!("{}: {}", args.output.display(), size_text(len_bytes));
    Ok(0)
}
