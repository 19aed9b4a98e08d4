//! `c2w unpack`: an image back into an OCI image layout.

use crate::image_files::open_verified;
use crate::output::to_stdout;
use anyhow::{Context, Result, bail};
use c2w_packer::oci;
use c2w_packer::pack::Source;
use std::path::PathBuf;

/// Write an image as an OCI image layout that other tools read.
#[derive(clap::Args)]
pub struct Args {
    /// The image.
    image: PathBuf,
    /// `oci:DIR[:TAG]`; a layout that is there gets another image. Without a tag it is `latest`.
    target: Source,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let Source::OciDirectory(target) = &args.target else {
        bail!("{}: expected oci:DIR[:TAG]", args.target);
    };
    let image = open_verified(&args.image)?;
    let exported = oci::export(&image, &target.path, target.tag.as_deref());
    let (digest, warnings) = exported.with_context(|| args.image.display().to_string())?;
    for warning in warnings {
        eprintln!("c2w: warning: {warning}");
    }
    to_stdout(|out| writeln!(out, "{digest}"))?;
    Ok(0)
}
