//! Layers over each other: the input says which entries each has, with few names, so that they meet.
//! The image must read back, hold no whiteouts, and each file must have the very content that one
//! entry gave it.

#![no_main]

use c2w_packer::rootfs::erofs::{self, EntryKind, Reader};
use c2w_packer::rootfs::tar::{TarOptions, apply_tar};
use c2w_packer::rootfs::{DataStore, FsTree};
use libfuzzer_sys::fuzz_target;
use std::io::Read;
use std::path::Path;
use tar::EntryType;

const NAMES: [&str; 8] = ["a", "b", "c", "a/b", "a/b/c", "..", "b/../a", "."];
const LENGTHS: [usize; 8] = [0, 1, 100, 4095, 4096, 4097, 70_000, 200_000];

/// The content of the file that entry `number` makes.
fn content(number: usize, len: usize) -> Vec<u8> {
    let word = (number as u32).to_le_bytes();
    let mut bytes = vec![word[0] | 1; len];
    for (at, byte) in bytes.iter_mut().take(4).enumerate() {
        *byte = word[at];
    }
    bytes
}

fn path(byte: u8) -> String {
    let first = NAMES[usize::from(byte & 7)];
    match byte >> 3 & 15 {
        more @ 0..8 => format!("{first}/{}", NAMES[usize::from(more)]),
        _ => first.to_string(),
    }
}

fn append(archive: &mut Vec<u8>, kind: EntryType, name: &str, link: &str, data: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(data.len() as u64);
    let fields = header.as_ustar_mut().unwrap();
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fuzz_target!(|input: &[u8]| {
    let mut layers: Vec<Vec<u8>> = vec![Vec::new()];
    let mut lengths = Vec::new();
    for (number, entry) in input.chunks_exact(3).take(60).enumerate() {
        let (name, other) = (path(entry[1]), path(entry[2]));
        let archive = layers.last_mut().unwrap();
        let mut len = usize::MAX;
        match entry[0] % 8 {
            0 => layers.push(Vec::new()),
            1 => append(archive, EntryType::Directory, &name, "", b""),
            2 => append(archive, EntryType::Symlink, &name, &other, b""),
            3 => append(archive, EntryType::Link, &name, &other, b""),
            4 => append(archive, EntryType::Regular, &format!("{}/.wh..wh..opq", name), "", b""),
            5 => append(archive, EntryType::Regular, &format!(".wh.{}", NAMES[usize::from(entry[1] % 3)]), "", b""),
            _ => {
                len = LENGTHS[usize::from(entry[2] & 7)];
                append(archive, EntryType::Regular, &name, "", &content(number, len));
            }
        }
        lengths.push(len);
    }
    let mut file = tempfile::tempfile().unwrap();
    let mut tree = FsTree::new();
    let mut store = DataStore::new(&file, 0, Path::new("/tmp")).unwrap();
    for layer in layers.iter_mut() {
        layer.resize(layer.len() + 1024, 0);
        if apply_tar(&mut tree, &mut store, &layer[..], TarOptions { whiteouts: true }).is_err() {
            return;
        }
    }
    store.drop_unreachable(&mut tree).unwrap();
    let written = erofs::write(&tree, store).unwrap();
    let mut image = Vec::new();
    file.read_to_end(&mut image).unwrap();
    assert_eq!(image.len() as u64, written.len_bytes);
    let reader = Reader::open(&image[..]).unwrap();
    let mut stored = 0;
    reader
        .walk(|path, inode| {
            assert!(!path.split(|&byte| byte == b'/').any(|name| name.starts_with(b".wh.")));
            if inode.kind == EntryKind::File {
                let bytes = reader.read_all(inode, 1 << 20)?;
                stored += bytes.len();
                if bytes.len() >= 4 {
                    let number = u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
                    assert_eq!(bytes, content(number, lengths[number]));
                }
            }
            Ok(())
        })
        .unwrap();
    // Hard links are counted more than once; nothing else makes the image larger than its files.
    let metadata = written.inodes * 8192 + 16384;
    assert!(image.len() as u64 <= stored as u64 + metadata, "{} for {stored}", image.len());
});
