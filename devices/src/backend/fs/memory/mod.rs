//! A file system in memory: for hosts without files, such as a web page, and for tests.
//!
//! Handles keep an inode alive after its last name is gone, as on a real host. It reads no clock:
//! whoever owns it says what time it is ([`MemoryFs::set_time`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::{
    Access, Attr, Birth, DirEntry, Errno, FileSystem, Kind, NAME_MAX_BYTES, Name, NodeKind, OpenFlags,
    Result, SetAttr, StatFs, TARGET_MAX_BYTES, Timestamp, XATTR_MAX_BYTES, XattrMode,
};
use contents::Contents;
use tree::{Body, ROOT, Tree};

mod contents;
mod tree;

/// `TMPFS_MAGIC` of Linux `magic.h`: what programs take for a file system in memory.
const STATFS_MAGIC: u32 = 0x0102_1994;
/// Block size that `statfs` reports.
const BLOCK_BYTES: u64 = 4096;

/// How much a [`MemoryFs`] may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemoryLimits {
    /// Contents of all files, in bytes; counted in chunks of 64 KiB.
    pub bytes: u64,
    /// Files of any type.
    pub files: u64,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        MemoryLimits { bytes: 512 << 20, files: 1 << 20 }
    }
}

/// A file system in memory. Clones share one tree.
#[derive(Clone, Debug)]
pub struct MemoryFs {
    tree: Arc<Mutex<Tree>>,
}

/// Handle of a file in a [`MemoryFs`].
#[derive(Debug)]
pub struct MemoryNode {
    number: u64,
    tree: Arc<Mutex<Tree>>,
}

/// Opened file in a [`MemoryFs`].
#[derive(Debug)]
pub struct MemoryFile {
    node: MemoryNode,
    access: Access,
    append: bool,
}

// A panic while the lock is held leaves at worst one operation half done; the tree stays usable.
fn lock(tree: &Mutex<Tree>) -> MutexGuard<'_, Tree> {
    tree.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for MemoryNode {
    fn drop(&mut self) {
        lock(&self.tree).release(self.number);
    }
}

impl MemoryFs {
    /// An empty tree.
    pub fn new(limits: MemoryLimits) -> Self {
        MemoryFs { tree: Arc::new(Mutex::new(Tree::new(limits))) }
    }

    /// Says what time it is for changes from now on.
    pub fn set_time(&self, now: Timestamp) {
        lock(&self.tree).now = now;
    }

    /// Puts a file at `path` (components separated by `/`), making directories as needed.
    ///
    /// # Errors
    /// `ENOTDIR`, `EISDIR`, `ENOSPC`, `EINVAL` or `ENAMETOOLONG` for a bad component.
    pub fn put(&self, path: &[u8], permissions: u32, contents: &[u8]) -> Result<()> {
        let mut components = components(path)?;
        let last = components.pop().ok_or(Errno::EISDIR)?;
        let mut tree = self.lock();
        let mut directory = ROOT;
        for name in components {
            let birth = Birth { permissions: 0o755, uid: None, gid: None };
            directory = match tree.lookup(directory, name) {
                Err(Errno::ENOENT) => tree.make_directory(directory, name, birth)?,
                found => found?,
            };
        }
        let number = match tree.lookup(directory, last) {
            Err(Errno::ENOENT) => {
                let birth = Birth { permissions, uid: None, gid: None };
                tree.make(directory, last, Kind::Regular, Body::File(Contents::default()), birth)?
            }
            found => found?,
        };
        tree.set_len(number, 0)?;
        tree.write(number, Some(0), contents)?;
        Ok(())
    }

    /// The contents of the file at `path`.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EISDIR`, `EFBIG` when it does not fit into memory, `EINVAL` for other types.
    pub fn get(&self, path: &[u8]) -> Result<Vec<u8>> {
        let tree = self.lock();
        let number =
            components(path)?.into_iter().try_fold(ROOT, |directory, name| tree.lookup(directory, name))?;
        match &tree.inode(number)?.body {
            Body::File(contents) if contents.len_bytes() > tree.limits.bytes => Err(Errno::EFBIG),
            Body::File(contents) => {
                let mut bytes = vec![0; contents.len_bytes() as usize];
                contents.read(0, &mut bytes);
                Ok(bytes)
            }
            Body::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tree> {
        lock(&self.tree)
    }

    fn handle(&self, tree: &mut Tree, number: u64) -> MemoryNode {
        tree.retain(number);
        MemoryNode { number, tree: Arc::clone(&self.tree) }
    }

    fn handle_file(&self, tree: &mut Tree, number: u64, flags: OpenFlags) -> Result<MemoryFile> {
        match tree.inode(number)?.body {
            Body::Directory(_) if flags.access.writes() || flags.truncate => return Err(Errno::EISDIR),
            Body::Directory(_) => {}
            _ if flags.directory => return Err(Errno::ENOTDIR),
            Body::File(_) if flags.truncate => tree.set_len(number, 0)?,
            Body::File(_) => {}
            Body::Symlink(_) => return Err(Errno::ELOOP),
            Body::Special(_) => return Err(Errno::ENXIO),
        }
        Ok(MemoryFile { node: self.handle(tree, number), access: flags.access, append: flags.append })
    }
}

fn components(path: &[u8]) -> Result<Vec<Name<'_>>> {
    let parts = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
    parts.map(|part| Name::new(part).map_err(|_| Errno::EINVAL)).collect()
}

impl FileSystem for MemoryFs {
    type Node = MemoryNode;
    type File = MemoryFile;

    fn root(&self) -> Result<MemoryNode> {
        Ok(self.handle(&mut self.lock(), ROOT))
    }

    fn lookup(&self, directory: &MemoryNode, name: Name<'_>) -> Result<(MemoryNode, Attr)> {
        let mut tree = self.lock();
        let number = tree.lookup(directory.number, name)?;
        let attr = tree.attr(number)?;
        Ok((self.handle(&mut tree, number), attr))
    }

    fn attr_at(&self, directory: &MemoryNode, name: Name<'_>) -> Result<Attr> {
        let tree = self.lock();
        tree.attr(tree.lookup(directory.number, name)?)
    }

    fn attr(&self, node: &MemoryNode) -> Result<Attr> {
        self.lock().attr(node.number)
    }

    fn set_attr(&self, node: &MemoryNode, _: Option<&MemoryFile>, change: &SetAttr) -> Result<()> {
        self.lock().set_attr(node.number, change)
    }

    fn open(&self, node: &MemoryNode, flags: OpenFlags) -> Result<MemoryFile> {
        self.handle_file(&mut self.lock(), node.number, flags)
    }

    fn create(
        &self,
        directory: &MemoryNode,
        name: Name<'_>,
        flags: OpenFlags,
        birth: Birth,
    ) -> Result<(MemoryNode, MemoryFile)> {
        let mut tree = self.lock();
        let body = Body::File(Contents::default());
        let number = match tree.make(directory.number, name, Kind::Regular, body, birth) {
            Err(Errno::EEXIST) if !flags.exclusive => tree.lookup(directory.number, name)?,
            made => made?,
        };
        let file = self.handle_file(&mut tree, number, flags)?;
        Ok((self.handle(&mut tree, number), file))
    }

    fn read(&self, file: &MemoryFile, offset: u64, into: &mut [u8]) -> Result<usize> {
        if !file.access.reads() {
            return Err(Errno::EBADF);
        }
        match &self.lock().inode(file.node.number)?.body {
            Body::File(contents) => Ok(contents.read(offset, into)),
            Body::Directory(_) => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    fn write(&self, file: &MemoryFile, offset: u64, from: &[u8]) -> Result<usize> {
        if !file.access.writes() {
            return Err(Errno::EBADF);
        }
        self.lock().write(file.node.number, (!file.append).then_some(offset), from)
    }

    fn sync(&self, _: &MemoryFile, _: bool) -> Result<()> {
        Ok(())
    }

    fn read_dir(
        &self,
        file: &MemoryFile,
        offset: u64,
        _: usize,
        take: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let tree = self.lock();
        let directory = tree.directory(file.node.number)?;
        let dots = [(file.node.number, 0, &b"."[..]), (directory.parent, 1, &b".."[..])];
        let dots = dots.into_iter().filter(|&(_, at, _)| at >= offset);
        for (inode, at, name) in dots.chain(directory.entries_from(offset)) {
            let kind = tree.attr(inode)?.kind;
            if !take(&DirEntry { inode, kind, next_offset: at + 1, name }) {
                break;
            }
        }
        Ok(())
    }

    fn make_directory(&self, directory: &MemoryNode, name: Name<'_>, birth: Birth) -> Result<MemoryNode> {
        let mut tree = self.lock();
        let number = tree.make_directory(directory.number, name, birth)?;
        Ok(self.handle(&mut tree, number))
    }

    fn make_symlink(
        &self,
        directory: &MemoryNode,
        name: Name<'_>,
        target: &[u8],
        birth: Birth,
    ) -> Result<MemoryNode> {
        if target.len() > TARGET_MAX_BYTES {
            return Err(Errno::ENAMETOOLONG);
        }
        let mut tree = self.lock();
        let birth = Birth { permissions: 0o777, ..birth };
        let number = tree.make(directory.number, name, Kind::Symlink, Body::Symlink(target.into()), birth)?;
        Ok(self.handle(&mut tree, number))
    }

    fn make_node(
        &self,
        directory: &MemoryNode,
        name: Name<'_>,
        kind: NodeKind,
        birth: Birth,
    ) -> Result<MemoryNode> {
        let (kind, body) = match kind {
            NodeKind::Regular => (Kind::Regular, Body::File(Contents::default())),
            NodeKind::Fifo => (Kind::Fifo, Body::Special(0)),
            NodeKind::Socket => (Kind::Socket, Body::Special(0)),
            NodeKind::CharDevice { major, minor } => {
                (Kind::CharDevice, Body::Special(device_number(major, minor)))
            }
            NodeKind::BlockDevice { major, minor } => {
                (Kind::BlockDevice, Body::Special(device_number(major, minor)))
            }
        };
        let mut tree = self.lock();
        let number = tree.make(directory.number, name, kind, body, birth)?;
        Ok(self.handle(&mut tree, number))
    }

    fn link(&self, node: &MemoryNode, directory: &MemoryNode, name: Name<'_>) -> Result<()> {
        self.lock().link(node.number, directory.number, name)
    }

    fn rename(
        &self,
        from: &MemoryNode,
        from_name: Name<'_>,
        to: &MemoryNode,
        to_name: Name<'_>,
    ) -> Result<()> {
        self.lock().rename(from.number, from_name, to.number, to_name)
    }

    fn unlink(&self, directory: &MemoryNode, name: Name<'_>, directory_wanted: bool) -> Result<()> {
        self.lock().unlink(directory.number, name, directory_wanted)
    }

    fn read_link(&self, node: &MemoryNode, into: &mut [u8]) -> Result<usize> {
        match &self.lock().inode(node.number)?.body {
            Body::Symlink(target) => {
                let count = target.len().min(into.len());
                into[..count].copy_from_slice(&target[..count]);
                Ok(count)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    fn stat_fs(&self, _: &MemoryNode) -> Result<StatFs> {
        let tree = self.lock();
        let blocks_free = (tree.limits.bytes - tree.used_bytes) / BLOCK_BYTES;
        Ok(StatFs {
            magic: STATFS_MAGIC,
            block_bytes: BLOCK_BYTES as u32,
            blocks: tree.limits.bytes / BLOCK_BYTES,
            blocks_free,
            blocks_available: blocks_free,
            files: tree.limits.files,
            files_free: tree.limits.files.saturating_sub(tree.files()),
            id: 1,
            name_max_bytes: NAME_MAX_BYTES as u32,
        })
    }

    fn xattr(&self, node: &MemoryNode, name: &[u8]) -> Result<Vec<u8>> {
        let tree = self.lock();
        tree.xattrs(node.number)?.get(name).map(|value| value.to_vec()).ok_or(Errno::ENODATA)
    }

    fn xattr_names(&self, node: &MemoryNode) -> Result<Vec<u8>> {
        let tree = self.lock();
        let mut names = Vec::new();
        for name in tree.xattrs(node.number)?.keys() {
            names.extend_from_slice(name);
            names.push(0);
        }
        if names.len() > XATTR_MAX_BYTES { Err(Errno::E2BIG) } else { Ok(names) }
    }

    fn set_xattr(&self, node: &MemoryNode, name: &[u8], value: &[u8], mode: XattrMode) -> Result<()> {
        self.lock().set_xattr(node.number, name, value, mode)
    }

    fn remove_xattr(&self, node: &MemoryNode, name: &[u8]) -> Result<()> {
        self.lock().remove_xattr(node.number, name)
    }
}

/// The number of a device as user programs see it (`makedev(3)`).
fn device_number(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
}
