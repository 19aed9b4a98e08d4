//! QEMU's user mode emulation, which instruction tests compare with.

use super::{APT_TOOLS, Apt, ToolchainError, debian_host, ensure_packages, unpack};
use crate::cache::{Cache, Key, Progress};
use std::path::PathBuf;

/// The suite whose QEMU is used: 10.0, a static program, knows every extension that is compared.
const SUITE: &str = "trixie";

/// The program `qemu-riscv64`, unpacked in the cache from Debian's package. Nothing is installed.
///
/// # Errors
/// [`ToolchainError`] when it is not there and cannot be fetched.
pub fn qemu_riscv64(cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, ToolchainError> {
    let host = debian_host();
    let key = Key::new("qemu-user").with("recipe", "1").with("suite", SUITE).with("host", host);
    let dir = cache.get_or_build(&key, progress, |build| {
        ensure_packages(&APT_TOOLS, build.log)?;
        progress("getting QEMU's user mode emulation (about 70 MB)");
        let apt = Apt::open(cache, SUITE, host, build.log)?;
        let files = apt.download(&["qemu-user"], false)?;
        // Only this guest's program is kept, of more than thirty.
        unpack(&files, build.out, &["./usr/bin/qemu-[!r]*", "./usr/lib", "./usr/libexec"], build.log)?;
        apt.clean()
    })?;
    Ok(dir.join("usr/bin/qemu-riscv64"))
}
