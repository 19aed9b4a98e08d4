//! Archives: arbitrary bytes whose headers are given good checksums, so that more than the first
//! block is looked at. What is accepted must be an image that reads back whole.

#![no_main]

use c2w_packer::rootfs::erofs::{self, EntryKind, Reader};
use c2w_packer::rootfs::tar::{TarOptions, apply_tar};
use c2w_packer::rootfs::{DataStore, FsTree};
use libfuzzer_sys::fuzz_target;
use std::io::Read;
use std::path::Path;

fuzz_target!(|input: &[u8]| {
    let Some((&mode, archive)) = input.split_last() else { return };
    let (whiteouts, mut archive) = (mode & 1 != 0, archive.to_vec());
    for block in archive.chunks_exact_mut(512) {
        if block[0] != 0 {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
    let mut file = tempfile::tempfile().unwrap();
    let mut tree = FsTree::new();
    let mut store = DataStore::new(&file, 0, Path::new("/tmp")).unwrap();
    if apply_tar(&mut tree, &mut store, &archive[..], TarOptions { whiteouts }).is_err() {
        return;
    }
    let written = erofs::write(&tree, store).unwrap();
    if written.len_bytes > 64 << 20 {
        // Sparse files may be large; reading them all would be slow.
        return;
    }
    let mut image = Vec::new();
    file.read_to_end(&mut image).unwrap();
    let reader = Reader::open(&image[..]).unwrap();
    let mut inodes = std::collections::HashSet::new();
    reader
        .walk(|path, inode| {
            inodes.insert(inode.nid);
            let mut buffer = [0; 4096];
            if matches!(inode.kind, EntryKind::File | EntryKind::Directory | EntryKind::Symlink) {
                reader.read_at(inode, 0, &mut buffer).unwrap();
                reader.read_at(inode, inode.size.saturating_sub(4096), &mut buffer).unwrap();
            }
            reader.xattrs(inode).unwrap();
            let _ = reader.lookup(path);
            Ok(())
        })
        .unwrap();
    assert_eq!(inodes.len() as u64, written.inodes);
});
