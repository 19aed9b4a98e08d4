//! The header of an image: arbitrary bytes, and arbitrary bytes under a good hash.

#![no_main]

use c2w_packer::image::{HEADER_BYTES, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = Header::parse(bytes, bytes.len() as u64);
    let mut page = [0; HEADER_BYTES];
    let len = bytes.len().min(HEADER_BYTES - 40);
    page[..8].copy_from_slice(b"\x89c2w\r\n\x1a\n");
    page[8..8 + len].copy_from_slice(&bytes[..len]);
    let hash = blake3::hash(&page[..HEADER_BYTES - 32]);
    page[HEADER_BYTES - 32..].copy_from_slice(hash.as_bytes());
    let promised = u64::from_le_bytes(std::array::from_fn(|i| page[16 + i]));
    if let Ok(header) = Header::parse(&page, promised) {
        // Sections and padding cover the file exactly.
        let sections: u64 = header.sections.iter().map(|section| section.len_bytes).sum();
        let padding: u64 = header.padding().map(|(_, len_bytes)| len_bytes).sum();
        assert_eq!(sections + padding + HEADER_BYTES as u64, header.file_bytes);
        assert_eq!(header.to_bytes(), page);
    }
});
