//! QEMU, which instruction tests and figures compare with.

use super::{APT_TOOLS, Apt, ToolchainError, debian_host, ensure_packages, unpack};
use crate::cache::{Cache, Key, Progress};
use crate::image::Arch;
use std::path::PathBuf;
use std::process::Command;

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

/// QEMU's emulation of whole computers, which figures are compared with: a program of [`SUITE`]
/// with every library it needs, unpacked in the cache. Nothing is installed.
#[derive(Debug, Clone)]
pub struct QemuSystem {
    root: PathBuf,
    arch: Arch,
}

impl QemuSystem {
    /// The program, without arguments but those that it needs to find its own files.
    ///
    /// It runs with the dynamic linker and the C library that were unpacked with it, whatever
    /// this system has.
    pub fn command(&self) -> Command {
        let libraries = self.root.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
        let linker = match std::env::consts::ARCH {
            "x86_64" => "ld-linux-x86-64.so.2",
            "aarch64" => "ld-linux-aarch64.so.1",
            _ => "ld.so",
        };
        let mut command = Command::new(libraries.join(linker));
        // Of another QEMU's modules, where one is installed, it would die.
        command.env("QEMU_MODULE_DIR", libraries.join("qemu"));
        let program = format!("usr/bin/qemu-system-{}", self.arch);
        command.arg("--library-path").arg(&libraries).arg(self.root.join(program));
        for firmware in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(self.root.join(firmware));
        }
        if self.arch == Arch::Riscv64 {
            let opensbi = "usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin";
            command.arg("-bios").arg(self.root.join(opensbi));
        }
        command
    }

    /// Which computers it emulates.
    pub fn arch(&self) -> Arch {
        self.arch
    }
}

/// [`QemuSystem`] from Debian's packages.
///
/// # Errors
/// [`ToolchainError`] when it is not there and cannot be fetched.
pub fn qemu_system(cache: &Cache, arch: Arch, progress: Progress<'_>) -> Result<QemuSystem, ToolchainError> {
    let host = debian_host();
    let package = match arch {
        Arch::Riscv64 => "qemu-system-riscv",
        Arch::X86_64 => "qemu-system-x86",
    };
    let key = Key::new("qemu-system")
        .with("recipe", "2")
        .with("suite", SUITE)
        .with("host", host)
        .with("package", package);
    let root = cache.get_or_build(&key, progress, |build| {
        ensure_packages(&APT_TOOLS, build.log)?;
        progress(&format!("getting QEMU's emulation of {arch} computers and its libraries (about 90 MB)"));
        let apt = Apt::open(cache, SUITE, host, build.log)?;
        let files = apt.download(&[package], true)?;
        // Neither firmware of other computers nor pictures.
        let unused = ["./usr/share/qemu/edk2-*", "./usr/share/icons", "./usr/share/qemu-efi*"];
        unpack(&files, build.out, &unused, build.log)?;
        apt.clean()
    })?;
    Ok(QemuSystem { root, arch })
}
