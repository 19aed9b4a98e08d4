//! Finds out by content how an archive is compressed, and decompresses it.

use super::error::RootfsError;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::rc::Rc;

const BUFFER_BYTES: usize = 256 << 10;
/// Bytes enough to tell the formats apart.
const MAGIC_BYTES: usize = 6;

/// Formats that are recognised only to be refused by name.
const UNSUPPORTED: [(&[u8], &str); 5] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x9d", "compress"),
];

/// The uncompressed content of `reader`: gzip and zstd are undone, anything else passes as it is.
///
/// # Errors
/// [`RootfsError::Input`] if the start cannot be read, [`RootfsError::Archive`] for a compression
/// that is not supported.
pub fn decompress<'a>(reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>, RootfsError> {
    let ended = Rc::new(Cell::new(false));
    let mut reader = EndWatch { inner: reader, ended: ended.clone() };
    let mut magic = Vec::new();
    Read::take(&mut reader, MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(RootfsError::Input)?;
    ended.set(false);
    if let Some((_, name)) = UNSUPPORTED.iter().find(|(start, _)| magic.starts_with(start)) {
        return Err(RootfsError::Archive(format!("{name} is not supported; use tar, tar.gz or tar.zst")));
    }
    let is_gzip = magic.starts_with(b"\x1f\x8b");
    // RFC 8878, 3.1.1 and 3.1.2: a frame, or a skippable frame in front of one.
    let is_zstd = magic.starts_with(b"\x28\xb5\x2f\xfd")
        || (magic.len() >= 4 && magic[0] & 0xf0 == 0x50 && magic[1..4] == *b"\x2a\x4d\x18");
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(magic).chain(reader));
    Ok(if is_gzip {
        Box::new(Named { inner: MultiGzDecoder::new(whole), format: "gzip", ended })
    } else if is_zstd {
        let inner = ZstdReader { source: whole, decoder: FrameDecoder::new(), in_frame: false };
        Box::new(Named { inner, format: "zstd", ended })
    } else {
        Box::new(whole)
    })
}

/// Notices that the stream has ended, which decoders report in many ways.
struct EndWatch<R> {
    inner: R,
    ended: Rc<Cell<bool>>,
}

impl<R: Read> Read for EndWatch<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.ended.set(true);
        }
        Ok(count)
    }
}

/// Puts the name of the format on its decoder's errors, and makes those at the end of the stream
/// `UnexpectedEof`.
struct Named<R> {
    inner: R,
    format: &'static str,
    ended: Rc<Cell<bool>>,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            // The host's own error, not the decoder's.
            _ if error.raw_os_error().is_some() => error,
            _ if self.ended.get() => io::ErrorKind::UnexpectedEof.into(),
            _ => io::Error::new(io::ErrorKind::InvalidData, format!("damaged {} data: {error}", self.format)),
        })
    }
}

/// All frames of a zstd stream, one after another, each with its checksum verified.
struct ZstdReader<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    /// Goes to the next frame that has content. Returns whether there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let wanted = u64::from(length);
                    if io::copy(&mut Read::take(&mut self.source, wanted), &mut io::sink())? < wanted {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.next_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let stored = self.decoder.get_checksum_from_data();
            if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
                return Err(io::Error::other("a frame does not match its checksum"));
            }
            self.in_frame = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(content: &[u8]) -> Vec<u8> {
        compress_to_vec(content, CompressionLevel::Fastest)
    }

    fn read(compressed: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        decompress(compressed).map_err(io::Error::other)?.read_to_end(&mut content)?;
        Ok(content)
    }

    fn content() -> Vec<u8> {
        (0..300_000u32).flat_map(|i| (i.wrapping_mul(i) / 7).to_le_bytes()).collect()
    }

    #[test]
    fn every_format_gives_its_content() {
        let content = content();
        let skippable = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..], &zstd(&content)].concat();
        let two = [&content[..], &content[..]].concat();
        for (name, compressed, expected) in [
            ("none", content.clone(), &content),
            ("gzip", gzip(&content), &content),
            ("zstd", zstd(&content), &content),
            ("skippable frame", skippable, &content),
            ("two gzip members", [gzip(&content), gzip(&content)].concat(), &two),
            ("two zstd frames", [zstd(&content), zstd(&content)].concat(), &two),
            ("empty", vec![], &vec![]),
        ] {
            assert!(read(&compressed).unwrap() == *expected, "{name}");
        }
    }

    #[test]
    fn truncation_and_damage_are_told_apart() {
        for compressed in [gzip(&content()), zstd(&content())] {
            for len in [7, 100, compressed.len() / 2, compressed.len() - 1] {
                let error = read(&compressed[..len]).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{len}: {error}");
            }
            let mut damaged = compressed.clone();
            let at = damaged.len() - 3;
            damaged[at] ^= 1;
            let error = read(&damaged).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().starts_with("damaged "), "{error}");
        }
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        for (start, name) in UNSUPPORTED {
            let error = decompress(start).err().unwrap().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
