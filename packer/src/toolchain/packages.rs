//! The tools of this machine that a build needs: found, installed, or asked for in one line.

use super::ToolchainError;
use crate::cache::Log;
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// What shows that a package's content is there, wherever it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof {
    /// A command is in `PATH`.
    Command(&'static str),
    /// A file exists.
    File(&'static str),
}

/// Something a build needs, and the Debian package that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    pub(crate) proof: Proof,
    pub(crate) package: &'static str,
}

impl Tool {
    pub(crate) const fn command(command: &'static str, package: &'static str) -> Tool {
        Tool { proof: Proof::Command(command), package }
    }

    pub(crate) const fn file(path: &'static str, package: &'static str) -> Tool {
        Tool { proof: Proof::File(path), package }
    }

    fn is_present(&self) -> bool {
        match self.proof {
            Proof::Command(command) => in_path(command),
            Proof::File(path) => Path::new(path).exists(),
        }
    }
}

/// Whether a file called `command` is in `PATH`.
pub(crate) fn in_path(command: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(command).is_file()))
}

/// How packages are installed.
const INSTALL: [&str; 3] = ["install", "-y", "--no-install-recommends"];

/// What is locked by who runs apt-get, which fails where another one is fetching lists.
const APT_STATE: &str = "/var/lib/apt";

/// Returns when all of `tools` are there. Missing ones are installed where that is possible
/// without asking anybody: as root, on a machine with apt.
///
/// # Errors
/// [`ToolchainError::Missing`] holds the line for the user to run; [`ToolchainError::NoApt`] where
/// there is none.
pub(crate) fn ensure_packages(tools: &[Tool], log: &Log) -> Result<(), ToolchainError> {
    let packages = missing(tools);
    if packages.is_empty() {
        return Ok(());
    }
    if !in_path("apt-get") {
        return Err(ToolchainError::NoApt(packages.join(", ")));
    }
    if !rustix::process::geteuid().is_root() {
        let line = [&["sudo", "apt-get"], &INSTALL[..], &packages].concat().join(" ");
        return Err(ToolchainError::Missing { packages: packages.join(", "), line });
    }
    // Who waited for it may find that all has been installed. Where it cannot be locked, apt-get says what is wrong.
    let _state = File::open(APT_STATE).and_then(|state| state.lock().map(|()| state));
    let packages = missing(tools);
    if packages.is_empty() {
        return Ok(());
    }
    let install = [&INSTALL[..], &packages].concat();
    let apt = |what: String, arguments: &[&str]| {
        log.run(&what, Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt("fetching the system's package lists".to_owned(), &["update"])?;
    apt(format!("installing {}", packages.join(", ")), &install)?;
    Ok(())
}

/// The packages of the tools that are not there, each once.
fn missing(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        tools.iter().filter(|tool| !tool.is_present()).map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_named_once() {
        let tools = [
            Tool::command("sh", "dash"),
            Tool::file("/", "base-files"),
            Tool::command("no-such-command-1", "zebra"),
            Tool::command("no-such-command-2", "ape"),
            Tool::file("/no/such/file", "zebra"),
        ];
        assert_eq!(missing(&tools), ["ape", "zebra"]);
    }
}
