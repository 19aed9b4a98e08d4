//! Puts a directory of the host into a tree, as it is on disk.

use super::error::RootfsError;
use super::store::{DataStore, Region};
use super::tree::{Content, DeviceNumber, FsTree, Metadata, Time};
use super::xattr::Xattrs;
use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Whom files belong to in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The numbers on disk.
    Keep,
    /// As [`Owners::Keep`], but what belongs to this user and this group belongs to root: an
    /// ordinary user's files are what the image's root should own.
    ToRoot {
        /// The packing user.
        uid: u32,
        /// The packing user's group.
        gid: u32,
    },
}

impl Owners {
    /// [`Owners::Keep`] for root, else [`Owners::ToRoot`] for the user that runs this program.
    pub fn of_this_process() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if uid.is_root() { Owners::Keep } else { Owners::ToRoot { uid: uid.as_raw(), gid: gid.as_raw() } }
    }

    fn map(self, uid: u32, gid: u32) -> (u32, u32) {
        match self {
            Owners::Keep => (uid, gid),
            Owners::ToRoot { uid: own_uid, gid: own_gid } => {
                (if uid == own_uid { 0 } else { uid }, if gid == own_gid { 0 } else { gid })
            }
        }
    }
}

/// How a directory is to be read.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Whom files belong to.
    pub owners: Owners,
    /// A file to leave out, by device and inode: the image itself may lie in its own source.
    pub leave_out: Option<(u64, u64)>,
}

/// Puts what is below `root` into `tree`, and the directory itself as the tree's root. Other
/// filesystems mounted below are left out. Returns warnings, one line each.
///
/// # Errors
/// [`RootfsError::HostFile`] for the first file that cannot be read,
/// [`RootfsError::HostFileChanged`] for one that becomes shorter meanwhile, and those of the store.
pub fn apply_directory(
    tree: &mut FsTree,
    store: &mut DataStore,
    root: &Path,
    options: &DirectoryOptions,
) -> Result<Vec<String>, RootfsError> {
    tree.begin_layer();
    let mut scan = Scan { tree, store, options, device: 0, links: HashMap::new(), warnings: BTreeSet::new() };
    let found = fs::metadata(root).map_err(|source| host_error(root, source))?;
    scan.device = found.dev();
    // The root itself may be given through a symbolic link.
    let real_root = fs::canonicalize(root).map_err(|source| host_error(root, source))?;
    let metadata = scan.metadata(&real_root, &found)?;
    scan.insert(&real_root, b"", metadata, Content::empty_directory())?;
    let mut pending = vec![(real_root, Vec::new())];
    while let Some((host_path, path)) = pending.pop() {
        let mut subdirectories = scan.directory(&host_path, &path)?;
        subdirectories.reverse();
        pending.extend(subdirectories);
    }
    Ok(scan.warnings.into_iter().collect())
}

struct Scan<'a, 'b> {
    tree: &'a mut FsTree,
    store: &'a mut DataStore<'b>,
    options: &'a DirectoryOptions,
    /// Device of the root; other devices are other filesystems.
    device: u64,
    /// Path in the tree of every file with several names.
    links: HashMap<(u64, u64), Vec<u8>>,
    warnings: BTreeSet<String>,
}

impl Scan<'_, '_> {
    /// Adds what is in one directory. Returns its subdirectories: path on the host, path in the tree.
    fn directory(&mut self, host_path: &Path, path: &[u8]) -> Result<Vec<(PathBuf, Vec<u8>)>, RootfsError> {
        let names = fs::read_dir(host_path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<Vec<OsString>>>()
        });
        let mut names = names.map_err(|source| host_error(host_path, source))?;
        names.sort();
        let mut subdirectories = Vec::new();
        for name in names {
            let entry_host_path = host_path.join(&name);
            let mut entry_path = path.to_vec();
            if !entry_path.is_empty() {
                entry_path.push(b'/');
            }
            entry_path.extend_from_slice(name.as_bytes());
            if self.entry(&entry_host_path, &entry_path)? {
                subdirectories.push((entry_host_path, entry_path));
            }
        }
        Ok(subdirectories)
    }

    /// Adds one name. Returns whether it is a directory to go into.
    fn entry(&mut self, host_path: &Path, path: &[u8]) -> Result<bool, RootfsError> {
        let found = fs::symlink_metadata(host_path).map_err(|source| host_error(host_path, source))?;
        let identity = (found.dev(), found.ino());
        if self.options.leave_out == Some(identity) {
            return Ok(false);
        }
        let metadata = self.metadata(host_path, &found)?;
        let kind = found.file_type();
        if kind.is_dir() {
            self.insert(host_path, path, metadata, Content::empty_directory())?;
            let is_mounted = found.dev() != self.device;
            if is_mounted {
                self.warnings.insert(format!(
                    "{}: another filesystem is mounted there, left out",
                    host_path.display()
                ));
            }
            return Ok(!is_mounted);
        }
        if found.nlink() > 1 {
            if let Some(first) = self.links.get(&identity) {
                let linked = self.tree.hard_link(path, first);
                linked.map_err(|error| host_error(host_path, io::Error::other(error)))?;
                return Ok(false);
            }
            self.links.insert(identity, path.to_vec());
        }
        let content = self.content(host_path, &found, kind, &metadata.xattrs)?;
        self.insert(host_path, path, metadata, content)?;
        Ok(false)
    }

    fn content(
        &mut self,
        host_path: &Path,
        found: &fs::Metadata,
        kind: FileType,
        xattrs: &Xattrs,
    ) -> Result<Content, RootfsError> {
        let device = || {
            let number = found.rdev();
            DeviceNumber { major: rustix::fs::major(number), minor: rustix::fs::minor(number) }
        };
        Ok(if kind.is_symlink() {
            let target = fs::read_link(host_path).map_err(|source| host_error(host_path, source))?;
            Content::Symlink(target.into_os_string().into_vec().into())
        } else if kind.is_char_device() {
            Content::CharDevice(device())
        } else if kind.is_block_device() {
            Content::BlockDevice(device())
        } else if kind.is_fifo() {
            Content::Fifo
        } else if kind.is_socket() {
            Content::Socket
        } else {
            self.file(host_path, found, xattrs)?
        })
    }

    fn file(
        &mut self,
        host_path: &Path,
        found: &fs::Metadata,
        xattrs: &Xattrs,
    ) -> Result<Content, RootfsError> {
        let read = |source| host_error(host_path, source);
        // Should the name have become a link or a pipe since: neither is followed or waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(host_path).map_err(read)?;
        let opened = file.metadata().map_err(read)?;
        if (opened.dev(), opened.ino()) != (found.dev(), found.ino()) {
            return Err(RootfsError::HostFileChanged { path: host_path.to_path_buf() });
        }
        let size = opened.len();
        let regions =
            if opened.blocks() * 512 < size { data_regions(&file, size).map_err(read)? } else { None };
        let data = match regions {
            Some(regions) => {
                let mut reader = RegionReader { file: &file, regions: &regions, position: 0 };
                self.store.add_sparse(&mut reader, size, &regions, xattrs)
            }
            None => self.store.add_file(&mut file, size, xattrs),
        };
        data.map(Content::File).map_err(|error| match error {
            RootfsError::Input(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                RootfsError::HostFileChanged { path: host_path.to_path_buf() }
            }
            RootfsError::Input(source) => host_error(host_path, source),
            other => other,
        })
    }

    fn insert(
        &mut self,
        host_path: &Path,
        path: &[u8],
        metadata: Metadata,
        content: Content,
    ) -> Result<(), RootfsError> {
        match self.tree.insert(path, metadata, content) {
            Ok(_) => Ok(()),
            Err(error) => Err(host_error(host_path, io::Error::other(error))),
        }
    }

    fn metadata(&mut self, host_path: &Path, found: &fs::Metadata) -> Result<Metadata, RootfsError> {
        let (uid, gid) = self.options.owners.map(found.uid(), found.gid());
        let mtime = Time { secs: found.mtime(), nanos: found.mtime_nsec() as u32 };
        let mode = (found.mode() & 0o7777) as u16;
        let mut metadata = Metadata { mode, uid, gid, mtime, ..Metadata::default() };
        for (name, value) in host_xattrs(host_path).map_err(|error| host_error(host_path, error.into()))? {
            if let Err(error) = metadata.xattrs.set(&name, &value) {
                let name = super::escape(&name);
                self.warnings.insert(format!("{}: attribute {name} left out: {error}", host_path.display()));
            }
        }
        Ok(metadata)
    }
}

fn host_error(path: &Path, source: io::Error) -> RootfsError {
    RootfsError::HostFile { path: path.to_path_buf(), source }
}

/// Names and values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// The attributes of a file itself, links not followed. SELinux labels are left out: they are the
/// host's policy, not the file's.
fn host_xattrs(path: &Path) -> Result<Attributes, Errno> {
    let names = match read_growing(|buffer| rustix::fs::llistxattr(path, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut attributes = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| !name.is_empty() && *name != b"security.selinux")
    {
        match read_growing(|buffer| rustix::fs::lgetxattr(path, name, buffer)) {
            // Gone since, or not for this user to see.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {}
            value => attributes.push((name.to_vec(), value?)),
        }
    }
    Ok(attributes)
}

/// Calls `read` with a buffer large enough for what it wants to return.
fn read_growing(read: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(len) => {
                buffer.truncate(len);
                return Ok(buffer);
            }
            // Linux: XATTR_LIST_MAX and XATTR_SIZE_MAX are 64 KiB.
            Err(Errno::RANGE) if buffer.len() < 64 << 10 => buffer.resize(64 << 10, 0),
            Err(error) => return Err(error),
        }
    }
}

/// The parts of a file that are not holes; `None` where the filesystem cannot tell.
fn data_regions(file: &File, size: u64) -> io::Result<Option<Vec<Region>>> {
    let mut regions = Vec::new();
    let mut position = 0;
    while position < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(file, SeekFrom::Hole(start))?.min(size);
        if end > start {
            regions.push(Region { offset: start, len_bytes: end - start });
        }
        position = end.max(position + 1);
    }
    Ok(Some(regions))
}

/// The bytes of a file's regions, one after another.
struct RegionReader<'a> {
    file: &'a File,
    regions: &'a [Region],
    /// Bytes of the first region already read.
    position: u64,
}

impl Read for RegionReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(region) = self.regions.first() {
            let left = region.len_bytes - self.position;
            if left == 0 {
                self.regions = &self.regions[1..];
                self.position = 0;
                continue;
            }
            let wanted = left.min(buffer.len() as u64) as usize;
            let count = self.file.read_at(&mut buffer[..wanted], region.offset + self.position)?;
            self.position += count as u64;
            return Ok(count);
        }
        Ok(0)
    }
}
