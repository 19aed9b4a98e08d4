//! Numbers and structures of the EROFS on-disk format (Linux `fs/erofs/erofs_fs.h`). Everything is
//! little-endian. This crate writes only what is named here, and reads only that plus compact
//! inodes, shared attributes and chunk indexes.

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = 4096;
pub(super) const BLOCK_BITS: u8 = 12;
/// Bytes of `erofs_inode_extended`, the only form written.
pub(crate) const INODE_BYTES: usize = 64;
/// Bytes of `erofs_inode_compact`; also the unit in which inode numbers count.
pub(super) const SLOT_BYTES: usize = 32;
/// Bytes of `erofs_dirent` without the name.
pub(super) const DIRENT_BYTES: usize = 12;

pub(super) const SUPER_OFFSET: usize = 1024;
pub(super) const SUPER_BYTES: usize = 128;
pub(super) const SUPER_MAGIC: u32 = 0xE0F5_E1E2;
pub(super) const COMPAT_SB_CHKSUM: u32 = 1;
pub(super) const COMPAT_MTIME: u32 = 2;
pub(super) const INCOMPAT_CHUNKED_FILE: u32 = 4;

/// `i_format` bit 0: extended inode.
pub(super) const FORMAT_EXTENDED: u16 = 1;
/// Position of the data layout in `i_format`.
pub(super) const FORMAT_LAYOUT_SHIFT: u32 = 1;
pub(super) const LAYOUT_FLAT_PLAIN: u16 = 0;
pub(super) const LAYOUT_FLAT_INLINE: u16 = 2;
pub(super) const LAYOUT_CHUNK_BASED: u16 = 4;

/// Chunk format: low five bits, chunk size in blocks as a power of two.
pub(super) const CHUNK_BLKBITS_MASK: u16 = 0x1f;
/// Chunk format: the map has 8-byte indexes instead of 4-byte block numbers.
pub(super) const CHUNK_INDEXES: u16 = 0x20;
/// The block number that means a hole.
pub(super) const NULL_BLOCK: u32 = u32::MAX;

// File type bits of `i_mode` (POSIX S_IFMT).
pub(super) const S_IFMT: u16 = 0o170000;
pub(super) const S_IFIFO: u16 = 0o010000;
pub(super) const S_IFCHR: u16 = 0o020000;
pub(super) const S_IFDIR: u16 = 0o040000;
pub(super) const S_IFBLK: u16 = 0o060000;
pub(super) const S_IFREG: u16 = 0o100000;
pub(super) const S_IFLNK: u16 = 0o120000;
pub(super) const S_IFSOCK: u16 = 0o140000;

/// `file_type` of a directory entry for an inode's mode (Linux `fs_types.h`, FT_*).
pub(super) fn dirent_type(mode: u16) -> u8 {
    match mode & S_IFMT {
        S_IFREG => 1,
        S_IFDIR => 2,
        S_IFCHR => 3,
        S_IFBLK => 4,
        S_IFIFO => 5,
        S_IFSOCK => 6,
        S_IFLNK => 7,
        _ => 0,
    }
}

/// CRC-32C as EROFS uses it for the superblock: start value all ones, no inversion at the end.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    })
}

/// A device number as Linux stores it in 32 bits (`new_encode_dev`).
pub(super) fn encode_device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

/// The reverse of [`encode_device`]: major and minor.
pub(super) fn decode_device(number: u32) -> (u32, u32) {
    (number >> 8 & 0xfff, (number & 0xff) | (number >> 12 & 0xfff00))
}

pub(super) fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

pub(super) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_has_its_check_value() {
        // The catalogue's check value for CRC-32C, before the final inversion.
        assert_eq!(!crc32c(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn device_numbers_survive() {
        for (major, minor) in [(0, 0), (1, 3), (8, 255), (0xfff, 0xfffff), (253, 256)] {
            assert_eq!(decode_device(encode_device(major, minor)), (major, minor));
        }
    }
}
