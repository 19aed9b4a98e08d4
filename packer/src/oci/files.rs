//! Files by their names, in a directory or in an archive: what a layout and a docker archive are
//! read from.

use super::error::OciError;
use crate::rootfs::decompress;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Entries of an archive that are remembered.
const MAX_ENTRIES: usize = 1 << 20;
/// Links in an archive that are followed from one name.
const MAX_LINKS: usize = 8;

/// Files by name, with `/` between the parts of a name.
pub trait Files {
    /// The content of the file with this name; `None` if there is none.
    ///
    /// # Errors
    /// [`OciError::File`].
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, OciError>;
}

/// The files below a directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The files below `path`.
    pub fn new(path: &Path) -> Directory {
        Directory { path: path.to_path_buf() }
    }
}

impl Files for Directory {
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, OciError> {
        let path = self.path.join(name);
        let failed = |error| OciError::File { path: path.clone(), error };
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(Box::new(File::open(&path).map_err(failed)?))),
            // Opening a pipe would wait for ever.
            Ok(_) => Err(failed(io::Error::other("not a regular file"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

/// The files of a tar archive, read at their places.
#[derive(Debug)]
pub struct Archive {
    file: File,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
enum Entry {
    /// Offset in the file, and length in bytes.
    Data(u64, u64),
    /// Another name, from the top of the archive.
    Link(String),
}

impl Archive {
    /// Reads the table of an archive. A compressed one is unpacked first, into a temporary file in
    /// `scratch_directory`, of at most `limit_bytes`.
    ///
    /// # Errors
    /// [`OciError::Input`], or [`OciError::NotAnImage`] for what is no archive.
    pub fn open(path: &Path, scratch_directory: &Path, limit_bytes: u64) -> Result<Archive, OciError> {
        let failed = OciError::Input;
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a regular file")));
        }
        let mut file = File::open(path).map_err(failed)?;
        let mut magic = [0; 4];
        let magic_bytes = file.read(&mut magic).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let is_plain = !magic[..magic_bytes].starts_with(b"\x1f\x8b")
            && !magic[..magic_bytes].starts_with(b"\x28\xb5\x2f\xfd");
        if !is_plain {
            file = unpacked(file, scratch_directory, limit_bytes).map_err(failed)?;
        }
        let entries = table(&file).map_err(|error| match error.kind() {
            // The crate's own words are about a name that it could not make sense of.
            io::ErrorKind::Other | io::ErrorKind::InvalidData => {
                OciError::NotAnImage("not a tar archive, or a damaged one".to_string())
            }
            io::ErrorKind::UnexpectedEof => OciError::NotAnImage("the archive is cut short".to_string()),
            _ => failed(error),
        })?;
        Ok(Archive { file, entries })
    }

    /// Whether there is a file with this name.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }
}

impl Files for Archive {
    fn open(&self, name: &str) -> Result<Option<Box<dyn Read + '_>>, OciError> {
        let mut name = name;
        for _ in 0..=MAX_LINKS {
            match self.entries.get(name) {
                Some(Entry::Data(offset, len_bytes)) => {
                    let part = FilePart { file: &self.file, position: *offset, left_bytes: *len_bytes };
                    return Ok(Some(Box::new(part)));
                }
                Some(Entry::Link(target)) => name = target,
                None => return Ok(None),
            }
        }
        let error =
            io::Error::other(format!("the links of {} go round in a circle", super::error::plain(name)));
        Err(OciError::Input(error))
    }
}

fn unpacked(file: File, scratch_directory: &Path, limit_bytes: u64) -> io::Result<File> {
    let mut plain = tempfile::tempfile_in(scratch_directory)?;
    let reader = decompress(file).map_err(io::Error::other)?;
    let copied = io::copy(&mut reader.take(limit_bytes.saturating_add(1)), &mut plain)?;
    if copied > limit_bytes {
        let text = "it unpacks to more than is allowed; --max-size sets the limit";
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    plain.seek(SeekFrom::Start(0))?;
    Ok(plain)
}

fn table(file: &File) -> io::Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path_bytes().into_owned();
        let Some(name) = normal(&String::from_utf8_lossy(&path), "") else { continue };
        let kind = entry.header().entry_type();
        let value = if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default();
            let target = String::from_utf8_lossy(&target).into_owned();
            let directory = match name.rsplit_once('/') {
                Some((directory, _)) if kind.is_symlink() => directory,
                _ => "",
            };
            normal(&target, directory).map(Entry::Link)
        } else if kind.is_file() || kind.is_contiguous() {
            Some(Entry::Data(entry.raw_file_position(), entry.size()))
        } else {
            None
        };
        if let Some(value) = value {
            entries.insert(name, value);
        }
        if entries.len() > MAX_ENTRIES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the archive has too many entries"));
        }
    }
    Ok(entries)
}

/// A name without `.`, `..` and empty parts, from `directory` on; `None` if it leads out.
fn normal(name: &str, directory: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    if name.starts_with('/') {
        parts.clear();
    }
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// A range of a file as a stream, without moving the file's own position.
struct FilePart<'a> {
    file: &'a File,
    position: u64,
    left_bytes: u64,
}

impl Read for FilePart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = self.left_bytes.min(buffer.len() as u64) as usize;
        let count = self.file.read_at(&mut buffer[..wanted], self.position)?;
        self.position += count as u64;
        self.left_bytes -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_the_archive() {
        for (name, directory, expected) in [
            ("a/b", "", Some("a/b")),
            ("./a//b/", "", Some("a/b")),
            ("/a", "d", Some("a")),
            ("../b/layer.tar", "a", Some("b/layer.tar")),
            ("../../x", "a", None),
            ("..", "", None),
        ] {
            assert_eq!(normal(name, directory).as_deref(), expected, "{name}");
        }
    }
}
