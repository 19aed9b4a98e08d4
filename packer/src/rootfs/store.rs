//! Where file contents go while a tree is being read: straight into the image.
//!
//! EROFS lets metadata lie anywhere, so whole blocks of file data are written from block 1 on as
//! they arrive, and everything that points at them after. The last, partial block of a small file
//! is to be stored right behind its inode; until inodes are written it waits in a temporary file.
//! So one pass over the input is enough and memory holds no file data beyond one buffer.

use super::erofs::{BLOCK_BYTES, INODE_BYTES};
use super::error::RootfsError;
use super::tree::{Content, FsTree, InodeId};
use super::xattr::Xattrs;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK: u64 = BLOCK_BYTES as u64;
const BUFFER_BYTES: usize = 1 << 20;
/// A larger file keeps its last block in the data area: the saving is small, and reading the file
/// then never leaves its run of blocks.
const MAX_SPLIT_BYTES: u64 = 64 << 10;
/// Entries in the block map of one sparse file; the chunk grows with the file to stay below.
const MAX_CHUNKS: u64 = 1 << 18;
/// Largest chunk: 2^14 blocks, 64 MiB. A single byte in a hole costs a whole chunk of zeros, so
/// without a limit a tiny archive could fill the disk.
const MAX_CHUNK_BITS: u8 = 14;

/// Where the data of one file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileData {
    /// In one run of blocks, the last one perhaps partial.
    Blocks {
        /// Length of the file in bytes.
        size: u64,
        /// First block; meaningless if there is none.
        first_block: u32,
    },
    /// Whole blocks in one run, and the rest in the temporary file.
    Split {
        /// Length of the file in bytes; not a multiple of the block size.
        size: u64,
        /// First block; meaningless if there is none.
        first_block: u32,
        /// Offset of the rest in the temporary file.
        tail_offset: u64,
    },
    /// In equal chunks, some of them absent: those read as zeros.
    Sparse {
        /// Length of the file in bytes.
        size: u64,
        /// A chunk is this power of two of blocks.
        chunk_bits: u8,
        /// The chunks that are there, in order.
        runs: Box<[ChunkRun]>,
    },
}

/// Chunks that follow each other both in the file and in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRun {
    /// Number of the first chunk in the file.
    pub first_chunk: u32,
    /// Number of chunks.
    pub chunks: u32,
    /// Block of the first chunk in the image.
    pub first_block: u32,
}

/// A range of a sparse file that has data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Offset in the file, bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len_bytes: u64,
}

impl FileData {
    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        match *self {
            FileData::Blocks { size, .. } | FileData::Split { size, .. } | FileData::Sparse { size, .. } => {
                size
            }
        }
    }

    /// Runs of blocks that hold its data: the first block of each, and how many.
    fn runs(&self) -> Vec<(u32, u64)> {
        let one = |first_block: u32, blocks: u64| match blocks {
            0 => Vec::new(),
            blocks => vec![(first_block, blocks)],
        };
        match self {
            FileData::Blocks { size, first_block } => one(*first_block, size.div_ceil(BLOCK)),
            FileData::Split { size, first_block, .. } => one(*first_block, size / BLOCK),
            FileData::Sparse { size, chunk_bits, runs } => {
                // The last chunk of a file ends with the file.
                let blocks = |run: &ChunkRun| {
                    let start = u64::from(run.first_chunk) << chunk_bits;
                    (u64::from(run.chunks) << chunk_bits).min(size.div_ceil(BLOCK) - start)
                };
                runs.iter().map(|run| (run.first_block, blocks(run))).collect()
            }
        }
    }

    fn set_first_block(&mut self, number: usize, block: u32) {
        match self {
            FileData::Blocks { first_block, .. } | FileData::Split { first_block, .. } => {
                *first_block = block
            }
            FileData::Sparse { runs, .. } => runs[number].first_block = block,
        }
    }

    /// Memory taken beyond the value itself.
    pub(super) fn cost_bytes(&self) -> usize {
        match self {
            FileData::Sparse { runs, .. } => std::mem::size_of_val(&**runs),
            _ => 0,
        }
    }
}

/// Receives file contents. The image's first block is left free for the superblock.
#[derive(Debug)]
pub struct DataStore<'a> {
    pub(super) image: &'a File,
    /// Offset of the image in its file.
    pub(super) base: u64,
    /// Block that the buffer's first byte will go to.
    next_block: u64,
    buffer: Vec<u8>,
    tails: File,
    /// Tails not yet written to the temporary file.
    tail_buffer: Vec<u8>,
    tails_written: u64,
}

impl<'a> DataStore<'a> {
    /// A store that writes to `image` from offset `base` on, with its temporary file in
    /// `scratch_directory`.
    ///
    /// # Errors
    /// [`RootfsError::Output`] if the temporary file cannot be made.
    pub fn new(image: &'a File, base: u64, scratch_directory: &Path) -> Result<Self, RootfsError> {
        let tails = tempfile::tempfile_in(scratch_directory).map_err(RootfsError::Output)?;
        Ok(DataStore {
            image,
            base,
            next_block: 1,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            tails,
            tail_buffer: Vec::with_capacity(BUFFER_BYTES),
            tails_written: 0,
        })
    }

    /// Stores `size` bytes from `reader` for a file whose inode will have these attributes: with
    /// the end of a small file they share a block.
    ///
    /// # Errors
    /// [`RootfsError::Input`] if they cannot be read (an early end is `UnexpectedEof`),
    /// [`RootfsError::Output`] if they cannot be written.
    pub fn add_file(
        &mut self,
        reader: &mut dyn Read,
        size: u64,
        xattrs: &Xattrs,
    ) -> Result<FileData, RootfsError> {
        let tail_bytes = (size % BLOCK) as usize;
        let first_block = self.current_block()?;
        let fits_behind_inode = INODE_BYTES + xattrs.body_bytes() + tail_bytes <= BLOCK_BYTES;
        if tail_bytes == 0 || size > MAX_SPLIT_BYTES || !fits_behind_inode {
            self.copy(reader, size)?;
            self.pad_block()?;
            return Ok(FileData::Blocks { size, first_block });
        }
        self.copy(reader, size - tail_bytes as u64)?;
        let tail_offset = self.tails_written + self.tail_buffer.len() as u64;
        let start = self.tail_buffer.len();
        self.tail_buffer.resize(start + tail_bytes, 0);
        reader.read_exact(&mut self.tail_buffer[start..]).map_err(RootfsError::Input)?;
        if self.tail_buffer.len() + BLOCK_BYTES > BUFFER_BYTES {
            self.flush_tails()?;
        }
        Ok(FileData::Split { size, first_block, tail_offset })
    }

    /// Stores a sparse file: `reader` gives the bytes of `regions`, one after another; all else is
    /// zeros. The regions are in order, do not overlap and lie below `size`. If they leave nothing
    /// out, the file is stored as any other.
    ///
    /// # Errors
    /// As [`DataStore::add_file`], and [`RootfsError::TooLarge`].
    pub fn add_sparse(
        &mut self,
        reader: &mut dyn Read,
        size: u64,
        regions: &[Region],
        xattrs: &Xattrs,
    ) -> Result<FileData, RootfsError> {
        if regions.iter().map(|region| region.len_bytes).sum::<u64>() == size {
            return self.add_file(reader, size, xattrs);
        }
        let mut chunk_bits = 0u8;
        while size.div_ceil(BLOCK << chunk_bits) > MAX_CHUNKS {
            chunk_bits += 1;
        }
        if chunk_bits > MAX_CHUNK_BITS {
            return Err(RootfsError::TooLarge("a sparse file is longer than 16 TiB"));
        }
        let chunk_bytes = BLOCK << chunk_bits;
        let file_end = size.next_multiple_of(BLOCK);
        let mut runs: Vec<ChunkRun> = Vec::new();
        // The part of the file being laid out: written up to `position`, stored up to `stored_end`.
        let (mut position, mut stored_end) = (0, 0);
        for region in regions.iter().filter(|region| region.len_bytes > 0) {
            if region.offset >= stored_end {
                self.fill_zeros(stored_end - position)?;
                position = region.offset / chunk_bytes * chunk_bytes;
                stored_end = position;
            }
            let region_end = region.offset + region.len_bytes;
            let needed_end = region_end.next_multiple_of(chunk_bytes).min(file_end);
            if needed_end > stored_end {
                let first_chunk = (stored_end / chunk_bytes) as u32;
                let chunks = ((needed_end - stored_end).div_ceil(chunk_bytes)) as u32;
                let first_block = self.block_after(stored_end - position)?;
                push_run(&mut runs, ChunkRun { first_chunk, chunks, first_block }, chunk_bits);
                stored_end = needed_end;
            }
            self.fill_zeros(region.offset - position)?;
            self.copy(reader, region.len_bytes)?;
            position = region_end;
        }
        self.fill_zeros(stored_end - position)?;
        Ok(FileData::Sparse { size, chunk_bits, runs: runs.into() })
    }

    /// Bytes that the data takes so far.
    pub fn len_bytes(&self) -> u64 {
        self.next_block * BLOCK + self.buffer.len() as u64
    }

    /// Closes the gaps that data of files leaves which later layers replaced or removed: what no
    /// name in the tree leads to is not to be in the image.
    ///
    /// # Errors
    /// [`RootfsError::Output`].
    pub fn drop_unreachable(&mut self, tree: &mut FsTree) -> Result<(), RootfsError> {
        self.flush()?;
        // Runs of blocks in use, where each begins, and what says so.
        let mut runs: Vec<(u32, u64, InodeId, usize)> = Vec::new();
        for id in tree.reachable() {
            let Content::File(data) = &tree.inode(id).content else { continue };
            let in_use = data.runs().into_iter().enumerate();
            runs.extend(in_use.map(|(number, (first, blocks))| (first, blocks, id, number)));
        }
        runs.sort_unstable();
        let mut end = 1;
        for (first_block, blocks, id, number) in runs {
            if u64::from(first_block) != end {
                self.move_blocks(first_block.into(), end, blocks)?;
                if let Some(data) = tree.file_data_mut(id) {
                    // Below a block that has a number.
                    data.set_first_block(number, end as u32);
                }
            }
            end += blocks;
        }
        if end < self.next_block {
            self.next_block = end;
            self.image.set_len(self.base + end * BLOCK).map_err(RootfsError::Output)?;
        }
        Ok(())
    }

    /// Moves blocks down.
    fn move_blocks(&mut self, from: u64, to: u64, blocks: u64) -> Result<(), RootfsError> {
        let mut done = 0;
        while done < blocks * BLOCK {
            let part = (blocks * BLOCK - done).min(BUFFER_BYTES as u64);
            self.buffer.resize(part as usize, 0);
            let at = |block: u64| self.base + block * BLOCK + done;
            self.image.read_exact_at(&mut self.buffer, at(from)).map_err(RootfsError::Output)?;
            self.image.write_all_at(&self.buffer, at(to)).map_err(RootfsError::Output)?;
            done += part;
        }
        self.buffer.clear();
        Ok(())
    }

    /// Ends the data area. Returns the first block behind it.
    ///
    /// # Errors
    /// [`RootfsError::Output`].
    pub(super) fn finish(&mut self) -> Result<u32, RootfsError> {
        self.flush()?;
        self.flush_tails()?;
        self.current_block()
    }

    /// Reads back the end of a file from the temporary file; only after [`DataStore::finish`].
    pub(super) fn read_tail(&self, tail_offset: u64, tail: &mut [u8]) -> Result<(), RootfsError> {
        self.tails.read_exact_at(tail, tail_offset).map_err(RootfsError::Output)
    }

    /// The block that the next byte goes to, given that it is a block's first.
    fn current_block(&self) -> Result<u32, RootfsError> {
        self.block_after(0)
    }

    /// The block that begins `bytes` behind the next byte.
    fn block_after(&self, bytes: u64) -> Result<u32, RootfsError> {
        let block = self.next_block + (self.buffer.len() as u64 + bytes) / BLOCK;
        // The highest number means a hole (erofs_fs.h, EROFS_NULL_ADDR).
        match u32::try_from(block) {
            Ok(block) if block < u32::MAX => Ok(block),
            _ => Err(RootfsError::TooLarge("the root filesystem is larger than 16 TiB")),
        }
    }

    fn copy(&mut self, reader: &mut dyn Read, len_bytes: u64) -> Result<(), RootfsError> {
        let mut left = len_bytes;
        while left > 0 {
            let start = self.buffer.len();
            let part = left.min((BUFFER_BYTES - start) as u64) as usize;
            self.buffer.resize(start + part, 0);
            reader.read_exact(&mut self.buffer[start..]).map_err(RootfsError::Input)?;
            self.flush_if_full()?;
            left -= part as u64;
        }
        Ok(())
    }

    fn fill_zeros(&mut self, len_bytes: u64) -> Result<(), RootfsError> {
        self.copy(&mut io::repeat(0), len_bytes)
    }

    fn pad_block(&mut self) -> Result<(), RootfsError> {
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK_BYTES), 0);
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), RootfsError> {
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the buffer out; it ends on a block boundary whenever this is called.
    fn flush(&mut self) -> Result<(), RootfsError> {
        let offset = self.base + self.next_block * BLOCK;
        self.image.write_all_at(&self.buffer, offset).map_err(RootfsError::Output)?;
        self.next_block += self.buffer.len() as u64 / BLOCK;
        self.buffer.clear();
        Ok(())
    }

    fn flush_tails(&mut self) -> Result<(), RootfsError> {
        self.tails.write_all_at(&self.tail_buffer, self.tails_written).map_err(RootfsError::Output)?;
        self.tails_written += self.tail_buffer.len() as u64;
        self.tail_buffer.clear();
        Ok(())
    }
}

fn push_run(runs: &mut Vec<ChunkRun>, run: ChunkRun, chunk_bits: u8) {
    if let Some(last) = runs.last_mut()
        && last.first_chunk + last.chunks == run.first_chunk
        && u64::from(last.first_block) + (u64::from(last.chunks) << chunk_bits) == u64::from(run.first_block)
    {
        last.chunks += run.chunks;
    } else {
        runs.push(run);
    }
}
