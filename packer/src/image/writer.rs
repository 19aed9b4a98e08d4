//! Writes an image: sections one after another, streaming, then the header, then the name.

use super::atomic::AtomicFile;
use super::error::{FormatError, ImageError};
use super::format::{Arch, Encoding, HEADER_BYTES, Header, PAGE_BYTES, Section, SectionId};
use super::reader::{Image, SectionFile};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes read or written at a time.
pub(super) const BUFFER_BYTES: usize = 1 << 20;

/// An image being written. Nothing is visible under its name before [`ImageWriter::finish`]; if
/// that is never reached, nothing ever is.
#[derive(Debug)]
pub struct ImageWriter {
    output: AtomicFile,
    arch: Arch,
    sections: Vec<Section>,
    /// First byte after the last section.
    end: u64,
}

impl ImageWriter {
    /// Starts an image that will replace or become `target`.
    ///
    /// # Errors
    /// As [`AtomicFile::create`].
    pub fn create(target: &Path, arch: Arch) -> Result<Self, ImageError> {
        let output = AtomicFile::create(target)?;
        Ok(ImageWriter { output, arch, sections: Vec::new(), end: HEADER_BYTES as u64 })
    }

    /// The directory of the image, for temporary data that may be as large as the image.
    pub fn directory(&self) -> &Path {
        self.output.directory()
    }

    /// Where the image will appear.
    pub fn target(&self) -> &Path {
        self.output.target()
    }

    /// Appends a section from memory.
    pub fn add_bytes(&mut self, id: SectionId, bytes: &[u8]) -> Result<(), ImageError> {
        let offset = self.next_offset();
        self.output.file().write_all_at(bytes, offset).map_err(|error| self.write_error(error))?;
        let hash = *blake3::hash(bytes).as_bytes();
        self.push(Section { id, encoding: Encoding::Plain, offset, len_bytes: bytes.len() as u64, hash });
        Ok(())
    }

    /// Appends a section that `build` writes itself, anywhere from the given offset of the file
    /// on, returning its length in bytes and a result. The section is read back once to hash it,
    /// because its first bytes may have been written last.
    ///
    /// # Errors
    /// What `build` reports, and [`ImageError::Write`].
    pub fn add_built<T, E: From<ImageError>>(
        &mut self,
        id: SectionId,
        build: impl FnOnce(&File, u64) -> Result<(u64, T), E>,
    ) -> Result<T, E> {
        self.add_encoded(id, Encoding::Plain, build)
    }

    /// The same for a section that `build` writes in another form than it is used in.
    pub(super) fn add_encoded<T, E: From<ImageError>>(
        &mut self,
        id: SectionId,
        encoding: Encoding,
        build: impl FnOnce(&File, u64) -> Result<(u64, T), E>,
    ) -> Result<T, E> {
        let offset = self.next_offset();
        let (len_bytes, result) = build(self.output.file(), offset)?;
        let hash =
            hash_range(self.output.file(), offset, len_bytes).map_err(|error| self.write_error(error))?;
        self.push(Section { id, encoding, offset, len_bytes, hash });
        Ok(result)
    }

    /// Appends a section of another image as it is.
    ///
    /// # Errors
    /// [`ImageError::Format`] if that has none or its bytes are not what its header says, and the host's.
    pub fn copy_section(&mut self, from: &Image, id: SectionId) -> Result<(), ImageError> {
        let SectionFile { file: source, offset: start, len_bytes } = from.section_file(id)?;
        let path = self.target().to_path_buf();
        self.add_built(id, |file, offset| {
            let mut buffer = vec![0; BUFFER_BYTES.min(len_bytes as usize)];
            let mut done = 0;
            while done < len_bytes {
                let part = &mut buffer[..(len_bytes - done).min(BUFFER_BYTES as u64) as usize];
                let read = source.read_exact_at(part, start + done);
                read.map_err(|error| ImageError::Read { path: from.path().to_path_buf(), error })?;
                let written = file.write_all_at(part, offset + done);
                written.map_err(|error| ImageError::Write { path: path.clone(), error })?;
                done += part.len() as u64;
            }
            Ok::<_, ImageError>((len_bytes, ()))
        })?;
        let copied = self.sections.last().map(|section| section.hash);
        if copied != from.header().section(id).map(|section| section.hash) {
            let (path, error) = (from.path().to_path_buf(), FormatError::SectionChecksum(id));
            return Err(ImageError::Format { path, error });
        }
        Ok(())
    }

    /// The image as it would be without what is still to come, to be read while this goes on.
    ///
    /// # Errors
    /// [`ImageError::Write`], and [`ImageError::Format`] if it lacks a part that every image has.
    pub fn preview(&self) -> Result<Image, ImageError> {
        self.preview_as(self.target())
    }

    /// The same; messages call it `path`.
    pub(super) fn preview_as(&self, path: &Path) -> Result<Image, ImageError> {
        self.write_header()?;
        let file = self.output.file().try_clone().map_err(|error| self.write_error(error))?;
        Image::of_file(file, path)
    }

    /// Completes the file and gives it its name. Returns its length in bytes.
    ///
    /// # Errors
    /// [`ImageError::Write`], e.g. for a full disk; the target is then as it was.
    pub fn finish(self) -> Result<u64, ImageError> {
        let file_bytes = self.write_header()?;
        self.output.commit()?;
        Ok(file_bytes)
    }

    /// Writes the header for the sections so far and pads the file. Returns its length in bytes.
    fn write_header(&self) -> Result<u64, ImageError> {
        let file_bytes = self.next_offset();
        let header = Header { arch: self.arch, file_bytes, sections: self.sections.clone() };
        let file = self.output.file();
        file.set_len(file_bytes)
            .and_then(|()| file.write_all_at(&header.to_bytes(), 0))
            .map_err(|error| self.write_error(error))?;
        Ok(file_bytes)
    }

    fn next_offset(&self) -> u64 {
        self.end.next_multiple_of(PAGE_BYTES)
    }

    fn push(&mut self, section: Section) {
        self.end = section.end();
        self.sections.push(section);
    }

    pub(super) fn write_error(&self, error: io::Error) -> ImageError {
        ImageError::Write { path: self.output.target().to_path_buf(), error }
    }
}

/// Pages of zeros are left out of a file by [`write_sparse`].
const HOLE_BYTES: usize = 4096;

/// Writes to a file that is new there, and thus has zeros already where whole pages of `bytes` are zero.
pub(crate) fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let is_zero = |page: &&[u8]| page.iter().all(|&byte| byte == 0);
    let pages: Vec<&[u8]> = bytes.chunks(HOLE_BYTES).collect();
    let mut at = 0;
    for run in pages.chunk_by(|one, next| is_zero(one) == is_zero(next)) {
        let len = run.iter().map(|page| page.len()).sum::<usize>();
        if !is_zero(&run[0]) {
            file.write_all_at(&bytes[at..at + len], offset + at as u64)?;
        }
        at += len;
    }
    Ok(())
}

/// BLAKE3 of a range of a file.
pub(super) fn hash_range(file: &File, offset: u64, len_bytes: u64) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES.min(usize::try_from(len_bytes).unwrap_or(BUFFER_BYTES))];
    let mut done = 0;
    while done < len_bytes {
        let part = (len_bytes - done).min(BUFFER_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..part], offset + done)?;
        hasher.update(&buffer[..part]);
        done += part as u64;
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Reads at most `limit_bytes`; used where a longer stream is an error.
pub(crate) fn read_limited(reader: impl Read, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit_bytes} bytes")));
    }
    Ok(bytes)
}
