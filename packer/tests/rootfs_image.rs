//! Images of random trees read back as what went in, by the project's reader and by an independent
//! one; images of host directories hold what is on disk; damaged images never panic.

mod common;

use c2w_packer::rootfs::erofs::{EntryKind, Reader, ReaderError};
use c2w_packer::rootfs::{
    Content, DataStore, DeviceNumber, DirectoryOptions, FsTree, Metadata, Owners, Region, RootfsError, Time,
    Xattrs, apply_directory,
};
use common::{Listing, Record, build, list, outline};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

/// A tree to be written, by path. Parents are implied; conflicts are resolved before use.
#[derive(Clone, Debug)]
struct Model {
    files: BTreeMap<Vec<u8>, (Metadata, ModelContent)>,
    /// New name, and which of the other files it is a hard link to.
    links: Vec<(Vec<u8>, usize)>,
}

#[derive(Clone, Debug)]
enum ModelContent {
    Directory,
    File(Vec<u8>),
    /// Length, and regions filled with ones.
    Sparse(u64, Vec<Region>),
    Symlink(Vec<u8>),
    Char(DeviceNumber),
    Block(DeviceNumber),
    Fifo,
    Socket,
}

impl ModelContent {
    fn bytes(&self) -> Vec<u8> {
        match self {
            ModelContent::File(bytes) | ModelContent::Symlink(bytes) => bytes.clone(),
            ModelContent::Sparse(size, regions) => {
                let mut bytes = vec![0; *size as usize];
                for region in regions {
                    bytes[region.offset as usize..][..region.len_bytes as usize].fill(1);
                }
                bytes
            }
            _ => Vec::new(),
        }
    }

    fn kind(&self) -> EntryKind {
        match *self {
            ModelContent::Directory => EntryKind::Directory,
            ModelContent::File(_) | ModelContent::Sparse(..) => EntryKind::File,
            ModelContent::Symlink(_) => EntryKind::Symlink,
            ModelContent::Char(number) => EntryKind::CharDevice(number),
            ModelContent::Block(number) => EntryKind::BlockDevice(number),
            ModelContent::Fifo => EntryKind::Fifo,
            ModelContent::Socket => EntryKind::Socket,
        }
    }
}

impl Model {
    /// The names that hard links get, with the path they link to.
    fn link_names(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let linkable: Vec<&Vec<u8>> = self
            .files
            .iter()
            .filter(|(_, (_, content))| !matches!(content, ModelContent::Directory))
            .map(|(path, _)| path)
            .collect();
        let mut names = BTreeMap::new();
        for (name, number) in &self.links {
            if !linkable.is_empty() && !self.files.contains_key(name) {
                names.insert(name.clone(), linkable[number % linkable.len()].clone());
            }
        }
        names.into_iter().collect()
    }

    fn fill(&self, tree: &mut FsTree, store: &mut DataStore) -> Result<(), RootfsError> {
        let place = |result: Result<_, c2w_packer::rootfs::TreeError>| result.unwrap();
        for (path, (metadata, content)) in &self.files {
            let xattrs = &metadata.xattrs;
            let content = match content {
                ModelContent::Directory => Content::empty_directory(),
                ModelContent::File(bytes) => {
                    Content::File(store.add_file(&mut &bytes[..], bytes.len() as u64, xattrs)?)
                }
                ModelContent::Sparse(size, regions) => {
                    let ones = vec![1; *size as usize];
                    Content::File(store.add_sparse(&mut &ones[..], *size, regions, xattrs)?)
                }
                ModelContent::Symlink(target) => Content::Symlink(target.as_slice().into()),
                ModelContent::Char(number) => Content::CharDevice(*number),
                ModelContent::Block(number) => Content::BlockDevice(*number),
                ModelContent::Fifo => Content::Fifo,
                ModelContent::Socket => Content::Socket,
            };
            place(tree.insert(path, metadata.clone(), content));
        }
        for (name, target) in self.link_names() {
            place(tree.hard_link(&name, &target));
        }
        Ok(())
    }

    fn listing(&self) -> Listing {
        let record = |metadata: &Metadata, content: &ModelContent| Record {
            kind: content.kind(),
            mode: metadata.mode,
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime,
            nlink: u32::from(!matches!(content, ModelContent::Directory)),
            content: content.bytes(),
            xattrs: metadata.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
            first_name: Vec::new(),
        };
        let mut listing: Listing = self
            .files
            .iter()
            .map(|(path, (metadata, content))| {
                (path.clone(), Record { first_name: path.clone(), ..record(metadata, content) })
            })
            .collect();
        for (name, target) in self.link_names() {
            listing.insert(name, listing[&target].clone());
        }
        let mut by_inode: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for (path, record) in &listing {
            by_inode.entry(record.first_name.clone()).or_default().push(path.clone());
        }
        for names in by_inode.into_values() {
            for name in &names {
                let record = listing.get_mut(name).unwrap();
                record.first_name = names[0].clone();
                record.nlink *= names.len() as u32;
            }
        }
        listing
    }
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    let value = prop_oneof![
        9 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 0..6000),
    ];
    let names = prop::sample::select(vec![
        "user.a",
        "user.bb",
        "user.ccc",
        "trusted.t",
        "security.capability",
        "system.posix_acl_access",
        "system.posix_acl_default",
    ]);
    let xattrs = prop_oneof![
        3 => Just(BTreeMap::new()),
        1 => prop::collection::btree_map(names, value, 0..4),
    ];
    (0u16..0o10000, any::<u32>(), any::<u32>(), any::<i32>(), 0u32..1_000_000_000, xattrs).prop_map(
        |(mode, uid, gid, secs, nanos, xattrs)| {
            let mtime = Time { secs: i64::from(secs), nanos };
            let mut metadata = Metadata { mode, uid, gid, mtime, ..Metadata::default() };
            for (name, value) in xattrs {
                metadata.xattrs.set(name.as_bytes(), &value).unwrap();
            }
            metadata
        },
    )
}

fn any_content() -> impl Strategy<Value = ModelContent> {
    let length = prop_oneof![
        0usize..200,
        Just(4096),
        Just(8192),
        3900usize..4200,
        8000usize..8300,
        60_000usize..70_000,
    ];
    let file = (length, any::<u8>()).prop_map(|(length, seed)| {
        ModelContent::File((0..length).map(|at| seed.wrapping_add((at / 7) as u8) ^ at as u8).collect())
    });
    let sparse = (0u64..100_000, prop::collection::vec((0u64..30_000, 0u64..9_000), 0..5)).prop_map(
        |(size, steps)| {
            let (mut regions, mut end) = (Vec::new(), 0);
            for (gap, len_bytes) in steps {
                let offset = end + gap;
                if offset + len_bytes <= size {
                    regions.push(Region { offset, len_bytes });
                    end = offset + len_bytes;
                }
            }
            ModelContent::Sparse(size, regions)
        },
    );
    let number = (0u32..4096, 0u32..1 << 20).prop_map(|(major, minor)| DeviceNumber { major, minor });
    prop_oneof![
        4 => Just(ModelContent::Directory),
        8 => file,
        2 => sparse,
        2 => prop::collection::vec(1u8.., 1..60).prop_map(ModelContent::Symlink),
        1 => prop::collection::vec(1u8.., 3900..4096).prop_map(ModelContent::Symlink),
        1 => number.clone().prop_map(ModelContent::Char),
        1 => number.prop_map(ModelContent::Block),
        1 => Just(ModelContent::Fifo),
        1 => Just(ModelContent::Socket),
    ]
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("no part of a name", |&byte| byte != 0 && byte != b'/');
    prop_oneof![
        6 => prop::sample::select(vec![&b"a"[..], b"b", b"+", b"..."]).prop_map(<[u8]>::to_vec),
        2 => prop::collection::vec(byte.clone(), 1..6),
        1 => prop::collection::vec(byte, 200..256),
    ]
    .prop_filter("not a name", |name| name != b"." && name != b"..")
}

fn any_model() -> impl Strategy<Value = Model> {
    let file = (prop::collection::vec(any_name(), 1..5), any_metadata(), any_content());
    let links = prop::collection::vec((any_name(), any::<usize>()), 0..5);
    (prop::collection::vec(file, 0..60), links).prop_map(|(list, links)| {
        let mut files: BTreeMap<Vec<u8>, (Metadata, ModelContent)> = BTreeMap::new();
        for (names, metadata, content) in list {
            // Every parent becomes a directory, whatever it was.
            for depth in 1..names.len() {
                let parent = files.entry(names[..depth].join(&b'/'));
                let parent = parent.or_insert_with(|| (metadata.clone(), ModelContent::Directory));
                parent.1 = ModelContent::Directory;
            }
            files.entry(names.join(&b'/')).or_insert((metadata, content));
        }
        Model { files, links }
    })
}

/// The same listing through the crate `rust-fs-erofs`, which shares no code with this project.
fn independent_listing(image: &[u8]) -> Listing {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), image).unwrap();
    let device = fs_core::FileDevice::open(file.path().to_str().unwrap()).unwrap();
    let filesystem = fs_erofs::Filesystem::open(Arc::new(device)).unwrap();
    let mut listing = Listing::new();
    let mut first_names: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut nids = BTreeMap::new();
    let mut pending = vec![(Vec::new(), filesystem.root_inode().unwrap())];
    while let Some((path, directory)) = pending.pop() {
        for entry in filesystem.read_dir(&directory).unwrap() {
            if entry.name == b"." || entry.name == b".." {
                continue;
            }
            let inode = filesystem.read_inode(entry.nid).unwrap();
            // By way of the directory's search order too.
            assert_eq!(filesystem.lookup(&directory, &entry.name).unwrap().nid, entry.nid);
            let mut entry_path: Vec<u8> = path.clone();
            if !entry_path.is_empty() {
                entry_path.push(b'/');
            }
            entry_path.extend_from_slice(&entry.name);
            let (major, minor) = inode.rdev().unwrap_or((0, 0));
            let number = DeviceNumber { major, minor };
            let (kind, file_type) = match inode.mode & 0o170000 {
                0o040000 => (EntryKind::Directory, 2),
                0o100000 => (EntryKind::File, 1),
                0o120000 => (EntryKind::Symlink, 7),
                0o020000 => (EntryKind::CharDevice(number), 3),
                0o060000 => (EntryKind::BlockDevice(number), 4),
                0o010000 => (EntryKind::Fifo, 5),
                0o140000 => (EntryKind::Socket, 6),
                other => panic!("mode {other:o}"),
            };
            assert_eq!(entry.file_type, file_type);
            let mut content = Vec::new();
            if matches!(kind, EntryKind::File | EntryKind::Symlink) {
                content.resize(inode.size as usize, 0);
                filesystem.read_file(&inode, 0, &mut content).unwrap();
            }
            let mut xattrs = filesystem.xattrs(&inode).unwrap();
            xattrs.sort();
            if kind == EntryKind::Directory {
                pending.push((entry_path.clone(), inode.clone()));
            }
            nids.insert(entry_path.clone(), inode.nid);
            let record = Record {
                kind,
                mode: inode.mode & 0o7777,
                uid: inode.uid,
                gid: inode.gid,
                mtime: Time { secs: inode.mtime as i64, nanos: inode.mtime_nsec },
                nlink: if kind == EntryKind::Directory { 0 } else { inode.nlink },
                content,
                xattrs,
                first_name: Vec::new(),
            };
            listing.insert(entry_path, record);
        }
    }
    for (path, nid) in nids {
        let first = first_names.entry(nid).or_insert_with(|| path.clone());
        listing.get_mut(&path).unwrap().first_name = first.clone();
    }
    listing
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_back(model in any_model()) {
        let image = build(|tree, store| model.fill(tree, store)).unwrap();
        let expected = model.listing();
        prop_assert_eq!(&list(&image), &expected);
        prop_assert_eq!(&independent_listing(&image), &expected);
        let again = build(|tree, store| model.fill(tree, store)).unwrap();
        prop_assert!(image == again, "the same tree gives another image");
        let inodes: std::collections::BTreeSet<_> = expected.values().map(|record| &record.first_name).collect();
        prop_assert_eq!(Reader::open(&image[..]).unwrap().inode_count(), inodes.len() as u64 + 1);
    }

    /// A reader of a damaged image gives an error or something, and comes to an end.
    #[test]
    fn damaged_images_never_panic(
        model in any_model(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut image = build(|tree, store| model.fill(tree, store)).unwrap();
        // The data area is of no interest: aim behind it, and switch the superblock's checksum off.
        image[1024 + 8] &= !1;
        let metadata = u32::from_le_bytes(image[1024 + 40..1024 + 44].try_into().unwrap()) as usize * 4096;
        for (at, value) in damage {
            let at = metadata + at.index(image.len() - metadata);
            image[at] = value;
        }
        if let Some(cut) = cut {
            image.truncate(cut.index(image.len()));
        }
        let Ok(reader) = Reader::open(&image[..]) else { return Ok(()) };
        let mut visited = 0;
        let _ = reader.walk(|path, inode| {
            visited += 1;
            if visited > 10_000 {
                return Err(ReaderError::WrongKind("enough"));
            }
            let mut buffer = [0; 5000];
            let _ = reader.read_at(inode, 0, &mut buffer);
            let _ = reader.read_at(inode, inode.size.saturating_sub(10), &mut buffer);
            let _ = reader.read_link(inode);
            let _ = reader.xattrs(inode);
            let _ = reader.lookup(path);
            Ok(())
        });
    }
}

#[test]
fn directories_of_any_size_are_sorted_and_complete() {
    for count in [0usize, 1, 100, 200, 5000] {
        let names: Vec<String> =
            (0..count).map(|i| format!("{:x}{}", i * 7919 % 65536, "n".repeat(i % 60))).collect();
        let image = build(|tree, _| {
            for name in &names {
                tree.insert(name.as_bytes(), Metadata::default(), Content::Fifo).unwrap();
            }
            Ok(())
        })
        .unwrap();
        let listing = list(&image);
        assert_eq!(listing.len(), names.len());
        assert_eq!(independent_listing(&image), listing);
    }
}

#[test]
fn paths_are_found_as_after_a_chroot() {
    let image = build(|tree, store| {
        let data = store.add_file(&mut &b"x"[..], 1, &Xattrs::default())?;
        let file = |tree: &mut FsTree, path: &str, content| {
            tree.insert(path.as_bytes(), Metadata::default(), content).unwrap();
        };
        file(tree, "usr/bin/sh", Content::File(data));
        file(tree, "bin", Content::Symlink(b"usr/bin"[..].into()));
        file(tree, "abs", Content::Symlink(b"/../bin/./sh"[..].into()));
        file(tree, "loop", Content::Symlink(b"loop"[..].into()));
        Ok(())
    })
    .unwrap();
    let reader = Reader::open(&image[..]).unwrap();
    for (path, found) in [
        ("/bin/sh", true),
        ("usr/../bin//sh", true),
        ("../../usr/bin/sh", true),
        ("/abs", true),
        ("/bin", true),
        ("", true),
        ("/bin/none", false),
        ("/bin/sh/x", false),
        ("/none/..", false),
    ] {
        assert_eq!(reader.lookup(path.as_bytes()).unwrap().is_some(), found, "{path}");
    }
    assert!(matches!(reader.lookup(b"/loop"), Err(ReaderError::LinkLoop)));
}

/// What the host says about a directory, in the form of a listing.
fn host_listing(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut first_names = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = entries.collect();
        paths.sort();
        for path in paths {
            let found = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            let (kind, content) = if found.is_dir() {
                pending.push(path.clone());
                (EntryKind::Directory, Vec::new())
            } else if found.is_symlink() {
                (EntryKind::Symlink, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
            } else {
                (EntryKind::File, fs::read(&path).unwrap())
            };
            first_names.entry(found.ino()).or_insert_with(Vec::new).push(name.clone());
            let record = Record {
                kind,
                mode: (found.mode() & 0o7777) as u16,
                uid: found.uid(),
                gid: found.gid(),
                mtime: Time { secs: found.mtime(), nanos: found.mtime_nsec() as u32 },
                nlink: if found.is_dir() { 0 } else { found.nlink() as u32 },
                content,
                xattrs: Vec::new(),
                first_name: Vec::new(),
            };
            listing.insert(name, record);
        }
    }
    for mut names in first_names.into_values() {
        names.sort();
        for name in &names {
            listing.get_mut(name).unwrap().first_name = names[0].clone();
        }
    }
    listing
}

#[test]
fn a_host_directory_is_packed_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/file"), "content").unwrap();
    fs::hard_link(at("a/file"), at("z")).unwrap();
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), vec![7; 10_000]).unwrap();
    symlink("../outside", at("a/link")).unwrap();
    fs::set_permissions(at("a/b"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(at("z"), fs::Permissions::from_mode(0o6751)).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 5_000_001).unwrap();
    drop(sparse);
    fs::write(at("the image itself"), "older").unwrap();
    let expected = {
        let mut listing = host_listing(root);
        listing.remove(&b"the image itself"[..]);
        listing
    };
    let left_out = fs::metadata(at("the image itself")).unwrap();
    let options =
        DirectoryOptions { owners: Owners::Keep, leave_out: Some((left_out.dev(), left_out.ino())) };
    let image = build(|tree, store| {
        assert_eq!(apply_directory(tree, store, root, &options)?, Vec::<String>::new());
        Ok(())
    })
    .unwrap();
    let mut listing = list(&image);
    for record in listing.values_mut() {
        // The host's own, if it gives files any.
        record.xattrs.clear();
    }
    assert_eq!(listing, expected);
    let own = fs::metadata(root).unwrap();
    let options = DirectoryOptions { owners: Owners::ToRoot { uid: own.uid(), gid: own.gid() }, ..options };
    let image = build(|tree, store| apply_directory(tree, store, root, &options).map(drop)).unwrap();
    assert!(list(&image).values().all(|record| (record.uid, record.gid) == (0, 0)));
}

#[test]
fn unreadable_sources_are_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("none");
    let options = DirectoryOptions { owners: Owners::Keep, leave_out: None };
    let error = build(|tree, store| apply_directory(tree, store, &missing, &options).map(drop)).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: No such file or directory (os error 2)", missing.display()));
    assert_eq!(outline(&build(|_, _| Ok(())).unwrap()), "");
}
