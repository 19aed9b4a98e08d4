//! What compressed images are expanded to, in the user's cache, by the digest of the image's header.
//!
//! Invariant: a file under its own name was written whole, on the disk, by someone who had checked the compressed image.
//! It is checked again when it is not the very file that was seen before, and made anew if it is damaged. Two processes
//! that need the same file make it once. The lock file next to it tells, by its time, when it was last of use.

use super::bytes::to_hex;
use super::compress;
use super::error::ImageError;
use super::reader::Image;
use super::seen::SeenImages;
use super::writer::ImageWriter;
use crate::cache::{Cache, Kept, trim};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What is kept at most; beyond it, what was not used for longest goes.
const KEPT_BYTES: u64 = 8 << 30;
/// How long what is not used is kept.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const LOCK: &str = "lock";

/// The expanded images of one cache.
#[derive(Clone, Debug)]
pub struct ExpandedImages {
    cache: Cache,
}

impl ExpandedImages {
    /// Those in `cache`.
    pub fn new(cache: Cache) -> Self {
        Self { cache }
    }

    /// The image as one whose sections can be mapped, with every byte checked unless it was before: itself if it is
    /// plain, else what it is expanded to. Messages go on to call that by the path of the image.
    ///
    /// # Errors
    /// [`ImageError`]: the image is damaged, or there is no room to expand it.
    pub fn of(&self, image: Image, note: &dyn Fn(&str)) -> Result<Image, ImageError> {
        let seen = SeenImages::in_directory(self.cache.root());
        if !image.header().is_compressed() {
            image.ensure_verified(&seen)?;
            return Ok(image);
        }
        let path = self.path(&image);
        if let Some(found) = find(&image, &path, &seen) {
            return Ok(found);
        }
        // A cache that cannot be written, e.g. of a read-only home, is no reason not to run.
        let Ok(lock) = self.cache.lock(&path.with_extension(LOCK), note) else {
            return image.expand_for_now();
        };
        if let Some(found) = find(&image, &path, &seen) {
            return Ok(found);
        }
        image.verify_stored()?;
        let Ok(writer) = ImageWriter::create(&path, image.arch()) else { return image.expand_for_now() };
        compress::expand(&image, writer)?.finish()?;
        let expanded = open(&image, &path)?;
        expanded.remember(&seen);
        drop(lock);
        self.trim();
        Ok(expanded)
    }

    fn path(&self, image: &Image) -> PathBuf {
        self.root().join(to_hex(&image.header().digest())).with_extension("c2w")
    }

    fn root(&self) -> PathBuf {
        self.cache.root().join("expanded")
    }

    fn trim(&self) {
        self.trim_to(KEPT_BYTES, SystemTime::now().checked_sub(KEPT_FOR));
    }

    fn trim_to(&self, kept_bytes: u64, oldest: Option<SystemTime>) {
        let files = fs::read_dir(self.root()).into_iter().flatten().flatten().map(|entry| entry.path());
        let images = files.filter(|path| path.extension().is_none_or(|extension| extension != LOCK));
        let kept = images.filter_map(|path| {
            let len_bytes = fs::metadata(&path).ok()?.len();
            let lock = path.with_extension(LOCK);
            let used = fs::metadata(&lock).and_then(|lock| lock.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            Some(Kept { used, len_bytes, path, lock })
        });
        trim(kept.collect(), kept_bytes, oldest);
    }
}

/// What the image was expanded to before, if it is there and whole.
fn find(image: &Image, path: &Path, seen: &SeenImages) -> Option<Image> {
    let found = open(image, path).ok()?;
    found.ensure_verified(seen).ok()?;
    // Only says when it was last of use; a read-only cache does without.
    if let Ok(lock) = File::options().append(true).open(path.with_extension(LOCK)) {
        let _ = lock.set_modified(SystemTime::now());
    }
    Some(found)
}

/// An expanded image, which goes by the name of the compressed one.
fn open(image: &Image, path: &Path) -> Result<Image, ImageError> {
    let file = File::open(path).map_err(|error| ImageError::Read { path: path.to_path_buf(), error })?;
    Image::of_file(file, image.path())
}

impl Image {
    /// As [`ExpandedImages::of`] where there is no cache: every byte is checked each time, and what is compressed is
    /// expanded into a temporary file that goes with this process.
    ///
    /// # Errors
    /// [`ImageError`]: the image is damaged, or there is no room to expand it.
    pub fn expand_for_now(self) -> Result<Image, ImageError> {
        self.verify_stored()?;
        if !self.header().is_compressed() {
            return Ok(self);
        }
        let target = std::env::temp_dir().join("c2w-expanded");
        compress::expand(&self, ImageWriter::create(&target, self.arch())?)?.preview_as(self.path())
    }
}
