//! The guest kernel: Debian's Linux source, configured by the fragments in `packer/kernel` and
//! nothing else, cross-compiled once and kept in the cache.

mod config;

use crate::cache::{Build, Cache, CacheError, CommandError, Key, Progress};
use crate::image::Arch;
use crate::toolchain::{APT_TOOLS, Apt, Target, Tool, ToolchainError, ensure_packages, unpack};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use config::LostOption;

/// The long-term kernel that the fragments are written for.
const SOURCE_PACKAGE: &str = "linux-source-6.12";

/// Debian suites that have it: the release with that kernel, and the one before it.
const SOURCE_SUITES: [&str; 2] = ["trixie", "bookworm-backports"];

/// Changes with every change of the steps below that changes what they make.
const RECIPE: &str = "1";

/// Parts of the source that no configuration of ours reads and that are most of its files.
const UNUSED_SOURCE: [&str; 3] =
    ["*/drivers/gpu/drm/amd/include/*", "*/tools/testing/selftests/*", "*/Documentation/devicetree/*"];

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A step failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A compiler or the source is not to be had.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// The configuration does not say what the fragments say.
    #[error("the kernel's configuration lost {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Lost(Vec<LostOption>),
}

/// The kernel of a guest: for riscv64 a flat `Image`, for x86_64 an ELF with a PVH entry.
///
/// The first call compiles it, four minutes on two cores; later ones return the same file.
/// Beside it lie the `config` it was made from and its `System.map`.
///
/// # Errors
/// [`KernelError`]; where a program failed, its text names the log.
pub fn build(arch: Arch, progress: Progress<'_>) -> Result<PathBuf, KernelError> {
    let cache = Cache::of_user()?;
    let target = Target::of(arch);
    let prefix = if target.host { String::new() } else { format!("{}-", target.gnu) };
    let source = source(&cache, progress)?;
    let version = fs::read_to_string(source.join("version")).map_err(CacheError::io("read", &source))?;
    let compiler = compiler(&cache, arch, &prefix)?;
    let fragment = config::fragment(arch);
    let key = Key::new("kernel")
        .with("recipe", RECIPE)
        .with("arch", target.linux)
        .with("source", &version)
        .with("compiler", &compiler)
        .with("fragment", &fragment);
    let dir = cache.get_or_build(&key, progress, |build| {
        progress(&format!(
            "compiling the {arch} guest kernel ({SOURCE_PACKAGE} {version}; takes minutes, once)"
        ));
        compile(arch, &prefix, &source.join("source.tar.xz"), &fragment, build)
    })?;
    Ok(dir.join(product(arch).1))
}

/// The `System.map` of a kernel that was built here, by the kernel's bytes.
pub fn system_map(kernel: &[u8]) -> Option<String> {
    let built = fs::read_dir(Cache::of_user().ok()?.root().join("kernel")).ok()?;
    built.flatten().find_map(|entry| {
        let is_it = |arch: Arch| {
            let file = entry.path().join(product(arch).1);
            fs::metadata(&file).is_ok_and(|file| file.len() == kernel.len() as u64)
                && fs::read(&file).is_ok_and(|bytes| bytes == kernel)
        };
        let found = [Arch::Riscv64, Arch::X86_64].into_iter().any(is_it);
        found.then(|| fs::read_to_string(entry.path().join("System.map")).ok())?
    })
}

/// The file that the kernel's build makes, and its name in the cache.
fn product(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::Riscv64 => ("arch/riscv/boot/Image", "Image"),
        Arch::X86_64 => ("vmlinux", "vmlinux"),
    }
}

/// A directory with `source.tar.xz` and its package's `version`. A newer version is taken when
/// this directory of the cache is gone, so that an unchanged c2w makes an unchanged kernel.
fn source(cache: &Cache, progress: Progress<'_>) -> Result<PathBuf, KernelError> {
    let key = Key::new("linux-source").with("package", SOURCE_PACKAGE).with("recipe", RECIPE);
    cache.get_or_build(&key, progress, |build| {
        ensure_packages(&APT_TOOLS, build.log)?;
        progress(&format!("downloading {SOURCE_PACKAGE} (about 150 MB)"));
        let mut last = KernelError::from(ToolchainError::NoMirror);
        for suite in SOURCE_SUITES {
            match source_of_suite(cache, suite, build) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    build.log.note(&format!("suite {suite}: {error}"));
                    last = error;
                }
            }
        }
        Err(last)
    })
}

fn source_of_suite(cache: &Cache, suite: &str, build: &Build<'_>) -> Result<(), KernelError> {
    // The package holds text for every architecture; this one need not be the machine's own.
    let apt = Apt::open(cache, suite, "amd64", build.log)?;
    let missing =
        || ToolchainError::NoSuite { suites: SOURCE_SUITES.join(", "), package: SOURCE_PACKAGE.to_owned() };
    let version = apt.field(SOURCE_PACKAGE, "Version").ok_or_else(missing)?;
    let files = apt.download(&[SOURCE_PACKAGE], false)?;
    unpack(&files, build.scratch, &[], build.log)?;
    apt.clean()?;
    let unpacked = build.scratch.join("usr/src").join(format!("{SOURCE_PACKAGE}.tar.xz"));
    fs::rename(&unpacked, build.out.join("source.tar.xz")).map_err(CacheError::io("move", &unpacked))?;
    let path = build.out.join("version");
    fs::write(&path, version).map_err(CacheError::io("write", &path))?;
    Ok(())
}

/// Ensures that everything the build calls is there. Returns what identifies the compiler.
fn compiler(cache: &Cache, arch: Arch, prefix: &str) -> Result<Vec<u8>, KernelError> {
    let mut tools = vec![
        Tool::command("make", "make"),
        Tool::command("gcc", "gcc"),
        Tool::file("/usr/include/stdio.h", "libc6-dev"),
        Tool::command("flex", "flex"),
        Tool::command("bison", "bison"),
        Tool::command("bc", "bc"),
        Tool::command("perl", "perl"),
        Tool::command("gzip", "gzip"),
        Tool::command("xz", "xz-utils"),
        Tool::command("tar", "tar"),
    ];
    if arch == Arch::X86_64 {
        // For objtool, which runs on this machine.
        tools.push(Tool::file("/usr/include/libelf.h", "libelf-dev"));
    }
    match (arch, prefix) {
        (_, "") => {}
        (Arch::Riscv64, _) => tools.push(Tool::command("riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu")),
        (Arch::X86_64, _) => tools.push(Tool::command("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu")),
    }
    let log = cache.log("kernel-tools")?;
    ensure_packages(&tools, &log)?;
    let mut command = Command::new(format!("{prefix}gcc"));
    Ok(log.capture("asking the compiler for its version", command.arg("--version"))?)
}

/// Unpacks, configures, compiles, and moves the results to `build.out`.
fn compile(
    arch: Arch,
    prefix: &str,
    source: &Path,
    fragment: &str,
    build: &Build<'_>,
) -> Result<(), KernelError> {
    let tree = build.scratch;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(source).args(["--strip-components=1", "-C"]).arg(tree);
    tar.args(UNUSED_SOURCE.map(|pattern| format!("--exclude={pattern}")));
    build.log.run("unpacking the kernel's source", &mut tar)?;

    let path = tree.join("c2w.config");
    fs::write(&path, fragment).map_err(CacheError::io("write", &path))?;
    // Everything off, then the fragment: what is not asked for is not there.
    build.log.run(
        "configuring the kernel",
        make(arch, prefix, tree).env("KCONFIG_ALLCONFIG", "c2w.config").arg("allnoconfig"),
    )?;
    let path = tree.join(".config");
    let resolved = fs::read_to_string(&path).map_err(CacheError::io("read", &path))?;
    let lost = config::lost(fragment, &resolved);
    if !lost.is_empty() {
        return Err(KernelError::Lost(lost));
    }

    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let (file, name) = product(arch);
    let goal = Path::new(file).file_name().unwrap_or_default();
    build.log.run("compiling the kernel", make(arch, prefix, tree).arg(format!("-j{jobs}")).arg(goal))?;
    for (file, name) in [(file, name), (".config", "config"), ("System.map", "System.map")] {
        let path = tree.join(file);
        fs::copy(&path, build.out.join(name)).map_err(CacheError::io("copy", &path))?;
    }
    if arch == Arch::X86_64 {
        let mut strip = Command::new(format!("{prefix}strip"));
        build.log.run("stripping the kernel", strip.arg("--strip-all").arg(build.out.join(name)))?;
    }
    Ok(())
}

/// `make` in the source tree, with everything that could make two builds differ held fixed.
fn make(arch: Arch, prefix: &str, tree: &Path) -> Command {
    let mut make = Command::new("make");
    for variable in
        ["MAKEFLAGS", "MFLAGS", "KBUILD_OUTPUT", "KCFLAGS", "KCONFIG_CONFIG", "LOCALVERSION", "CC", "LD"]
    {
        make.env_remove(variable);
    }
    make.current_dir(tree)
        .arg("-s")
        .arg(format!("ARCH={}", Target::of(arch).linux))
        .arg(format!("CROSS_COMPILE={prefix}"))
        .env("KBUILD_BUILD_USER", "c2w")
        .env("KBUILD_BUILD_HOST", "c2w")
        .env("KBUILD_BUILD_VERSION", "1")
        .env("KBUILD_BUILD_TIMESTAMP", "2024-01-01 00:00:00 UTC");
    make
}
