//! `c2w push`: an image.c2w into a registry.

use crate::image_files::open_verified;
use crate::output::to_stdout;
use crate::progress::TransferBars;
use crate::source_args::RegistryArgs;
use anyhow::{Result, bail};
use c2w_packer::cache::Cache;
use c2w_packer::oci::{self, BlobCache, Reference, Repository};
use c2w_packer::source::reference;
use std::fs;
use std::path::PathBuf;

/// Put an image into a registry, as an OCI artifact that `c2w pull` gets.
#[derive(clap::Args)]
pub struct Args {
    /// The image.
    image: PathBuf,
    /// Registry, name and tag.
    #[arg(value_parser = reference)]
    reference: Reference,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let Args { reference, .. } = args;
    if reference.digest().is_some() {
        bail!("{reference}: a digest comes out of the content; name a tag");
    }
    let image = open_verified(&args.image)?;
    let cache = Cache::of_user()?;
    fs::create_dir_all(cache.root())?;
    let watcher = TransferBars::default();
    let repository =
        Repository::new(reference, &args.registry.options(), BlobCache::new(cache.clone()), &watcher)?;
    let digest = oci::push(&image, reference, &repository, cache.root())?;
    to_stdout(|out| writeln!(out, "{reference}@{digest}"))?;
    Ok(0)
}
