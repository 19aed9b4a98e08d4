//! A Debian as its installer leaves it: every package configured, so that the programs of a real image run.
//! mmdebstrap makes it; what [`crate::demo`] makes needs neither that nor privileges, but no package is configured there.

use crate::cache::{Cache, CacheError, CommandError, Key, Progress};
use crate::image::Arch;
use crate::toolchain::{APT_TOOLS, Apt, Target, Tool, ToolchainError, debian_mirror, ensure_packages};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What making the root file system calls.
const TOOLS: [Tool; 1] = [Tool::command("mmdebstrap", "mmdebstrap")];

/// Changes with every change below that changes what is made.
const RECIPE: &str = "1";

/// Why there is no root file system.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The packages are not to be had.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// Maintainer scripts are programs of the guest.
    #[error("a Debian for {0} can be installed only on a host of that architecture")]
    OtherArchitecture(Arch),
}

/// A tar file with the root directory of a Debian `suite` for `arch` with `packages` and all that they depend on,
/// installed by the first call on a machine. It has apt, too.
///
/// # Errors
/// [`DebianError`]; where a program failed, its text names the log.
pub fn installed(
    arch: Arch,
    suite: &str,
    packages: &[&str],
    progress: Progress<'_>,
) -> Result<PathBuf, DebianError> {
    let target = Target::of(arch);
    if !target.host {
        return Err(DebianError::OtherArchitecture(arch));
    }
    let cache = Cache::of_user()?;
    let packages = packages.join(",");
    let key = Key::new("debian")
        .with("recipe", RECIPE)
        .with("arch", arch.to_string())
        .with("suite", suite)
        .with("packages", &packages);
    let dir = cache.get_or_build(&key, progress, |build| {
        ensure_packages(&TOOLS, build.log)?;
        progress(&format!("installing a Debian {suite} for {arch} (hundreds of MB, once)"));
        let mirror = debian_mirror().ok_or(ToolchainError::NoMirror)?;
        let source = format!("deb [signed-by={}] {} {suite} main", mirror.keyring.display(), mirror.uri);
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap
            .arg(format!("--architectures={}", target.debian))
            .arg(format!("--include={packages}"))
            .args(["--variant=apt", "--format=tar", suite])
            .arg(build.out.join("rootfs.tar"))
            .arg(source)
            .env_remove("APT_CONFIG");
        Ok::<(), DebianError>(build.log.run("installing Debian", &mut mmdebstrap)?)
    })?;
    Ok(dir.join("rootfs.tar"))
}

/// A directory with the files of `packages`, of Debian's architecture `architecture` (which may be one that has no
/// guests of its own, like i386), downloaded by the first call on a machine. What they depend on is not there.
///
/// # Errors
/// [`DebianError`]; where a program failed, its text names the log.
pub fn package_files(
    architecture: &str,
    suite: &str,
    packages: &[&str],
    progress: Progress<'_>,
) -> Result<PathBuf, DebianError> {
    let cache = Cache::of_user()?;
    let key = Key::new("debian-packages")
        .with("recipe", RECIPE)
        .with("architecture", architecture)
        .with("suite", suite)
        .with("packages", packages.join(" "));
    cache.get_or_build(&key, progress, |build| {
        ensure_packages(&APT_TOOLS, build.log)?;
        progress(&format!("downloading {} of Debian {suite}", packages.join(", ")));
        let apt = Apt::open(&cache, suite, architecture, build.log)?;
        for file in apt.download(packages, false)? {
            let name = file.file_name().unwrap_or_default();
            let to = build.out.join(name);
            fs::copy(&file, &to).map_err(CacheError::io("write", &to))?;
        }
        Ok::<(), DebianError>(apt.clean()?)
    })
}
