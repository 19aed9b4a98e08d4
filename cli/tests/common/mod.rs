//! What the tests of the commands share: a real image, made once, and commands run to their end.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod console;
pub mod pty;

use crate::ARCH;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The commands under test.
pub const C2W: &str = env!("CARGO_BIN_EXE_c2w");
/// The commands under test.
pub const C2W_RUN: &str = env!("CARGO_BIN_EXE_c2w-run");

/// A directory for this test program's files. Images are large: what earlier test programs left is removed.
pub fn scratch() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let base = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        for entry in std::fs::read_dir(&base).unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = name.strip_prefix("cli-");
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Another test program may be removing it, too.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let path = base.join(format!("cli-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    })
}

/// A small Debian as tar file; built or downloaded by the first call on a machine.
pub fn rootfs() -> PathBuf {
    c2w_packer::demo::rootfs(ARCH, &|text| eprintln!("{text}")).unwrap()
}

/// The guest kernel; compiled by the first call on a machine.
pub fn kernel() -> PathBuf {
    c2w_packer::kernel::build(ARCH, &|text| eprintln!("{text}")).unwrap()
}

/// An image of the small Debian.
pub fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let path = scratch().join("debian.c2w");
        let output = Command::new(C2W)
            .args(["pack", "--arch", &ARCH.to_string()])
            .arg(format!("rootfs:{}", rootfs().display()))
            .args([
                "--cmd",
                "sh -c 'echo default $FLAVOUR in $(pwd)'",
                "-e",
                "FLAVOUR=plain",
                "-w",
                "/tmp",
                "-o",
            ])
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        path
    })
}

/// A Debian with git, python and the tools for attributes and locks, as tar file.
pub fn tools_rootfs() -> PathBuf {
    let packages = ["acl", "attr", "git", "python3", "util-linux"];
    c2w_packer::demo::rootfs_with(ARCH, &packages, &|text| eprintln!("{text}")).unwrap()
}

/// Packs a tar file into an image with this name in the scratch directory.
pub fn pack(rootfs: &Path, name: &str) -> PathBuf {
    let path = scratch().join(name);
    let source = format!("rootfs:{}", rootfs.display());
    let output = Command::new(C2W)
        .args(["pack", "--arch", &ARCH.to_string(), &source, "-o"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// Runs a command of an image with a limit that a guest process stuck for ever runs into, asserts that
/// it succeeds and says nothing on standard error, and returns what it wrote.
#[track_caller]
pub fn succeed(image: &Path, options: &[&str], command: &[&str]) -> String {
    let mut run = Command::new(C2W_RUN);
    run.arg(image).args(options).args(["--", "timeout", "-s", "KILL", "120"]).args(command);
    let (status, stdout, stderr) = parts(&finish(run, b""));
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

/// Runs the image with options and a command.
pub fn run(args: &[&str]) -> Output {
    run_with_input(args, b"")
}

/// Runs the image with bytes on standard input.
pub fn run_with_input(args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(C2W_RUN);
    command.arg(image()).args(args);
    finish(command, input)
}

/// Runs a command to its end with bytes on standard input.
pub fn finish(mut command: Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that reads nothing closes the pipe.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Status, standard output and standard error.
pub fn parts(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Asserts that a command failed with `status` and one line that contains `text`.
#[track_caller]
pub fn assert_one_line(output: &Output, status: i32, text: &str) {
    let (code, stdout, stderr) = parts(output);
    assert_eq!((code, stdout.as_str()), (status, ""), "{stderr}");
    assert!(stderr.contains(text), "{stderr:?} does not contain {text:?}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr:?}");
}
