//! `c2w cat`: the content of one file in an image.

use crate::image_files::{ImageFiles, open_verified};
use crate::output::to_stdout;
use anyhow::{Result, bail};
use c2w_packer::rootfs::erofs::EntryKind;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

const BUFFER_BYTES: usize = 1 << 20;

/// Write a file of an image to standard output.
#[derive(clap::Args)]
pub struct Args {
    /// The image.
    image: PathBuf,
    /// The file in it.
    path: OsString,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let image = open_verified(&args.image)?;
    let files = ImageFiles::of(&image)?;
    let reader = files.reader()?;
    let inode = files.find(&reader, &args.path)?;
    if inode.kind != EntryKind::File {
        bail!("{}: {}: not a regular file", args.image.display(), args.path.display());
    }
    let mut failure = None;
    to_stdout(|out| {
        let mut buffer = vec![0; BUFFER_BYTES.min(inode.size as usize)];
        let mut done = 0;
        while done < inode.size {
            let count = match reader.read_at(&inode, done, &mut buffer) {
                Ok(count) => count,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            out.write_all(&buffer[..count])?;
            done += count as u64;
        }
        io::Result::Ok(())
    })?;
    match failure {
        Some(error) => bail!("{}: {}: {error}", args.image.display(), args.path.display()),
        None => Ok(0),
    }
}
