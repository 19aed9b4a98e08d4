//! Files of an image onto the host, into one directory and nowhere else.
//!
//! Every directory on the way is opened from the target directory on, one name at a time and never
//! through a symbolic link, whether the link comes from the image or was there before. Without root
//! privileges owners and device nodes cannot be kept; that is counted, and all else is done.

use super::erofs::{EntryKind, Inode, Nid, ReadAt, Reader, ReaderError};
use super::error::escape;
use super::xattr::Xattrs;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 20;
/// Zeros of this length and place are left out of files.
const HOLE_BYTES: usize = 4096;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Files, directories and so on.
    pub files: u64,
    /// What could not be kept, one line each.
    pub warnings: Vec<String>,
}

/// Why extracting stopped.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ReaderError),
    /// Something cannot be made.
    #[error("{}: {error}", escape(path))]
    Host {
        /// Path below the target directory.
        path: Vec<u8>,
        /// The host's reason.
        error: io::Error,
    },
}

/// Makes `start`, or what is in it if it is a directory, below the directory `target`. A file gets
/// the name `file_name`.
///
/// # Errors
/// [`ExtractError`]; what was made until then stays.
pub fn extract<R: ReadAt>(
    reader: &Reader<R>,
    start: Inode,
    file_name: &[u8],
    target: &Path,
) -> Result<Extracted, ExtractError> {
    let host =
        |error: io::Error| ExtractError::Host { path: target.as_os_str().as_encoded_bytes().to_vec(), error };
    std::fs::create_dir_all(target).map_err(host)?;
    let root = File::open(target).map_err(host)?;
    let is_root = rustix::process::geteuid().is_root();
    let mut extractor = Extractor {
        reader,
        root: root.into(),
        is_root,
        first_names: HashMap::new(),
        directories: Vec::new(),
        files: 0,
        left_out: BTreeMap::new(),
    };
    let start_is_directory = start.kind == EntryKind::Directory;
    reader.walk_from(start, |path, inode| {
        let path = if path.is_empty() && !start_is_directory { file_name } else { path };
        extractor.visit(path, inode).map_err(|failure| match failure {
            Failure::Image(error) => ExtractError::Image(error),
            Failure::Host(error) => ExtractError::Host { path: path.to_vec(), error },
        })
    })?;
    extractor.finish()
}

enum Failure {
    Image(ReaderError),
    Host(io::Error),
}

impl From<ReaderError> for Failure {
    fn from(error: ReaderError) -> Self {
        Failure::Image(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Host(error)
    }
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Failure::Host(error.into())
    }
}

struct Extractor<'a, R> {
    reader: &'a Reader<R>,
    root: OwnedFd,
    is_root: bool,
    /// Where the first name of a file with several is.
    first_names: HashMap<Nid, Vec<u8>>,
    /// Directories, whose metadata comes last: making files in them needs and changes it.
    directories: Vec<(Vec<u8>, Inode)>,
    files: u64,
    /// How often something could not be kept.
    left_out: BTreeMap<&'static str, u64>,
}

impl<R: ReadAt> Extractor<'_, R> {
    fn visit(&mut self, path: &[u8], inode: &Inode) -> Result<(), Failure> {
        self.files += 1;
        if inode.kind == EntryKind::Directory {
            if !path.is_empty() {
                self.make_directory(path)?;
            }
            self.directories.push((path.to_vec(), inode.clone()));
            return Ok(());
        }
        let (parent, name) = split(path);
        let parent = self.open_directory(parent)?;
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => return Err(io::Error::from(Errno::ISDIR).into()),
            Err(error) => return Err(error.into()),
        }
        if inode.nlink > 1 {
            if let Some(first) = self.first_names.get(&inode.nid).cloned() {
                if self.link(&first, parent.as_fd(), name)? {
                    return Ok(());
                }
            } else {
                self.first_names.insert(inode.nid, path.to_vec());
            }
        }
        let node = match inode.kind {
            EntryKind::File => return self.make_file(parent.as_fd(), name, inode),
            EntryKind::Symlink => return self.make_symlink(parent.as_fd(), name, inode),
            EntryKind::Directory => return Ok(()),
            EntryKind::CharDevice(number) => Some((FileType::CharacterDevice, number)),
            EntryKind::BlockDevice(number) => Some((FileType::BlockDevice, number)),
            EntryKind::Fifo | EntryKind::Socket => None,
        };
        let (kind, device) = match (node, inode.kind) {
            (Some((kind, number)), _) => (kind, rustix::fs::makedev(number.major, number.minor)),
            (None, EntryKind::Socket) => (FileType::Socket, 0),
            (None, _) => (FileType::Fifo, 0),
        };
        match rustix::fs::mknodat(&parent, name, kind, Mode::RUSR | Mode::WUSR, device) {
            Ok(()) => {}
            Err(Errno::PERM | Errno::ACCESS) => {
                self.leave_out("device nodes not made: only root may");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        self.set_metadata_by_name(parent.as_fd(), name, inode)
    }

    fn make_directory(&mut self, path: &[u8]) -> Result<(), Failure> {
        let (parent, name) = split(path);
        let parent = self.open_directory(parent)?;
        match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) => Ok(()),
            // Opening it refuses what is no directory; a link to one is none.
            Err(Errno::EXIST) => open_directory_at(parent.as_fd(), name).map(drop),
            Err(error) => Err(error.into()),
        }
    }

    /// Another name for a file that is there. Returns whether the host made it.
    fn link(&self, first: &[u8], parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Failure> {
        let (first_parent, first_name) = split(first);
        let first_parent = self.open_directory(first_parent)?;
        // Where links are impossible a copy has to do.
        Ok(rustix::fs::linkat(&first_parent, first_name, parent, name, AtFlags::empty()).is_ok())
    }

    fn make_file(&mut self, parent: BorrowedFd<'_>, name: &[u8], inode: &Inode) -> Result<(), Failure> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?);
        let mut buffer = vec![0; BUFFER_BYTES.min(inode.size as usize)];
        let mut done = 0;
        while done < inode.size {
            let count = self.reader.read_at(inode, done, &mut buffer)?;
            for (index, part) in buffer[..count].chunks(HOLE_BYTES).enumerate() {
                if part.iter().any(|&byte| byte != 0) {
                    file.write_all_at(part, done + (index * HOLE_BYTES) as u64)?;
                }
            }
            done += count as u64;
        }
        file.set_len(inode.size)?;
        self.set_metadata(file.as_fd(), inode)
    }

    fn make_symlink(&mut self, parent: BorrowedFd<'_>, name: &[u8], inode: &Inode) -> Result<(), Failure> {
        let target = self.reader.read_link(inode)?;
        rustix::fs::symlinkat(&target[..], parent, name)?;
        if self.is_root {
            let (uid, gid) = owner(inode);
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::utimensat(parent, name, &times(inode), AtFlags::SYMLINK_NOFOLLOW)?;
        if !self.reader.xattrs(inode)?.is_empty() {
            self.leave_out("attributes of symbolic links not kept");
        }
        Ok(())
    }

    /// Owner, attributes, mode and time, in the order in which none undoes another.
    fn set_metadata(&mut self, file: BorrowedFd<'_>, inode: &Inode) -> Result<(), Failure> {
        let mode = if self.is_root {
            let (uid, gid) = owner(inode);
            rustix::fs::fchown(file, uid, gid)?;
            inode.mode
        } else {
            self.without_owner(inode)
        };
        let xattrs = self.reader.xattrs(inode)?;
        self.set_xattrs(file, &xattrs)?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode.into()))?;
        rustix::fs::futimens(file, &times(inode))?;
        Ok(())
    }

    /// The same for what cannot be opened without side effects.
    fn set_metadata_by_name(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        inode: &Inode,
    ) -> Result<(), Failure> {
        let mode = if self.is_root {
            let (uid, gid) = owner(inode);
            rustix::fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            inode.mode
        } else {
            self.without_owner(inode)
        };
        // It was made a moment ago and is no link; there is no call that would not follow one.
        rustix::fs::chmodat(parent, name, Mode::from_raw_mode(mode.into()), AtFlags::empty())?;
        rustix::fs::utimensat(parent, name, &times(inode), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// The mode of a file that will belong to this user: programs are not to run as one they were
    /// not made for.
    fn without_owner(&mut self, inode: &Inode) -> u16 {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        if own == (inode.uid, inode.gid) {
            return inode.mode;
        }
        self.leave_out("owners not kept: only root may give files away");
        inode.mode & 0o1777
    }

    fn set_xattrs(&mut self, file: BorrowedFd<'_>, xattrs: &Xattrs) -> Result<(), Failure> {
        for (name, value) in xattrs.iter() {
            match rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOSPC | Errno::DQUOT) => return Err(io::Error::from(Errno::NOSPC).into()),
                Err(_) => self.leave_out("attributes not kept: the host does not allow them"),
            }
        }
        Ok(())
    }

    /// A directory below the target, by a path of names.
    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd, Failure> {
        let mut directory = self.root.try_clone()?;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            directory = open_directory_at(directory.as_fd(), name)?;
        }
        Ok(directory)
    }

    fn leave_out(&mut self, what: &'static str) {
        *self.left_out.entry(what).or_default() += 1;
    }

    fn finish(mut self) -> Result<Extracted, ExtractError> {
        for (path, inode) in std::mem::take(&mut self.directories).into_iter().rev() {
            // The target itself is the user's.
            if path.is_empty() {
                continue;
            }
            let set =
                self.open_directory(&path).and_then(|directory| self.set_metadata(directory.as_fd(), &inode));
            set.map_err(|failure| match failure {
                Failure::Image(error) => ExtractError::Image(error),
                Failure::Host(error) => ExtractError::Host { path, error },
            })?;
        }
        let warnings = self.left_out.iter().map(|(what, count)| format!("{what} ({count})")).collect();
        Ok(Extracted { files: self.files, warnings })
    }
}

fn open_directory_at(directory: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(directory, name, flags, Mode::empty())?)
}

/// The directory part and the last name of a path of names.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn owner(inode: &Inode) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(inode.uid)), Some(Gid::from_raw(inode.gid)))
}

fn times(inode: &Inode) -> Timestamps {
    let time = Timespec { tv_sec: inode.mtime.secs, tv_nsec: inode.mtime.nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}
