//! `c2w verify`: checks every byte of an image.

use c2w_packer::image::Image;
use std::path::PathBuf;

/// Check every byte of an image.
#[derive(clap::Args)]
pub struct Args {
    /// The image to check.
    image: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    Image::open(&args.image)?.verify()?;
    println!("{}: good", args.image.display());
    Ok(0)
}
