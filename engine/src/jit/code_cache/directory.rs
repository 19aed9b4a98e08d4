//! The directory of the code cache: which files are in it, and what becomes of them.
//!
//! Files have no name, or one that nobody reads, until they are whole, and are never changed then, so that any number of
//! processes may use the directory. A file that is removed stays readable for who has it mapped.
//!
//! Small segments are joined by who adds one; who holds the directory's lock may do so. When all files together exceed the
//! limit, those go first that have not been opened for the longest time.

use super::segment::{Fingerprint, Segment, SegmentWriter};
use memmap2::Mmap;
use rustix::fs::Mode;
use std::cmp::Reverse;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How segments are called, behind their fingerprint and the checksum of their content.
const SEGMENT: &str = ".code";
/// How files are called that are being written, where files cannot do without a name.
const UNFINISHED: &str = ".part";
const LOCK: &str = "lock";
/// Bytes of records that are written at once.
const BUFFER_BYTES: usize = 256 << 10;
/// No segment grows by joining to more than this part of the limit, so that not all goes at once.
const PARTS: u64 = 8;
/// What is not worth a segment of its own: each one is looked into for code that is in none.
const SMALL_BYTES: u64 = 2 << 20;
/// How old a note of use may become before it is written again.
const NOTE_OF_USE: Duration = Duration::from_secs(60 * 60);
/// When nobody goes on writing an unfinished file.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// A directory of segments.
pub struct Directory {
    path: PathBuf,
    fingerprint: Fingerprint,
    limit_bytes: u64,
}

/// A segment that is being written.
pub struct Unfinished {
    writer: SegmentWriter<BufWriter<File>>,
    /// What it is called, if it has to be called something.
    name: Option<Removed>,
}

impl Unfinished {
    /// Adds a record, with its keys.
    ///
    /// # Errors
    /// The host's.
    pub fn add(&mut self, keys: Vec<u64>, record: &[u8]) -> io::Result<()> {
        self.writer.add(keys, record)
    }
}

/// A file that is removed when this is dropped, if it is still there.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // Who was about to write it has other worries.
        let _ = fs::remove_file(&self.0);
    }
}

/// A file of the directory.
struct Listed {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

impl Directory {
    /// Opens a directory, making it if there is none.
    ///
    /// # Errors
    /// The host's; others than this user may write there.
    pub fn open(path: &Path, fingerprint: Fingerprint, limit_bytes: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let status = fs::metadata(path)?;
        // What is in there runs as this user.
        if status.uid() != rustix::process::geteuid().as_raw() {
            return Err(invalid("another user owns it".to_string()));
        }
        if status.mode() & (Mode::WGRP | Mode::WOTH).as_raw_mode() != 0 {
            return Err(invalid(format!("others may write to it (mode {:o})", status.mode() & 0o7777)));
        }
        Ok(Self { path: path.to_path_buf(), fingerprint, limit_bytes })
    }

    /// The segments of this fingerprint that are there now, the newest first: what code became last is to be found first.
    pub fn segments(&self) -> Vec<Segment> {
        let now = SystemTime::now();
        let mut segments = Vec::new();
        let mut listed = self.list(|name| name.starts_with(&self.prefix()) && name.ends_with(SEGMENT));
        listed.sort_by_key(|listed| Reverse(listed.used));
        for listed in listed {
            let Some((segment, file)) = self.map(&listed.path) else { continue };
            if now.duration_since(listed.used).is_ok_and(|since| since > NOTE_OF_USE) {
                // Only the order in which files are removed hangs on it.
                let _ = file.set_modified(now);
            }
            segments.push(segment);
        }
        segments
    }

    /// Begins a segment.
    ///
    /// # Errors
    /// The host's.
    pub fn begin(&self) -> io::Result<Unfinished> {
        let (file, name) = match self.nameless() {
            Some(file) => (file, None),
            None => {
                let path = self.unfinished();
                let file =
                    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
                (file, Some(Removed(path)))
            }
        };
        let to = BufWriter::with_capacity(BUFFER_BYTES, file);
        Ok(Unfinished { writer: SegmentWriter::new(to, &self.fingerprint)?, name })
    }

    /// A new file without a name, where that can be had: nothing is left of it if this process ends.
    fn nameless(&self) -> Option<File> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{OFlags, open};
            let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
            open(&self.path, flags, Mode::RUSR | Mode::WUSR).ok().map(File::from)
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// A name that nobody else uses, for a file that is not whole yet.
    fn unfinished(&self) -> PathBuf {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{}-{}-{number}{UNFINISHED}", self.prefix(), std::process::id()))
    }

    /// Makes a segment whole and adds it.
    ///
    /// # Errors
    /// The host's.
    pub fn finish(&self, unfinished: Unfinished) -> io::Result<()> {
        let Unfinished { mut writer, name } = unfinished;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join(LOCK))?;
        // Who does not get it leaves the joining to somebody else.
        let locked = lock.try_lock().is_ok();
        let joined = if locked { self.join(writer.len_bytes()) } else { Vec::new() };
        for (keys, record) in joined.iter().flat_map(|(_, segment)| segment.records()) {
            writer.add_old(keys, record)?;
        }
        let (to, digest) = writer.finish()?;
        let file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
        let name = match name {
            Some(name) => name,
            None => self.name(&file)?,
        };
        let written = self.path.join(format!("{}-{digest:016x}{SEGMENT}", self.prefix()));
        fs::rename(&name.0, &written)?;
        for (path, _) in joined {
            if path != written {
                remove(&path)?;
            }
        }
        if locked {
            self.make_room(&written)?;
        }
        Ok(())
    }

    /// Gives a file a name that had none.
    fn name(&self, file: &File) -> io::Result<Removed> {
        use rustix::fs::{AtFlags, CWD, linkat};
        use std::os::fd::AsRawFd;
        let path = self.unfinished();
        let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
        linkat(CWD, nameless, CWD, &path, AtFlags::SYMLINK_FOLLOW)?;
        Ok(Removed(path))
    }

    /// Segments that are to become one with a new one of this size: small ones, and those that are not much larger than what
    /// is joined already, so that on the whole no record is copied more often than the logarithm of their number.
    fn join(&self, mut bytes: u64) -> Vec<(PathBuf, Segment)> {
        let mut listed = self.list(|name| name.starts_with(&self.prefix()) && name.ends_with(SEGMENT));
        listed.sort_by_key(|listed| listed.bytes);
        let mut joined = Vec::new();
        for Listed { path, bytes: more, .. } in listed {
            let is_small = bytes + more <= SMALL_BYTES;
            if !is_small && more > 2 * bytes || bytes + more > self.limit_bytes / PARTS {
                break;
            }
            if let Some((segment, _)) = self.map(&path) {
                bytes += more;
                joined.push((path, segment));
            }
        }
        joined
    }

    /// Removes what is too much, except this file, and what was never finished.
    fn make_room(&self, except: &Path) -> io::Result<()> {
        let now = SystemTime::now();
        for listed in self.list(|name| name.ends_with(UNFINISHED)) {
            if now.duration_since(listed.used).is_ok_and(|since| since > ABANDONED) {
                remove(&listed.path)?;
            }
        }
        let mut listed = self.list(|name| name.ends_with(SEGMENT));
        listed.sort_by_key(|listed| listed.used);
        let mut bytes: u64 = listed.iter().map(|listed| listed.bytes).sum();
        for Listed { path, bytes: less, .. } in listed.iter().filter(|listed| listed.path != except) {
            if bytes <= self.limit_bytes {
                break;
            }
            remove(path)?;
            bytes -= less;
        }
        Ok(())
    }

    fn map(&self, path: &Path) -> Option<(Segment, File)> {
        let file = File::open(path).ok()?;
        // SAFETY: files of this directory, to which only this user may write, are written under another name and never
        // changed (this module's invariant).
        let bytes = unsafe { Mmap::map(&file) }.ok()?;
        let segment = Segment::open(bytes, &self.fingerprint)?;
        Some((segment, file))
    }

    fn list(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<Listed> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let wanted = entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_wanted));
        // What cannot be looked at has been removed meanwhile.
        wanted
            .filter_map(|entry| {
                let status = entry.metadata().ok()?;
                Some(Listed { path: entry.path(), bytes: status.len(), used: status.modified().ok()? })
            })
            .collect()
    }

    fn prefix(&self) -> String {
        self.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Removes a file, which another process may have done already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const OURS: Fingerprint = [1; 16];
    const LIMIT: u64 = 64 << 10;

    fn open(path: &Path) -> Directory {
        Directory::open(path, OURS, LIMIT).unwrap()
    }

    fn add(directory: &Directory, numbers: std::ops::Range<u64>) {
        let mut unfinished = directory.begin().unwrap();
        for number in numbers {
            unfinished.add(vec![number], &[number as u8; 100]).unwrap();
        }
        directory.finish(unfinished).unwrap();
    }

    fn has(directory: &Directory, number: u64) -> bool {
        let segments = directory.segments();
        segments.iter().any(|segment| segment.find(number).any(|record| record == [number as u8; 100]))
    }

    fn files(path: &Path) -> Vec<PathBuf> {
        let all = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        all.filter(|path| path.extension().is_some_and(|extension| extension == "code")).collect()
    }

    #[test]
    fn records_are_found_by_the_next_who_opens_it_and_by_nobody_of_another_build() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        add(&open(&path), 0..10);
        assert!(has(&open(&path), 9) && !has(&open(&path), 10));
        assert!(!has(&Directory::open(&path, [2; 16], LIMIT).unwrap(), 9));
    }

    #[test]
    fn nothing_is_left_of_what_is_never_finished() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path());
        let mut unfinished = directory.begin().unwrap();
        unfinished.add(vec![1], &[1; 100]).unwrap();
        drop(unfinished);
        // The same where files need names.
        let path = directory.unfinished();
        let to = BufWriter::new(File::create(&path).unwrap());
        let writer = SegmentWriter::new(to, &OURS).unwrap();
        drop(Unfinished { writer, name: Some(Removed(path)) });
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn small_segments_are_joined() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path());
        for number in 0..40 {
            add(&directory, number..number + 1);
        }
        assert!((0..40).all(|number| has(&directory, number)));
        let count = files(root.path()).len();
        assert!(count <= 6, "{count}");
    }

    #[test]
    fn who_does_not_get_the_lock_adds_a_segment_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path());
        add(&directory, 0..1);
        let lock = File::open(root.path().join(LOCK)).unwrap();
        lock.lock().unwrap();
        add(&directory, 1..2);
        assert!(has(&directory, 0) && has(&directory, 1));
        assert_eq!(files(root.path()).len(), 2);
    }

    #[test]
    fn what_was_not_used_for_the_longest_time_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path());
        let day = Duration::from_secs(24 * 60 * 60);
        let mut oldest = None;
        for number in 0..6u64 {
            // Too large to be joined.
            add(&directory, number * 100..number * 100 + 90);
            let newest = files(root.path())
                .into_iter()
                .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
            let path = newest.unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - day * (10 - number as u32)).unwrap();
            oldest.get_or_insert(path);
        }
        let bytes =
            |root: &Path| files(root).iter().map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
        assert!(bytes(root.path()) <= LIMIT);
        assert!(!oldest.unwrap().exists());
        assert!(has(&directory, 500));
        // Having been looked at they are all new.
        for path in files(root.path()) {
            assert!(fs::metadata(path).unwrap().modified().unwrap() > SystemTime::now() - day);
        }
    }

    #[test]
    fn a_directory_that_others_write_to_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let error = Directory::open(root.path(), OURS, LIMIT).err().unwrap();
        assert_eq!(error.to_string(), "others may write to it (mode 770)");
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Directory::open(&file, OURS, LIMIT).is_err());
    }

    #[test]
    fn damaged_and_foreign_files_are_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let directory = open(root.path());
        add(&directory, 0..1);
        let [file] = &files(root.path())[..] else { panic!("one file") };
        fs::write(root.path().join(format!("{}-0{SEGMENT}", directory.prefix())), "").unwrap();
        fs::write(root.path().join(format!("{}-1{SEGMENT}", directory.prefix())), "no segment").unwrap();
        assert!(has(&directory, 0));
        let whole = fs::read(file).unwrap();
        fs::write(file, &whole[..whole.len() - 1]).unwrap();
        assert!(!has(&directory, 0));
        add(&directory, 0..2);
        assert!(has(&directory, 0) && has(&directory, 1));
    }
}
