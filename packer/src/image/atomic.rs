//! A file that appears under its name only when it is complete.
//!
//! Until [`AtomicFile::commit`] the data is in a file without a name where the host's filesystem
//! can do that (O_TMPFILE), so that not even a killed process leaves anything behind; elsewhere in
//! a temporary file next to the target, which is removed when this value is dropped.

use super::error::ImageError;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempPath};

/// A file being written. Dropping it without a commit leaves the target as it was.
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    directory: PathBuf,
    file: File,
    /// The temporary name, when the file could not be made without one.
    named: Option<TempPath>,
}

impl AtomicFile {
    /// Starts a file that will replace or become `target`.
    ///
    /// A symbolic link is followed, so that the link stays and its target is replaced.
    ///
    /// # Errors
    /// [`ImageError::NotAFile`] if `target` is a directory or a special file,
    /// [`ImageError::Write`] if its directory does not exist or cannot be written to.
    pub fn create(target: &Path) -> Result<Self, ImageError> {
        let write = |error| ImageError::Write { path: target.to_path_buf(), error };
        let resolved = match fs::canonicalize(target) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => target.to_path_buf(),
            Err(error) => return Err(write(error)),
        };
        match fs::metadata(&resolved) {
            Ok(found) if found.is_dir() => {
                return Err(ImageError::NotAFile { path: target.to_path_buf(), what: "is a directory" });
            }
            Ok(found) if !found.is_file() => {
                return Err(ImageError::NotAFile {
                    path: target.to_path_buf(),
                    what: "is not a regular file",
                });
            }
            _ => {}
        }
        if resolved.file_name().is_none() {
            return Err(ImageError::NotAFile { path: target.to_path_buf(), what: "names no file" });
        }
        let directory = match resolved.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let (file, named) = match unnamed_in(&directory).map_err(write)? {
            Some(file) => (file, None),
            None => {
                let named = tempfile::Builder::new()
                    .prefix(".c2w-")
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(&directory)
                    .map_err(write)?;
                let (file, path) = named.into_parts();
                (file, Some(path))
            }
        };
        Ok(AtomicFile { target: resolved, directory, file, named })
    }

    /// The open file, readable and writable.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it will appear, with symbolic links resolved.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The directory that the target is in, for other temporary files of the same size class.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Puts the data on the disk, then the name on the data.
    ///
    /// # Errors
    /// [`ImageError::Write`]; the target is then as it was.
    pub fn commit(self) -> Result<(), ImageError> {
        let target = self.target.clone();
        self.publish().map_err(|error| ImageError::Write { path: target, error })
    }

    fn publish(self) -> io::Result<()> {
        self.file.sync_all()?;
        let named = match self.named {
            Some(path) => path,
            None => link_unnamed(&self.file, &self.directory)?,
        };
        named.persist(&self.target).map_err(|error| error.error)?;
        // Makes the rename last through a power failure; the image is complete even if this cannot.
        if let Ok(directory) = File::open(&self.directory) {
            directory.sync_all().ok();
        }
        Ok(())
    }
}

/// `None` where the filesystem cannot make files without a name (open(2): EOPNOTSUPP, and EISDIR
/// or EINVAL from what does not know the flag).
fn unnamed_in(directory: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(CWD, directory, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => File::from(file),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Without /proc the file could never get a name: better learnt now than after the work.
    let nameable = fs::metadata(proc_path(&file)).is_ok();
    Ok(nameable.then_some(file))
}

fn proc_path(file: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Gives a file made with O_TMPFILE a temporary name: linkat cannot replace an existing one
/// (open(2), O_TMPFILE), rename can.
fn link_unnamed(file: &File, directory: &Path) -> io::Result<TempPath> {
    let source = proc_path(file);
    let named: NamedTempFile<()> = tempfile::Builder::new().prefix(".c2w-").make_in(directory, |path| {
        rustix::fs::linkat(CWD, &source, CWD, path, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from)
    })?;
    Ok(named.into_temp_path())
}

/// Writes a small file in one go, replacing `target` only when all of it is there.
pub(super) fn write_small(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let named = tempfile::Builder::new().prefix(".c2w-").tempfile_in(directory)?;
    fs::write(named.path(), bytes)?;
    named.persist(target).map_err(|error| error.error)?;
    Ok(())
}
