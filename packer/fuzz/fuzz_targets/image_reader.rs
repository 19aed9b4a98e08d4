//! Whole images, plain and compressed: the input changes bytes of a good one, three bytes of place and one of change each,
//! behind a byte that chooses the image; the hashes are made to fit. What is accepted is read, and expanded, in every way.

#![no_main]

use c2w_packer::cache::Cache;
use c2w_packer::image::*;
use c2w_packer::rootfs::erofs::ReadAt;
use libfuzzer_sys::fuzz_target;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::LazyLock;
use tempfile::TempDir;

const SECTIONS: [SectionId; 4] =
    [SectionId::Kernel, SectionId::Rootfs, SectionId::RamSnapshot, SectionId::MachineState];

struct Good {
    bytes: Vec<u8>,
    header: Header,
}

static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));

/// The same image, plain and compressed.
static GOOD: LazyLock<[Good; 2]> = LazyLock::new(|| {
    let path = |name: &str| DIRECTORY.path().join(name);
    let mut writer = ImageWriter::create(&path("plain"), Arch::Riscv64).expect("a file");
    let machine = MachineConfig { arch: Arch::Riscv64, memory_bytes: 512 << 20, cmdline: String::new() };
    let (config, provenance) = (ContainerConfig::default(), Provenance::default());
    let manifest = Manifest { machine, config, provenance };
    writer.add_bytes(SectionId::Manifest, &manifest.to_json()).expect("written");
    for id in SECTIONS {
        // More than one chunk of the first, little of the others.
        let len = if id == SectionId::Kernel { (1 << 20) + 5000 } else { 3000 };
        let text: Vec<u8> = (0..len as u32).map(|at| (at / 7).wrapping_mul(at) as u8 & 7).collect();
        writer.add_bytes(id, &text).expect("written");
    }
    writer.finish().expect("written");
    compress(&Image::open(&path("plain")).expect("good"), &path("compressed")).expect("written");
    ["plain", "compressed"].map(|name| Good {
        bytes: fs::read(path(name)).expect("there"),
        header: Image::open(&path(name)).expect("good").header().clone(),
    })
});

fn changed(good: &Good, changes: &[u8]) -> Vec<u8> {
    let (mut bytes, mut header) = (good.bytes.clone(), good.header.clone());
    for change in changes.chunks_exact(4) {
        let at = u32::from_le_bytes([change[0], change[1], change[2], 0]) as usize % bytes.len();
        bytes[at] ^= change[3];
    }
    let hash = |bytes: &[u8]| *blake3::hash(bytes).as_bytes();
    for (number, section) in header.sections.iter_mut().enumerate() {
        section.hash = hash(&bytes[section.offset as usize..section.end() as usize]);
        let entry = 64 + 64 * number + 32;
        bytes[entry..entry + 32].copy_from_slice(&section.hash);
    }
    let sealed = hash(&bytes[..HEADER_BYTES - 32]);
    bytes[HEADER_BYTES - 32..HEADER_BYTES].copy_from_slice(&sealed);
    bytes
}

fuzz_target!(|input: &[u8]| {
    let Some((which, changes)) = input.split_first() else { return };
    let mut file: File = tempfile::tempfile_in(DIRECTORY.path()).expect("a file");
    file.write_all(&changed(&GOOD[usize::from(which & 1)], changes)).expect("written");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let Ok(image) = Image::open(&path).map_err(assert_plain) else { return };
    let verified = image.verify().map_err(assert_plain).is_ok();
    for section in &image.header().sections {
        let read = image.read(section.id).map_err(assert_plain);
        if let (Ok(bytes), Ok(content)) = (&read, image.content(section.id)) {
            assert_eq!(bytes.len() as u64, content.len_bytes());
            let half = bytes.len() / 2;
            let mut part = vec![0; bytes.len() - half];
            content.read_exact_at(&mut part, half as u64).expect("it was read before");
            assert_eq!(part, bytes[half..]);
        }
        assert!(read.is_ok() || !verified);
    }
    let cache = TempDir::new_in(DIRECTORY.path()).expect("a directory");
    let expanded = ExpandedImages::new(Cache::at(cache.path())).of(image, &|_| {});
    match expanded {
        Ok(expanded) => {
            assert!(!expanded.header().is_compressed());
            let again = Image::open(&path).expect("it was opened before");
            for section in &again.header().sections {
                assert_eq!(expanded.read(section.id).ok(), again.read(section.id).ok());
            }
        }
        Err(error) => assert_plain(error),
    }
});

/// A message is one line, whatever it quotes.
fn assert_plain(error: ImageError) {
    let message = error.to_string();
    assert!(!message.contains(char::is_control), "{message:?}");
}
