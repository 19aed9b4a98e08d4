//! Packing as a whole: sources of every kind give the same image content, mistakes give one line
//! and leave no file behind.

mod common;

use c2w_packer::cache::Cache;
use c2w_packer::image::{Arch, ContainerConfig, Image, SectionId};
use c2w_packer::oci::{Limits, Platform, Quiet, RegistryOptions};
use c2w_packer::pack::{OpenSource, PackError, PackOptions, PackSummary, Source, SourceOptions};
use c2w_packer::rootfs::Owners;
use c2w_packer::rootfs::erofs::{FileRange, Reader};
use common::Archive;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An archive with one more file: the start of an ELF program for this machine.
fn with_program(archive: Archive, path: &str, machine: u16) -> Archive {
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    head.extend_from_slice(&machine.to_le_bytes());
    archive.append(Archive::header(b'0', path.as_bytes(), b""), &head)
}

const EM_ARM: u16 = 40;
const EM_RISCV: u16 = 243;

/// A source and what is to be made of it.
struct Job {
    source: Source,
    options: PackOptions,
}

fn pack(job: &Job) -> Result<PackSummary, PackError> {
    let options = SourceOptions {
        platform: Platform::of(job.options.arch),
        limits: Limits::default(),
        scratch_directory: std::env::temp_dir(),
        registry: RegistryOptions::default(),
        cache: Cache::at(std::env::temp_dir()),
        watcher: &Quiet,
    };
    c2w_packer::pack::pack(OpenSource::open(&job.source, &options)?, &job.options)
}

/// A directory with a kernel and an archive in it.
struct Fixture {
    directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Fixture { directory: tempfile::tempdir().unwrap() };
        let mut kernel = vec![0; 0x100];
        kernel[0x38..0x3c].copy_from_slice(b"RSC\x05");
        fs::write(fixture.path("kernel"), kernel).unwrap();
        let archive = with_program(Archive::new(), "bin/sh", EM_RISCV).file("etc/hostname", "guest");
        fs::write(fixture.path("root.tar"), archive.finish()).unwrap();
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn job(&self, source: &str) -> Job {
        let options = PackOptions {
            output: self.path("out.c2w"),
            arch: Arch::Riscv64,
            config: ContainerConfig { cmd: vec!["sh".into()], ..ContainerConfig::default() },
            memory_bytes: 256 << 20,
            cmdline: "quiet".to_string(),
            kernel: self.path("kernel"),
            initrd: b"agent".to_vec(),
            owners: Owners::Keep,
            compress: false,
        };
        Job { source: Source::Rootfs(self.path(source)), options }
    }

    /// The error's line, without the directory's name; checks that no file was left.
    fn refusal(&self, job: &Job) -> String {
        let before = self.names();
        let line = pack(job).unwrap_err().to_string();
        assert_eq!(self.names(), before, "{line}");
        assert!(!line.contains('\n'));
        line.replace(&format!("{}/", self.directory.path().display()), "")
    }

    fn names(&self) -> Vec<PathBuf> {
        let mut names: Vec<PathBuf> =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }
}

fn file_in_image(path: &Path, name: &str) -> Vec<u8> {
    let image = Image::open(path).unwrap();
    image.verify().unwrap();
    let rootfs = image.rootfs().unwrap();
    let range = FileRange { file: &rootfs.file, offset: rootfs.offset, len_bytes: rootfs.len_bytes };
    let reader = Reader::open(range).unwrap();
    let inode = reader.lookup(name.as_bytes()).unwrap().unwrap();
    reader.read_all(&inode, 1 << 20).unwrap()
}

#[test]
fn an_image_holds_what_was_packed() {
    let fixture = Fixture::new();
    let job = fixture.job("root.tar");
    let summary = pack(&job).unwrap();
    let options = job.options;
    assert_eq!((summary.inodes, &summary.warnings[..]), (5, &[][..]));
    assert_eq!(summary.image_bytes, fs::metadata(&options.output).unwrap().len());
    let image = Image::open(&options.output).unwrap();
    assert_eq!(image.kernel().unwrap(), fs::read(&options.kernel).unwrap());
    assert_eq!(image.initrd().unwrap().unwrap(), b"agent");
    assert_eq!(image.manifest().machine.memory_bytes, 256 << 20);
    assert_eq!(image.manifest().config, options.config);
    assert_eq!(file_in_image(&options.output, "etc/hostname"), b"guest");
    let manifest = String::from_utf8(image.read(SectionId::Manifest).unwrap()).unwrap();
    let here = fixture.directory.path().display().to_string();
    assert!(!manifest.contains(&here), "{manifest}");
}

#[test]
fn compression_does_not_change_the_image() {
    let fixture = Fixture::new();
    let archive = fs::read(fixture.path("root.tar")).unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&archive).unwrap();
    // The names say the wrong thing on purpose.
    fs::write(fixture.path("root.zst"), gzip.finish().unwrap()).unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(&archive[..], ruzstd::encoding::CompressionLevel::Fastest);
    fs::write(fixture.path("root.gz"), zstd).unwrap();
    let images: Vec<Vec<u8>> = ["root.tar", "root.zst", "root.gz"]
        .into_iter()
        .map(|source| {
            let job = fixture.job(source);
            pack(&job).unwrap();
            fs::read(&job.options.output).unwrap()
        })
        .collect();
    assert!(images[0] == images[1] && images[0] == images[2]);
}

#[test]
fn a_directory_may_hold_the_image_itself() {
    let fixture = Fixture::new();
    let mut job = fixture.job("");
    fs::write(&job.options.output, "older").unwrap();
    job.options.config.cmd = vec!["/none".into()];
    let summary = pack(&job).unwrap();
    assert_eq!(summary.warnings, ["the command \"/none\" is not in the root filesystem"]);
    // The root directory, the kernel and the archive; not the image.
    assert_eq!(summary.inodes, 3);
}

#[test]
fn mistakes_are_one_line_and_leave_nothing() {
    let fixture = Fixture::new();
    let archive = fs::read(fixture.path("root.tar")).unwrap();
    fs::write(fixture.path("cut.tar"), &archive[..520]).unwrap();
    fs::write(fixture.path("text"), "no archive").unwrap();
    fs::write(fixture.path("root.tar.xz"), b"\xfd7zXZ\0....").unwrap();
    fs::write(fixture.path("arm.tar"), with_program(Archive::new(), "bin/sh", EM_ARM).finish()).unwrap();
    let mut x86 = vec![0; 0x300];
    x86[0x202..0x206].copy_from_slice(b"HdrS");
    fs::write(fixture.path("bzImage"), x86).unwrap();
    fs::create_dir(fixture.path("directory")).unwrap();
    for (source, expected) in [
        ("none", "none: No such file or directory (os error 2)"),
        ("cut.tar", "cut.tar: truncated: it ends within the data of bin/sh"),
        ("text", "text: not a tar archive"),
        ("root.tar.xz", "root.tar.xz: xz is not supported; use tar, tar.gz or tar.zst"),
        (
            "arm.tar",
            "arm.tar: /bin/sh is a program for arm, not for riscv64; c2w has machines for linux/amd64 and linux/riscv64",
        ),
    ] {
        assert_eq!(fixture.refusal(&fixture.job(source)), expected);
    }
    for (kernel, expected) in [
        ("none", "none: No such file or directory (os error 2)"),
        ("directory", "directory: not a regular file"),
        ("bzImage", "bzImage: a kernel for x86_64, not for riscv64"),
    ] {
        let mut job = fixture.job("root.tar");
        job.options.kernel = fixture.path(kernel);
        assert_eq!(fixture.refusal(&job), expected);
    }
    for (output, expected) in [
        ("directory", "directory: is a directory"),
        ("no/such/out", "no/such/out: cannot write: No such file or directory (os error 2)"),
    ] {
        let mut job = fixture.job("root.tar");
        job.options.output = fixture.path(output);
        assert_eq!(fixture.refusal(&job), expected);
    }
    let device = Job { source: Source::Rootfs("/dev/null".into()), ..fixture.job("") };
    assert_eq!(fixture.refusal(&device), "/dev/null: neither a directory nor a regular file");
}

/// The file size limit stands in for a full disk: writing fails in the middle.
#[test]
fn a_full_disk_leaves_the_older_image() {
    const LIMITED: &str = "C2W_TEST_IN_LIMITED_PROCESS";
    if std::env::var_os(LIMITED).is_none() {
        // A limit cannot be taken back, so it is set in a process of its own.
        let test = std::env::current_exe().unwrap();
        let script = "trap '' XFSZ; ulimit -f 1000; exec \"$0\" --exact a_full_disk_leaves_the_older_image";
        // Through pipes: the limit holds for a log file as well, if that is where this process writes.
        let limited = Command::new("sh").arg("-c").arg(script).arg(test).env(LIMITED, "1").output().unwrap();
        assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stdout));
        return;
    }
    let fixture = Fixture::new();
    fs::write(fixture.path("out.c2w"), "older").unwrap();
    let big = "x".repeat(300_000);
    let archive = (0..8).fold(Archive::new(), |archive, number| archive.file(&format!("f{number}"), &big));
    // Written in parts, each below the limit: the archive itself must exist.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&archive.finish()).unwrap();
    fs::write(fixture.path("big.tar"), gzip.finish().unwrap()).unwrap();
    let refusal = fixture.refusal(&fixture.job("big.tar"));
    assert_eq!(refusal, "out.c2w: cannot write: File too large (os error 27)");
    assert_eq!(fs::read(fixture.path("out.c2w")).unwrap(), b"older");
}

#[test]
fn the_command_is_found_along_the_path() {
    let fixture = Fixture::new();
    let archive = with_program(Archive::new(), "opt/tool", EM_RISCV)
        .file("opt/script", "#!/bin/sh")
        .symlink("opt/x", "/loop");
    fs::write(fixture.path("opt.tar"), archive.finish()).unwrap();
    for (command, env, directory, found) in [
        ("tool", "PATH=/usr/bin:/opt", "/", true),
        ("tool", "PATH=/usr/bin", "/", false),
        ("/opt/tool", "", "/", true),
        ("./tool", "", "/opt", true),
        ("./tool", "", "/", false),
        ("script", "PATH=/opt", "/", true),
        ("x", "PATH=/opt", "/", false),
    ] {
        let mut job = fixture.job("opt.tar");
        let config = &mut job.options.config;
        config.cmd = vec![command.into()];
        config.env = vec![env.into()];
        config.working_dir = directory.into();
        let PackSummary { warnings, .. } = pack(&job).unwrap();
        assert_eq!(warnings.is_empty(), found, "{command} {env} {directory}");
    }
}
