//! The header of a Linux `Image` for riscv64 (Linux Documentation/arch/riscv/boot-image-header.rst).

use super::read_u64;

/// Length of the header.
const HEADER_BYTES: usize = 64;
/// "RSC\x05" at offset 56.
const MAGIC: [u8; 4] = *b"RSC\x05";
const MAGIC_AT: usize = 56;

/// Where a Linux `Image` wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// Load address minus the start of RAM.
    pub text_offset_bytes: u64,
    /// Memory it uses, its uninitialized data included.
    pub image_bytes: u64,
}

impl ImageHeader {
    /// The header at the start of `bytes`; `None` if this is not an `Image` for riscv64.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?;
        if header[MAGIC_AT..MAGIC_AT + 4] != MAGIC {
            return None;
        }
        let (text_offset_bytes, image_bytes) = (read_u64(header, 8)?, read_u64(header, 16)?);
        // Kernels from before the field say 0; then the file is all there is.
        Some(Self { text_offset_bytes, image_bytes: image_bytes.max(bytes.len() as u64) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let mut image = vec![0; 100];
        assert_eq!(ImageHeader::parse(&image), None);
        image[56..60].copy_from_slice(b"RSC\x05");
        image[8..16].copy_from_slice(&0x20_0000u64.to_le_bytes());
        assert_eq!(
            ImageHeader::parse(&image),
            Some(ImageHeader { text_offset_bytes: 0x20_0000, image_bytes: 100 })
        );
        image[16..24].copy_from_slice(&0x80_0000u64.to_le_bytes());
        assert_eq!(ImageHeader::parse(&image).unwrap().image_bytes, 0x80_0000);
        assert_eq!(ImageHeader::parse(&image[..63]), None);
    }
}
