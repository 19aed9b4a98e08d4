//! Blobs of registries in the user's cache, by digest.
//!
//! Invariant: a file under its own name was complete and matched its digest when it got that name.
//! What is there is checked again before it is used: a damaged file is fetched once more. Two
//! processes that need the same blob fetch it once; what a transfer that was broken off has brought
//! stays and is continued by the next.

use super::digest::Hasher;
use super::error::OciError;
use crate::cache::{Cache, CacheError, Kept, trim};
use oci_spec::image::Descriptor;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is kept at most; beyond it, what was not used for longest goes.
const KEPT_BYTES: u64 = 10 << 30;
const PART: &str = "part";
const LOCK: &str = "lock";

/// The blobs of one cache.
#[derive(Clone, Debug)]
pub struct BlobCache {
    cache: Cache,
}

impl BlobCache {
    /// The blobs in `cache`.
    pub fn new(cache: Cache) -> BlobCache {
        BlobCache { cache }
    }

    /// The blob if it is there and whole.
    ///
    /// # Errors
    /// [`OciError::Cache`] if the cache cannot be used.
    pub fn get(&self, descriptor: &Descriptor) -> Result<Option<File>, OciError> {
        let path = self.path(descriptor);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CacheError::io("open", &path)(error).into()),
        };
        let (digest, len_bytes) = digest_of(&file, descriptor).map_err(CacheError::io("read", &path))?;
        if len_bytes == descriptor.size() && digest == descriptor.digest().as_ref() {
            // Only says when it was last of use; a read-only cache does without.
            let _ = file.set_modified(SystemTime::now());
            return File::open(&path).map(Some).map_err(|error| CacheError::io("open", &path)(error).into());
        }
        fs::remove_file(&path).map_err(CacheError::io("remove", &path))?;
        Ok(None)
    }

    /// The blob, brought by `fill` if it is not there. That is given a file with what an earlier
    /// transfer has brought, and leaves it with the whole blob, checked.
    ///
    /// # Errors
    /// Those of `fill`, and [`OciError::Cache`].
    pub fn get_or_fetch(
        &self,
        descriptor: &Descriptor,
        note: &dyn Fn(&str),
        fill: impl FnOnce(&File) -> Result<(), OciError>,
    ) -> Result<File, OciError> {
        if let Some(file) = self.get(descriptor)? {
            return Ok(file);
        }
        let path = self.path(descriptor);
        let _lock = self.cache.lock(&path.with_extension(LOCK), note)?;
        if let Some(file) = self.get(descriptor)? {
            return Ok(file);
        }
        let part = path.with_extension(PART);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&part);
        let file = file.map_err(CacheError::io("create", &part))?;
        fill(&file)?;
        fs::rename(&part, &path).map_err(CacheError::io("finish", &path))?;
        File::open(&path).map_err(|error| CacheError::io("open", &path)(error).into())
    }

    /// Removes what was not used for longest until the rest is not too much.
    pub fn trim(&self) {
        self.trim_to(KEPT_BYTES);
    }

    fn trim_to(&self, kept_bytes: u64) {
        let mut found = Vec::new();
        for path in entries(&self.root()).iter().flat_map(|algorithm| entries(algorithm)) {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let is_lock = path.extension().is_some_and(|extension| extension == LOCK);
            if let (Ok(used), false) = (metadata.modified(), is_lock) {
                let lock = path.with_extension(LOCK);
                found.push(Kept { used, len_bytes: metadata.len(), path, lock });
            }
        }
        trim(found, kept_bytes, None);
    }

    fn root(&self) -> PathBuf {
        self.cache.root().join("blobs")
    }

    fn path(&self, descriptor: &Descriptor) -> PathBuf {
        let digest = descriptor.digest();
        self.root().join(digest.algorithm().to_string()).join(digest.digest())
    }
}

/// Digest, in the algorithm of the descriptor's, and length of a file from its start.
pub(super) fn digest_of(mut file: &File, descriptor: &Descriptor) -> io::Result<(String, u64)> {
    let mut hasher = Hasher::like(descriptor.digest()).map_err(io::Error::other)?;
    let mut buffer = vec![0; 256 << 10];
    let mut len_bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hasher.finish(), len_bytes));
        }
        hasher.update(&buffer[..count]);
        len_bytes += count as u64;
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::digest::sha256_of;
    use oci_spec::image::MediaType;
    use std::io::Write;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn blob(content: &[u8]) -> Descriptor {
        Descriptor::new(MediaType::ImageLayer, content.len() as u64, sha256_of(content).unwrap())
    }

    fn fetch(cache: &BlobCache, content: &[u8]) -> String {
        let fill = |mut file: &File| {
            file.write_all(content).unwrap();
            Ok(())
        };
        let mut text = String::new();
        let mut file = cache.get_or_fetch(&blob(content), &|_| {}, fill).unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn a_damaged_blob_is_fetched_again() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(Cache::at(directory.path()));
        assert_eq!(fetch(&cache, b"content"), "content");
        let path = cache.path(&blob(b"content"));
        for damaged in ["Content", "conten", "content "] {
            fs::write(&path, damaged).unwrap();
            assert!(cache.get(&blob(b"content")).unwrap().is_none(), "{damaged}");
            assert_eq!(fetch(&cache, b"content"), "content");
        }
    }

    #[test]
    fn what_a_broken_transfer_brought_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(Cache::at(directory.path()));
        let broken = cache.get_or_fetch(&blob(b"content"), &|_| {}, |mut file| {
            file.write_all(b"con").unwrap();
            Err(OciError::NotAnImage("broken off".to_string()))
        });
        assert!(broken.is_err());
        let whole = cache.get_or_fetch(&blob(b"content"), &|_| {}, |mut file| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "con");
            file.write_all(b"tent").unwrap();
            Ok(())
        });
        assert_eq!(io::read_to_string(whole.unwrap()).unwrap(), "content");
    }

    #[test]
    fn two_at_once_fetch_once() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(Cache::at(directory.path()));
        let fetches = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let file = cache.get_or_fetch(&blob(b"x"), &|_| {}, |mut file| {
                        fetches.fetch_add(1, Ordering::Relaxed);
                        file.write_all(b"x").unwrap();
                        Ok(())
                    });
                    assert_eq!(io::read_to_string(file.unwrap()).unwrap(), "x");
                });
            }
        });
        assert_eq!(fetches.into_inner(), 1);
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let directory = tempfile::tempdir().unwrap();
        let cache = BlobCache::new(Cache::at(directory.path()));
        for (number, content) in [&b"aaaa"[..], b"bbbb", b"cccc"].into_iter().enumerate() {
            fetch(&cache, content);
            let used = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64);
            File::open(cache.path(&blob(content))).unwrap().set_modified(used).unwrap();
        }
        let busy = File::open(cache.path(&blob(b"aaaa")).with_extension(LOCK)).unwrap();
        busy.lock().unwrap();
        cache.trim_to(9);
        let left = |content: &[u8]| cache.path(&blob(content)).exists();
        assert_eq!([left(b"aaaa"), left(b"bbbb"), left(b"cccc")], [true, false, true]);
    }
}
