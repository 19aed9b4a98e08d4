//! Compressed images: what was packed comes back, the same bytes come out each time, and nothing damaged gets through.

use c2w_packer::cache::Cache;
use c2w_packer::image::*;
use c2w_packer::rootfs::erofs::ReadAt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const SECTIONS: [SectionId; 4] =
    [SectionId::Kernel, SectionId::Rootfs, SectionId::RamSnapshot, SectionId::MachineState];

/// Content that compresses, of more than two chunks.
fn content(seed: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..600_000u32).flat_map(|i| (i.wrapping_mul(i ^ seed) / 9).to_le_bytes()).collect();
    bytes[1_000_000..1_100_000].fill(0);
    bytes
}

fn section(id: SectionId) -> Vec<u8> {
    match id {
        // As RAM has its kernel.
        SectionId::RamSnapshot => {
            [&content(SectionId::Kernel as u32)[8192..], &content(99)[..4096 * 3]].concat()
        }
        SectionId::MachineState => b"state".to_vec(),
        id => content(id as u32),
    }
}

fn plain(directory: &Path) -> PathBuf {
    let path = directory.join("plain.c2w");
    let mut writer = ImageWriter::create(&path, Arch::Riscv64).unwrap();
    let machine = MachineConfig { arch: Arch::Riscv64, memory_bytes: 512 << 20, cmdline: String::new() };
    let manifest =
        Manifest { machine, config: ContainerConfig::default(), provenance: Provenance::default() };
    writer.add_bytes(SectionId::Manifest, &manifest.to_json()).unwrap();
    for id in SECTIONS {
        writer.add_bytes(id, &section(id)).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// A compressed image and the directory it is in.
fn compressed() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("image.c2w");
    let plain = plain(directory.path());
    let len_bytes = compress(&Image::open(&plain).unwrap(), &path).unwrap();
    assert_eq!(len_bytes, fs::metadata(&path).unwrap().len());
    assert!(len_bytes < fs::metadata(&plain).unwrap().len() / 2);
    (directory, path)
}

fn expanded(cache: &Path, path: &Path) -> Result<Image, String> {
    let cache = ExpandedImages::new(Cache::at(cache));
    Image::open(path).and_then(|image| cache.of(image, &|_| {})).map_err(|error| error.to_string())
}

/// The expanded files in a cache.
fn kept(cache: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(cache.join("expanded")).into_iter().flatten().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "c2w")).collect()
}

fn assert_is_whole(image: &Image) {
    for id in SECTIONS {
        assert!(image.read(id).unwrap() == section(id), "{id}");
        let file = image.section_file(id).unwrap();
        assert_eq!(file.len_bytes, section(id).len() as u64, "{id}");
    }
    assert!(!image.header().is_compressed());
    image.verify().unwrap();
}

#[test]
fn content_comes_back_without_expanding() {
    let (_directory, path) = compressed();
    let image = Image::open(&path).unwrap();
    image.verify().unwrap();
    for id in SECTIONS {
        let expected = section(id);
        assert!(image.read(id).unwrap() == expected, "{id}");
        let content = image.content(id).unwrap();
        assert_eq!(content.len_bytes(), expected.len() as u64);
        let mut buffer = vec![0; expected.len().min(70_000)];
        for at in [0, expected.len() / 2, expected.len() - buffer.len()] {
            let at = at.min(expected.len() - buffer.len());
            content.read_exact_at(&mut buffer, at as u64).unwrap();
            assert!(buffer == expected[at..at + buffer.len()], "{id} at {at}");
        }
        assert!(content.read_exact_at(&mut [0], expected.len() as u64).is_err());
        assert!(content.read_exact_at(&mut [0], u64::MAX).is_err());
    }
    let error = image.section_file(SectionId::Rootfs).unwrap_err().to_string();
    assert!(
        error.ends_with("image.c2w: section rootfs is compressed and has to be expanded first"),
        "{error}"
    );
}

#[test]
fn the_same_image_gives_the_same_bytes() {
    let ((_one, first), (_two, second)) = (compressed(), compressed());
    assert!(fs::read(first).unwrap() == fs::read(second).unwrap());
}

#[test]
fn memory_is_small_next_to_its_kernel() {
    let (_directory, path) = compressed();
    let image = Image::open(&path).unwrap();
    let stored = |id| image.header().section(id).unwrap().len_bytes;
    assert!(stored(SectionId::RamSnapshot) < stored(SectionId::Kernel) / 10);
}

#[test]
fn an_image_is_expanded_once() {
    let (directory, path) = compressed();
    let cache = directory.path().join("cache");
    let first = expanded(&cache, &path).unwrap();
    assert_is_whole(&first);
    // Messages name the file that the user knows.
    assert_eq!(first.path(), path);
    let [kept_file] = &kept(&cache)[..] else { panic!("one file") };
    let written = fs::metadata(kept_file).unwrap().modified().unwrap();
    assert_is_whole(&expanded(&cache, &path).unwrap());
    assert_eq!(fs::metadata(kept_file).unwrap().modified().unwrap(), written);
    // A plain image is its own.
    let plain = directory.path().join("plain.c2w");
    assert_is_whole(&expanded(&cache, &plain).unwrap());
    assert_eq!(kept(&cache).len(), 1);
}

#[test]
fn many_at_once_expand_once() {
    let (directory, path) = compressed();
    let cache = directory.path().join("cache");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_is_whole(&expanded(&cache, &path).unwrap()));
        }
    });
    assert_eq!(kept(&cache).len(), 1);
}

#[test]
fn a_damaged_expansion_is_made_anew() {
    let (directory, path) = compressed();
    let cache = directory.path().join("cache");
    drop(expanded(&cache, &path).unwrap());
    let file = kept(&cache).remove(0);
    let good = fs::read(&file).unwrap();
    for damaged in [
        good[..good.len() / 2].to_vec(),
        vec![],
        good.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == 5_000)).collect(),
    ] {
        fs::write(&file, damaged).unwrap();
        assert_is_whole(&expanded(&cache, &path).unwrap());
        assert!(fs::read(&file).unwrap() == good);
    }
}

#[test]
fn what_was_not_used_for_long_goes() {
    let (directory, path) = compressed();
    let cache = directory.path().join("cache");
    drop(expanded(&cache, &path).unwrap());
    let (first, again) = (kept(&cache).remove(0), || {
        // Another image, whose expansion tidies up.
        let other = directory.path().join("other.c2w");
        let mut writer = ImageWriter::create(&directory.path().join("short.c2w"), Arch::X86_64).unwrap();
        let machine = MachineConfig { arch: Arch::X86_64, memory_bytes: 1 << 20, cmdline: String::new() };
        let manifest =
            Manifest { machine, config: ContainerConfig::default(), provenance: Provenance::default() };
        writer.add_bytes(SectionId::Manifest, &manifest.to_json()).unwrap();
        writer.add_bytes(SectionId::Rootfs, &[1; 5000]).unwrap();
        let short = writer.preview().unwrap();
        compress(&short, &other).unwrap();
        drop(expanded(&cache, &other).unwrap());
    });
    again();
    assert_eq!(kept(&cache).len(), 2);
    let other = kept(&cache).into_iter().find(|path| *path != first).unwrap();
    fs::remove_file(other).unwrap();
    let lock = fs::File::options().append(true).open(first.with_extension("lock")).unwrap();
    lock.set_modified(SystemTime::now() - Duration::from_secs(40 * 24 * 60 * 60)).unwrap();
    again();
    assert!(!first.exists() && kept(&cache).len() == 1);
}

#[test]
fn without_a_cache_it_runs_all_the_same() {
    let (directory, path) = compressed();
    assert_is_whole(&Image::open(&path).unwrap().expand_for_now().unwrap());
    // A cache that is no directory.
    let cache = directory.path().join("file");
    fs::write(&cache, b"").unwrap();
    assert_is_whole(&expanded(&cache, &path).unwrap());
}

#[test]
fn damage_is_found_and_named() {
    let (directory, path) = compressed();
    let cache = directory.path().join("cache");
    let good = fs::read(&path).unwrap();
    let header = Image::open(&path).unwrap().header().clone();
    let rootfs = header.section(SectionId::Rootfs).unwrap();
    for at in [rootfs.offset as usize + 100, rootfs.end() as usize - 1, rootfs.end() as usize - 20] {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        fs::write(&path, bytes).unwrap();
        let error = expanded(&cache, &path).unwrap_err();
        assert!(error.ends_with("image.c2w: corrupt: section rootfs does not match its checksum"), "{error}");
        assert!(Image::open(&path).unwrap().verify().is_err());
    }
    fs::write(&path, &good[..rootfs.end() as usize - 1]).unwrap();
    let error = expanded(&cache, &path).unwrap_err();
    assert!(error.contains("truncated: section rootfs needs"), "{error}");
    assert!(kept(&cache).is_empty());
}

#[test]
fn forged_frames_are_found_and_named() {
    let (directory, path) = compressed();
    let cache = directory.path().join("cache");
    let good = fs::read(&path).unwrap();
    let header = Image::open(&path).unwrap().header().clone();
    for (at, expected) in [
        (
            SectionId::Rootfs,
            "image.c2w: corrupt: section rootfs cannot be decompressed: chunk 0 is damaged: ",
        ),
        (
            SectionId::RamSnapshot,
            "image.c2w: corrupt: section ram cannot be decompressed: chunk 0 is damaged: ",
        ),
    ] {
        let mut bytes = good.clone();
        let mut header = header.clone();
        let section = header.sections.iter_mut().find(|section| section.id == at).unwrap();
        bytes[section.offset as usize + 40] ^= 0x55;
        section.hash = *blake3::hash(&bytes[section.offset as usize..section.end() as usize]).as_bytes();
        bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
        fs::write(&path, bytes).unwrap();
        for error in [
            expanded(&cache, &path).unwrap_err(),
            Image::open(&path).unwrap().verify().unwrap_err().to_string(),
            Image::open(&path).unwrap().read(at).unwrap_err().to_string(),
        ] {
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
        assert!(kept(&cache).is_empty());
    }
    // Memory compressed after a kernel that is not there.
    let mut header = header.clone();
    header.sections.retain(|section| section.id != SectionId::Kernel);
    let mut bytes = good.clone();
    bytes[..HEADER_BYTES].copy_from_slice(&header.to_bytes());
    fs::write(&path, bytes).unwrap();
    let error = Image::open(&path).unwrap().read(SectionId::RamSnapshot).unwrap_err().to_string();
    assert!(error.ends_with("image.c2w: the image has no kernel section"), "{error}");
    assert!(expanded(&cache, &path).is_err());
}
