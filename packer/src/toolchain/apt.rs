//! Debian packages of any suite and architecture, downloaded and unpacked but never installed.
//!
//! Apt is run with its state in the cache: its own sources, lists, status and archives. The
//! system's package lists, installed packages and configuration stay as they are, no root
//! privileges are needed, and every package is checked against Debian's signatures.

use super::sources::{Mirror, debian_mirror};
use super::{Tool, ToolchainError};
use crate::cache::{Cache, CacheError, Log};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What [`Apt`] and [`unpack`] call.
pub(crate) const APT_TOOLS: [Tool; 3] =
    [Tool::command("apt-get", "apt"), Tool::command("dpkg-deb", "dpkg"), Tool::command("tar", "tar")];

/// Directories of packages that neither a compiler nor a guest of ours reads.
const DOCUMENTATION: [&str; 4] = ["usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale"];

/// Whether a path, relative to the root directory, is in a directory that is left out.
pub(crate) fn is_documentation(path: &Path) -> bool {
    DOCUMENTATION.iter().any(|dir| path.starts_with(dir))
}

/// One suite and architecture of the mirror, its package lists up to date. Holds the lock of its
/// directory until dropped.
pub(crate) struct Apt<'a> {
    options: Vec<String>,
    archives: PathBuf,
    log: &'a Log,
    _lock: File,
}

impl<'a> Apt<'a> {
    /// Fetches the package lists of `suite` for `arch` (Debian's name).
    pub(crate) fn open(
        cache: &Cache,
        suite: &str,
        arch: &str,
        log: &'a Log,
    ) -> Result<Apt<'a>, ToolchainError> {
        let mirror = debian_mirror().ok_or(ToolchainError::NoMirror)?;
        let (root, lock) = cache.shared_dir(&format!("apt/{suite}-{arch}"))?;
        let archives = root.join("cache/archives");
        for dir in [root.join("lists/partial"), archives.join("partial"), root.join("log")] {
            fs::create_dir_all(&dir).map_err(CacheError::io("create", &dir))?;
        }
        let Mirror { uri, keyring } = mirror;
        let line = format!("deb [signed-by={}] {uri} {suite} main\n", keyring.display());
        for (name, content) in [("sources.list", line.as_str()), ("status", "")] {
            let path = root.join(name);
            fs::write(&path, content).map_err(CacheError::io("write", &path))?;
        }
        let apt = Apt { options: options(&root, arch), archives, log, _lock: lock };
        // A run that was killed may have left packages, which would be taken for downloaded ones.
        apt.clean()?;
        // A list that cannot be fetched is only a warning otherwise, and the old one is used.
        apt.run(
            "fetching Debian's package lists",
            "apt-get",
            &["-o", "APT::Update::Error-Mode=any", "update"],
        )?;
        Ok(apt)
    }

    /// A field of the newest version of `package`, e.g. "Version"; `None` if there is no such
    /// package or field.
    pub(crate) fn field(&self, package: &str, field: &str) -> Option<String> {
        let mut command = self.command("apt-cache", &["show", "--no-all-versions", package]);
        // Apt answers an unknown package with an error, which is no failure here.
        let output = self.log.capture("looking a package up", &mut command).ok()?;
        let text = String::from_utf8_lossy(&output);
        let prefix = format!("{field}: ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }

    /// Downloads `packages` and, if `closure`, everything they depend on. Returns every file
    /// downloaded since this was opened or cleaned.
    pub(crate) fn download(&self, packages: &[&str], closure: bool) -> Result<Vec<PathBuf>, ToolchainError> {
        let what = format!("downloading {}", packages.join(", "));
        let verbs: &[&str] = if closure { &["install", "--yes", "--download-only"] } else { &["download"] };
        let mut command = self.command("apt-get", &[verbs, packages].concat());
        self.log.run(&what, command.current_dir(&self.archives))?;
        let entries = fs::read_dir(&self.archives).map_err(CacheError::io("read", &self.archives))?;
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "deb"))
            .collect();
        // One order on every machine: what is unpacked later wins.
        files.sort();
        Ok(files)
    }

    /// Deletes what was downloaded.
    pub(crate) fn clean(&self) -> Result<(), ToolchainError> {
        self.run("deleting downloaded packages", "apt-get", &["clean"])
    }

    fn run(&self, what: &str, program: &str, arguments: &[&str]) -> Result<(), ToolchainError> {
        Ok(self.log.run(what, &mut self.command(program, arguments))?)
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(&self.options)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env_remove("APT_CONFIG");
        command
    }
}

/// Options that lead apt away from everything of the system's except its proxy and certificates.
fn options(root: &Path, arch: &str) -> Vec<String> {
    let at = |name: &str| root.join(name).display().to_string();
    let settings = [
        ("Dir::Etc::sourcelist", at("sources.list")),
        ("Dir::Etc::sourceparts", "/dev/null".into()),
        ("Dir::Etc::preferences", "/dev/null".into()),
        ("Dir::Etc::preferencesparts", "/dev/null".into()),
        ("Dir::State", root.display().to_string()),
        ("Dir::State::lists", at("lists")),
        ("Dir::State::status", at("status")),
        ("Dir::Cache", at("cache")),
        ("Dir::Log", at("log")),
        ("APT::Architecture", arch.into()),
        ("APT::Architectures", arch.into()),
        ("APT::Install-Recommends", "false".into()),
        // Files in a home directory are not readable by the user that apt would change to.
        ("APT::Sandbox::User", String::new()),
        ("APT::Update::Post-Invoke", String::new()),
        ("APT::Update::Post-Invoke-Success", String::new()),
        ("DPkg::Post-Invoke", String::new()),
        ("Acquire::Languages", "none".into()),
        ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".into()),
        // A mirror may be a frozen copy, whose lists are older than they promise to be.
        ("Acquire::Check-Valid-Until", "false".into()),
    ];
    let mut options = vec!["-qq".to_owned()];
    for (name, value) in settings {
        options.extend(["-o".to_owned(), format!("{name}={value}")]);
    }
    options
}

/// Unpacks packages over each other into `into`, without documentation and without what matches
/// `exclude` (patterns of tar, on names that begin with `./`).
pub(crate) fn unpack(
    packages: &[PathBuf],
    into: &Path,
    exclude: &[&str],
    log: &Log,
) -> Result<(), ToolchainError> {
    for package in packages {
        let what = format!("unpacking {}", package.file_name().unwrap_or_default().display());
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("--fsys-tarfile").arg(package);
        let mut tar = Command::new("tar");
        // Directories of Debian that became links stay links.
        tar.args(["-x", "--keep-directory-symlink", "--no-same-owner", "-C"]).arg(into);
        tar.args(DOCUMENTATION.map(|dir| format!("--exclude=./{dir}")));
        tar.args(exclude.iter().map(|pattern| format!("--exclude={pattern}")));
        log.pipe(&what, &mut dpkg, &mut tar)?;
    }
    Ok(())
}
