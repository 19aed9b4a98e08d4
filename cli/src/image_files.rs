//! The files in an image, for the commands that look at them.

use anyhow::{Context, Result, bail};
use c2w_packer::cache::Cache;
use c2w_packer::image::{Image, SectionFile, SeenImages};
use c2w_packer::rootfs::erofs::{FileRange, Inode, Reader};
use c2w_packer::rootfs::escape;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Opens an image and checks every byte of it, unless that was done before.
///
/// # Errors
/// One line that names the file.
pub fn open_verified(path: &Path) -> Result<Image> {
    let image = Image::open(path)?;
    match Cache::of_user() {
        Ok(cache) => drop(image.ensure_verified(&SeenImages::in_directory(cache.root()))?),
        // Nowhere to remember that the image is good, so it is checked every time.
        Err(_) => image.verify()?,
    }
    Ok(image)
}

/// The root file system of an image.
pub struct ImageFiles {
    name: String,
    section: SectionFile,
}

impl ImageFiles {
    /// The files of `image`.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn of(image: &Image) -> Result<ImageFiles> {
        Ok(ImageFiles { name: image.path().display().to_string(), section: image.rootfs()? })
    }

    /// Reads them.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn reader(&self) -> Result<Reader<FileRange<'_>>> {
        let SectionFile { file, offset, len_bytes } = &self.section;
        let range = FileRange { file, offset: *offset, len_bytes: *len_bytes };
        Reader::open(range).with_context(|| format!("{}: root file system", self.name))
    }

    /// What a path inside leads to, links followed.
    ///
    /// # Errors
    /// One line that names the image and the path.
    pub fn find(&self, reader: &Reader<FileRange<'_>>, path: &OsStr) -> Result<Inode> {
        let place = || format!("{}: {}", self.name, escape(path.as_bytes()));
        match reader.lookup(path.as_bytes()).with_context(place)? {
            Some(inode) => Ok(inode),
            None => bail!("{}: no such file or directory in the image", place()),
        }
    }
}
