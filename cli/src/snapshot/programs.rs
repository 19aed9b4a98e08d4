//! Which files a start is likely to need: the program that an image runs, its shell, and what these are made of.

use crate::container::{self, RunOptions};
use crate::image_files::ImageFiles;
use anyhow::Result;
use c2w_agent::DEFAULT_PATH;
use c2w_packer::image::{Content, Image};
use c2w_packer::rootfs::erofs::{EntryKind, Inode, Reader};
use object::elf::{DT_NEEDED, DT_RPATH, DT_RUNPATH, FileHeader64};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::{Endianness, StringTable};
use std::collections::BTreeSet;

/// What most commands that are given instead of the image's begin with.
const SHELL: &[u8] = b"/bin/sh";
/// Longest program or library that is read as a whole: of larger ones a start needs little.
const MOST_FILE_BYTES: u64 = 16 << 20;
/// So much is read altogether: it makes the snapshot larger.
const MOST_BYTES: u64 = 32 << 20;
/// Where loaders look for libraries if nothing else is said; multiarch systems have a directory of the architecture's in
/// them.
const LIBRARY_DIRECTORIES: [&str; 5] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"];

/// Absolute paths of the files, links not followed. What is not there or no program is left out.
///
/// # Errors
/// The image's root file system cannot be read.
pub fn likely(image: &Image) -> Result<Vec<Vec<u8>>> {
    let files = ImageFiles::of(image)?;
    let mut found = Search {
        reader: files.reader()?,
        multiarch: format!("{}-linux-gnu", image.arch()),
        paths: BTreeSet::new(),
        unread: Vec::new(),
        left: MOST_BYTES,
    };
    // An image need not have a command.
    if let Ok(spec) = container::start_spec(&image.manifest().config, &RunOptions::default()) {
        let path = spec.env.iter().find_map(|entry| entry.strip_prefix(b"PATH="));
        found.program(&spec.argv[0], path.unwrap_or(DEFAULT_PATH.as_bytes()));
    }
    found.file(SHELL);
    found.follow();
    Ok(found.paths.into_iter().collect())
}

struct Search<'a> {
    reader: Reader<&'a Content>,
    multiarch: String,
    paths: BTreeSet<Vec<u8>>,
    /// Those of them that may name others.
    unread: Vec<(Vec<u8>, Inode)>,
    /// How many bytes may still be added.
    left: u64,
}

impl Search<'_> {
    /// Adds a program that is looked for as a shell does.
    fn program(&mut self, name: &[u8], path: &[u8]) {
        if name.contains(&b'/') {
            self.file(name);
            return;
        }
        let directories = path.split(|byte| *byte == b':');
        let mut candidates = directories.map(|directory| [directory, b"/", name].concat());
        candidates.any(|candidate| self.file(&candidate));
    }

    /// Adds a file; false if there is none.
    fn file(&mut self, path: &[u8]) -> bool {
        if !path.starts_with(b"/") {
            return false;
        }
        let Ok(Some(inode)) = self.reader.lookup(path) else { return false };
        if inode.kind != EntryKind::File {
            return false;
        }
        if inode.size > MOST_FILE_BYTES.min(self.left) || !self.paths.insert(path.to_vec()) {
            return true;
        }
        self.left -= inode.size;
        self.unread.push((path.to_vec(), inode));
        true
    }

    /// Adds what the files need that are there, and what that needs.
    fn follow(&mut self) {
        while let Some((path, inode)) = self.unread.pop() {
            let Ok(contents) = self.reader.read_all(&inode, MOST_FILE_BYTES) else { continue };
            let needs = Needs::of(&contents);
            if let Some(interpreter) = needs.interpreter {
                self.file(&interpreter);
            }
            for library in needs.libraries {
                self.library(&library, &needs.run_path, &path);
            }
        }
    }

    /// Adds a library that the program `of` needs.
    fn library(&mut self, name: &[u8], run_path: &[u8], of: &[u8]) {
        let origin = &of[..of.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        let own = run_path.split(|byte| *byte == b':').map(|directory| {
            let rest = directory.strip_prefix(b"$ORIGIN").or(directory.strip_prefix(b"${ORIGIN}"));
            rest.map_or(directory.to_vec(), |rest| [origin, rest].concat())
        });
        let usual = LIBRARY_DIRECTORIES
            .into_iter()
            .flat_map(|directory| [format!("{directory}/{}", self.multiarch), directory.to_string()]);
        let directories: Vec<_> = own.chain(usual.map(String::into_bytes)).collect();
        directories.iter().any(|directory| self.file(&[directory, b"/".as_slice(), name].concat()));
    }
}

/// What a program names.
#[derive(Default, Debug, PartialEq, Eq)]
struct Needs {
    interpreter: Option<Vec<u8>>,
    libraries: Vec<Vec<u8>>,
    run_path: Vec<u8>,
}

impl Needs {
    /// Of a script or an ELF file; anything else needs nothing.
    fn of(contents: &[u8]) -> Self {
        if let Some(line) = contents.strip_prefix(b"#!") {
            let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
            return Self { interpreter: words.next().map(<[u8]>::to_vec), ..Self::default() };
        }
        Self::of_elf(contents).unwrap_or_default()
    }

    fn of_elf(contents: &[u8]) -> object::Result<Self> {
        let header = FileHeader64::<Endianness>::parse(contents)?;
        let endian = header.endian()?;
        let mut needs = Self::default();
        for segment in header.program_headers(endian, contents)? {
            if let Some(interpreter) = segment.interpreter(endian, contents)? {
                needs.interpreter = Some(interpreter.to_vec());
            }
        }
        let sections = header.sections(endian, contents)?;
        if let Some((dynamic, strings)) = sections.dynamic(endian, contents)? {
            let strings: StringTable<'_> = sections.strings(endian, contents, strings)?;
            for entry in dynamic {
                match entry.tag32(endian) {
                    Some(DT_NEEDED) => needs.libraries.push(entry.string(endian, strings)?.to_vec()),
                    Some(DT_RUNPATH | DT_RPATH) => {
                        needs.run_path = entry.string(endian, strings)?.to_vec();
                    }
                    _ => {}
                }
            }
        }
        Ok(needs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_programs_say_what_they_need() {
        assert_eq!(Needs::of(b"#! /bin/sh -e\necho").interpreter.as_deref(), Some(b"/bin/sh".as_slice()));
        for other in [b"".as_slice(), b"#!", b"#!\n", b"\x7fELF", b"text"] {
            assert_eq!(Needs::of(other), Needs::default());
        }
        let this = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let needs = Needs::of(&this);
        assert!(needs.interpreter.is_some() && !needs.libraries.is_empty(), "{needs:?}");
    }
}
