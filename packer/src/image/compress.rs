//! A plain image as a compressed one, and back.
//!
//! Both go section by section; the manifest stays as it is, so that an image can say what it is without being
//! decompressed. Pages of RAM are compressed after the kernel, whose text and tables make up half of them.

use super::chunks;
use super::error::{FormatError, ImageError};
use super::format::{Encoding, Section, SectionId};
use super::reader::Image;
use super::writer::{ImageWriter, write_sparse};
use crate::rootfs::erofs::ReadAt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Writes the image, which is plain, in compressed form; the same image gives the same bytes. Returns their number.
///
/// # Errors
/// [`ImageError`]; the output is then as it was before.
pub fn compress(image: &Image, output: &Path) -> Result<u64, ImageError> {
    let mut writer = ImageWriter::create(output, image.arch())?;
    for section in &image.header().sections {
        add_compressed(&mut writer, image, section)?;
    }
    writer.finish()
}

fn add_compressed(writer: &mut ImageWriter, image: &Image, section: &Section) -> Result<(), ImageError> {
    let encoding = match section.id {
        SectionId::Manifest => return writer.copy_section(image, section.id),
        SectionId::RamSnapshot if image.header().section(SectionId::Kernel).is_some() => {
            Encoding::ZstdAfterKernel
        }
        _ => Encoding::Zstd,
    };
    let prefix = match encoding {
        Encoding::ZstdAfterKernel => image.kernel()?,
        Encoding::Plain | Encoding::Zstd => Vec::new(),
    };
    let content = image.content(section.id)?;
    let path = writer.target().to_path_buf();
    writer.add_encoded(section.id, encoding, |file, offset| {
        let failed = |error| Failure::Write(ImageError::Write { path: path.clone(), error });
        let len_bytes = chunks::compress(
            content.len_bytes(),
            &prefix,
            |part, at| {
                content.read_exact_at(part, at).map_err(|error| Failure::Write(image.content_error(error)))
            },
            |part, at| file.write_all_at(part, offset + at).map_err(failed),
        );
        match len_bytes {
            Ok(len_bytes) => Ok((len_bytes, ())),
            Err(Failure::Write(error)) => Err(error),
            Err(Failure::Compress(error)) => Err(ImageError::Write { path: path.clone(), error }),
        }
    })
}

/// Why a section could not be compressed.
enum Failure {
    /// A file could not be read or written.
    Write(ImageError),
    /// The compressor has no memory.
    Compress(std::io::Error),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Compress(error)
    }
}

/// Writes what the image, whose bytes have been checked, is expanded to.
///
/// # Errors
/// [`ImageError`]; the output is then as it was before.
pub(super) fn expand(image: &Image, mut writer: ImageWriter) -> Result<ImageWriter, ImageError> {
    for section in &image.header().sections {
        if section.encoding == Encoding::Plain {
            writer.copy_section(image, section.id)?;
            continue;
        }
        let content = image.content(section.id)?;
        let path = writer.target().to_path_buf();
        writer.add_built(section.id, |file, offset| {
            let write = |at, chunk: &[u8]| write_sparse(file, chunk, offset + at);
            content.for_each_chunk(write).map_err(|error| match error.downcast::<FormatError>() {
                Ok(error) => ImageError::Format { path: image.path().to_path_buf(), error },
                Err(error) => ImageError::Write { path: path.clone(), error },
            })?;
            // Holes at the end are part of it, too.
            let len_bytes = content.len_bytes();
            file.set_len(offset + len_bytes).map_err(|error| ImageError::Write { path, error })?;
            Ok::<_, ImageError>((len_bytes, ()))
        })?;
    }
    Ok(writer)
}
