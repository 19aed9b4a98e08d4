//! Where each inode goes: numbering, hard link counts, and packing of inodes with their inline data
//! into blocks.

use super::dirent;
use super::format::{BLOCK_BYTES, INODE_BYTES, SLOT_BYTES};
use crate::rootfs::store::FileData;
use crate::rootfs::tree::{Content, FsTree, Inode, InodeId};

/// Blocks with room left that later inodes may still go to. Few, so that an inode stays near its
/// neighbours in the tree.
const OPEN_BLOCKS: usize = 32;
/// The first inode, the root's, lies at this offset of the metadata area: an inode number of 0
/// would be hidden by C libraries that take it for a deleted entry.
const FIRST_OFFSET: usize = 2 * SLOT_BYTES;

/// What follows an inode and its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// The last bytes of the content, in the inode's block; the rest is whole blocks elsewhere.
    Inline {
        /// How many.
        bytes: usize,
    },
    /// A map of chunks.
    ChunkMap {
        /// Entries of four bytes.
        entries: u64,
    },
}

/// One inode with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) id: InodeId,
    pub(super) parent: InodeId,
    pub(super) nlink: u32,
    /// Content length in bytes: `i_size`.
    pub(super) size: u64,
    pub(super) body: Body,
    /// Offset in the metadata area, a multiple of the slot size.
    pub(super) offset: u64,
    /// Blocks that this inode needs behind the metadata area: directories and long links.
    pub(super) extra_blocks: u64,
}

/// All reachable inodes in tree order, the root first.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) inodes: Vec<Placed>,
    /// Position in `inodes` by tree index.
    by_tree_index: Vec<u32>,
    /// Length of the metadata area, whole blocks.
    pub(super) metadata_bytes: u64,
}

impl Layout {
    /// Numbers and places every inode reachable from the root.
    pub(super) fn of(tree: &FsTree) -> Self {
        let (mut inodes, by_tree_index) = number(tree);
        let mut packer = Packer { open: Vec::new(), end: 0 };
        packer.reserve(FIRST_OFFSET);
        for placed in &mut inodes {
            let inode = tree.inode(placed.id);
            placed.describe(inode);
            placed.offset = packer.place(placed.metadata_bytes(inode));
        }
        Layout { inodes, by_tree_index, metadata_bytes: packer.end }
    }

    /// The place of an inode that is reachable.
    pub(super) fn placed(&self, id: InodeId) -> &Placed {
        &self.inodes[self.by_tree_index[id.index()] as usize]
    }
}

impl Placed {
    /// The inode number: its offset in slots.
    pub(super) fn nid(&self) -> u64 {
        self.offset / SLOT_BYTES as u64
    }

    fn describe(&mut self, inode: &Inode) {
        let head = INODE_BYTES + inode.metadata.xattrs.body_bytes();
        let in_blocks = |size: u64| {
            let tail = (size % BLOCK_BYTES as u64) as usize;
            if tail != 0 && head + tail <= BLOCK_BYTES {
                (Body::Inline { bytes: tail }, size / BLOCK_BYTES as u64)
            } else {
                (Body::None, size.div_ceil(BLOCK_BYTES as u64))
            }
        };
        match &inode.content {
            Content::Directory(children) => {
                let names = with_dots(children.keys().map(|name| &**name));
                self.size = dirent::directory_bytes(names);
                (self.body, self.extra_blocks) = in_blocks(self.size);
            }
            Content::Symlink(target) => {
                self.size = target.len() as u64;
                (self.body, self.extra_blocks) = in_blocks(self.size);
            }
            Content::File(data) => {
                self.size = data.size();
                self.body = match *data {
                    FileData::Blocks { .. } => Body::None,
                    FileData::Split { size, .. } => {
                        let bytes = (size % BLOCK_BYTES as u64) as usize;
                        assert!(head + bytes <= BLOCK_BYTES, "the file was stored with other attributes");
                        Body::Inline { bytes }
                    }

                    FileData::Sparse { size, chunk_bits, .. } => {
                        Body::ChunkMap { entries: size.div_ceil((BLOCK_BYTES as u64) << chunk_bits) }
                    }
                };
            }
            _ => {}
        }
    }

    /// Bytes from the inode's start to the end of what belongs to it.
    fn metadata_bytes(&self, inode: &Inode) -> u64 {
        let head = (INODE_BYTES + inode.metadata.xattrs.body_bytes()) as u64;
        match self.body {
            Body::None => head,
            Body::Inline { bytes } => head + bytes as u64,
            Body::ChunkMap { entries } => head + entries * 4,
        }
    }
}

/// The names of a directory with `.` and `..` in their place in the order.
pub(super) fn with_dots<'a>(names: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let mut dots = [&b"."[..], b".."].into_iter().peekable();
    let mut names = names.peekable();
    std::iter::from_fn(move || match (dots.peek(), names.peek()) {
        (Some(dot), Some(name)) if dot < name => dots.next(),
        (Some(_), None) => dots.next(),
        _ => names.next(),
    })
}

/// Every reachable inode once: each directory, then what is in it, then its subdirectories.
fn number(tree: &FsTree) -> (Vec<Placed>, Vec<u32>) {
    let mut by_tree_index = vec![u32::MAX; tree.table_len()];
    let mut inodes = Vec::new();
    let mut add = |inodes: &mut Vec<Placed>, id: InodeId, parent: InodeId| {
        let position = &mut by_tree_index[id.index()];
        if *position != u32::MAX {
            inodes[*position as usize].nlink += 1;
            return false;
        }
        *position = inodes.len() as u32;
        let (size, body, offset, extra_blocks) = (0, Body::None, 0, 0);
        inodes.push(Placed { id, parent, nlink: 1, size, body, offset, extra_blocks });
        true
    };
    add(&mut inodes, tree.root(), tree.root());
    let mut pending = vec![tree.root()];
    while let Some(directory) = pending.pop() {
        let Content::Directory(children) = &tree.inode(directory).content else { continue };
        let first_pending = pending.len();
        let mut subdirectories = 0;
        for &child in children.values() {
            let is_new = add(&mut inodes, child, directory);
            if matches!(tree.inode(child).content, Content::Directory(_)) {
                subdirectories += 1;
                if is_new {
                    pending.push(child);
                }
            }
        }
        // Popped from the end: reversed, so that the first subdirectory comes next.
        pending[first_pending..].reverse();
        // `.` of the directory itself, and `..` of each subdirectory.
        add(&mut inodes, directory, directory);
        for _ in 0..subdirectories {
            add(&mut inodes, directory, directory);
        }
    }
    (inodes, by_tree_index)
}

/// Packs variable-sized pieces so that none that fits into a block crosses a block's end. (Only an
/// inode's inline data must not; keeping the rest together costs little and saves reads.)
struct Packer {
    /// Start of the free part of blocks that have one.
    open: Vec<u64>,
    end: u64,
}

impl Packer {
    const BLOCK: u64 = BLOCK_BYTES as u64;

    fn place(&mut self, bytes: u64) -> u64 {
        let room = |start: u64| Packer::BLOCK - start % Packer::BLOCK;
        let best = (0..self.open.len())
            .filter(|&at| room(self.open[at]) >= bytes)
            .min_by_key(|&at| (room(self.open[at]), self.open[at]));
        let start = match best {
            Some(at) => self.open.swap_remove(at),
            None => {
                let start = self.end;
                self.end += bytes.next_multiple_of(Packer::BLOCK);
                start
            }
        };
        self.reopen(start + bytes);
        start
    }

    fn reserve(&mut self, bytes: usize) {
        self.place(bytes as u64);
    }

    fn reopen(&mut self, used_end: u64) {
        let free = used_end.next_multiple_of(SLOT_BYTES as u64);
        if free.is_multiple_of(Packer::BLOCK) || Packer::BLOCK - free % Packer::BLOCK < INODE_BYTES as u64 {
            return;
        }
        if self.open.len() == OPEN_BLOCKS {
            // The one with the least room is the least use.
            let fullest = (0..self.open.len()).max_by_key(|&at| self.open[at] % Packer::BLOCK);
            fullest.map(|at| self.open.swap_remove(at));
        }
        self.open.push(free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_take_their_place_among_the_names() {
        for (names, expected) in [
            (&[][..], &[".", ".."][..]),
            (&["a"], &[".", "..", "a"]),
            (&["!", "+x", "-", "...", ".a"], &["!", "+x", "-", ".", "..", "...", ".a"]),
        ] {
            let all: Vec<&[u8]> = with_dots(names.iter().map(|name| name.as_bytes())).collect();
            assert_eq!(all, expected.iter().map(|name| name.as_bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pieces_lie_apart_and_within_blocks() {
        let mut packer = Packer { open: Vec::new(), end: 0 };
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for step in 0..5000u64 {
            let bytes = 64 + step * 7919 % if step.is_multiple_of(50) { 9000 } else { 4033 };
            let start = packer.place(bytes);
            assert_eq!(start % 32, 0);
            assert!(start / 4096 == (start + bytes - 1) / 4096 || start.is_multiple_of(4096));
            assert!(start + bytes <= packer.end);
            taken.push((start, start + bytes));
        }
        taken.sort();
        assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        let used: u64 = taken.iter().map(|(start, end)| end - start).sum();
        assert!(packer.end - used < packer.end / 8, "{used} of {}", packer.end);
    }
}
