//! What test programs are made with: a guest's cross compiler; and firmware that they are started by.

use super::{APT_TOOLS, Apt, Target, Tool, ToolchainError, ensure_packages, unpack};
use crate::cache::{Cache, Key, Progress};
use crate::image::Arch;
use std::path::PathBuf;

/// The suite whose firmware is used.
const SUITE: &str = "trixie";

/// The command of a C compiler and assembler for `arch`, installed where it is missing and that is possible.
///
/// # Errors
/// [`ToolchainError`] when it is not there and cannot be installed.
pub fn cross_gcc(cache: &Cache, arch: Arch) -> Result<String, ToolchainError> {
    let target = Target::of(arch);
    let tool = match (target.host, arch) {
        (true, _) => Tool::command("gcc", "gcc"),
        (false, Arch::Riscv64) => Tool::command("riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu"),
        (false, Arch::X86_64) => Tool::command("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
    };
    ensure_packages(&[tool], &cache.log("cross-compiler")?)?;
    Ok(if target.host { "gcc".to_owned() } else { format!("{}-gcc", target.gnu) })
}

/// As [`cross_gcc`], with a C library that programs can be linked with statically.
///
/// # Errors
/// [`ToolchainError`] when either is not there and cannot be installed.
pub fn cross_gcc_with_libc(cache: &Cache, arch: Arch) -> Result<String, ToolchainError> {
    let gcc = cross_gcc(cache, arch)?;
    let libc = match arch {
        // What builds this program links with it already.
        _ if Target::of(arch).host => return Ok(gcc),
        Arch::Riscv64 => Tool::file("/usr/riscv64-linux-gnu/lib/libc.a", "libc6-dev-riscv64-cross"),
        Arch::X86_64 => Tool::file("/usr/x86_64-linux-gnu/lib/libc.a", "libc6-dev-amd64-cross"),
    };
    ensure_packages(&[libc], &cache.log("cross-libc")?)?;
    Ok(gcc)
}

/// OpenSBI's generic firmware for riscv64 in its form that is told where the kernel is (`fw_dynamic`), unpacked in
/// the cache from Debian's package. Nothing is installed.
///
/// # Errors
/// [`ToolchainError`] when it is not there and cannot be fetched.
pub fn opensbi(cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, ToolchainError> {
    let key = Key::new("opensbi").with("recipe", "1").with("suite", SUITE);
    let dir = cache.get_or_build(&key, progress, |build| {
        ensure_packages(&APT_TOOLS, build.log)?;
        progress("getting OpenSBI's firmware (about 1 MB)");
        // The package is the same for every architecture.
        let apt = Apt::open(cache, SUITE, Target::of(Arch::Riscv64).debian, build.log)?;
        let files = apt.download(&["opensbi"], false)?;
        unpack(&files, build.out, &[], build.log)?;
        apt.clean()
    })?;
    Ok(dir.join("usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin"))
}
