//! The files that both machines are given: one kernel, initial RAM disk and root file system, a
//! disk to read and a directory to share.

use anyhow::{Context, Result, ensure};
use c2w::commands::pack::{ImageOptions, image, progress};
use c2w::snapshot::pack::SnapshotOptions;
use c2w_packer::demo;
use c2w_packer::image::{Arch, Image};
use c2w_packer::pack::Source;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Guest RAM of both machines.
pub const MEMORY_BYTES: u64 = 512 << 20;
/// Length of the disk, and of the file in the shared directory, where reading them is measured.
pub const BULK_BYTES: u64 = 256 << 20;
/// Name of the file of the same length in the shared directory.
pub const SHARED_FILE: &str = "bulk";

/// Bytes of the last page of an initial RAM disk; tables of 1 KiB or so come behind it.
const INITRD_TAIL: usize = 512;
const PAGE: usize = 4096;

/// The files. They are gone when this is dropped.
pub struct Assets {
    /// Architecture of the guest.
    pub arch: Arch,
    /// The image.
    pub image: PathBuf,
    /// The image's kernel.
    pub kernel: PathBuf,
    /// The image's initial RAM disk, which is the agent.
    pub initrd: PathBuf,
    /// The image's root file system.
    pub rootfs: PathBuf,
    /// A disk, of [`BULK_BYTES`] if nothing else was asked for.
    pub disk: PathBuf,
    /// The directory to share.
    pub share: PathBuf,
    _directory: TempDir,
}

impl Assets {
    /// Makes them from an image, else from a small Debian with Python, for which kernel, agent and packages
    /// are built or downloaded if this was never done.
    ///
    /// # Errors
    /// What could not be had.
    pub fn make(given: Option<&Path>, arch: Arch) -> Result<Self> {
        match given {
            Some(path) => Self::of_image(path, arch, BULK_BYTES, scratch()?),
            None => {
                let rootfs = demo::rootfs_with(arch, &["python3-minimal"], &progress)?;
                Self::of_rootfs(rootfs, arch, BULK_BYTES, None)
            }
        }
    }

    /// Makes them from a root file system, as [`Source::Rootfs`] takes it, with so long a disk and file to share.
    ///
    /// # Errors
    /// What could not be had.
    pub fn of_rootfs(
        rootfs: PathBuf,
        arch: Arch,
        bulk_bytes: u64,
        snapshot: Option<SnapshotOptions>,
    ) -> Result<Self> {
        let directory = scratch()?;
        let path = directory.path().join("image.c2w");
        let options = ImageOptions { memory_bytes: MEMORY_BYTES, snapshot, ..ImageOptions::of(arch) };
        image(&Source::Rootfs(rootfs), &path, &options)?;
        Self::of_image(&path, arch, bulk_bytes, directory)
    }

    fn of_image(path: &Path, arch: Arch, bulk_bytes: u64, directory: TempDir) -> Result<Self> {
        let at = |name: &str| directory.path().join(name);
        let parts = Image::open(path)?;
        let found = parts.manifest().machine.arch;
        ensure!(found == arch, "{}: is for {found}, not {arch}", path.display());
        let [kernel, initrd, rootfs, disk, share] = ["kernel", "initrd", "rootfs", "disk", "share"].map(at);
        fs::write(&kernel, parts.kernel()?)?;
        let mut cpio = parts.initrd()?.context("the image has an initial RAM disk")?;
        pad_initrd(&mut cpio);
        fs::write(&initrd, cpio)?;
        let mut section = parts.rootfs()?;
        section.file.seek(SeekFrom::Start(section.offset))?;
        let copied = io::copy(&mut section.file.take(section.len_bytes), &mut File::create(&rootfs)?)?;
        ensure!(copied == section.len_bytes, "the root file system is cut short");
        fs::create_dir(&share)?;
        bulk(&disk, bulk_bytes)?;
        bulk(&share.join(SHARED_FILE), bulk_bytes)?;
        let image = path.to_path_buf();
        Ok(Self { arch, image, kernel, initrd, rootfs, disk, share, _directory: directory })
    }
}

/// Lengthens an initial RAM disk by zeros, which its format allows at the end, until it ends early in a page.
///
/// QEMU's `microvm` puts it below the end of memory, where its ACPI tables are, too, and only the rest of the last page keeps
/// it from being written over them. The guest then finds no devices.
fn pad_initrd(cpio: &mut Vec<u8>) {
    let len = cpio.len() + (INITRD_TAIL + PAGE - cpio.len() % PAGE) % PAGE;
    cpio.resize(len, 0);
}

fn scratch() -> Result<TempDir> {
    Ok(TempDir::with_prefix("c2w-figures-")?)
}

/// A file without holes, which the host's page cache holds after this.
fn bulk(path: &Path, len_bytes: u64) -> Result<()> {
    let mut block = vec![0; 1 << 20];
    getrandom::fill(&mut block)?;
    let mut file = File::create(path)?;
    for _ in 0..len_bytes / block.len() as u64 {
        file.write_all(&block).with_context(|| path.display().to_string())?;
    }
    // Written back now rather than while something is measured.
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initial_ram_disk_leaves_most_of_its_last_page() {
        for (before, after) in
            [(0, 512), (512, 512), (513, 4096 + 512), (4096, 4096 + 512), (8191, 8192 + 512)]
        {
            let mut cpio = vec![7; before];
            pad_initrd(&mut cpio);
            assert_eq!((cpio.len(), cpio.iter().filter(|byte| **byte == 7).count()), (after, before));
        }
    }
}
