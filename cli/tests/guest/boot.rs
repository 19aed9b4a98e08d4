//! `c2w boot`: Linux with disks, shares and an initial RAM disk.

use crate::common::console::Session;
use crate::common::{C2W, finish, kernel, parts, rootfs, scratch};
use c2w_packer::rootfs::tar::{TarOptions, apply_tar};
use c2w_packer::rootfs::{DataStore, FsTree, erofs};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub fn boot(kernel: &Path) -> Command {
    let mut command = Command::new(C2W);
    command.arg("boot").arg("--kernel").arg(kernel);
    command
}

/// The small Debian as a disk image.
fn disk() -> &'static Path {
    static DISK: OnceLock<PathBuf> = OnceLock::new();
    DISK.get_or_init(|| {
        let path = scratch().join("debian.erofs");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let mut store = DataStore::new(&file, 0, scratch()).unwrap();
        let mut tree = FsTree::new();
        let archive = File::open(rootfs()).unwrap();
        apply_tar(&mut tree, &mut store, archive, TarOptions { whiteouts: false }).unwrap();
        erofs::write(&tree, store).unwrap();
        path
    })
}

/// A Linux program that writes a line and powers the machine off, as an initial RAM disk.
pub fn initrd() -> PathBuf {
    let path = scratch().join("initrd.cpio");
    let elf = fs::read(crate::programs::line_and_power_off()).unwrap();
    fs::write(&path, c2w_agent::initramfs(&elf)).unwrap();
    path
}

/// Boots that program and returns status, standard output and standard error.
pub fn boot_initrd(args: &[&str]) -> (i32, String, String) {
    let mut command = boot(&kernel());
    command.arg("--initrd").arg(initrd()).args(["--append", "console=ttyS0 quiet panic=-1"]);
    command.args(args);
    parts(&finish(command, b""))
}

/// Linux with the small Debian's shell as its first process.
fn shell(args: &[&str]) -> Session {
    let mut command = boot(&kernel());
    command.arg("--disk").arg(format!("{},ro", disk().display())).args(args);
    command.args(["--append", "console=ttyS0 quiet panic=-1 root=/dev/vda ro init=/bin/sh"]);
    Session::start(command)
}

#[test]
fn linux_runs_a_shell_on_the_console_and_powers_off() {
    let mut session = shell(&[]);
    session.expect("# ");
    session.send("echo $((6 * 7)) answers");
    session.expect("42 answers");
    session.send("exec busybox poweroff -f");
    assert_eq!(session.status(), Some(0));
}

#[test]
fn a_reboot_starts_again() {
    let mut session = shell(&["--memory", "256M"]);
    session.expect("# ");
    session.send("busybox reboot -f");
    session.expect("reboot: Restarting system");
    session.expect("# ");
    session.send("busybox poweroff -f");
    assert_eq!(session.status(), Some(0));
}

#[test]
fn a_shared_directory_is_mounted_by_its_tag() {
    let directory = scratch().join("share");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("question"), "from the host\n").unwrap();
    let mut session = shell(&["--share", &format!("work={}", directory.display())]);
    session.expect("# ");
    session
        .send("busybox mount -t 9p -o trans=virtio,version=9p2000.L work /home && echo mounted $((1 + 1))");
    session.expect("mounted 2");
    session.send("cat /home/question");
    session.expect("from the host");
    session.send("echo from the guest > /home/answer; busybox poweroff -f");
    assert_eq!(session.status(), Some(0));
    assert_eq!(fs::read_to_string(directory.join("answer")).unwrap(), "from the guest\n");
}

#[test]
fn an_initial_ram_disk() {
    let (status, stdout, stderr) = boot_initrd(&[]);
    assert!(status == 0 && stdout.contains("the initrd's program"), "{status}\n{stdout}\n{stderr}");
}

#[test]
fn a_kernel_without_a_root_ends_by_its_panic() {
    let mut session = Session::start({
        let mut command = boot(&kernel());
        command.args(["--append", "console=ttyS0 quiet panic=-1"]);
        command
    });
    // panic=-1 restarts at once: the machine comes up and panics again.
    session.expect("Kernel panic");
    session.expect("Kernel panic");
    session.kill();
}
