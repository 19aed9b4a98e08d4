//! Writes the metadata of a tree behind its file data, and the superblock in front.

use super::dirent::{NewEntry, directory_content};
use super::format::*;
use super::layout::{Body, Layout, Placed, with_dots};
use crate::rootfs::error::RootfsError;
use crate::rootfs::store::{DataStore, FileData};
use crate::rootfs::tree::{Content, FsTree, Inode};
use std::fs::File;
use std::os::unix::fs::FileExt;

const BLOCK: u64 = BLOCK_BYTES as u64;
const BUFFER_BYTES: usize = 1 << 20;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Length of the image in bytes, whole blocks.
    pub len_bytes: u64,
    /// Number of inodes.
    pub inodes: u64,
}

/// Completes the image whose file data `store` holds. The same tree and data give the same bytes.
///
/// # Errors
/// [`RootfsError::Output`], and [`RootfsError::TooLarge`] beyond 16 TiB.
pub fn write(tree: &FsTree, mut store: DataStore) -> Result<Written, RootfsError> {
    let metadata_block = store.finish()?;
    let layout = Layout::of(tree);
    let extra_block = u64::from(metadata_block) + layout.metadata_bytes / BLOCK;
    let extra_blocks: u64 = layout.inodes.iter().map(|placed| placed.extra_blocks).sum();
    let total_blocks = extra_block + extra_blocks;
    if total_blocks >= u64::from(NULL_BLOCK) {
        return Err(RootfsError::TooLarge("the root filesystem is larger than 16 TiB"));
    }
    let mut out = Output {
        file: store.image,
        start: store.base + u64::from(metadata_block) * BLOCK,
        written: 0,
        buffer: Vec::with_capacity(BUFFER_BYTES + BLOCK_BYTES),
        hasher: blake3::Hasher::new(),
    };
    let uses_chunks = write_inodes(tree, &layout, &store, extra_block as u32, &mut out)?;
    write_extra_blocks(tree, &layout, &mut out)?;
    out.flush()?;
    let superblock = Superblock {
        metadata_block,
        total_blocks: total_blocks as u32,
        inodes: layout.inodes.len() as u64,
        root_nid: layout.placed(tree.root()).nid() as u16,
        uses_chunks,
        identity: *out.hasher.finalize().as_bytes(),
    };
    store.image.write_all_at(&superblock.first_block(), store.base).map_err(RootfsError::Output)?;
    Ok(Written { len_bytes: total_blocks * BLOCK, inodes: layout.inodes.len() as u64 })
}

/// Writes the metadata area. Returns whether an inode has a chunk map.
fn write_inodes(
    tree: &FsTree,
    layout: &Layout,
    store: &DataStore,
    first_extra_block: u32,
    out: &mut Output,
) -> Result<bool, RootfsError> {
    let mut first_blocks = Vec::with_capacity(layout.inodes.len());
    let mut next_extra = first_extra_block;
    for placed in &layout.inodes {
        first_blocks.push(next_extra);
        next_extra += placed.extra_blocks as u32;
    }
    let mut by_offset: Vec<usize> = (0..layout.inodes.len()).collect();
    by_offset.sort_unstable_by_key(|&number| layout.inodes[number].offset);
    let mut uses_chunks = false;
    for number in by_offset {
        let placed = &layout.inodes[number];
        let inode = tree.inode(placed.id);
        out.pad_to(placed.offset)?;
        out.buffer.extend_from_slice(&inode_bytes(inode, placed, number as u32 + 1, first_blocks[number]));
        inode.metadata.xattrs.write(&mut out.buffer);
        match placed.body {
            Body::None => {}
            Body::Inline { bytes } => write_inline(tree, layout, store, placed, bytes, out)?,
            Body::ChunkMap { .. } => {
                uses_chunks = true;
                write_chunk_map(inode, out)?;
            }
        }
        out.flush_if_full()?;
    }
    out.pad_to(layout.metadata_bytes)?;
    Ok(uses_chunks)
}

fn write_inline(
    tree: &FsTree,
    layout: &Layout,
    store: &DataStore,
    placed: &Placed,
    bytes: usize,
    out: &mut Output,
) -> Result<(), RootfsError> {
    if let Content::File(FileData::Split { tail_offset, .. }) = tree.inode(placed.id).content {
        let start = out.buffer.len();
        out.buffer.resize(start + bytes, 0);
        return store.read_tail(tail_offset, &mut out.buffer[start..]);
    }
    let content = content_bytes(tree, layout, placed);
    out.buffer.extend_from_slice(&content[content.len() - bytes..]);
    Ok(())
}

fn write_chunk_map(inode: &Inode, out: &mut Output) -> Result<(), RootfsError> {
    let Content::File(FileData::Sparse { size, chunk_bits, runs }) = &inode.content else { return Ok(()) };
    let chunks = size.div_ceil(BLOCK << chunk_bits) as u32;
    let mut next = 0;
    for run in runs {
        for _ in next..run.first_chunk {
            out.put_u32(NULL_BLOCK)?;
        }
        for chunk in 0..run.chunks {
            out.put_u32(run.first_block + (chunk << chunk_bits))?;
        }
        next = run.first_chunk + run.chunks;
    }
    for _ in next..chunks {
        out.put_u32(NULL_BLOCK)?;
    }
    Ok(())
}

/// Writes the whole blocks of directories, and of links too long to be inline.
fn write_extra_blocks(tree: &FsTree, layout: &Layout, out: &mut Output) -> Result<(), RootfsError> {
    for placed in layout.inodes.iter().filter(|placed| placed.extra_blocks > 0) {
        let content = content_bytes(tree, layout, placed);
        let wanted = (placed.extra_blocks * BLOCK) as usize;
        out.buffer.extend_from_slice(&content[..wanted.min(content.len())]);
        out.pad_to(out.position().next_multiple_of(BLOCK))?;
        out.flush_if_full()?;
    }
    Ok(())
}

/// The content of a directory or a symbolic link.
fn content_bytes(tree: &FsTree, layout: &Layout, placed: &Placed) -> Vec<u8> {
    match &tree.inode(placed.id).content {
        Content::Directory(children) => {
            let entries: Vec<NewEntry> = with_dots(children.keys().map(|name| &**name))
                .map(|name| {
                    let id = match name {
                        b"." => placed.id,
                        b".." => placed.parent,
                        name => children[name],
                    };
                    let file_type = dirent_type(type_bits(&tree.inode(id).content));
                    NewEntry { name, nid: layout.placed(id).nid(), file_type }
                })
                .collect();
            directory_content(&entries)
        }
        Content::Symlink(target) => target.to_vec(),
        _ => Vec::new(),
    }
}

fn type_bits(content: &Content) -> u16 {
    match content {
        Content::Directory(_) => S_IFDIR,
        Content::File(_) => S_IFREG,
        Content::Symlink(_) => S_IFLNK,
        Content::CharDevice(_) => S_IFCHR,
        Content::BlockDevice(_) => S_IFBLK,
        Content::Fifo => S_IFIFO,
        Content::Socket => S_IFSOCK,
    }
}

/// `struct erofs_inode_extended`.
fn inode_bytes(inode: &Inode, placed: &Placed, number: u32, first_extra_block: u32) -> [u8; INODE_BYTES] {
    let layout = match placed.body {
        Body::None => LAYOUT_FLAT_PLAIN,
        Body::Inline { .. } => LAYOUT_FLAT_INLINE,
        Body::ChunkMap { .. } => LAYOUT_CHUNK_BASED,
    };
    let union = match &inode.content {
        Content::Directory(_) | Content::Symlink(_) => first_extra_block,
        Content::File(FileData::Blocks { first_block, .. } | FileData::Split { first_block, .. }) => {
            *first_block
        }
        Content::File(FileData::Sparse { chunk_bits, .. }) => u32::from(*chunk_bits),
        Content::CharDevice(device) | Content::BlockDevice(device) => {
            encode_device(device.major, device.minor)
        }
        Content::Fifo | Content::Socket => 0,
    };
    let metadata = &inode.metadata;
    let mut bytes = [0; INODE_BYTES];
    bytes[0..2].copy_from_slice(&(FORMAT_EXTENDED | layout << FORMAT_LAYOUT_SHIFT).to_le_bytes());
    bytes[2..4].copy_from_slice(&metadata.xattrs.icount().to_le_bytes());
    bytes[4..6].copy_from_slice(&(type_bits(&inode.content) | metadata.mode & 0o7777).to_le_bytes());
    bytes[8..16].copy_from_slice(&placed.size.to_le_bytes());
    bytes[16..20].copy_from_slice(&union.to_le_bytes());
    bytes[20..24].copy_from_slice(&number.to_le_bytes());
    bytes[24..28].copy_from_slice(&metadata.uid.to_le_bytes());
    bytes[28..32].copy_from_slice(&metadata.gid.to_le_bytes());
    bytes[32..40].copy_from_slice(&metadata.mtime.secs.to_le_bytes());
    bytes[40..44].copy_from_slice(&metadata.mtime.nanos.to_le_bytes());
    bytes[44..48].copy_from_slice(&placed.nlink.to_le_bytes());
    bytes
}

struct Superblock {
    metadata_block: u32,
    total_blocks: u32,
    inodes: u64,
    root_nid: u16,
    uses_chunks: bool,
    identity: [u8; 32],
}

impl Superblock {
    /// The image's first block, with `struct erofs_super_block` and its checksum.
    fn first_block(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let fields = &mut block[SUPER_OFFSET..][..SUPER_BYTES];
        fields[0..4].copy_from_slice(&SUPER_MAGIC.to_le_bytes());
        fields[8..12].copy_from_slice(&(COMPAT_SB_CHKSUM | COMPAT_MTIME).to_le_bytes());
        fields[12] = BLOCK_BITS;
        fields[14..16].copy_from_slice(&self.root_nid.to_le_bytes());
        fields[16..24].copy_from_slice(&self.inodes.to_le_bytes());
        fields[36..40].copy_from_slice(&self.total_blocks.to_le_bytes());
        fields[40..44].copy_from_slice(&self.metadata_block.to_le_bytes());
        // A name-based UUID (RFC 9562, version 8) from the metadata: overlayfs tells filesystems
        // apart by it, and the same tree must give the same image.
        fields[48..64].copy_from_slice(&self.identity[..16]);
        fields[54] = fields[54] & 0x0f | 0x80;
        fields[56] = fields[56] & 0x3f | 0x80;
        if self.uses_chunks {
            fields[80..84].copy_from_slice(&INCOMPAT_CHUNKED_FILE.to_le_bytes());
        }
        let checksum = crc32c(&block[SUPER_OFFSET..]);
        block[SUPER_OFFSET + 4..SUPER_OFFSET + 8].copy_from_slice(&checksum.to_le_bytes());
        block
    }
}

/// Sequential, buffered output of everything behind the file data.
struct Output<'a> {
    file: &'a File,
    /// Offset in the file of the first byte.
    start: u64,
    written: u64,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
}

impl Output<'_> {
    /// Offset from the start of the metadata area.
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn pad_to(&mut self, offset: u64) -> Result<(), RootfsError> {
        let padding = (offset - self.position()) as usize;
        self.buffer.resize(self.buffer.len() + padding, 0);
        self.flush_if_full()
    }

    fn put_u32(&mut self, value: u32) -> Result<(), RootfsError> {
        self.buffer.extend_from_slice(&value.to_le_bytes());
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), RootfsError> {
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), RootfsError> {
        self.hasher.update(&self.buffer);
        self.file.write_all_at(&self.buffer, self.start + self.written).map_err(RootfsError::Output)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
