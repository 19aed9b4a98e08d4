//! Reads an uncompressed EROFS image, trusting nothing in it.
//!
//! Every offset is checked against the image's length before it is used, no allocation is larger
//! than what the image can hold, directories are never followed in a circle, and names come out
//! only if they could be names.

use super::format::*;
use crate::rootfs::tree::{DeviceNumber, Time};
use crate::rootfs::xattr::{self, Xattrs};
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = BLOCK_BYTES as u64;
/// Longest directory that is read: some ten million names.
const MAX_DIRECTORY_BYTES: u64 = 1 << 30;
const MAX_LINK_BYTES: u64 = 4095;
const MAX_LINKS_FOLLOWED: usize = 40;

/// Bytes at offsets, as of a file or a block device.
pub trait ReadAt {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// The host's, or `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Number of bytes there are.
    fn len_bytes(&self) -> u64;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| self.get(start..start.checked_add(buffer.len())?));
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len_bytes(&self) -> u64 {
        self.len() as u64
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buffer, offset)
    }

    fn len_bytes(&self) -> u64 {
        (**self).len_bytes()
    }
}

/// A part of an open file.
#[derive(Debug)]
pub struct FileRange<'a> {
    /// The file.
    pub file: &'a File,
    /// First byte of the part.
    pub offset: u64,
    /// Length of the part in bytes.
    pub len_bytes: u64,
}

impl ReadAt for FileRange<'_> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.len_bytes => self.file.read_exact_at(buffer, self.offset + offset),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }
}

/// Why an image, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// The host's error while reading.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Not an EROFS image.
    #[error("not an EROFS filesystem")]
    NotErofs,
    /// An EROFS image that uses what this reader does not know.
    #[error("EROFS feature not supported: {0}")]
    Unsupported(&'static str),
    /// Something in the image is impossible.
    #[error("corrupt filesystem: {0}")]
    Corrupt(&'static str),
    /// An operation that this kind of file does not have.
    #[error("{0}")]
    WrongKind(&'static str),
    /// A path leads through too many symbolic links.
    #[error("too many symbolic links")]
    LinkLoop,
}

/// Names one inode of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nid(pub u64);

/// The kind of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice(DeviceNumber),
    /// A block device.
    BlockDevice(DeviceNumber),
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

/// One inode's fields. Fields are as in the image; contents are read through the [`Reader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Which inode it is.
    pub nid: Nid,
    /// Kind.
    pub kind: EntryKind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of names.
    pub nlink: u32,
    /// Length of the content in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    layout: DataLayout,
    /// Offset in the image of what follows inode and attributes.
    body_offset: u64,
    /// Offset and length of the attributes.
    xattrs: (u64, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DataLayout {
    Flat { first_block: u32, inline_tail: bool },
    Chunks { chunk_bits: u32, indexes: bool },
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name: 1 to 255 bytes, no slash, no NUL.
    pub name: Vec<u8>,
    /// The inode it names.
    pub nid: Nid,
}

/// An image whose superblock is good.
#[derive(Debug)]
pub struct Reader<R> {
    image: R,
    metadata_offset: u64,
    shared_xattr_offset: u64,
    root: Nid,
    inodes: u64,
}

impl<R: ReadAt> Reader<R> {
    /// Reads and checks the superblock.
    ///
    /// # Errors
    /// [`ReaderError::NotErofs`], [`ReaderError::Unsupported`] for compressed images and other
    /// features this reader lacks, [`ReaderError::Corrupt`].
    pub fn open(image: R) -> Result<Self, ReaderError> {
        let mut block = vec![0; BLOCK_BYTES];
        if image.len_bytes() < BLOCK {
            return Err(ReaderError::NotErofs);
        }
        image.read_exact_at(&mut block, 0)?;
        let fields = &block[SUPER_OFFSET..];
        if read_u32(fields, 0) != SUPER_MAGIC {
            return Err(ReaderError::NotErofs);
        }
        if fields[12] != BLOCK_BITS {
            return Err(ReaderError::Unsupported("a block size other than 4096"));
        }
        if read_u32(fields, 80) & !INCOMPAT_CHUNKED_FILE != 0 {
            return Err(ReaderError::Unsupported("compression or another later feature"));
        }
        let (stored_checksum, has_checksum) =
            (read_u32(fields, 4), read_u32(fields, 8) & COMPAT_SB_CHKSUM != 0);
        let root = Nid(u64::from(read_u16(fields, 14)));
        let inodes = read_u64(fields, 16);
        let metadata_offset = u64::from(read_u32(fields, 40)) * BLOCK;
        let shared_xattr_offset = u64::from(read_u32(fields, 44)) * BLOCK;
        if has_checksum {
            block[SUPER_OFFSET + 4..SUPER_OFFSET + 8].fill(0);
            if crc32c(&block[SUPER_OFFSET..]) != stored_checksum {
                return Err(ReaderError::Corrupt("the superblock does not match its checksum"));
            }
        }
        Ok(Reader { image, metadata_offset, shared_xattr_offset, root, inodes })
    }

    /// The root directory.
    pub fn root(&self) -> Nid {
        self.root
    }

    /// Number of inodes that the superblock promises.
    pub fn inode_count(&self) -> u64 {
        self.inodes
    }

    /// Reads an inode.
    ///
    /// # Errors
    /// [`ReaderError::Corrupt`] if there can be none.
    pub fn inode(&self, nid: Nid) -> Result<Inode, ReaderError> {
        let outside = ReaderError::Corrupt("an inode lies outside of the image");
        let offset =
            nid.0.checked_mul(SLOT_BYTES as u64).and_then(|offset| offset.checked_add(self.metadata_offset));
        let offset = match offset {
            Some(offset) if offset < self.image.len_bytes() => offset,
            _ => return Err(outside),
        };
        let mut bytes = [0; INODE_BYTES];
        self.read(&mut bytes[..SLOT_BYTES], offset)?;
        let format = read_u16(&bytes, 0);
        let extended = format & FORMAT_EXTENDED != 0;
        let head = if extended { INODE_BYTES } else { SLOT_BYTES };
        if extended {
            self.read(&mut bytes, offset)?;
        }
        let mode = read_u16(&bytes, 4);
        let union = read_u32(&bytes, 16);
        let (major, minor) = decode_device(union);
        let device = DeviceNumber { major, minor };
        let kind = match mode & S_IFMT {
            S_IFDIR => EntryKind::Directory,
            S_IFREG => EntryKind::File,
            S_IFLNK => EntryKind::Symlink,
            S_IFCHR => EntryKind::CharDevice(device),
            S_IFBLK => EntryKind::BlockDevice(device),
            S_IFIFO => EntryKind::Fifo,
            S_IFSOCK => EntryKind::Socket,
            _ => return Err(ReaderError::Corrupt("an inode has no kind")),
        };
        let layout = match format >> FORMAT_LAYOUT_SHIFT & 7 {
            LAYOUT_FLAT_PLAIN => DataLayout::Flat { first_block: union, inline_tail: false },
            LAYOUT_FLAT_INLINE => DataLayout::Flat { first_block: union, inline_tail: true },
            LAYOUT_CHUNK_BASED => {
                let chunk_format = union as u16;
                if chunk_format & !(CHUNK_BLKBITS_MASK | CHUNK_INDEXES) != 0 {
                    return Err(ReaderError::Unsupported("an unknown chunk format"));
                }
                let chunk_bits = u32::from(chunk_format & CHUNK_BLKBITS_MASK);
                DataLayout::Chunks { chunk_bits, indexes: chunk_format & CHUNK_INDEXES != 0 }
            }
            _ => return Err(ReaderError::Unsupported("a compressed file")),
        };
        let xattr_bytes = match usize::from(read_u16(&bytes, 2)) {
            0 => 0,
            count => xattr::HEADER_BYTES + (count - 1) * 4,
        };
        let xattr_offset = offset + head as u64;
        let (size, uid, gid, nlink, mtime) = if extended {
            let mtime = Time { secs: read_u64(&bytes, 32) as i64, nanos: read_u32(&bytes, 40) };
            (read_u64(&bytes, 8), read_u32(&bytes, 24), read_u32(&bytes, 28), read_u32(&bytes, 44), mtime)
        } else {
            let (uid, gid, nlink) = (read_u16(&bytes, 24), read_u16(&bytes, 26), read_u16(&bytes, 6));
            (u64::from(read_u32(&bytes, 8)), uid.into(), gid.into(), nlink.into(), Time::default())
        };
        if size > i64::MAX as u64 {
            return Err(ReaderError::Corrupt("an inode's size is impossible"));
        }
        Ok(Inode {
            nid,
            kind,
            mode: mode & !S_IFMT,
            uid,
            gid,
            nlink,
            size,
            mtime,
            layout,
            body_offset: xattr_offset + xattr_bytes as u64,
            xattrs: (xattr_offset, xattr_bytes),
        })
    }

    /// Reads content from `offset` on: at most `buffer.len()` bytes, fewer only at the end.
    /// Returns how many.
    ///
    /// # Errors
    /// [`ReaderError::Corrupt`] if the content would lie outside of the image,
    /// [`ReaderError::WrongKind`] for a device, pipe or socket.
    pub fn read_at(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, ReaderError> {
        if !matches!(inode.kind, EntryKind::File | EntryKind::Directory | EntryKind::Symlink) {
            return Err(ReaderError::WrongKind("it has no content"));
        }
        let wanted = inode.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let position = offset + done as u64;
            let (source, len) = self.map(inode, position)?;
            let part = &mut buffer[done..wanted];
            let part_bytes = len.min(part.len() as u64) as usize;
            let part = &mut part[..part_bytes];
            match source {
                Some(source) => self.read(part, source)?,
                None => part.fill(0),
            }
            done += part_bytes;
        }
        Ok(wanted)
    }

    /// Reads a whole file into memory if it is not longer than `limit_bytes`.
    ///
    /// # Errors
    /// As [`Reader::read_at`]; [`ReaderError::WrongKind`] if the file is longer.
    pub fn read_all(&self, inode: &Inode, limit_bytes: u64) -> Result<Vec<u8>, ReaderError> {
        if inode.size > limit_bytes {
            return Err(ReaderError::WrongKind("the file is too long"));
        }
        let mut content = vec![0; inode.size as usize];
        self.read_at(inode, 0, &mut content)?;
        Ok(content)
    }

    /// A symbolic link's target.
    ///
    /// # Errors
    /// [`ReaderError::WrongKind`] if it is none, else as [`Reader::read_at`].
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, ReaderError> {
        if inode.kind != EntryKind::Symlink {
            return Err(ReaderError::WrongKind("not a symbolic link"));
        }
        if inode.size == 0 || inode.size > MAX_LINK_BYTES {
            return Err(ReaderError::Corrupt("a symbolic link's length is impossible"));
        }
        self.read_all(inode, MAX_LINK_BYTES)
    }

    /// The names in a directory without `.` and `..`, in byte order.
    ///
    /// # Errors
    /// [`ReaderError::WrongKind`] if it is none, [`ReaderError::Corrupt`] for a malformed block, a
    /// name that is none, or names out of order.
    pub fn read_dir(&self, inode: &Inode) -> Result<Vec<DirEntry>, ReaderError> {
        if inode.kind != EntryKind::Directory {
            return Err(ReaderError::WrongKind("not a directory"));
        }
        if inode.size > MAX_DIRECTORY_BYTES || inode.size > self.image.len_bytes() {
            return Err(ReaderError::Corrupt("a directory is impossibly long"));
        }
        let content = self.read_all(inode, MAX_DIRECTORY_BYTES)?;
        let mut entries: Vec<DirEntry> = Vec::new();
        for block in content.chunks(BLOCK_BYTES) {
            for (name, nid) in parse_directory_block(block)? {
                if name == b"." || name == b".." {
                    continue;
                }
                if entries.last().is_some_and(|last| *last.name >= *name) {
                    return Err(ReaderError::Corrupt("a directory is not sorted"));
                }
                entries.push(DirEntry { name: name.to_vec(), nid: Nid(nid) });
            }
        }
        Ok(entries)
    }

    /// The inode's extended attributes. Those of kinds unknown to Linux are left out.
    ///
    /// # Errors
    /// [`ReaderError::Corrupt`].
    pub fn xattrs(&self, inode: &Inode) -> Result<Xattrs, ReaderError> {
        let mut found = Xattrs::default();
        let (offset, len) = inode.xattrs;
        if len == 0 {
            return Ok(found);
        }
        let mut body = vec![0; len];
        self.read(&mut body, offset)?;
        let shared_count = usize::from(body[4]);
        let bad = ReaderError::Corrupt("an inode's attributes exceed their space");
        let Some(mut rest) = body.get(xattr::HEADER_BYTES + 4 * shared_count..) else { return Err(bad) };
        for number in 0..shared_count {
            let id = u64::from(read_u32(&body, xattr::HEADER_BYTES + 4 * number));
            let entry_offset = self.shared_xattr_offset + 4 * id;
            let mut head = [0; xattr::ENTRY_BYTES];
            self.read(&mut head, entry_offset)?;
            let mut entry = vec![0; xattr_entry_bytes(&head)];
            self.read(&mut entry, entry_offset)?;
            add_xattr(&mut found, &entry)?;
        }
        while let Some(head) = rest.get(..xattr::ENTRY_BYTES) {
            if head == [0; xattr::ENTRY_BYTES] {
                break;
            }
            let Some((entry, later)) = rest.split_at_checked(xattr_entry_bytes(head)) else {
                return Err(bad);
            };
            add_xattr(&mut found, entry)?;
            rest = later;
        }
        Ok(found)
    }

    /// Calls `visit` with the path (no leading slash; empty for the root) and inode of everything
    /// in the image, each directory before what is in it, in byte order of names.
    ///
    /// # Errors
    /// The first of the image or of `visit`; [`ReaderError::Corrupt`] if a directory has two names.
    pub fn walk(
        &self,
        visit: impl FnMut(&[u8], &Inode) -> Result<(), ReaderError>,
    ) -> Result<(), ReaderError> {
        self.walk_from(self.inode(self.root)?, visit)
    }

    /// As [`Reader::walk`], of `start` and what is below it; paths begin there.
    ///
    /// # Errors
    /// As [`Reader::walk`].
    pub fn walk_from<E: From<ReaderError>>(
        &self,
        start: Inode,
        mut visit: impl FnMut(&[u8], &Inode) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut seen = HashSet::from([start.nid]);
        visit(b"", &start)?;
        // Paths of directories whose entries are still to be visited.
        let mut pending = vec![(Vec::new(), start)];
        pending.retain(|(_, inode)| inode.kind == EntryKind::Directory);
        while let Some((path, directory)) = pending.pop() {
            let mut subdirectories = Vec::new();
            for entry in self.read_dir(&directory)? {
                let inode = self.inode(entry.nid)?;
                let mut entry_path = path.clone();
                if !entry_path.is_empty() {
                    entry_path.push(b'/');
                }
                entry_path.extend_from_slice(&entry.name);
                visit(&entry_path, &inode)?;
                if inode.kind == EntryKind::Directory {
                    if !seen.insert(inode.nid) {
                        return Err(ReaderError::Corrupt("a directory has two names").into());
                    }
                    subdirectories.push((entry_path, inode));
                }
            }
            pending.extend(subdirectories.into_iter().rev());
        }
        Ok(())
    }

    /// Finds a path from the root, following symbolic links, also the last one, as after a chroot.
    /// `None` if there is nothing.
    ///
    /// # Errors
    /// Those of the image, and [`ReaderError::LinkLoop`].
    pub fn lookup(&self, path: &[u8]) -> Result<Option<Inode>, ReaderError> {
        let split = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
        };
        let mut directories = vec![self.inode(self.root)?];
        let mut pending = VecDeque::from(split(path));
        let mut links_left = MAX_LINKS_FOLLOWED;
        while let Some(name) = pending.pop_front() {
            if name == b"." {
                continue;
            }
            if name == b".." {
                if directories.len() > 1 {
                    directories.pop();
                }
                continue;
            }
            let Some(directory) = directories.last() else { return Ok(None) };
            let entries = self.read_dir(directory)?;
            let Ok(at) = entries.binary_search_by(|entry| entry.name.cmp(&name)) else { return Ok(None) };
            let inode = self.inode(entries[at].nid)?;
            match inode.kind {
                EntryKind::Directory => directories.push(inode),
                EntryKind::Symlink => {
                    links_left = links_left.checked_sub(1).ok_or(ReaderError::LinkLoop)?;
                    let target = self.read_link(&inode)?;
                    if target.starts_with(b"/") {
                        directories.truncate(1);
                    }
                    for part in split(&target).into_iter().rev() {
                        pending.push_front(part);
                    }
                }
                _ if pending.is_empty() => return Ok(Some(inode)),
                _ => return Ok(None),
            }
        }
        Ok(directories.pop())
    }

    /// Where content at `position` is: offset in the image (`None`: zeros), and for how many bytes
    /// at most that holds.
    fn map(&self, inode: &Inode, position: u64) -> Result<(Option<u64>, u64), ReaderError> {
        match inode.layout {
            DataLayout::Flat { first_block, inline_tail } => {
                let tail_start = if inline_tail { inode.size / BLOCK * BLOCK } else { inode.size };
                if position < tail_start {
                    Ok((Some(u64::from(first_block) * BLOCK + position), tail_start - position))
                } else {
                    Ok((Some(inode.body_offset + (position - tail_start)), inode.size - position))
                }
            }
            DataLayout::Chunks { chunk_bits, indexes } => {
                let chunk_bytes = BLOCK << chunk_bits;
                let (chunk, within) = (position / chunk_bytes, position % chunk_bytes);
                let entry_bytes = if indexes { 8 } else { 4 };
                let map_offset = inode.body_offset.next_multiple_of(entry_bytes);
                let mut entry = [0; 8];
                let entry_offset =
                    chunk.checked_mul(entry_bytes).and_then(|bytes| map_offset.checked_add(bytes));
                let entry_offset =
                    entry_offset.ok_or(ReaderError::Corrupt("a chunk map is impossibly long"))?;
                self.read(&mut entry[..entry_bytes as usize], entry_offset)?;
                let block = read_u32(&entry, if indexes { 4 } else { 0 });
                if indexes && read_u16(&entry, 2) != 0 {
                    return Err(ReaderError::Unsupported("data on another device"));
                }
                let source = (block != NULL_BLOCK).then(|| u64::from(block) * BLOCK + within);
                Ok((source, chunk_bytes - within))
            }
        }
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReaderError> {
        match offset.checked_add(buffer.len() as u64) {
            Some(end) if end <= self.image.len_bytes() => Ok(self.image.read_exact_at(buffer, offset)?),
            _ => Err(ReaderError::Corrupt("something lies outside of the image")),
        }
    }
}

/// The entries of one directory block: names and inode numbers.
fn parse_directory_block(block: &[u8]) -> Result<Vec<(&[u8], u64)>, ReaderError> {
    let bad = ReaderError::Corrupt("a directory block is malformed");
    if block.len() < DIRENT_BYTES {
        return Err(bad);
    }
    let names_start = usize::from(read_u16(block, 8));
    if names_start < DIRENT_BYTES || !names_start.is_multiple_of(DIRENT_BYTES) || names_start > block.len() {
        return Err(bad);
    }
    let count = names_start / DIRENT_BYTES;
    let mut entries = Vec::with_capacity(count);
    for number in 0..count {
        let at = number * DIRENT_BYTES;
        let start = usize::from(read_u16(block, at + 8));
        let end = if number + 1 < count {
            usize::from(read_u16(block, at + DIRENT_BYTES + 8))
        } else {
            block.len()
        };
        let Some(name) = block.get(start..end) else { return Err(bad) };
        // The last name of a block that is not the directory's last is followed by zeros.
        let name = match name.iter().position(|&byte| byte == 0) {
            Some(len) if number + 1 == count => &name[..len],
            _ => name,
        };
        if name.is_empty() || name.len() > 255 || name.iter().any(|&byte| byte == 0 || byte == b'/') {
            return Err(ReaderError::Corrupt("a directory holds a name that is none"));
        }
        entries.push((name, read_u64(block, at)));
    }
    Ok(entries)
}

fn xattr_entry_bytes(head: &[u8]) -> usize {
    xattr::entry_bytes(usize::from(head[0]), usize::from(read_u16(head, 2)))
}

fn add_xattr(found: &mut Xattrs, entry: &[u8]) -> Result<(), ReaderError> {
    let (name_bytes, value_bytes) = (usize::from(entry[0]), usize::from(read_u16(entry, 2)));
    let Some(prefix) = xattr::prefix(entry[1]) else { return Ok(()) };
    let (suffix, value) = entry[xattr::ENTRY_BYTES..].split_at(name_bytes);
    let name = [prefix, suffix].concat();
    let bad = ReaderError::Corrupt("an extended attribute is malformed");
    found.set(&name, &value[..value_bytes]).map_err(|_| bad)
}
