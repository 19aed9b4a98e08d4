//! Debian's own kernels for x86_64, as its packages install them, up to the shell of their initial RAM disk.

mod common;

use c2w_packer::debian::installed;
use c2w_packer::image::Arch;
use common::console::Session;
use common::{C2W, scratch};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Architecture of the guests.
pub const ARCH: Arch = Arch::X86_64;

/// Kernel and initial RAM disk of a release.
fn kernel_and_initrd(suite: &str) -> (PathBuf, PathBuf) {
    let tar = installed(ARCH, suite, &["linux-image-amd64"], &|text| eprintln!("{text}")).unwrap();
    let directory = scratch().join(suite);
    fs::create_dir_all(&directory).unwrap();
    let mut found = [None, None];
    for entry in tar::Archive::new(File::open(tar).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let in_boot = path.parent().is_some_and(|parent| parent.ends_with("boot"));
        let kinds = ["vmlinuz-", "initrd.img-"];
        if let Some(kind) = kinds.iter().position(|kind| in_boot && name.starts_with(kind)) {
            let to = directory.join(name);
            std::io::copy(&mut entry, &mut File::create(&to).unwrap()).unwrap();
            found[kind] = Some(to);
        }
    }
    let [kernel, initrd] = found;
    (kernel.expect("the package has a kernel"), initrd.expect("its scripts made an initial RAM disk"))
}

fn boot(kernel: &Path, initrd: &Path) -> Session {
    let mut command = Command::new(C2W);
    command.arg("boot").arg("--kernel").arg(kernel).arg("--initrd").arg(initrd);
    command.args(["--memory", "1G", "--append", "console=ttyS0"]);
    Session::start(command)
}

#[track_caller]
fn reaches_its_shell(suite: &str, version: &str) {
    let (kernel, initrd) = kernel_and_initrd(suite);
    let mut session = boot(&kernel, &initrd);
    session.expect("(initramfs) ");
    session.send("uname -r; echo $((6 * 7)) answers");
    session.expect(version);
    session.expect("42 answers");
    session.send("poweroff -f");
    assert_eq!(session.status(), Some(0));
}

#[test]
fn linux_6_1() {
    reaches_its_shell("bookworm", "6.1.");
}

#[test]
fn linux_6_12() {
    reaches_its_shell("trixie", "6.12.");
}
