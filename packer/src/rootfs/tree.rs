//! A Unix directory tree in memory: names, metadata and where each file's data has been put.
//!
//! The tree is virtual: nothing that an archive says is ever carried out on the host. Paths are
//! resolved inside the tree as after a chroot: `..` stops at the root, an absolute symbolic link
//! starts there. Layers are applied one over another; [`FsTree::begin_layer`] separates them, so
//! that an opaque whiteout hides what is below and not what its own layer brings.

use super::store::FileData;
use super::xattr::Xattrs;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Longest file name in bytes (Linux NAME_MAX, and EROFS_NAME_LEN).
const MAX_NAME_BYTES: usize = 255;
/// Longest path that an archive may use. Linux system calls take 4096, tools that change directory
/// go deeper; the limit only keeps a small archive from asking for millions of directories.
const MAX_PATH_BYTES: usize = 16 << 10;
/// Longest target of a symbolic link: Linux PATH_MAX less the NUL.
const MAX_LINK_BYTES: usize = 4095;
/// Symbolic links followed in one path (Linux MAXSYMLINKS).
const MAX_LINKS_FOLLOWED: usize = 40;
/// Bytes that the tree itself may take, roughly: names, targets, attributes and fixed costs.
const MAX_TREE_BYTES: usize = 2 << 30;
const INODE_COST_BYTES: usize = 256;

/// Device numbers that fit an EROFS inode (Linux new_encode_dev): 12 and 20 bits.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xfffff;

/// Names one inode of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(u32);

impl InodeId {
    /// Position in the tree's table of inodes.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Seconds and nanoseconds since 1970; seconds may be negative, nanoseconds are below 10^9.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// The rest.
    pub nanos: u32,
}

/// What every kind of inode has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with set-user-ID, set-group-ID and sticky: 0 to 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Time,
    /// Extended attributes by full name.
    pub xattrs: Xattrs,
}

/// A device number, split as Linux does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceNumber {
    /// Driver.
    pub major: u32,
    /// Device of that driver.
    pub minor: u32,
}

/// The kind of an inode, with what only that kind has.
#[derive(Clone, Debug)]
pub enum Content {
    /// Children by name, in byte order.
    Directory(BTreeMap<Box<[u8]>, InodeId>),
    /// A regular file, its data already stored.
    File(FileData),
    /// A symbolic link's target.
    Symlink(Box<[u8]>),
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl Content {
    /// A directory without children.
    pub fn empty_directory() -> Self {
        Content::Directory(BTreeMap::new())
    }
}

/// One inode.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Owner, mode, time and attributes.
    pub metadata: Metadata,
    /// Kind and data.
    pub content: Content,
    /// The layer that last stated it.
    layer: u32,
}

/// Why an entry cannot be placed in the tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// A component is longer than 255 bytes.
    #[error("a name is longer than {MAX_NAME_BYTES} bytes")]
    NameTooLong,
    /// The whole path is too long.
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    PathTooLong,
    /// A name or a target holds a NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
    /// A path leads through something that is no directory.
    #[error("the path leads through {0}, which is not a directory")]
    NotADirectory(String),
    /// Too many symbolic links, usually a loop.
    #[error("the path leads through too many symbolic links")]
    LinkLoop,
    /// A path without a name of its own (`/`, `a/..`) can only be a directory.
    #[error("the path has no name of its own, which only a directory may do")]
    NoName,
    /// A symbolic link with an empty or overlong target.
    #[error("a symbolic link's target must have 1 to {MAX_LINK_BYTES} bytes")]
    BadTarget,
    /// A hard link to something that is not there.
    #[error("hard link to {0}, which is not there")]
    LinkTargetMissing(String),
    /// A hard link to a directory.
    #[error("hard link to {0}, which is a directory")]
    LinkToDirectory(String),
    /// Device numbers beyond what Linux has.
    #[error("device number {0}:{1} is out of range")]
    DeviceOutOfRange(u32, u32),
    /// The tree grew beyond what this program will hold in memory.
    #[error("the tree takes too much memory ({MAX_TREE_BYTES} bytes allowed)")]
    TooLarge,
}

/// A directory tree. There is always a root directory.
#[derive(Clone, Debug)]
pub struct FsTree {
    /// Inodes that were replaced stay here, unreachable.
    inodes: Vec<Inode>,
    layer: u32,
    /// Names that this layer gave to inodes of lower layers: directory and name.
    new_links: BTreeSet<(InodeId, Box<[u8]>)>,
    cost_bytes: usize,
}

/// The directory that a path's last component is in, and that component; `None` if the path names
/// that directory itself (`/`, `a/..`).
struct Place<'a> {
    directory: InodeId,
    name: Option<&'a [u8]>,
}

impl Default for FsTree {
    fn default() -> Self {
        FsTree::new()
    }
}

impl FsTree {
    /// A tree with an empty root directory: mode 0755, owner 0:0, time 0.
    pub fn new() -> Self {
        let metadata = Metadata { mode: 0o755, ..Metadata::default() };
        let root = Inode { metadata, content: Content::empty_directory(), layer: 0 };
        FsTree { inodes: vec![root], layer: 0, new_links: BTreeSet::new(), cost_bytes: 0 }
    }

    /// The root directory.
    pub fn root(&self) -> InodeId {
        InodeId(0)
    }

    /// An inode of this tree.
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.index()]
    }

    /// Number of inodes ever made, reachable or not: one more than any index.
    pub(super) fn table_len(&self) -> usize {
        self.inodes.len()
    }

    /// Every inode that has a name, and the root, each once.
    pub(super) fn reachable(&self) -> Vec<InodeId> {
        let mut seen = vec![false; self.inodes.len()];
        let mut found = vec![self.root()];
        seen[0] = true;
        let mut next = 0;
        while let Some(&id) = found.get(next) {
            next += 1;
            let Content::Directory(children) = &self.inode(id).content else { continue };
            for &child in children.values() {
                if !std::mem::replace(&mut seen[child.index()], true) {
                    found.push(child);
                }
            }
        }
        found
    }

    /// Where the data of a regular file is.
    pub(super) fn file_data_mut(&mut self, id: InodeId) -> Option<&mut FileData> {
        match &mut self.inodes[id.index()].content {
            Content::File(data) => Some(data),
            _ => None,
        }
    }

    /// From now on entries belong to the next layer.
    pub fn begin_layer(&mut self) {
        self.layer += 1;
        self.new_links.clear();
    }

    /// Puts an inode at `path`. What was there is replaced, except that a directory over a
    /// directory keeps the children and takes the new metadata. Missing directories on the way are
    /// made, mode 0755, owner 0:0, with the time of the entry.
    ///
    /// # Errors
    /// [`TreeError`] if the path cannot be resolved or the content cannot exist; the tree may then
    /// have gained directories, nothing else.
    pub fn insert(
        &mut self,
        path: &[u8],
        metadata: Metadata,
        content: Content,
    ) -> Result<InodeId, TreeError> {
        check_content(&content)?;
        let mtime = metadata.mtime;
        let place = self.place(path, Some(mtime))?;
        let directory = place.directory;
        let Some(name) = place.name else {
            return match content {
                Content::Directory(_) => self.restate(directory, metadata),
                _ => Err(TreeError::NoName),
            };
        };
        let existing = self.child(directory, name);
        if let (Some(id), Content::Directory(_)) = (existing, &content)
            && matches!(self.inode(id).content, Content::Directory(_))
        {
            return self.restate(id, metadata);
        }
        let id = self.add_inode(metadata, content)?;
        self.link(directory, name, id)?;
        Ok(id)
    }

    /// Gives the inode at `target` another name. The target itself is not followed if it is a
    /// symbolic link, as link(2).
    ///
    /// # Errors
    /// [`TreeError`] if the target is missing or a directory, or a path cannot be resolved.
    pub fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<InodeId, TreeError> {
        let missing = || TreeError::LinkTargetMissing(super::error::escape(target));
        let place = self.place(target, None)?;
        let name = place.name.ok_or_else(|| TreeError::LinkToDirectory(super::error::escape(target)))?;
        let id = self.child(place.directory, name).ok_or_else(missing)?;
        if matches!(self.inode(id).content, Content::Directory(_)) {
            return Err(TreeError::LinkToDirectory(super::error::escape(target)));
        }
        let mtime = self.inode(id).metadata.mtime;
        let place = self.place(path, Some(mtime))?;
        let name = place.name.ok_or(TreeError::NoName)?;
        if self.child(place.directory, name) != Some(id) {
            self.link(place.directory, name, id)?;
        }
        if self.inode(id).layer < self.layer {
            self.new_links.insert((place.directory, name.into()));
        }
        Ok(id)
    }

    /// Removes what lower layers have at `path`, with all below it. Nothing there is no error.
    ///
    /// # Errors
    /// [`TreeError`] if the path cannot be resolved.
    pub fn remove(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let place = match self.place(path, None) {
            Err(TreeError::NotADirectory(_) | TreeError::LinkTargetMissing(_)) => return Ok(()),
            other => other?,
        };
        let name = place.name.ok_or(TreeError::NoName)?;
        let Some(id) = self.child(place.directory, name) else { return Ok(()) };
        if !self.is_of_this_layer(place.directory, name, id) {
            self.children_mut(place.directory).remove(name);
        } else {
            // This layer has put something below it: only that stays.
            self.hide_lower(id);
        }
        Ok(())
    }

    /// Removes what lower layers have in the directory at `path`; this layer's entries stay.
    ///
    /// # Errors
    /// [`TreeError`] if the path cannot be resolved.
    pub fn make_opaque(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let id = match self.lookup(path) {
            Ok(Some(id)) => id,
            Ok(None) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.hide_lower(id);
        Ok(())
    }

    /// Removes from a directory, and those of this layer below it, what lower layers have.
    fn hide_lower(&mut self, id: InodeId) {
        let mut pending = vec![id];
        while let Some(directory) = pending.pop() {
            let Content::Directory(children) = &self.inode(directory).content else { continue };
            let kept: BTreeMap<_, _> = children
                .iter()
                .filter(|&(name, &child)| self.is_of_this_layer(directory, name, child))
                .map(|(name, &child)| (name.clone(), child))
                .collect();
            pending.extend(kept.values());
            *self.children_mut(directory) = kept;
        }
    }

    /// Whether this layer put this name, or what it stands for, where it is.
    fn is_of_this_layer(&self, directory: InodeId, name: &[u8], id: InodeId) -> bool {
        self.inode(id).layer == self.layer
            || (!self.new_links.is_empty() && self.new_links.contains(&(directory, name.into())))
    }

    /// Finds the inode at `path`, following symbolic links to the end, inside the tree.
    ///
    /// # Errors
    /// [`TreeError::LinkLoop`] and paths that no tree can have.
    pub fn lookup(&self, path: &[u8]) -> Result<Option<InodeId>, TreeError> {
        let mut walk = Walk::new(path)?;
        while let Some(name) = walk.next_name() {
            let Some(id) = self.child(walk.directory(), &name) else { return Ok(None) };
            match &self.inode(id).content {
                Content::Symlink(target) => walk.follow(target)?,
                Content::Directory(_) => walk.enter(id),
                _ if walk.is_at_end() => return Ok(Some(id)),
                _ => return Ok(None),
            }
        }
        Ok(Some(walk.directory()))
    }

    /// Resolves all but the last component. With `implied_mtime`, missing directories are made.
    fn place<'a>(&mut self, path: &'a [u8], implied_mtime: Option<Time>) -> Result<Place<'a>, TreeError> {
        let (parent, name) = split_last(path);
        if let Some(name) = name {
            check_name(name)?;
        }
        let mut walk = Walk::new(parent)?;
        while let Some(component) = walk.next_name() {
            let id = match (self.child(walk.directory(), &component), implied_mtime) {
                (Some(id), _) => id,
                (None, Some(mtime)) => {
                    let metadata = Metadata { mode: 0o755, mtime, ..Metadata::default() };
                    let id = self.add_inode(metadata, Content::empty_directory())?;
                    self.link(walk.directory(), &component, id)?;
                    id
                }
                (None, None) => return Err(TreeError::LinkTargetMissing(super::error::escape(path))),
            };
            match &self.inode(id).content {
                Content::Directory(_) => walk.enter(id),
                Content::Symlink(target) => walk.follow(target)?,
                _ => return Err(TreeError::NotADirectory(super::error::escape(&component))),
            }
            if implied_mtime.is_some() {
                // A layer that puts something below a directory states that directory too.
                self.inodes[id.index()].layer = self.layer;
            }
        }
        Ok(Place { directory: walk.directory(), name })
    }

    fn restate(&mut self, id: InodeId, metadata: Metadata) -> Result<InodeId, TreeError> {
        self.charge(metadata.xattrs.cost_bytes())?;
        let inode = &mut self.inodes[id.index()];
        inode.metadata = metadata;
        inode.layer = self.layer;
        Ok(id)
    }

    fn add_inode(&mut self, metadata: Metadata, content: Content) -> Result<InodeId, TreeError> {
        let variable = match &content {
            Content::Symlink(target) => target.len(),
            Content::File(data) => data.cost_bytes(),
            _ => 0,
        };
        self.charge(INODE_COST_BYTES + metadata.xattrs.cost_bytes() + variable)?;
        let id = InodeId(u32::try_from(self.inodes.len()).map_err(|_| TreeError::TooLarge)?);
        self.inodes.push(Inode { metadata, content, layer: self.layer });
        Ok(id)
    }

    fn link(&mut self, directory: InodeId, name: &[u8], id: InodeId) -> Result<(), TreeError> {
        self.charge(name.len() + 32)?;
        self.children_mut(directory).insert(name.into(), id);
        Ok(())
    }

    fn charge(&mut self, bytes: usize) -> Result<(), TreeError> {
        self.cost_bytes += bytes;
        if self.cost_bytes > MAX_TREE_BYTES { Err(TreeError::TooLarge) } else { Ok(()) }
    }

    fn child(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        match &self.inode(directory).content {
            Content::Directory(children) => children.get(name).copied(),
            _ => None,
        }
    }

    /// The children of an inode that is known to be a directory.
    fn children_mut(&mut self, directory: InodeId) -> &mut BTreeMap<Box<[u8]>, InodeId> {
        match &mut self.inodes[directory.index()].content {
            Content::Directory(children) => children,
            _ => unreachable!("only directories are entered"),
        }
    }
}

/// A walk along a path: the directories entered so far and the components still to come.
struct Walk {
    /// From the root to the current directory; never empty.
    directories: Vec<InodeId>,
    pending: VecDeque<Box<[u8]>>,
    pending_bytes: usize,
    links_left: usize,
}

impl Walk {
    fn new(path: &[u8]) -> Result<Self, TreeError> {
        let mut walk = Walk {
            directories: vec![InodeId(0)],
            pending: VecDeque::new(),
            pending_bytes: 0,
            links_left: MAX_LINKS_FOLLOWED,
        };
        walk.push_front(path)?;
        Ok(walk)
    }

    fn directory(&self) -> InodeId {
        *self.directories.last().unwrap_or(&InodeId(0))
    }

    /// The next component that is a name; `.` and `..` are dealt with here.
    fn next_name(&mut self) -> Option<Box<[u8]>> {
        while let Some(component) = self.pending.pop_front() {
            self.pending_bytes -= component.len() + 1;
            match &*component {
                b"." => {}
                b".." => {
                    if self.directories.len() > 1 {
                        self.directories.pop();
                    }
                }
                _ => return Some(component),
            }
        }
        None
    }

    fn is_at_end(&self) -> bool {
        self.pending.is_empty()
    }

    fn enter(&mut self, directory: InodeId) {
        self.directories.push(directory);
    }

    fn follow(&mut self, target: &[u8]) -> Result<(), TreeError> {
        self.links_left = self.links_left.checked_sub(1).ok_or(TreeError::LinkLoop)?;
        if target.starts_with(b"/") {
            self.directories.truncate(1);
        }
        self.push_front(target)
    }

    fn push_front(&mut self, path: &[u8]) -> Result<(), TreeError> {
        if self.pending_bytes + path.len() > MAX_PATH_BYTES {
            return Err(TreeError::PathTooLong);
        }
        for component in components(path).rev() {
            check_name(component)?;
            self.pending_bytes += component.len() + 1;
            self.pending.push_front(component.into());
        }
        Ok(())
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
}

/// Everything before the last component that is a name, and that component. A path that ends in
/// `..` has no such component; it names a directory that is resolved as a whole.
fn split_last(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut end = path.len();
    loop {
        while end > 0 && path[end - 1] == b'/' {
            end -= 1;
        }
        let start = path[..end].iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        match &path[start..end] {
            b"" => return (b"", None),
            b"." => end = start,
            b".." => return (&path[..end], None),
            name => return (&path[..start], Some(name)),
        }
    }
}

fn check_name(name: &[u8]) -> Result<(), TreeError> {
    if name.len() > MAX_NAME_BYTES {
        return Err(TreeError::NameTooLong);
    }
    if name.contains(&0) {
        return Err(TreeError::Nul);
    }
    Ok(())
}

fn check_content(content: &Content) -> Result<(), TreeError> {
    match content {
        Content::Symlink(target) if target.is_empty() || target.len() > MAX_LINK_BYTES => {
            Err(TreeError::BadTarget)
        }
        Content::Symlink(target) if target.contains(&0) => Err(TreeError::Nul),
        Content::CharDevice(number) | Content::BlockDevice(number)
            if number.major > MAX_MAJOR || number.minor > MAX_MINOR =>
        {
            Err(TreeError::DeviceOutOfRange(number.major, number.minor))
        }
        _ => Ok(()),
    }
}
