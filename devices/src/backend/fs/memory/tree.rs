//! The inodes of a tree in memory and the rules of names, links and space. Knows no handles' lifetimes
//! beyond a count: an inode goes when it has neither a name nor a handle.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MemoryLimits;
use super::contents::Contents;
use crate::backend::fs::{
    Attr, Birth, Errno, FileId, Kind, Name, Result, SetAttr, SetTime, Timestamp, XATTR_MAX_BYTES, XattrMode,
};

/// Inode number of the root directory, as on ext4.
pub(super) const ROOT: u64 = 2;
/// Largest length of a file.
const FILE_MAX_BYTES: u64 = i64::MAX as u64;
/// Directory offsets of the entries after `.` (0) and `..` (1).
const FIRST_ENTRY_OFFSET: u64 = 2;
/// All extended attributes of one file together.
const XATTRS_MAX_BYTES: u64 = 4 * XATTR_MAX_BYTES as u64;

/// Values by name.
type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) inode: u64,
    offset: u64,
}

/// Entries by name, and in the order in which they were made: that order gives stable offsets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Directory {
    pub(super) parent: u64,
    entries: BTreeMap<Box<[u8]>, Entry>,
    order: BTreeMap<u64, Box<[u8]>>,
    next_offset: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Body {
    File(Contents),
    Directory(Directory),
    Symlink(Box<[u8]>),
    /// Pipes, sockets and devices; devices have a number.
    Special(u64),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Inode {
    kind: Kind,
    permissions: u32,
    uid: u32,
    gid: u32,
    links: u64,
    accessed: Timestamp,
    modified: Timestamp,
    changed: Timestamp,
    xattrs: Xattrs,
    pub(super) body: Body,
    handles: u64,
}

#[derive(Debug)]
pub(super) struct Tree {
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    pub(super) now: Timestamp,
    pub(super) used_bytes: u64,
    pub(super) limits: MemoryLimits,
}

impl Directory {
    fn new(parent: u64) -> Self {
        Directory {
            parent,
            entries: BTreeMap::new(),
            order: BTreeMap::new(),
            next_offset: FIRST_ENTRY_OFFSET,
        }
    }

    fn insert(&mut self, name: Name<'_>, inode: u64) {
        let offset = self.next_offset;
        self.next_offset += 1;
        self.order.insert(offset, name.bytes().into());
        self.entries.insert(name.bytes().into(), Entry { inode, offset });
    }

    fn remove(&mut self, name: Name<'_>) {
        if let Some(entry) = self.entries.remove(name.bytes()) {
            self.order.remove(&entry.offset);
        }
    }

    /// Inode, offset and name of every entry from `offset` on.
    pub(super) fn entries_from(&self, offset: u64) -> impl Iterator<Item = (u64, u64, &[u8])> {
        self.order.range(offset.max(FIRST_ENTRY_OFFSET)..).map(|(&offset, name)| {
            let inode = self.entries.get(name).map_or(0, |entry| entry.inode);
            (inode, offset, &name[..])
        })
    }
}

impl Body {
    /// Memory that counts against the limit.
    fn stored_bytes(&self) -> u64 {
        match self {
            Body::File(contents) => contents.stored_bytes(),
            Body::Symlink(target) => target.len() as u64,
            Body::Directory(_) | Body::Special(_) => 0,
        }
    }
}

impl Inode {
    fn xattr_bytes(&self) -> u64 {
        self.xattrs.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
    }

    /// Memory that counts against the limit.
    fn stored_bytes(&self) -> u64 {
        self.body.stored_bytes() + self.xattr_bytes()
    }
}

impl Tree {
    pub(super) fn new(limits: MemoryLimits) -> Self {
        let mut tree = Tree {
            inodes: BTreeMap::new(),
            next_inode: ROOT,
            now: Timestamp::default(),
            used_bytes: 0,
            limits,
        };
        let birth = Birth { permissions: 0o755, uid: None, gid: None };
        let root = tree.add(Kind::Directory, Body::Directory(Directory::new(ROOT)), birth);
        // The root has no entry that names it, but is never removed.
        tree.inodes.get_mut(&root).into_iter().for_each(|inode| inode.links = 2);
        tree
    }

    /// Time goes on by a nanosecond with every change, so that no two changes look alike.
    fn tick(&mut self) -> Timestamp {
        self.now.nsec += 1;
        if self.now.nsec >= 1_000_000_000 {
            self.now = Timestamp { sec: self.now.sec + 1, nsec: 0 };
        }
        self.now
    }

    fn add(&mut self, kind: Kind, body: Body, birth: Birth) -> u64 {
        let now = self.tick();
        let number = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(
            number,
            Inode {
                kind,
                permissions: birth.permissions & 0o7777,
                uid: birth.uid.unwrap_or(0),
                gid: birth.gid.unwrap_or(0),
                links: 0,
                accessed: now,
                modified: now,
                changed: now,
                xattrs: BTreeMap::new(),
                body,
                handles: 0,
            },
        );
        number
    }

    pub(super) fn inode(&self, number: u64) -> Result<&Inode> {
        self.inodes.get(&number).ok_or(Errno::ESTALE)
    }

    pub(super) fn inode_mut(&mut self, number: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or(Errno::ESTALE)
    }

    /// Takes memory for contents, if there is so much.
    fn charge(&mut self, bytes: u64) -> Result<()> {
        let used_bytes = self.used_bytes.saturating_add(bytes);
        if used_bytes > self.limits.bytes {
            return Err(Errno::ENOSPC);
        }
        self.used_bytes = used_bytes;
        Ok(())
    }

    pub(super) fn files(&self) -> u64 {
        self.inodes.len() as u64
    }

    pub(super) fn directory(&self, number: u64) -> Result<&Directory> {
        match &self.inode(number)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn directory_mut(&mut self, number: u64) -> Result<&mut Directory> {
        match &mut self.inode_mut(number)?.body {
            Body::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(super) fn lookup(&self, directory: u64, name: Name<'_>) -> Result<u64> {
        let directory = self.directory(directory)?;
        directory.entries.get(name.bytes()).map(|entry| entry.inode).ok_or(Errno::ENOENT)
    }

    pub(super) fn attr(&self, number: u64) -> Result<Attr> {
        let inode = self.inode(number)?;
        let size_bytes = match &inode.body {
            Body::File(contents) => contents.len_bytes(),
            Body::Directory(directory) => directory.entries.len() as u64 * 32,
            Body::Symlink(target) => target.len() as u64,
            Body::Special(_) => 0,
        };
        Ok(Attr {
            id: FileId { device: 1, inode: number },
            kind: inode.kind,
            permissions: inode.permissions,
            links: inode.links,
            uid: inode.uid,
            gid: inode.gid,
            device_number: if let Body::Special(number) = inode.body { number } else { 0 },
            size_bytes,
            block_bytes: 4096,
            blocks_512: inode.body.stored_bytes() / 512,
            accessed: inode.accessed,
            modified: inode.modified,
            changed: inode.changed,
        })
    }

    pub(super) fn retain(&mut self, number: u64) {
        self.inodes.get_mut(&number).into_iter().for_each(|inode| inode.handles += 1);
    }

    pub(super) fn release(&mut self, number: u64) {
        self.inodes.get_mut(&number).into_iter().for_each(|inode| inode.handles -= 1);
        self.collect(number);
    }

    /// Frees an inode that nothing names.
    fn collect(&mut self, number: u64) {
        let unused = self.inodes.get(&number).is_some_and(|i| i.links == 0 && i.handles == 0);
        if !unused {
            return;
        }
        if let Some(inode) = self.inodes.remove(&number) {
            self.used_bytes -= inode.stored_bytes();
        }
    }

    /// Makes a file of any kind and names it.
    pub(super) fn make(
        &mut self,
        directory: u64,
        name: Name<'_>,
        kind: Kind,
        body: Body,
        birth: Birth,
    ) -> Result<u64> {
        self.check_vacant(directory, name)?;
        if self.files() >= self.limits.files {
            return Err(Errno::ENOSPC);
        }
        self.charge(body.stored_bytes())?;
        let number = self.add(kind, body, birth);
        self.attach(directory, name, number)?;
        Ok(number)
    }

    pub(super) fn make_directory(&mut self, directory: u64, name: Name<'_>, birth: Birth) -> Result<u64> {
        self.make(directory, name, Kind::Directory, Body::Directory(Directory::new(directory)), birth)
    }

    pub(super) fn link(&mut self, number: u64, directory: u64, name: Name<'_>) -> Result<()> {
        let inode = self.inode(number)?;
        if inode.kind == Kind::Directory {
            return Err(Errno::EPERM);
        }
        if inode.links == 0 {
            return Err(Errno::ENOENT);
        }
        self.check_vacant(directory, name)?;
        self.attach(directory, name, number)
    }

    /// Fails unless `directory` is alive and has no entry `name`.
    fn check_vacant(&self, directory: u64, name: Name<'_>) -> Result<()> {
        match self.lookup(directory, name) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) if self.inode(directory)?.links == 0 => Err(Errno::ENOENT),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Enters `number`, counting links; a directory gets `directory` as its parent.
    fn attach(&mut self, directory: u64, name: Name<'_>, number: u64) -> Result<()> {
        let now = self.tick();
        let inode = self.inode_mut(number)?;
        inode.changed = now;
        let is_directory = inode.kind == Kind::Directory;
        inode.links += if is_directory { 2 } else { 1 };
        if let Body::Directory(moved) = &mut inode.body {
            moved.parent = directory;
        }
        self.directory_mut(directory)?.insert(name, number);
        self.parent_changed(directory, if is_directory { 1 } else { 0 }, now)
    }

    /// Takes an entry away, counting links; frees nothing.
    fn detach(&mut self, directory: u64, name: Name<'_>) -> Result<u64> {
        let number = self.lookup(directory, name)?;
        let now = self.tick();
        let inode = self.inode_mut(number)?;
        inode.changed = now;
        let is_directory = inode.kind == Kind::Directory;
        inode.links -= if is_directory { 2 } else { 1 };
        self.directory_mut(directory)?.remove(name);
        self.parent_changed(directory, if is_directory { -1 } else { 0 }, now)?;
        Ok(number)
    }

    fn parent_changed(&mut self, directory: u64, links: i64, now: Timestamp) -> Result<()> {
        let parent = self.inode_mut(directory)?;
        parent.links = parent.links.saturating_add_signed(links);
        parent.modified = now;
        parent.changed = now;
        Ok(())
    }

    pub(super) fn unlink(&mut self, directory: u64, name: Name<'_>, directory_wanted: bool) -> Result<()> {
        let number = self.lookup(directory, name)?;
        match (&self.inode(number)?.body, directory_wanted) {
            (Body::Directory(_), false) => return Err(Errno::EISDIR),
            (Body::Directory(found), true) if !found.entries.is_empty() => return Err(Errno::ENOTEMPTY),
            (Body::Directory(_), true) | (_, false) => {}
            (_, true) => return Err(Errno::ENOTDIR),
        }
        self.detach(directory, name)?;
        self.collect(number);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: u64,
        from_name: Name<'_>,
        to: u64,
        to_name: Name<'_>,
    ) -> Result<()> {
        let moved = self.lookup(from, from_name)?;
        let moved_is_directory = self.inode(moved)?.kind == Kind::Directory;
        if self.directory(to)?.parent != to && self.inode(to)?.links == 0 {
            return Err(Errno::ENOENT);
        }
        if moved_is_directory && self.is_within(to, moved)? {
            return Err(Errno::EINVAL);
        }
        match self.lookup(to, to_name) {
            Ok(target) if target == moved => return Ok(()),
            Ok(target) => {
                match (moved_is_directory, &self.inode(target)?.body) {
                    (true, Body::Directory(found)) if !found.entries.is_empty() => {
                        return Err(Errno::ENOTEMPTY);
                    }
                    (true, Body::Directory(_)) => {}
                    (true, _) => return Err(Errno::ENOTDIR),
                    (false, Body::Directory(_)) => return Err(Errno::EISDIR),
                    (false, _) => {}
                }
                self.detach(to, to_name)?;
                self.collect(target);
            }
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        self.detach(from, from_name)?;
        self.attach(to, to_name, moved)
    }

    /// Whether `number` is the directory `ancestor` or lies below it.
    fn is_within(&self, mut number: u64, ancestor: u64) -> Result<bool> {
        while number != ancestor {
            let parent = self.directory(number)?.parent;
            if parent == number {
                return Ok(false);
            }
            number = parent;
        }
        Ok(true)
    }

    pub(super) fn write(&mut self, number: u64, offset: Option<u64>, from: &[u8]) -> Result<usize> {
        let room_bytes = self.limits.bytes - self.used_bytes;
        let now = self.tick();
        let inode = self.inode_mut(number)?;
        let Body::File(contents) = &mut inode.body else { return Err(Errno::EINVAL) };
        let offset = offset.unwrap_or_else(|| contents.len_bytes());
        let end = offset.checked_add(from.len() as u64).filter(|&end| end <= FILE_MAX_BYTES);
        if end.is_none() {
            return Err(Errno::EFBIG);
        }
        let growth_bytes = contents.growth_bytes(offset, from.len() as u64);
        if growth_bytes > room_bytes {
            return Err(Errno::ENOSPC);
        }
        contents.write(offset, from);
        (inode.modified, inode.changed) = (now, now);
        self.used_bytes += growth_bytes;
        Ok(from.len())
    }

    pub(super) fn set_len(&mut self, number: u64, len_bytes: u64) -> Result<()> {
        let now = self.tick();
        let inode = self.inode_mut(number)?;
        let contents = match &mut inode.body {
            Body::File(contents) => contents,
            Body::Directory(_) => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        };
        if len_bytes > FILE_MAX_BYTES {
            return Err(Errno::EFBIG);
        }
        let before = contents.stored_bytes();
        contents.set_len(len_bytes);
        let freed = before - contents.stored_bytes();
        (inode.modified, inode.changed) = (now, now);
        self.used_bytes -= freed;
        Ok(())
    }

    pub(super) fn set_attr(&mut self, number: u64, change: &SetAttr) -> Result<()> {
        if let Some(size_bytes) = change.size_bytes {
            self.set_len(number, size_bytes)?;
        }
        let now = self.tick();
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::At(at) => at,
        };
        let inode = self.inode_mut(number)?;
        inode.uid = change.uid.unwrap_or(inode.uid);
        inode.gid = change.gid.unwrap_or(inode.gid);
        inode.accessed = change.accessed.map_or(inode.accessed, time);
        inode.modified = change.modified.map_or(inode.modified, time);
        inode.changed = now;
        if let Some(permissions) = change.permissions {
            if inode.kind == Kind::Symlink {
                return Err(Errno::EOPNOTSUPP);
            }
            inode.permissions = permissions & 0o7777;
        }
        Ok(())
    }

    pub(super) fn xattrs(&self, number: u64) -> Result<&Xattrs> {
        Ok(&self.inode(number)?.xattrs)
    }

    pub(super) fn set_xattr(&mut self, number: u64, name: &[u8], value: &[u8], how: XattrMode) -> Result<()> {
        let now = self.tick();
        let inode = self.inode_mut(number)?;
        match (inode.xattrs.contains_key(name), how) {
            (true, XattrMode::Create) => return Err(Errno::EEXIST),
            (false, XattrMode::Replace) => return Err(Errno::ENODATA),
            _ => {}
        }
        let before = inode.xattr_bytes();
        let added = (name.len() + value.len()) as u64;
        if before + added > XATTRS_MAX_BYTES {
            return Err(Errno::ENOSPC);
        }
        self.charge(added)?;
        let inode = self.inode_mut(number)?;
        inode.xattrs.insert(name.into(), value.into());
        inode.changed = now;
        let replaced = before + added - inode.xattr_bytes();
        self.used_bytes -= replaced;
        Ok(())
    }

    pub(super) fn remove_xattr(&mut self, number: u64, name: &[u8]) -> Result<()> {
        let now = self.tick();
        let inode = self.inode_mut(number)?;
        let value = inode.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        inode.changed = now;
        self.used_bytes -= (name.len() + value.len()) as u64;
        Ok(())
    }
}
