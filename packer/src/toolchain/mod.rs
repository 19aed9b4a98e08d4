//! Getting compilers and packages: what this machine has, what apt can add to it, and Debian
//! packages of other suites and architectures unpacked in the cache.

mod apt;
mod cross;
mod node;
mod oci;
mod packages;
mod qemu;
mod rust;
mod sources;

use crate::cache::{CacheError, CommandError};
use crate::image::Arch;

pub(crate) use apt::{APT_TOOLS, Apt, is_documentation, unpack};
pub use cross::{cross_gcc, cross_gcc_with_libc, opensbi};
pub use node::node;
pub use oci::oci_tools;
pub(crate) use packages::{Tool, ensure_packages};
pub use qemu::{QemuSystem, qemu_riscv64, qemu_system};
pub use rust::{GuestRust, RustToolchain, guest_rust, rust_with_std};
pub(crate) use sources::debian_mirror;

/// Why something that a build needs is not there.
#[derive(Debug, thiserror::Error)]
pub enum ToolchainError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Packages must be installed by somebody who may.
    #[error("missing {packages}; run: {line}")]
    Missing {
        /// Their names.
        packages: String,
        /// The line to run.
        line: String,
    },
    /// Packages must be installed, and there is no apt to do it or to advise.
    #[error("missing what Debian calls {0}; install it by the means of this system")]
    NoApt(String),
    /// Apt knows no Debian archive.
    #[error("no Debian archive in apt's sources; set C2W_DEBIAN_MIRROR to the address of one")]
    NoMirror,
    /// No suite has what is needed.
    #[error("no Debian suite of {suites} has {package}")]
    NoSuite {
        /// The suites that were asked.
        suites: String,
        /// What they do not have.
        package: String,
    },
    /// A toolchain that was unpacked cannot compile for the target.
    #[error("the unpacked Rust toolchain has no standard library for {0}")]
    NoStd(String),
}

/// The names that other tools give an architecture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Debian's name.
    pub(crate) debian: &'static str,
    /// The Rust target of the guest's own programs.
    pub(crate) rust: &'static str,
    /// The GNU name; with a dash it is the prefix of the compiler's commands.
    pub(crate) gnu: &'static str,
    /// Whether this machine's own compiler makes programs for it.
    pub(crate) host: bool,
    /// Linux's directory under `arch/`.
    pub(crate) linux: &'static str,
}

impl Target {
    pub(crate) const fn of(arch: Arch) -> Target {
        match arch {
            Arch::Riscv64 => Target {
                debian: "riscv64",
                rust: "riscv64gc-unknown-linux-gnu",
                gnu: "riscv64-linux-gnu",
                host: cfg!(target_arch = "riscv64"),
                linux: "riscv",
            },
            Arch::X86_64 => Target {
                debian: "amd64",
                rust: "x86_64-unknown-linux-gnu",
                gnu: "x86_64-linux-gnu",
                host: cfg!(target_arch = "x86_64"),
                linux: "x86",
            },
        }
    }
}

/// Debian's name of this machine's architecture.
pub(crate) fn debian_host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
