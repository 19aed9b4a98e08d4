//! The filesystem reader on arbitrary metadata behind a plausible superblock.

#![no_main]

use c2w_packer::rootfs::erofs::{Reader, ReaderError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|metadata: &[u8]| {
    let mut image = vec![0; 4096 + metadata.len().next_multiple_of(4096)];
    image[4096..4096 + metadata.len()].copy_from_slice(metadata);
    // Magic, no checksum, 4096-byte blocks, root in the second slot, chunked files, metadata in block 1.
    image[1024..1028].copy_from_slice(&0xE0F5_E1E2u32.to_le_bytes());
    image[1036] = 12;
    image[1038] = 1;
    image[1064] = 1;
    image[1104] = 4;
    let Ok(reader) = Reader::open(&image[..]) else { return };
    let mut visited = 0;
    let _ = reader.walk(|path, inode| {
        visited += 1;
        if visited > 1000 {
            return Err(ReaderError::WrongKind("enough"));
        }
        let mut buffer = [0; 5000];
        for offset in [0, 4095, inode.size / 2, inode.size.saturating_sub(1)] {
            if let Ok(len) = reader.read_at(inode, offset, &mut buffer) {
                assert!(offset + len as u64 <= inode.size.max(offset));
            }
        }
        let _ = reader.read_link(inode);
        let _ = reader.xattrs(inode);
        let _ = reader.lookup(path);
        Ok(())
    });
});
