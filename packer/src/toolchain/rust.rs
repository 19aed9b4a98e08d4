//! A Rust compiler with the standard library of a target, for machines where `rustup target add`
//! was not run or cannot be.
//!
//! If the machine's own compiler has the targets, that is all. Otherwise rustc and the standard
//! libraries come from the newest Debian suite that has them, unpacked in the cache; rustc is
//! started through that suite's own dynamic linker, so that this machine's C library may be older.

use super::{APT_TOOLS, Apt, Target, Tool, ToolchainError, debian_host, ensure_packages, unpack};
use crate::cache::{Build, Cache, CacheError, Key, Log, Progress};
use crate::image::Arch;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Suites to ask, newest first: `forky` follows development with a delay, `trixie` stays at 1.85.
const SUITES: [&str; 3] = ["forky", "sid", "trixie"];

/// A compiler with the standard libraries that were asked for.
#[derive(Debug, Clone)]
pub struct RustToolchain {
    /// The wrapper scripts' directory; `None` for the machine's own compiler.
    scripts: Option<PathBuf>,
    /// What `rustc -vV` says: equal texts compile alike.
    version: String,
}

impl RustToolchain {
    /// The environment that makes cargo use this compiler: empty for the machine's own.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, OsString)> {
        let Some(scripts) = &self.scripts else { return Vec::new() };
        let mut variables = vec![("RUSTC".to_owned(), scripts.join("rustc").into_os_string())];
        let linker = scripts.join("wasm-ld");
        if linker.exists() {
            for target in ["WASM32_UNKNOWN_UNKNOWN", "WASM32_WASIP1"] {
                variables.push((format!("CARGO_TARGET_{target}_LINKER"), linker.clone().into_os_string()));
            }
        }
        variables
    }

    /// What identifies the compiler in the key of something it builds.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// What builds programs that run in a guest: a Rust compiler and a C linker for it.
#[derive(Debug, Clone)]
pub struct GuestRust {
    toolchain: RustToolchain,
    /// The Rust target, e.g. `riscv64gc-unknown-linux-gnu`.
    pub target: &'static str,
    /// The C compiler that links; its libraries become part of a static program.
    pub linker: String,
}

impl GuestRust {
    /// `cargo` set up to build static programs for the guest, deaf to the settings of a cargo that
    /// c2w itself may have been started by. `remap` are directories of this machine and the names
    /// that take their place in the program.
    #[must_use]
    pub fn cargo(&self, remap: &[(&Path, &str)]) -> Command {
        let mut cargo = Command::new("cargo");
        for (name, _) in std::env::vars_os() {
            if is_setting_of_a_build(&name.to_string_lossy()) {
                cargo.env_remove(name);
            }
        }
        let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
        flags.extend(remap.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
        let variable = self.target.to_uppercase().replace('-', "_");
        cargo
            .envs(self.toolchain.environment())
            .env(format!("CARGO_TARGET_{variable}_LINKER"), &self.linker)
            // Unlike RUSTFLAGS this keeps paths with blanks in one piece.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        cargo
    }

    /// What identifies both compilers in the key of something they build.
    #[must_use]
    pub fn version(&self) -> &str {
        self.toolchain.version()
    }
}

/// Cargo and rustup read these from the environment; where crates come from is not among them.
fn is_setting_of_a_build(name: &str) -> bool {
    let kept = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    let other = ["RUSTFLAGS", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO"];
    other.contains(&name)
        || (name.starts_with("CARGO_") && !kept.iter().any(|prefix| name.starts_with(prefix)))
}

/// The compilers for static programs of a guest, fetched if need be.
///
/// # Errors
/// [`ToolchainError`] when they are not there and cannot be fetched.
pub fn guest_rust(
    cache: &Cache,
    arch: Arch,
    log: &Log,
    progress: Progress<'_>,
) -> Result<GuestRust, ToolchainError> {
    let target = Target::of(arch);
    // Cargo, and a host compiler for procedural macros, in every case.
    let mut tools = vec![
        Tool::command("cargo", "cargo"),
        Tool::command("cc", "gcc"),
        Tool::file("/usr/include/stdio.h", "libc6-dev"),
    ];
    let linker = if target.host {
        "cc".to_owned()
    } else {
        match arch {
            Arch::Riscv64 => tools.extend([
                Tool::command("riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu"),
                Tool::file("/usr/riscv64-linux-gnu/lib/libc.a", "libc6-dev-riscv64-cross"),
            ]),
            Arch::X86_64 => tools.extend([
                Tool::command("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
                Tool::file("/usr/x86_64-linux-gnu/lib/libc.a", "libc6-dev-amd64-cross"),
            ]),
        }
        format!("{}-gcc", target.gnu)
    };
    ensure_packages(&tools, log)?;
    let toolchain = rust_with_std(cache, &[target.rust], progress)?;
    Ok(GuestRust { toolchain, target: target.rust, linker })
}

/// A compiler that has the standard library of each of `targets`.
///
/// One that was unpacked stays as it is until its directory in the cache is deleted.
///
/// # Errors
/// [`ToolchainError`] when the machine's own does not and no Debian suite in reach does.
pub fn rust_with_std(
    cache: &Cache,
    targets: &[&str],
    progress: Progress<'_>,
) -> Result<RustToolchain, ToolchainError> {
    let own = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    if targets.iter().all(|target| has_std(&own, target)) {
        return Ok(RustToolchain { scripts: None, version: version(&own) });
    }
    let key = targets
        .iter()
        .fold(Key::new("rust").with("recipe", "1").with("host", std::env::consts::ARCH), |key, target| {
            key.with("target", target)
        });
    let dir = cache.get_or_build(&key, progress, |build| {
        ensure_packages(&APT_TOOLS, build.log)?;
        progress(&format!("getting a Rust compiler for {} (about 200 MB)", targets.join(", ")));
        from_debian(cache, targets, build)
    })?;
    let scripts = dir.join("bin");
    let version = version(&scripts.join("rustc"));
    Ok(RustToolchain { scripts: Some(scripts), version })
}

fn has_std(rustc: &Path, target: &str) -> bool {
    let output = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output();
    let Ok(output) = output else { return false };
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let is_std = |name: &str| name.starts_with("libstd-") && name.ends_with(".rlib");
    fs::read_dir(libdir)
        .is_ok_and(|entries| entries.flatten().any(|entry| is_std(&entry.file_name().to_string_lossy())))
}

fn version(rustc: &Path) -> String {
    let output = Command::new(rustc).arg("-vV").output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// Unpacks the compiler and the libraries of the first suite that has them all.
fn from_debian(cache: &Cache, targets: &[&str], build: &Build<'_>) -> Result<(), ToolchainError> {
    let mut last = None;
    for suite in SUITES {
        // A suite that the mirror does not have, or has in part, is no reason to give up; but
        // nothing of it may stay beside the next one's files.
        match from_suite(cache, suite, targets, build) {
            Ok(()) => return Ok(()),
            Err(error) => build.log.note(&format!("suite {suite}: {}", last.insert(error))),
        }
        fs::remove_dir_all(build.out).map_err(CacheError::io("empty", build.out))?;
        fs::create_dir(build.out).map_err(CacheError::io("create", build.out))?;
    }
    Err(last.unwrap_or(ToolchainError::NoMirror))
}

fn from_suite(cache: &Cache, suite: &str, targets: &[&str], build: &Build<'_>) -> Result<(), ToolchainError> {
    let missing =
        |package: &str| ToolchainError::NoSuite { suites: suite.to_owned(), package: package.to_owned() };
    let host = debian_host();
    let wasm = targets.iter().any(|target| target.starts_with("wasm32-"));
    let apt = Apt::open(cache, suite, host, build.log)?;
    let depends = |package: &str| apt.field(package, "Depends").ok_or_else(|| missing(package));
    let release = apt.field("libstd-rust-dev", "Version").ok_or_else(|| missing("libstd-rust-dev"))?;
    let run_time =
        dependency(&depends("libstd-rust-dev")?, "libstd-rust-").ok_or_else(|| missing("libstd-rust"))?;
    let mut packages = vec!["rustc".to_owned(), "libstd-rust-dev".to_owned()];
    if wasm {
        let llvm = dependency(&depends(&run_time)?, "libllvm").ok_or_else(|| missing("libllvm"))?;
        packages.extend(["libstd-rust-dev-wasm32".to_owned(), llvm.replace("libllvm", "lld-")]);
    }
    // The run time's dependencies are the compiler's shared libraries; rustc's own would be a C
    // compiler as well, which this machine has.
    apt.download(&[&run_time], true)?;
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    let files = apt.download(&names, false)?;
    unpack(&files, build.out, &["*/rustlib/wasm32-wasip2/*"], build.log)?;
    apt.clean()?;
    for target in [Arch::Riscv64, Arch::X86_64].map(Target::of) {
        if target.host || !targets.contains(&target.rust) {
            continue;
        }
        let apt = Apt::open(cache, suite, target.debian, build.log)?;
        // Libraries are read only by the very compiler that made them.
        let same = apt
            .field("libstd-rust-dev", "Version")
            .is_some_and(|other| source_version(&other) == source_version(&release));
        if !same {
            return Err(missing(&format!("libstd-rust-dev {release} for {}", target.debian)));
        }
        let files = apt.download(&["libstd-rust-dev"], false)?;
        unpack(&files, build.out, &[], build.log)?;
        apt.clean()?;
    }
    write_scripts(build.out, wasm)?;
    let rustc = build.out.join("bin/rustc");
    match targets.iter().find(|target| !has_std(&rustc, target)) {
        Some(target) => Err(ToolchainError::NoStd((*target).to_owned())),
        None => Ok(()),
    }
}

/// The first package whose name begins with `prefix` and goes on with a digit in a Depends field.
fn dependency(depends: &str, prefix: &str) -> Option<String> {
    let names = depends.split([',', '|']).filter_map(|alternative| alternative.split_whitespace().next());
    let names = names.map(|name| name.split(':').next().unwrap_or(name));
    names
        .into_iter()
        .find(|name| {
            name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .map(str::to_owned)
}

/// A version without the mark of a rebuild for one architecture (Debian policy 5.6.12: `+bN`).
fn source_version(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((source, rebuild))
            if !rebuild.is_empty() && rebuild.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            source
        }
        _ => version,
    }
}

/// Scripts that start the unpacked programs through the unpacked dynamic linker, from wherever
/// the directory is.
fn write_scripts(root: &Path, wasm: bool) -> Result<(), ToolchainError> {
    let find = |dir: &Path, prefix: &str| {
        let entries = fs::read_dir(root.join(dir)).map_err(CacheError::io("read", dir))?;
        let found = entries.flatten().map(|entry| dir.join(entry.file_name())).find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(prefix) && !name.ends_with(".d")
        });
        found.ok_or_else(|| ToolchainError::NoStd(format!("{prefix} in the unpacked packages")))
    };
    let lib = Path::new("usr/lib");
    let libraries = find(lib, &format!("{}-linux-gnu", std::env::consts::ARCH))?;
    let loader = find(&libraries, "ld-linux-")?;
    let mut scripts = vec![("rustc", "usr/bin/rustc --sysroot \"$root/usr\"".to_owned())];
    if wasm {
        scripts.push(("wasm-ld", format!("{}/bin/lld", find(lib, "llvm-")?.display())));
    }
    let bin = root.join("bin");
    fs::create_dir_all(&bin).map_err(CacheError::io("create", &bin))?;
    for (name, program) in scripts {
        let (program, options) = program.split_once(' ').unwrap_or((&program, ""));
        let text = format!(
            "#!/bin/sh\nroot=$(dirname \"$(dirname \"$(readlink -f \"$0\")\")\")\n\
             exec \"$root/{}\" --library-path \"$root/{}\" --argv0 {name} \"$root/{program}\" {options} \"$@\"\n",
            loader.display(),
            libraries.display(),
        );
        let path = bin.join(name);
        fs::write(&path, text).map_err(CacheError::io("write", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(CacheError::io("make executable", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_found_by_prefix() {
        let depends = "libc6 (>= 2.39), libstd-rust-dev | libstd-rust-1.97:amd64 (= 1.97.1), libllvm22 (>= 1:22), libllvm-x";
        assert_eq!(dependency(depends, "libstd-rust-").as_deref(), Some("libstd-rust-1.97"));
        assert_eq!(dependency(depends, "libllvm").as_deref(), Some("libllvm22"));
        assert_eq!(dependency(depends, "gcc-"), None);
    }

    #[test]
    fn rebuilds_have_the_version_of_their_source() {
        assert_eq!(source_version("1.97.1+dfsg1-1+b12"), "1.97.1+dfsg1-1");
        assert_eq!(source_version("1.97.1+dfsg1-1"), "1.97.1+dfsg1-1");
        assert_eq!(source_version("1.0+beta"), "1.0+beta");
    }

    #[test]
    fn only_settings_of_a_build_are_dropped() {
        for dropped in ["RUSTFLAGS", "CARGO", "CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "CARGO_PKG_NAME"]
        {
            assert!(is_setting_of_a_build(dropped), "{dropped}");
        }
        for kept in ["PATH", "CARGO_HOME", "CARGO_REGISTRIES_X_INDEX", "CARGO_HTTP_PROXY", "RUSTUP_HOME"] {
            assert!(!is_setting_of_a_build(kept), "{kept}");
        }
    }
}
