//! Remembers which image files have been checked from the first byte to the last, so that only the
//! first run of a file pays for that.
//!
//! The record is a text file, one line per image: device, inode, length, modification time and
//! change time. Any write to an image changes the last of these, and a user cannot set it back.
//! At most [`MAX_RECORDS`] lines are kept, the newest last. It is a cache: losing it or any line
//! of it costs one more check.

use super::atomic;
use super::writer::read_limited;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Images remembered at most.
const MAX_RECORDS: usize = 512;
/// Longest record file that is read; a longer one was not written by c2w.
const MAX_RECORD_BYTES: u64 = 1 << 20;
const RECORD_NAME: &str = "verified-images";

/// What tells one state of a file from every other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    /// One line of the record.
    line: String,
    len_bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl FileIdentity {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let line = format!(
            "{} {} {} {}.{:09} {}.{:09}",
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.ctime(),
            metadata.ctime_nsec(),
        );
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Ok(FileIdentity { line, len_bytes: metadata.len(), modified })
    }

    /// Whether the file has the same content as far as its times tell; its names may have changed.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        (self.len_bytes, self.modified) == (other.len_bytes, other.modified)
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

/// The record of verified images in one cache directory.
#[derive(Clone, Debug)]
pub struct SeenImages {
    path: PathBuf,
}

impl SeenImages {
    /// The record in `cache_directory`, which need not exist yet.
    pub fn in_directory(cache_directory: &Path) -> Self {
        SeenImages { path: cache_directory.join(RECORD_NAME) }
    }

    pub(super) fn contains(&self, identity: &FileIdentity) -> bool {
        self.load().contains(&identity.line)
    }

    /// Two processes that do this at once may lose one of the two lines, never more.
    pub(super) fn remember(&self, identity: &FileIdentity) -> io::Result<()> {
        let mut lines = self.load();
        lines.retain(|line| *line != identity.line);
        lines.push(identity.line.clone());
        let first_kept = lines.len().saturating_sub(MAX_RECORDS);
        let text: String = lines[first_kept..].iter().map(|line| format!("{line}\n")).collect();
        atomic::write_small(&self.path, text.as_bytes())
    }

    /// The lines of the record; none if there is no usable record.
    fn load(&self) -> Vec<String> {
        let bytes =
            File::open(&self.path).and_then(|file| read_limited(file, MAX_RECORD_BYTES)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().map(str::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(number: usize) -> FileIdentity {
        FileIdentity {
            line: format!("1 {number} 4096 5.000000000 5.000000000"),
            len_bytes: 4096,
            modified: (5, 0),
        }
    }

    #[test]
    fn remembers_the_newest_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let seen = SeenImages::in_directory(&directory.path().join("not/yet/there"));
        for number in 0..MAX_RECORDS + 10 {
            assert!(!seen.contains(&identity(number)));
            seen.remember(&identity(number)).unwrap();
        }
        assert_eq!(seen.load().len(), MAX_RECORDS);
        assert!(!seen.contains(&identity(9)));
        assert!(seen.contains(&identity(10)));
        assert!(seen.contains(&identity(MAX_RECORDS + 9)));
    }

    #[test]
    fn a_damaged_record_is_as_none() {
        let directory = tempfile::tempdir().unwrap();
        let seen = SeenImages::in_directory(directory.path());
        std::fs::write(&seen.path, [0xff; 100]).unwrap();
        assert!(!seen.contains(&identity(1)));
        seen.remember(&identity(1)).unwrap();
        assert!(seen.contains(&identity(1)));
        std::fs::write(&seen.path, vec![b'\n'; 2 << 20]).unwrap();
        assert!(!seen.contains(&identity(1)));
    }
}
