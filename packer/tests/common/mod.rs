//! What the tests of the root filesystem share: making archives entry by entry, making an image of
//! one, and listing an image through the project's reader.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod oci;

use c2w_packer::rootfs::erofs::{self, EntryKind, Reader};
use c2w_packer::rootfs::tar::{TarOptions, apply_tar};
use c2w_packer::rootfs::{DataStore, DirectoryOptions, FsTree, Owners, RootfsError, Time, apply_directory};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// One file of an image, with all that can be said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: EntryKind,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Names of the inode; 0 for a directory, where it says nothing.
    pub nlink: u32,
    /// Content of a file, target of a link.
    pub content: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The first path, in order, of the same inode.
    pub first_name: Vec<u8>,
}

pub type Listing = BTreeMap<Vec<u8>, Record>;

/// Builds an image with `fill` and returns its bytes.
pub fn build(
    fill: impl FnOnce(&mut FsTree, &mut DataStore) -> Result<(), RootfsError>,
) -> Result<Vec<u8>, RootfsError> {
    let directory = tempfile::tempdir().unwrap();
    let mut file = tempfile::tempfile_in(directory.path()).unwrap();
    let mut tree = FsTree::new();
    let mut store = DataStore::new(&file, 0, directory.path())?;
    fill(&mut tree, &mut store)?;
    let written = erofs::write(&tree, store)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, written.len_bytes);
    Ok(bytes)
}

/// The image of archives applied one over another.
pub fn image_of_layers(layers: &[Vec<u8>], whiteouts: bool) -> Result<Vec<u8>, RootfsError> {
    build(|tree, store| {
        for layer in layers {
            apply_tar(tree, store, &layer[..], TarOptions { whiteouts })?;
        }
        Ok(())
    })
}

/// The image of one archive.
pub fn image_of(archive: &[u8]) -> Result<Vec<u8>, RootfsError> {
    image_of_layers(&[archive.to_vec()], false)
}

/// Everything in an image but the root directory.
pub fn list(image: &[u8]) -> Listing {
    let reader = Reader::open(image).unwrap();
    let mut listing = Listing::new();
    let mut names = BTreeMap::new();
    let mut nids = Vec::new();
    reader
        .walk(|path, inode| {
            if path.is_empty() {
                return Ok(());
            }
            let content = match inode.kind {
                EntryKind::File => reader.read_all(inode, 1 << 30)?,
                EntryKind::Symlink => reader.read_link(inode)?,
                _ => Vec::new(),
            };
            let xattrs = reader.xattrs(inode)?;
            let record = Record {
                kind: inode.kind,
                mode: inode.mode,
                uid: inode.uid,
                gid: inode.gid,
                mtime: inode.mtime,
                nlink: if inode.kind == EntryKind::Directory { 0 } else { inode.nlink },
                content,
                xattrs: xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
                first_name: Vec::new(),
            };
            listing.insert(path.to_vec(), record);
            nids.push((path.to_vec(), inode.nid));
            Ok(())
        })
        .unwrap();
    nids.sort();
    for (path, nid) in nids {
        let first = names.entry(nid).or_insert_with(|| path.clone()).clone();
        listing.get_mut(&path).unwrap().first_name = first;
    }
    listing
}

/// What is in a directory of the host, listed as an image is.
pub fn list_directory(path: &Path) -> Listing {
    let built = build(|tree, store| {
        let options = DirectoryOptions { owners: Owners::Keep, leave_out: None };
        apply_directory(tree, store, path, &options).map(drop)
    });
    list(&built.unwrap())
}

/// Asserts that two listings say the same. The mode of a link is left out: a host has only one.
#[track_caller]
pub fn assert_same(ours: &Listing, theirs: &Listing) {
    let names =
        |listing: &Listing| listing.keys().map(|name| name.escape_ascii().to_string()).collect::<Vec<_>>();
    assert_eq!(names(ours), names(theirs));
    for ((path, ours), theirs) in ours.iter().zip(theirs.values()) {
        let mut ours = ours.clone();
        if ours.kind == EntryKind::Symlink {
            ours.mode = theirs.mode;
        }
        let same_content = ours.content == theirs.content;
        let content = std::mem::replace(&mut ours.content, theirs.content.clone());
        assert!(
            ours == *theirs && same_content,
            "{}: {ours:?}, not {theirs:?}; {} bytes",
            path.escape_ascii(),
            content.len()
        );
    }
}

/// The names of an image with their kinds, one a line: `d a`, `f a/b text`, `l c -> a`.
pub fn outline(image: &[u8]) -> String {
    let line = |(path, record): (&Vec<u8>, &Record)| {
        let path = path.escape_ascii();
        let content = record.content.escape_ascii();
        match record.kind {
            EntryKind::Directory => format!("d {path}"),
            EntryKind::File if record.content.is_empty() => format!("f {path}"),
            EntryKind::File => format!("f {path} {content}"),
            EntryKind::Symlink => format!("l {path} -> {content}"),
            EntryKind::CharDevice(number) => format!("c {path} {}:{}", number.major, number.minor),
            EntryKind::BlockDevice(number) => format!("b {path} {}:{}", number.major, number.minor),
            EntryKind::Fifo => format!("p {path}"),
            EntryKind::Socket => format!("s {path}"),
        }
    };
    list(image).iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Writes archives through the independent `tar` crate, with raw names.
pub struct Archive {
    builder: tar::Builder<Vec<u8>>,
}

impl Archive {
    pub fn new() -> Self {
        Archive { builder: tar::Builder::new(Vec::new()) }
    }

    pub fn finish(self) -> Vec<u8> {
        self.builder.into_inner().unwrap()
    }

    /// A header of this type with raw name and target, mode 0644, owner 0:0, time 0.
    pub fn header(flag: u8, path: &[u8], link: &[u8]) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_gnu_mut().unwrap();
        fields.typeflag = [flag];
        fields.name[..path.len()].copy_from_slice(path);
        fields.linkname[..link.len()].copy_from_slice(link);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        header
    }

    pub fn append(mut self, mut header: tar::Header, data: &[u8]) -> Self {
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.builder.append(&header, data).unwrap();
        self
    }

    pub fn pax(mut self, records: &[(&str, &[u8])]) -> Self {
        self.builder.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        self.append(Archive::header(b'0', path.as_bytes(), b""), content.as_bytes())
    }

    pub fn directory(self, path: &str) -> Self {
        self.append(Archive::header(b'5', path.as_bytes(), b""), b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.append(Archive::header(b'2', path.as_bytes(), target.as_bytes()), b"")
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.append(Archive::header(b'1', path.as_bytes(), target.as_bytes()), b"")
    }
}
