//! The image format through its public interface: what is written comes back, and nothing that
//! was damaged, cut, or never was an image gets through.

use c2w_packer::image::*;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const KERNEL: &[u8] = b"kernel bytes";
const INITRD: &[u8] = &[0xAA; 5000];

fn manifest() -> Manifest {
    Manifest {
        machine: MachineConfig { arch: Arch::Riscv64, memory_bytes: 512 << 20, cmdline: "quiet".to_string() },
        config: ContainerConfig {
            cmd: vec!["/bin/sh".into(), b"\xff\x00".split_at(1).0.to_vec().into()],
            env: vec!["PATH=/bin".into()],
            working_dir: "/".into(),
            ..ContainerConfig::default()
        },
        provenance: Provenance::default(),
    }
}

/// Writes an image with every kind of padding and returns its path.
fn write_image(directory: &Path) -> PathBuf {
    let path = directory.join("image.c2w");
    let mut writer = ImageWriter::create(&path, Arch::Riscv64).unwrap();
    writer.add_bytes(SectionId::Manifest, &manifest().to_json()).unwrap();
    writer.add_bytes(SectionId::Kernel, KERNEL).unwrap();
    writer.add_bytes(SectionId::Initrd, INITRD).unwrap();
    let answer = writer
        .add_built(SectionId::Rootfs, |file, offset| -> Result<_, ImageError> {
            file.write_all_at(b"second", offset + 9000).unwrap();
            file.write_all_at(b"first", offset).unwrap();
            Ok((9006, 42))
        })
        .unwrap();
    assert_eq!(answer, 42);
    assert_eq!(writer.finish().unwrap(), fs::metadata(&path).unwrap().len());
    path
}

/// Opens and checks everything; the error's one line if there is one.
fn check(path: &Path) -> Result<(), String> {
    Image::open(path).and_then(|image| image.verify()).map_err(|error| error.to_string())
}

#[test]
fn what_is_written_comes_back() {
    let directory = TempDir::new().unwrap();
    let image = Image::open(&write_image(directory.path())).unwrap();
    image.verify().unwrap();
    assert_eq!(image.arch(), Arch::Riscv64);
    assert_eq!(*image.manifest(), manifest());
    assert_eq!(image.kernel().unwrap(), KERNEL);
    assert_eq!(image.initrd().unwrap().unwrap(), INITRD);
    let rootfs = image.rootfs().unwrap();
    assert_eq!((rootfs.offset % PAGE_BYTES, rootfs.len_bytes), (0, 9006));
    let mut bytes = [0; 6];
    rootfs.file.read_exact_at(&mut bytes, rootfs.offset + 9000).unwrap();
    assert_eq!(&bytes, b"second");
    let error = image.read(SectionId::Wasm).unwrap_err().to_string();
    assert!(error.ends_with("image.c2w: the image has no wasm section"), "{error}");
}

#[test]
fn every_flipped_bit_is_found() {
    let directory = TempDir::new().unwrap();
    let path = write_image(directory.path());
    let mut bytes = fs::read(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for at in 0..bytes.len() {
        bytes[at] ^= 1 << (at % 8);
        file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        let error = check(&path).expect_err(&format!("byte {at}"));
        assert!(!error.contains('\n'), "{error}");
        bytes[at] ^= 1 << (at % 8);
        file.write_all_at(&bytes[at..=at], at as u64).unwrap();
    }
    check(&path).unwrap();
}

#[test]
fn every_truncation_is_found_when_opening() {
    let directory = TempDir::new().unwrap();
    let path = write_image(directory.path());
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let len = file.metadata().unwrap().len();
    for len in (0..len).rev() {
        file.set_len(len).unwrap();
        assert!(Image::open(&path).is_err(), "{len} bytes");
    }
}

#[test]
fn messages_name_the_file_and_the_trouble() {
    let directory = TempDir::new().unwrap();
    let path = write_image(directory.path());
    let good = fs::read(&path).unwrap();
    let rootfs_end = Image::open(&path).unwrap().header().section(SectionId::Rootfs).unwrap().end();
    let name = path.display().to_string();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let longer = [&good[..], &[0; 4096]].concat();
    for (bytes, expected) in [
        (
            good[..rootfs_end as usize - 1].to_vec(),
            format!(
                "{name}: truncated: section rootfs needs {rootfs_end} bytes, file has {}",
                rootfs_end - 1
            ),
        ),
        (good[..100].to_vec(), format!("{name}: truncated: the header needs 4096 bytes, file has 100")),
        (vec![], format!("{name}: not a c2w image")),
        (b"#!/bin/sh\n".to_vec(), format!("{name}: not a c2w image")),
        (with(70, 1), format!("{name}: corrupt: the header does not match its checksum")),
        (
            with(rootfs_end as usize - 1, 0),
            format!("{name}: corrupt: section rootfs does not match its checksum"),
        ),
        (
            with(rootfs_end as usize, 1),
            format!("{name}: corrupt: the padding at byte {rootfs_end} is not zero"),
        ),
        (longer, format!("{name}: the file has {} bytes instead of {}", good.len() + 4096, good.len())),
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(check(&path).unwrap_err(), expected);
    }
    assert!(check(&directory.path().join("none")).unwrap_err().contains("none: No such file or directory"));
    assert!(check(directory.path()).unwrap_err().ends_with(": is a directory"));
    assert_eq!(check(Path::new("/dev/null")).unwrap_err(), "/dev/null: is not a regular file");
}

#[test]
fn an_unfinished_image_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let target = directory.path().join("out.c2w");
    for before in [None, Some(b"older")] {
        if let Some(bytes) = before {
            fs::write(&target, bytes).unwrap();
        }
        let mut writer = ImageWriter::create(&target, Arch::X86_64).unwrap();
        writer.add_bytes(SectionId::Kernel, KERNEL).unwrap();
        drop(writer);
        assert_eq!(fs::read(&target).ok().as_deref(), before.map(|bytes| &bytes[..]));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), before.iter().count());
    }
}

#[test]
fn targets_that_cannot_be_images_are_refused() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("no/such/out.c2w");
    for (target, expected) in [
        (directory.path(), "is a directory"),
        (Path::new("/dev/null"), "is not a regular file"),
        (Path::new("/"), "is a directory"),
        (Path::new(""), "names no file"),
        (&missing, "cannot write: No such file or directory (os error 2)"),
    ] {
        let error = ImageWriter::create(target, Arch::Riscv64).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {expected}", target.display()));
    }
}

#[test]
fn replacing_keeps_links_and_the_umask() {
    let directory = TempDir::new().unwrap();
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    fs::write(&real, "older").unwrap();
    std::os::unix::fs::symlink("real", &link).unwrap();
    let old_inode = fs::metadata(&real).unwrap().ino();
    let writer = ImageWriter::create(&link, Arch::Riscv64).unwrap();
    writer.finish().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_ne!(fs::metadata(&real).unwrap().ino(), old_inode);
    // An ordinary file made here and now has the mode that the umask gives.
    fs::write(directory.path().join("plain"), "").unwrap();
    let mode = |name| fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
    assert_eq!(mode("real"), mode("plain"));
}

#[test]
fn a_file_is_checked_once_until_it_changes() {
    let directory = TempDir::new().unwrap();
    let seen = SeenImages::in_directory(&directory.path().join("cache"));
    let path = write_image(directory.path());
    let image = Image::open(&path).unwrap();
    assert!(image.ensure_verified(&seen).unwrap());
    assert!(!image.ensure_verified(&seen).unwrap());
    let rootfs = image.rootfs().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"X", rootfs.offset).unwrap();
    // A clock that ticks too coarsely to notice is the host's: move the time as a later write would.
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let error = image.ensure_verified(&seen).unwrap_err().to_string();
    assert!(error.ends_with("corrupt: section rootfs does not match its checksum"), "{error}");
    assert!(image.ensure_verified(&seen).is_err());
}

#[test]
fn manifests_that_contradict_the_file_are_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image.c2w");
    for (json, expected) in [
        (manifest().to_json(), "its architecture differs from the header's"),
        (b"{".to_vec(), "EOF"),
        (br#"{"machine":{"arch":"vax","memory_bytes":1},"provenance":{"c2w_version":"0"}}"#.to_vec(), "vax"),
        (
            br#"{"machine":{"arch":"x86_64","memory_bytes":1},"config":{"Env":["A=\u0000"]},
                "provenance":{"c2w_version":"0"}}"#
                .to_vec(),
            "NUL",
        ),
    ] {
        let mut writer = ImageWriter::create(&path, Arch::X86_64).unwrap();
        writer.add_bytes(SectionId::Manifest, &json).unwrap();
        writer.finish().unwrap();
        let error = Image::open(&path).unwrap_err().to_string();
        assert!(error.contains("bad manifest") && error.contains(expected), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A sealed header with arbitrary numbers in it is either refused or consistent.
    #[test]
    fn arbitrary_headers_never_panic(
        sections in prop::collection::vec((1u32..10, 0u64..8, 0u64..1 << 40, any::<bool>()), 0..6),
        file_pages in 0u64..20,
    ) {
        let mut page = [0u8; HEADER_BYTES];
        page[..8].copy_from_slice(b"\x89c2w\r\n\x1a\n");
        page[8] = 1;
        page[12] = 243;
        page[16..24].copy_from_slice(&(file_pages * 4096).to_le_bytes());
        page[24] = sections.len() as u8;
        for (i, (id, offset_pages, len, small)) in sections.iter().enumerate() {
            let entry = &mut page[64 + i * 64..][..64];
            entry[..4].copy_from_slice(&id.to_le_bytes());
            entry[8..16].copy_from_slice(&(offset_pages * 4096).to_le_bytes());
            entry[16..24].copy_from_slice(&(if *small { len % 9000 } else { *len << 24 }).to_le_bytes());
        }
        let hash = *blake3::hash(&page[..4064]).as_bytes();
        page[4064..].copy_from_slice(&hash);
        if let Ok(header) = Header::parse(&page, file_pages * 4096) {
            let covered: u64 = header.padding().map(|(_, len)| len).sum::<u64>()
                + header.sections.iter().map(|section| section.len_bytes).sum::<u64>();
            prop_assert_eq!(covered + HEADER_BYTES as u64, header.file_bytes);
        }
    }

    #[test]
    fn garbage_is_no_image(bytes in prop::collection::vec(any::<u8>(), 0..9000), magic in any::<bool>()) {
        let mut bytes = bytes;
        if magic && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(b"\x89c2w\r\n\x1a\n");
        }
        prop_assert!(Header::parse(&bytes, bytes.len() as u64).is_err());
    }
}
