//! Packs a source of files, a kernel and the agent into one `image.c2w`.
//!
//! The source is read once, streaming; the image appears under its name only when it is complete,
//! so no error, full disk or kill leaves half of one behind.

use crate::image::{
    self, Arch, ByteString, ContainerConfig, ImageError, ImageWriter, MachineConfig, Manifest, Provenance,
    SectionId,
};
use crate::oci::Platform;
use crate::rootfs::erofs::{self, FileRange, Reader, ReaderError, Written};
use crate::rootfs::{DataStore, DirectoryOptions, FsTree, Owners, RootfsError};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub use crate::source::{OpenSource, Source, SourceError, SourceOptions};

/// What to pack and how it is to run.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The image to make or replace.
    pub output: PathBuf,
    /// Guest architecture.
    pub arch: Arch,
    /// Default command, environment and so on.
    pub config: ContainerConfig,
    /// Guest RAM in bytes.
    pub memory_bytes: u64,
    /// Kernel command line, without what the board adds.
    pub cmdline: String,
    /// Guest kernel, in a form that the board's loader takes.
    pub kernel: PathBuf,
    /// Initial RAM disk with the agent; none if empty.
    pub initrd: Vec<u8>,
    /// Whom the files of a source directory belong to in the guest.
    pub owners: Owners,
    /// Whether the image is written in compressed form.
    pub compress: bool,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackSummary {
    /// Length of the image file in bytes.
    pub image_bytes: u64,
    /// Length of its root filesystem in bytes.
    pub rootfs_bytes: u64,
    /// Files, directories and so on in the root filesystem.
    pub inodes: u64,
    /// What could not be kept or looks wrong, one line each.
    pub warnings: Vec<String>,
}

/// Why nothing was packed. One line that names the file concerned.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The source cannot be read, or cannot be made a filesystem of.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file of the root filesystem that was to be looked at cannot be read back.
    #[error("{output}: the root filesystem cannot be read back: {error}")]
    ReadBack {
        /// The image.
        output: String,
        /// What is wrong.
        error: ReaderError,
    },
    /// The root filesystem's programs are for another architecture.
    #[error("{source_name}: {program} is a program for {found}, not for {wanted}{hint}")]
    RootfsArch {
        /// The source as the user named it.
        source_name: String,
        /// The program that was looked at.
        program: String,
        /// Its architecture.
        found: String,
        /// The architecture asked for.
        wanted: Arch,
        /// What to do instead.
        hint: String,
    },
    /// The kernel cannot be read.
    #[error("{}: {error}", path.display())]
    Kernel {
        /// The kernel's file.
        path: PathBuf,
        /// The host's reason.
        error: io::Error,
    },
    /// The kernel is for another architecture.
    #[error("{}: a kernel for {found}, not for {wanted}", path.display())]
    KernelArch {
        /// The kernel's file.
        path: PathBuf,
        /// Its architecture.
        found: String,
        /// The architecture asked for.
        wanted: Arch,
    },
    /// The image cannot be written.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// Makes an image of a source.
///
/// # Errors
/// [`PackError`]; the output is then as it was before.
pub fn pack(source: OpenSource<'_>, options: &PackOptions) -> Result<PackSummary, PackError> {
    pack_with(source, options, |_| Ok(()))
}

/// Makes an image to which `add` appends what it has, for instance a snapshot of the machine, which it can start from
/// [`ImageWriter::preview`].
///
/// # Errors
/// [`PackError`] and what `add` reports; the output is then as it was before.
pub fn pack_with<E: From<PackError>>(
    source: OpenSource<'_>,
    options: &PackOptions,
    add: impl FnOnce(&mut ImageWriter) -> Result<(), E>,
) -> Result<PackSummary, E> {
    let (mut writer, summary) = build(source, options)?;
    add(&mut writer)?;
    let finish = || {
        if options.compress {
            // The plain image never gets a name.
            return image::compress(&writer.preview()?, &options.output);
        }
        writer.finish()
    };
    let image_bytes = finish().map_err(PackError::Image)?;
    Ok(PackSummary { image_bytes, ..summary })
}

/// Everything but the end of the file.
fn build(source: OpenSource<'_>, options: &PackOptions) -> Result<(ImageWriter, PackSummary), PackError> {
    let kernel = read_kernel(&options.kernel, options.arch)?;
    let source_name = source.name().to_string();
    // The image being replaced may lie in the directory being packed.
    let leave_out = fs::metadata(&options.output).ok().map(|found| (found.dev(), found.ino()));
    let mut writer = ImageWriter::create(&options.output, options.arch)?;
    let manifest = Manifest {
        machine: MachineConfig {
            arch: options.arch,
            memory_bytes: options.memory_bytes,
            cmdline: options.cmdline.clone(),
        },
        config: options.config.clone(),
        provenance: Provenance {
            image_digest: source.digest().map(ToString::to_string),
            ..Provenance::default()
        },
    };
    writer.add_bytes(SectionId::Manifest, &manifest.to_json())?;
    writer.add_bytes(SectionId::Kernel, &kernel)?;
    drop(kernel);
    if !options.initrd.is_empty() {
        writer.add_bytes(SectionId::Initrd, &options.initrd)?;
    }
    let directory = writer.directory().to_path_buf();
    let output_error = |error| PackError::Image(ImageError::Write { path: options.output.clone(), error });
    let source_error = |error| match error {
        SourceError::Rootfs { error: RootfsError::Output(error), .. } => output_error(error),
        error => PackError::Source(error),
    };
    let rootfs_error = |error| SourceError::Rootfs { source_name: source_name.clone(), error };
    let (written, warnings) = writer.add_built(SectionId::Rootfs, |file, offset| {
        let build = || {
            let mut store = DataStore::new(file, offset, &directory).map_err(rootfs_error)?;
            let mut tree = FsTree::new();
            let directory_options = DirectoryOptions { owners: options.owners, leave_out };
            let warnings = source.apply(&mut tree, &mut store, &directory_options)?;
            store.drop_unreachable(&mut tree).map_err(rootfs_error)?;
            Ok((erofs::write(&tree, store).map_err(rootfs_error)?, warnings))
        };
        let (written, mut warnings): (Written, Vec<String>) = build().map_err(source_error)?;
        let image = FileRange { file, offset, len_bytes: written.len_bytes };
        check_programs(image, &source_name, options, &mut warnings)?;
        Ok::<_, PackError>((written.len_bytes, (written, warnings)))
    })?;
    let summary =
        PackSummary { image_bytes: 0, rootfs_bytes: written.len_bytes, inodes: written.inodes, warnings };
    Ok((writer, summary))
}

fn read_kernel(path: &Path, wanted: Arch) -> Result<Vec<u8>, PackError> {
    let failed = |error| PackError::Kernel { path: path.to_path_buf(), error };
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    let kernel = fs::read(path).map_err(failed)?;
    let bytes_at = |at: usize, len: usize| kernel.get(at..at + len).unwrap_or_default();
    // Linux Documentation/arch/riscv/boot-image-header.rst and arch/x86/boot.rst.
    let found = if bytes_at(0x38, 4) == b"RSC\x05" {
        Some(Arch::Riscv64.elf_machine())
    } else if bytes_at(0x202, 4) == b"HdrS" {
        Some(Arch::X86_64.elf_machine())
    } else {
        elf_machine(&kernel)
    };
    match found {
        Some(machine) if machine != wanted.elf_machine() => {
            Err(PackError::KernelArch { path: path.to_path_buf(), found: machine_name(machine), wanted })
        }
        _ => Ok(kernel),
    }
}

/// Looks at the command, or at common programs, and refuses those of another architecture.
fn check_programs(
    image: FileRange,
    source_name: &str,
    options: &PackOptions,
    warnings: &mut Vec<String>,
) -> Result<(), PackError> {
    let read_back = |error| PackError::ReadBack { output: options.output.display().to_string(), error };
    let reader = Reader::open(image).map_err(read_back)?;
    let config = &options.config;
    let command = config.entrypoint.iter().chain(&config.cmd).next();
    let mut candidates = command.map(|command| command_paths(command, config)).unwrap_or_default();
    let mut command_found = candidates.is_empty();
    let of_command = candidates.len();
    let usual: [&[u8]; 6] =
        [b"/bin/sh", b"/bin/busybox", b"/bin/bash", b"/usr/bin/env", b"/sbin/init", b"/usr/bin/python3"];
    candidates.extend(usual.map(<[u8]>::to_vec));
    for (number, path) in candidates.iter().enumerate() {
        // A link loop or a path through a file is no program either.
        let Ok(Some(inode)) = reader.lookup(path) else { continue };
        command_found |= number < of_command;
        let mut head = [0; 20];
        let len = match reader.read_at(&inode, 0, &mut head) {
            Ok(len) => len,
            Err(ReaderError::WrongKind(_)) => continue,
            Err(error) => return Err(read_back(error)),
        };
        let Some(machine) = elf_machine(&head[..len]) else { continue };
        // Long mode runs 32-bit programs too.
        let runs =
            machine == options.arch.elf_machine() || (options.arch == Arch::X86_64 && machine == EM_386);
        if !runs {
            return Err(PackError::RootfsArch {
                source_name: source_name.to_string(),
                program: crate::rootfs::escape(path),
                found: machine_name(machine),
                wanted: options.arch,
                hint: Platform::hint(&platforms_of(machine)),
            });
        }
        break;
    }
    if let (Some(command), false) = (command, command_found) {
        warnings.push(format!("the command {command:?} is not in the root filesystem"));
    }
    Ok(())
}

/// Where a command may be: itself if it has a slash, else in each directory of PATH.
fn command_paths(command: &ByteString, config: &ContainerConfig) -> Vec<Vec<u8>> {
    const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let below = |directory: &[u8]| [directory, b"/", command.as_bytes()].concat();
    match command.as_bytes() {
        [b'/', ..] => vec![command.0.clone()],
        name if name.contains(&b'/') => vec![below(config.working_dir.as_bytes())],
        _ => {
            let path = config.env.iter().rev().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
            path.unwrap_or(DEFAULT_PATH).split(|&byte| byte == b':').map(below).collect()
        }
    }
}

const EM_386: u16 = 3;

/// `e_machine` of an ELF file (ELF gABI, "ELF Header"); all guests are little-endian.
fn elf_machine(start: &[u8]) -> Option<u16> {
    match start.first_chunk::<20>() {
        Some(head) if head.starts_with(b"\x7fELF") => Some(match head[5] {
            2 => u16::from_be_bytes([head[18], head[19]]),
            _ => u16::from_le_bytes([head[18], head[19]]),
        }),
        _ => None,
    }
}

/// The platforms whose machines run programs for this one.
fn platforms_of(machine: u16) -> Vec<String> {
    let machine = if machine == EM_386 { Arch::X86_64.elf_machine() } else { machine };
    let runs = |arch: &Arch| arch.elf_machine() == machine;
    [Arch::Riscv64, Arch::X86_64]
        .into_iter()
        .find(runs)
        .map(|arch| Platform::of(arch).to_string())
        .into_iter()
        .collect()
}

fn machine_name(machine: u16) -> String {
    match machine {
        EM_386 => "i386".to_string(),
        8 => "mips".to_string(),
        21 => "ppc64".to_string(),
        22 => "s390x".to_string(),
        40 => "arm".to_string(),
        62 => "x86_64".to_string(),
        183 => "aarch64".to_string(),
        243 => "riscv".to_string(),
        258 => "loongarch64".to_string(),
        other => format!("ELF machine {other}"),
    }
}
