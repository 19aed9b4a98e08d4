//! A small real root filesystem for the demonstration and for tests: Debian packages, unpacked
//! over each other into one tar file without installing them and without root privileges.

use crate::cache::{Build, Cache, CacheError, CommandError, Key, Progress};
use crate::image::Arch;
use crate::toolchain::{APT_TOOLS, Apt, Target, ToolchainError, ensure_packages, is_documentation};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stable, and the first release that has riscv64.
const SUITE: &str = "trixie";

/// A shell, the tools that scripts take for granted, and busybox for the rest.
const PACKAGES: [&str; 10] = [
    "base-files",
    "base-passwd",
    "bash",
    "busybox-static",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "hostname",
    "sed",
];

/// Files that an installed base-passwd copies, and where to: there are no users without them.
const COPIES: [(&str, &str); 2] = [
    ("usr/share/base-passwd/passwd.master", "etc/passwd"),
    ("usr/share/base-passwd/group.master", "etc/group"),
];

/// Changes with every change of the steps below that changes what they make.
const RECIPE: &str = "2";

/// Why there is no root filesystem.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The packages are not to be had.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A package's content could not be copied.
    #[error("cannot merge {package}: {source}")]
    Merge {
        /// The file name of the package.
        package: String,
        /// What went wrong.
        source: io::Error,
    },
}

/// A tar file with the root directory of a small Debian, downloaded by the first call (about
/// 15 MB). It has `/bin/sh`, `/etc/passwd` and `/etc/group`, and no package was configured.
///
/// # Errors
/// [`DemoError`]; where a program failed, its text names the log.
pub fn rootfs(arch: Arch, progress: Progress<'_>) -> Result<PathBuf, DemoError> {
    rootfs_with(arch, &[], progress)
}

/// As [`rootfs`], with `packages` of Debian and all that they depend on added. No package was
/// configured: what a maintainer script would make is not there.
///
/// # Errors
/// [`DemoError`]; where a program failed, its text names the log.
pub fn rootfs_with(arch: Arch, packages: &[&str], progress: Progress<'_>) -> Result<PathBuf, DemoError> {
    let cache = Cache::of_user()?;
    let wanted = [&PACKAGES, packages].concat();
    let packages = wanted.join(" ");
    let key = Key::new("demo")
        .with("recipe", RECIPE)
        .with("arch", arch.to_string())
        .with("suite", SUITE)
        .with("packages", &packages);
    let dir = cache.get_or_build(&key, progress, |build| {
        ensure_packages(&APT_TOOLS, build.log)?;
        progress(&format!("downloading a Debian {SUITE} root filesystem for {arch}"));
        let apt = Apt::open(&cache, SUITE, Target::of(arch).debian, build.log)?;
        let files = apt.download(&wanted, true)?;
        merge_all(&files, build)?;
        Ok::<(), DemoError>(apt.clean()?)
    })?;
    Ok(dir.join("rootfs.tar"))
}

fn merge_all(packages: &[PathBuf], build: &Build<'_>) -> Result<(), DemoError> {
    let path = build.out.join("rootfs.tar");
    let file = File::create(&path).map_err(CacheError::io("create", &path))?;
    let mut root = Merger::new(io::BufWriter::new(file));
    for package in packages {
        let name = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut dpkg = Command::new("dpkg-deb");
        let archive =
            build.log.capture(&format!("reading {name}"), dpkg.arg("--fsys-tarfile").arg(package))?;
        root.add(&archive).map_err(|source| DemoError::Merge { package: name, source })?;
    }
    root.finish().map_err(CacheError::io("write", &path))?;
    Ok(())
}

/// Archives merged into one: a directory that several have is written once, a file that several
/// have is taken from the first.
struct Merger<W: io::Write> {
    out: tar::Builder<W>,
    seen: BTreeSet<PathBuf>,
    copies: Vec<(&'static str, Vec<u8>)>,
}

impl<W: io::Write> Merger<W> {
    fn new(out: W) -> Merger<W> {
        Merger { out: tar::Builder::new(out), seen: BTreeSet::new(), copies: Vec::new() }
    }

    fn add(&mut self, archive: &[u8]) -> io::Result<()> {
        for entry in tar::Archive::new(archive).entries()? {
            let mut entry = entry?;
            let path: PathBuf = entry
                .path()?
                .components()
                .filter(|part| matches!(part, std::path::Component::Normal(_)))
                .collect();
            if is_documentation(&path) || !self.seen.insert(path.clone()) {
                continue;
            }
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { &path };
            let mut header = entry.header().clone();
            // Names of this and that user mean nothing next to numbers.
            header.set_username("")?;
            header.set_groupname("")?;
            match entry.link_name()? {
                Some(link) => self.out.append_link(&mut header, path, link)?,
                None => {
                    let mut content = Vec::new();
                    entry.read_to_end(&mut content)?;
                    self.out.append_data(&mut header, path, content.as_slice())?;
                    if let Some((_, to)) = COPIES.iter().find(|(from, _)| path == Path::new(from)) {
                        self.copies.push((to, content));
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        for (path, content) in std::mem::take(&mut self.copies) {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(content.len() as u64);
            self.out.append_data(&mut header, path, content.as_slice())?;
        }
        self.out.into_inner()?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut out = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_uid(7);
            header.set_size(0);
            if *kind == tar::EntryType::Symlink {
                out.append_link(&mut header, path, content).unwrap();
            } else {
                header.set_size(content.len() as u64);
                out.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
        }
        out.into_inner().unwrap()
    }

    #[test]
    fn packages_become_one_tree() {
        use tar::EntryType::{Directory, Regular, Symlink};
        let long = format!("./usr/lib/{}", "x".repeat(150));
        let one = archive(&[
            ("./", Directory, ""),
            ("./usr/", Directory, ""),
            ("./usr/share/base-passwd/passwd.master", Regular, "root:x:0"),
            ("./usr/share/doc/a/copyright", Regular, "c"),
            ("./bin", Symlink, "usr/bin"),
        ]);
        let two = archive(&[
            ("./", Directory, ""),
            ("./usr/", Directory, ""),
            (&long, Regular, "long"),
            ("./bin", Symlink, "elsewhere"),
        ]);
        let mut out = Vec::new();
        let mut merger = Merger::new(&mut out);
        merger.add(&one).unwrap();
        merger.add(&two).unwrap();
        merger.finish().unwrap();
        let mut lines = Vec::new();
        for entry in tar::Archive::new(out.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let link = entry.link_name().unwrap().map(|link| link.display().to_string()).unwrap_or_default();
            lines.push(format!(
                "{} {} {content}{link}",
                entry.path().unwrap().display(),
                entry.header().uid().unwrap()
            ));
        }
        assert_eq!(
            lines,
            [
                ". 7 ".to_owned(),
                "usr 7 ".to_owned(),
                "usr/share/base-passwd/passwd.master 7 root:x:0".to_owned(),
                "bin 7 usr/bin".to_owned(),
                format!("{} 7 long", &long[2..]),
                "etc/passwd 0 root:x:0".to_owned(),
            ]
        );
    }
}
