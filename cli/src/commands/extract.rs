//! `c2w extract`: files of an image onto the host.

use crate::image_files::{ImageFiles, open_verified};
use anyhow::{Context, Result};
use c2w_packer::rootfs;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Copy files of an image into a directory.
///
/// Nothing is made outside of the directory, whatever the image holds. Without root privileges owners and device nodes
/// are left out.
#[derive(clap::Args)]
pub struct Args {
    /// The image.
    image: PathBuf,
    /// A file in it, or a directory, whose content is copied.
    #[arg(default_value = "/")]
    path: OsString,
    /// The directory; made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let image = open_verified(&args.image)?;
    let files = ImageFiles::of(&image)?;
    let reader = files.reader()?;
    let start = files.find(&reader, &args.path)?;
    let name = Path::new(&args.path).file_name().unwrap_or_default();
    let extracted = rootfs::extract(&reader, start, name.as_bytes(), &args.output)
        .with_context(|| args.output.display().to_string())?;
    for warning in &extracted.warnings {
        eprintln!("c2w: warning: {warning}");
    }
    Ok(0)
}
