//! Opens an image, checks it and hands out its sections.
//!
//! [`Image::open`] checks the header, the table and the manifest. A small section is checked each
//! time it is read. The bulk (root filesystem, RAM) is checked by [`Image::verify`], which reads the
//! whole file, and which [`Image::ensure_verified`] calls only for a file not seen before.
//!
//! A compressed section is decompressed by [`Image::read`] and [`Image::content`]; only what is not
//! compressed is a range of the file ([`Image::section_file`]).

use super::content::Content;
use super::error::{FormatError, ImageError};
use super::format::{Arch, Encoding, HEADER_BYTES, Header, Section, SectionId};
use super::manifest::Manifest;
use super::seen::{FileIdentity, SeenImages};
use super::writer::{BUFFER_BYTES, hash_range};
use crate::rootfs::erofs::ReadAt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Longest section that is read into memory as a whole. Kernels and agents are far smaller.
const MAX_IN_MEMORY_BYTES: u64 = 1 << 30;
/// Longest manifest: Linux allows 6 MiB of arguments and environment, JSON may double that.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// An open image whose header, table and manifest are good.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    file: File,
    header: Header,
    manifest: Manifest,
    /// The file's when it was opened.
    identity: FileIdentity,
}

/// A section as a range of the open file, e.g. for a read-only block device.
#[derive(Debug)]
pub struct SectionFile {
    /// The image file, opened read-only.
    pub file: File,
    /// First byte of the section in the file; a multiple of 4096.
    pub offset: u64,
    /// Length of the section in bytes.
    pub len_bytes: u64,
}

impl Image {
    /// Opens an image file and checks its header, its table and its manifest.
    ///
    /// # Errors
    /// [`ImageError::Read`] and [`ImageError::NotAFile`] for a path that is no readable file,
    /// [`ImageError::Format`] for a file that is not an image, is cut short, was damaged in these
    /// parts or needs a newer c2w.
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let read = |error| ImageError::Read { path: path.to_path_buf(), error };
        // Without O_NONBLOCK, opening a FIFO would wait for a writer before it could be refused.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "is a directory" } else { "is not a regular file" };
            return Err(ImageError::NotAFile { path: path.to_path_buf(), what });
        }
        Self::of_file(file, path)
    }

    /// The same for a file that is open already. Messages call it `path`.
    pub(super) fn of_file(file: File, path: &Path) -> Result<Self, ImageError> {
        let read = |error| ImageError::Read { path: path.to_path_buf(), error };
        let format = |error| ImageError::Format { path: path.to_path_buf(), error };
        let identity = FileIdentity::of(&file).map_err(read)?;
        let len_bytes = identity.len_bytes();
        let start = read_start(&file, len_bytes).map_err(read)?;
        let header = Header::parse(&start, len_bytes).map_err(format)?;
        let json = read_section(&file, &header, SectionId::Manifest, MAX_MANIFEST_BYTES).map_err(
            |error| match error {
                SectionError::Io(error) => read(error),
                SectionError::Format(error) => format(error),
            },
        )?;
        let manifest = Manifest::from_json(&json).map_err(format)?;
        if manifest.machine.arch != header.arch {
            return Err(format(FormatError::Manifest(
                "its architecture differs from the header's".to_string(),
            )));
        }
        Ok(Image { path: path.to_path_buf(), file, header, manifest, identity })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Guest architecture.
    pub fn arch(&self) -> Arch {
        self.header.arch
    }

    /// The checked header: length of the file and table of sections.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the image says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads a section into memory and checks it.
    ///
    /// # Errors
    /// [`ImageError::Format`] if it is absent or damaged, [`ImageError::Read`] from the host.
    pub fn read(&self, id: SectionId) -> Result<Vec<u8>, ImageError> {
        let section = self.section(id)?;
        if section.encoding == Encoding::Plain {
            return read_section(&self.file, &self.header, id, MAX_IN_MEMORY_BYTES)
                .map_err(|error| self.section_error(error));
        }
        self.check_section(section)?;
        let content = self.content(id)?;
        if content.len_bytes() > MAX_IN_MEMORY_BYTES {
            return Err(self.format_error(too_long(id)));
        }
        let mut bytes = vec![0; content.len_bytes() as usize];
        content.read_exact_at(&mut bytes, 0).map_err(|error| self.content_error(error))?;
        Ok(bytes)
    }

    /// A section's content, decompressed where it is read. What [`Image::verify`] checked, if it was called.
    ///
    /// # Errors
    /// [`ImageError::Format`] if it is absent or its table of chunks is damaged, [`ImageError::Read`] from the host.
    pub fn content(&self, id: SectionId) -> Result<Content, ImageError> {
        let section = self.section(id)?;
        let prefix = match section.encoding {
            Encoding::Plain | Encoding::Zstd => Vec::new(),
            Encoding::ZstdAfterKernel => self.read(SectionId::Kernel)?,
        };
        let file = self.file.try_clone().map_err(|error| self.read_error(error))?;
        Content::open(file, section, prefix).map_err(|error| self.content_error(error))
    }

    /// The guest kernel's bytes.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn kernel(&self) -> Result<Vec<u8>, ImageError> {
        self.read(SectionId::Kernel)
    }

    /// The initial RAM disk's bytes; `None` if the image has none.
    ///
    /// # Errors
    /// As [`Image::read`].
    pub fn initrd(&self) -> Result<Option<Vec<u8>>, ImageError> {
        self.header.section(SectionId::Initrd).map(|section| self.read(section.id)).transpose()
    }

    /// A section as a range of the file. Its content is what [`Image::verify`] checked.
    ///
    /// # Errors
    /// [`ImageError::Format`] if it is absent or compressed, [`ImageError::Read`] if the host has no more
    /// file descriptors.
    pub fn section_file(&self, id: SectionId) -> Result<SectionFile, ImageError> {
        let section = self.section(id)?;
        if section.encoding != Encoding::Plain {
            return Err(self.format_error(FormatError::NotExpanded(id)));
        }
        let file = self.file.try_clone().map_err(|error| self.read_error(error))?;
        Ok(SectionFile { file, offset: section.offset, len_bytes: section.len_bytes })
    }

    /// The root filesystem, for a read-only block device.
    ///
    /// # Errors
    /// As [`Image::section_file`].
    pub fn rootfs(&self) -> Result<SectionFile, ImageError> {
        self.section_file(SectionId::Rootfs)
    }

    /// Reads the whole file and checks every byte of it, and that what is compressed can be decompressed.
    ///
    /// # Errors
    /// [`ImageError::Format`] naming the first damaged section, or padding, in file order.
    pub fn verify(&self) -> Result<(), ImageError> {
        self.verify_stored()?;
        for section in &self.header.sections {
            let content = self.content(section.id)?;
            content.for_each_chunk(|_, _| Ok(())).map_err(|error| self.content_error(error))?;
        }
        Ok(())
    }

    /// Reads the whole file and checks every byte of it against its hash.
    pub(super) fn verify_stored(&self) -> Result<(), ImageError> {
        let before = FileIdentity::of(&self.file).map_err(|error| self.read_error(error))?;
        // The header and the manifest once more: they were read when the file was opened.
        let start = read_start(&self.file, before.len_bytes()).map_err(|error| self.read_error(error))?;
        let header = Header::parse(&start, before.len_bytes()).map_err(|error| self.format_error(error))?;
        if header != self.header {
            return Err(self.format_error(FormatError::Changed));
        }
        for section in &self.header.sections {
            self.check_section(section)?;
        }
        for (offset, len_bytes) in self.header.padding() {
            if let Some(offset) =
                first_nonzero(&self.file, offset, len_bytes).map_err(|error| self.read_error(error))?
            {
                return Err(self.format_error(FormatError::Padding { offset }));
            }
        }
        let after = FileIdentity::of(&self.file).map_err(|error| self.read_error(error))?;
        if before != after {
            return Err(self.format_error(FormatError::Changed));
        }
        Ok(())
    }

    /// Like [`Image::verify`], but only if `seen` does not remember this very file as good.
    /// Returns whether the file was read. A record that cannot be kept only costs time later.
    ///
    /// # Errors
    /// As [`Image::verify`].
    pub fn ensure_verified(&self, seen: &SeenImages) -> Result<bool, ImageError> {
        let identity = FileIdentity::of(&self.file).map_err(|error| self.read_error(error))?;
        if seen.contains(&identity) {
            return Ok(false);
        }
        self.verify()?;
        self.remember(seen);
        Ok(true)
    }

    /// Notes that the file is good as it is now.
    pub(super) fn remember(&self, seen: &SeenImages) {
        let identity = FileIdentity::of(&self.file);
        if let Err(error) = identity.and_then(|identity| seen.remember(&identity)) {
            tracing::debug!(%error, "cannot remember that the image was verified");
        }
    }

    /// Whether the file is as it was when it was opened; a machine that ran from it may have gone wrong otherwise.
    ///
    /// # Errors
    /// [`FormatError::Changed`].
    pub fn check_unchanged(&self) -> Result<(), ImageError> {
        let now = FileIdentity::of(&self.file).map_err(|error| self.read_error(error))?;
        if self.identity.same_content(&now) { Ok(()) } else { Err(self.changed()) }
    }

    /// That the file changed while it was in use, as an error.
    pub fn changed(&self) -> ImageError {
        self.format_error(FormatError::Changed)
    }

    /// Length of a section's content; less than that is in the file if it is compressed.
    ///
    /// # Errors
    /// As [`Image::content`].
    pub fn content_bytes(&self, section: &Section) -> Result<u64, ImageError> {
        let file = self.file.try_clone().map_err(|error| self.read_error(error))?;
        let content = Content::open(file, section, Vec::new());
        content.map(|content| content.len_bytes()).map_err(|error| self.content_error(error))
    }

    fn section(&self, id: SectionId) -> Result<&Section, ImageError> {
        self.header.section(id).ok_or_else(|| self.format_error(FormatError::MissingSection(id)))
    }

    fn check_section(&self, section: &Section) -> Result<(), ImageError> {
        let hash = hash_range(&self.file, section.offset, section.len_bytes);
        if hash.map_err(|error| self.read_error(error))? != section.hash {
            return Err(self.format_error(FormatError::SectionChecksum(section.id)));
        }
        Ok(())
    }

    fn section_error(&self, error: SectionError) -> ImageError {
        match error {
            SectionError::Io(error) => self.read_error(error),
            SectionError::Format(error) => self.format_error(error),
        }
    }

    /// An error of [`Content`]'s, which may be about the image's bytes.
    pub(super) fn content_error(&self, error: io::Error) -> ImageError {
        match error.downcast::<FormatError>() {
            Ok(error) => self.format_error(error),
            Err(error) => self.read_error(error),
        }
    }

    fn read_error(&self, error: io::Error) -> ImageError {
        ImageError::Read { path: self.path.clone(), error }
    }

    fn format_error(&self, error: FormatError) -> ImageError {
        ImageError::Format { path: self.path.clone(), error }
    }
}

enum SectionError {
    Io(io::Error),
    Format(FormatError),
}

/// The first page of the file, or all of it if that is less.
fn read_start(file: &File, len_bytes: u64) -> io::Result<Vec<u8>> {
    let mut start = vec![0; len_bytes.min(HEADER_BYTES as u64) as usize];
    file.read_exact_at(&mut start, 0)?;
    Ok(start)
}

fn read_section(
    file: &File,
    header: &Header,
    id: SectionId,
    limit_bytes: u64,
) -> Result<Vec<u8>, SectionError> {
    let section = header.section(id).ok_or(SectionError::Format(FormatError::MissingSection(id)))?;
    if section.len_bytes > limit_bytes {
        return Err(SectionError::Format(too_long(id)));
    }
    let mut bytes = vec![0; section.len_bytes as usize];
    file.read_exact_at(&mut bytes, section.offset).map_err(SectionError::Io)?;
    if blake3::hash(&bytes) != section.hash {
        return Err(SectionError::Format(FormatError::SectionChecksum(id)));
    }
    Ok(bytes)
}

fn too_long(section: SectionId) -> FormatError {
    FormatError::BadSection { section, problem: "is too long to be read into memory" }
}

/// Offset in the file of the first byte of the range that is not zero.
fn first_nonzero(file: &File, offset: u64, len_bytes: u64) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; BUFFER_BYTES.min(len_bytes as usize)];
    let mut done = 0;
    while done < len_bytes {
        let part = (len_bytes - done).min(BUFFER_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..part], offset + done)?;
        if let Some(at) = buffer[..part].iter().position(|&byte| byte != 0) {
            return Ok(Some(offset + done + at as u64));
        }
        done += part as u64;
    }
    Ok(None)
}
