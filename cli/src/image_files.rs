//! The files in an image, for the commands that look at them.

use anyhow::{Context, Result, bail};
use c2w_packer::cache::Cache;
use c2w_packer::image::{Content, ExpandedImages, Image, SectionId, SeenImages};
use c2w_packer::rootfs::erofs::{Inode, Reader};
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

/// The same for an image whose machine is to run: what is compressed is expanded, unless that was done before.
///
/// # Errors
/// One line that names the file.
pub fn open_runnable(path: &Path, note: &dyn Fn(&str)) -> Result<Image> {
    let image = Image::open(path)?;
    Ok(match Cache::of_user() {
        Ok(cache) => ExpandedImages::new(cache).of(image, note)?,
        Err(_) => image.expand_for_now()?,
    })
}

/// The root file system of an image.
pub struct ImageFiles {
    name: String,
    content: Content,
}

impl ImageFiles {
    /// The files of `image`.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn of(image: &Image) -> Result<ImageFiles> {
        Ok(ImageFiles {
            name: image.path().display().to_string(),
            content: image.content(SectionId::Rootfs)?,
        })
    }

    /// Reads them.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn reader(&self) -> Result<Reader<&Content>> {
        Reader::open(&self.content).with_context(|| format!("{}: root file system", self.name))
    }

    /// What a path inside leads to, links followed.
    ///
    /// # Errors
    /// One line that names the image and the path.
    pub fn find(&self, reader: &Reader<&Content>, path: &OsStr) -> Result<Inode> {
        let place = || format!("{}: {}", self.name, escape(path.as_bytes()));
        match reader.lookup(path.as_bytes()).with_context(place)? {
            Some(inode) => Ok(inode),
            None => bail!("{}: no such file or directory in the image", place()),
        }
    }
}
