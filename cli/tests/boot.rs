//! `c2w boot`: Linux with disks, shares and an initial RAM disk, OpenSBI, and programs without an operating system.

mod common;

use c2w_packer::cache::Cache;
use c2w_packer::image::Arch;
use c2w_packer::rootfs::tar::{TarOptions, apply_tar};
use c2w_packer::rootfs::{DataStore, FsTree, erofs};
use c2w_packer::toolchain::{cross_gcc, opensbi};
use common::{C2W, assert_one_line, finish, kernel, parts, rootfs, scratch};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;

fn boot(kernel: &Path) -> Command {
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

/// A program made from assembler text, loaded at `address`.
fn program(name: &str, address: u64, text: &str) -> PathBuf {
    let path = scratch().join(name);
    let source = path.with_extension("S");
    let text = format!(".option norelax\n.option nopic\n.text\n.globl _start\n_start:\n{text}\n");
    fs::write(&source, text).unwrap();
    let mut command = Command::new(cross_gcc(&Cache::of_user().unwrap(), Arch::Riscv64).unwrap());
    command.args(["-nostdlib", "-static", "-no-pie", "-march=rv64gc", "-mabi=lp64d"]);
    command.args(["-Wl,--build-id=none", &format!("-Wl,-Ttext={address:#x}")]);
    let output = command.arg(&source).arg("-o").arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// Where programs begin that firmware starts, and those that nothing starts.
const SUPERVISOR_BASE: u64 = 0x8020_0000;
const RAM_BASE: u64 = 0x8000_0000;

/// A Linux program that writes a line and powers the machine off, as an initial RAM disk.
fn initrd() -> PathBuf {
    let init = "
        li      a7, 64                  # write
        li      a0, 1
        la      a1, text
        li      a2, 21
        ecall
        li      a7, 142                 # reboot: power off
        li      a0, 0xfee1dead
        li      a1, 672274793
        li      a2, 0x4321fedc
        ecall
1:      j       1b
text:   .ascii  \"the initrd's program\\n\"";
    let elf = fs::read(program("init", 0x10000, init)).unwrap();
    let path = scratch().join("initrd.cpio");
    fs::write(&path, c2w_agent::initramfs(&elf)).unwrap();
    path
}

/// A machine whose console the test types on.
struct Session {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    seen: String,
}

impl Session {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout, seen: String::new() }
    }

    /// Reads until `text` appears, and forgets what came before its end.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let mut byte = [0; 256];
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let len = self.stdout.read(&mut byte).unwrap();
            assert_ne!(len, 0, "the console ended without {text:?}: {}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&byte[..len]));
        }
    }

    fn send(&mut self, line: &str) {
        self.stdin.write_all(line.as_bytes()).unwrap();
        self.stdin.write_all(b"\n").unwrap();
    }

    /// Waits for the end of the program, its input still open.
    fn status(mut self) -> Option<i32> {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).unwrap();
        self.child.wait().unwrap().code()
    }
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
fn an_initial_ram_disk_and_opensbi() {
    let initrd = initrd();
    let linux = |args: &[&str]| {
        let mut command = boot(&kernel());
        command.arg("--initrd").arg(&initrd).args(["--append", "console=ttyS0 quiet panic=-1"]);
        command.args(args);
        parts(&finish(command, b""))
    };
    let (status, stdout, stderr) = linux(&[]);
    assert!(status == 0 && stdout.contains("the initrd's program"), "{status}\n{stdout}\n{stderr}");
    let firmware = opensbi(&Cache::of_user().unwrap(), &|line| eprintln!("{line}")).unwrap();
    let (status, stdout, stderr) = linux(&["--bios", firmware.to_str().unwrap()]);
    assert_eq!(status, 0, "{stdout}\n{stderr}");
    let banner = stdout.find("OpenSBI v").unwrap_or_else(|| panic!("no OpenSBI: {stdout}"));
    assert!(stdout[banner..].contains("the initrd's program"), "{stdout}");
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
    session.child.kill().unwrap();
    session.child.wait().unwrap();
}

/// Runs a program to its end.
fn bare(path: &Path, args: &[&str]) -> Output {
    let mut command = boot(path);
    command.args(["--memory", "16M"]).args(args);
    finish(command, b"")
}

fn verdict(name: &str, value: u64) -> PathBuf {
    let text = format!(
        "la t0, tohost
        li t1, {value}
        sd t1, 0(t0)
1:      j 1b
        .data
        .globl tohost
        .align 6
tohost: .dword 0"
    );
    program(name, RAM_BASE, &text)
}

#[test]
fn test_programs_end_with_their_verdict() {
    let passed = parts(&bare(&verdict("passes", 1), &["--bios", "none"]));
    assert_eq!(passed, (0, String::new(), String::new()));
    let failed = bare(&verdict("fails", 42 << 1 | 1), &["--bios", "none"]);
    assert_one_line(&failed, 1, "test number 42 failed");
}

#[test]
fn a_payload_prints_through_the_built_in_sbi() {
    let text = "
        li      a7, 0x4442434e          # DBCN: write
        li      a6, 0
        li      a0, 6
        la      a1, text
        li      a2, 0
        ecall
        bnez    a0, 1f
        li      a7, 0x53525354          # SRST: shut down
        li      a6, 0
        li      a0, 0
        li      a1, 0
        ecall
1:      j       1b
text:   .ascii  \"hello\\n\"";
    let output = bare(&program("payload", SUPERVISOR_BASE, text), &[]);
    assert_eq!(parts(&output), (0, "hello\n".to_owned(), String::new()));
}

#[test]
fn a_guest_that_nothing_can_wake_says_so() {
    let wait = "csrw sie, zero\n1: wfi\nj 1b";
    assert_one_line(&bare(&program("sleeps", SUPERVISOR_BASE, wait), &[]), 1, "waits for an interrupt");
    let wait = "csrw mie, zero\n1: wfi\nj 1b\n.data\n.globl tohost\ntohost: .dword 0";
    let path = program("sleeps-with-tohost", RAM_BASE, wait);
    assert_one_line(&bare(&path, &["--bios", "none"]), 1, "waits for an interrupt");
    // With input still open it is no other: no interrupt is enabled that could come.
    let mut command = boot(&path);
    command.args(["--memory", "16M", "--bios", "none"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_one_line(&output, 1, "has enabled none that could come");
}

#[test]
fn files_that_cannot_be_started() {
    assert_one_line(&bare(&kernel(), &["--bios", "none"]), 1, "needs an SBI");
    let text = program("low", 0x1000_0000, "j _start");
    assert_one_line(&bare(&text, &[]), 1, "memory is at 0x80000000");
    let payload = program("any", SUPERVISOR_BASE, "j _start");
    assert_one_line(&bare(&payload, &["--bios", "/no/such/firmware"]), 1, "/no/such/firmware");
    assert_one_line(&bare(&payload, &["--initrd", "/no/such/initrd"]), 1, "/no/such/initrd");
    assert_one_line(&bare(&payload, &["--bios", C2W]), 1, "x86_64");
}
