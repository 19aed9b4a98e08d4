//! From C text to programs, kept in the user's cache until the text, the options or the compiler changes.

use super::cold;
use super::list::{self, HEADER, Workload};
use anyhow::{Context, Result};
use c2w::commands::pack::progress;
use c2w_packer::cache::{Cache, CacheError, CommandError, Key};
use c2w_packer::image::Arch;
use c2w_packer::toolchain::cross_gcc_with_libc;
use std::fs::{self, File};
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of the compiler, besides the architecture's.
///
/// Contraction would give other sums where a processor multiplies and adds at once.
const OPTIONS: [&str; 6] = ["-std=gnu11", "-O2", "-static", "-s", "-ffp-contract=off", "-fno-math-errno"];

/// Where the programs are in the guest.
pub const GUEST_DIRECTORY: &str = "bench";
/// The name, in the same place, of the program that serves a guest without the agent; see `runner::Console`.
pub const CONSOLE_INIT: &str = "init";
/// Its text: obeys lines from the console and marks the end of each.
const CONSOLE_INIT_TEXT: &str = "#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox mount -t proc proc /proc
busybox mount -t tmpfs tmpfs /tmp
stty -echo
echo c2w-ready
while read -r line; do
    sh -c \"$line\" < /dev/null 2>&1
    echo \"c2w-end $?\"
done
";
/// The unit in which tar counts (pax(1), ustar interchange format).
const TAR_BLOCK_BYTES: u64 = 512;

#[derive(Debug, thiserror::Error)]
enum CompileError {
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// The architecture of this host, if it is one that a guest can have.
pub fn host() -> Option<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Arch::X86_64),
        "riscv64" => Some(Arch::Riscv64),
        _ => None,
    }
}

/// A directory with the programs for `arch`; for this host, if it is `None` because it is of no guest's architecture.
///
/// # Errors
/// There is no compiler, or it does not like the text; the message names its log.
pub fn programs(arch: Option<Arch>) -> Result<PathBuf> {
    let cache = Cache::of_user()?;
    let (gcc, target) = match arch {
        Some(arch) => (cross_gcc_with_libc(&cache, arch)?, options_of(arch)),
        None => ("gcc".to_string(), &[][..]),
    };
    let version = Command::new(&gcc).arg("--version").output().with_context(|| gcc.clone())?.stdout;
    let options = [&OPTIONS, target].concat();
    let list: Vec<Workload> = list::programs(arch).collect();
    let mut key = Key::new("workloads")
        .with("compiler", version)
        .with("options", options.join(" "))
        .with("header", HEADER);
    for workload in &list {
        key = key
            .with("name", workload.name)
            .with("source", workload.source)
            .with("real", workload.real.unwrap_or_default());
    }
    let made = cache.get_or_build(&key, &progress, |build| {
        let write = |name: &str, text: &str| {
            let path = build.scratch.join(name);
            fs::write(&path, text).map_err(CacheError::io("write", &path)).map(|()| path)
        };
        write("bench.h", HEADER)?;
        for workload in &list {
            let source = write(&format!("{}.c", workload.name), workload.source)?;
            let mut command = Command::new(&gcc);
            command.args(&options).args(workload.real.map(|real| format!("-DREAL={real}")));
            command.arg(source).arg("-o").arg(build.out.join(workload.name));
            build.log.run(&format!("compiling {}", workload.name), &mut command)?;
        }
        Ok::<(), CompileError>(())
    })?;
    Ok(made)
}

/// What both the guest and QEMU's processor have.
fn options_of(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &["-march=x86-64-v2"],
        Arch::Riscv64 => &["-march=rv64gc", "-mabi=lp64d"],
    }
}

/// Writes a root file system to `path`: that of the archive `base`, which is not compressed, the programs, and the text that
/// a compiler is given in the guest.
///
/// # Errors
/// A file cannot be read or written.
pub fn add_to_rootfs(base: &Path, programs: &Path, path: &Path) -> Result<()> {
    let end = end_of_entries(base).with_context(|| base.display().to_string())?;
    fs::copy(base, path)?;
    let mut file = File::options().write(true).open(path)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    let mut archive = tar::Builder::new(file);
    let header = |kind: tar::EntryType, len_bytes: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(len_bytes);
        header
    };
    let directory = Path::new(GUEST_DIRECTORY);
    archive.append_data(&mut header(tar::EntryType::Directory, 0), directory, &[][..])?;
    let mut add = |name: &Path, content: &[u8]| {
        let mut header = header(tar::EntryType::Regular, content.len() as u64);
        archive.append_data(&mut header, directory.join(name), content)
    };
    add(Path::new(CONSOLE_INIT), CONSOLE_INIT_TEXT.as_bytes())?;
    add(Path::new(cold::SOURCE), cold::source_text().as_bytes())?;
    for entry in fs::read_dir(programs)? {
        let entry = entry?;
        add(Path::new(&entry.file_name()), &fs::read(entry.path())?)?;
    }
    Ok(archive.into_inner()?.sync_all()?)
}

/// Where the mark of an archive's end begins, over which more can be written.
fn end_of_entries(path: &Path) -> Result<u64> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(path)?));
    let mut end = 0;
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        end = entry.raw_file_position() + entry.size().next_multiple_of(TAR_BLOCK_BYTES);
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_come_behind_what_an_archive_has() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut base = tar::Builder::new(File::create(at("base.tar")).unwrap());
        // Its last bytes are zero, as the mark of the end is.
        let content = [b"x".repeat(600), vec![0; 424]].concat();
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        base.append_data(&mut header, "etc/zeros", &content[..]).unwrap();
        base.finish().unwrap();
        fs::create_dir(at("programs")).unwrap();
        fs::write(at("programs/sieve"), "a program").unwrap();
        add_to_rootfs(&at("base.tar"), &at("programs"), &at("rootfs.tar")).unwrap();
        tar::Archive::new(File::open(at("rootfs.tar")).unwrap()).unpack(at("root")).unwrap();
        assert_eq!(fs::read(at("root/etc/zeros")).unwrap(), content);
        assert_eq!(fs::read_to_string(at("root/bench/sieve")).unwrap(), "a program");
        let mode = fs::metadata(at("root/bench/init")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }
}
