//! Bad input gets one clear line and the right exit status, and nothing is lost.

mod common;

use common::{C2W, C2W_RUN, assert_one_line, finish, image, kernel, parts, run, scratch};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

/// Architecture of the guests.
pub const ARCH: c2w_packer::image::Arch = c2w_packer::image::Arch::X86_64;

fn c2w_run(args: &[&str]) -> Output {
    let mut command = Command::new(C2W_RUN);
    command.args(args);
    finish(command, b"")
}

fn c2w(args: &[&str]) -> Output {
    let mut command = Command::new(C2W);
    command.args(args);
    finish(command, b"")
}

fn path(name: &str) -> String {
    scratch().join(name).display().to_string()
}

/// A copy of the image with a change.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = fs::read(image()).unwrap();
    change(&mut bytes);
    let path = path(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn images_that_cannot_be_run() {
    assert_one_line(&c2w_run(&["/no/such/image.c2w"]), 125, "/no/such/image.c2w");
    assert_one_line(&c2w_run(&["/tmp"]), 125, "is a directory");
    fs::write(path("empty.c2w"), b"").unwrap();
    assert_one_line(&c2w_run(&[&path("empty.c2w")]), 125, "empty.c2w");
    fs::write(path("text.c2w"), vec![b'x'; 100_000]).unwrap();
    assert_one_line(&c2w_run(&[&path("text.c2w")]), 125, "not");
    let cut = changed("cut.c2w", |bytes| bytes.truncate(bytes.len() / 2));
    assert_one_line(&c2w_run(&[&cut]), 125, "truncated");
}

#[test]
fn a_flipped_bit_is_found_before_the_guest_starts() {
    let len = fs::metadata(image()).unwrap().len() as usize;
    for (number, at) in [9, 100, 5000, len / 3, len / 2, len - 1].into_iter().enumerate() {
        let flipped = changed(&format!("flipped{number}.c2w"), |bytes| bytes[at] ^= 0x10);
        let output = c2w_run(&[&flipped, "echo", "ran"]);
        assert_one_line(&output, 125, &flipped);
        assert_one_line(&c2w(&["verify", &flipped]), 1, &flipped);
        fs::remove_file(flipped).unwrap();
    }
    assert_eq!(c2w(&["verify", &image().display().to_string()]).status.code(), Some(0));
}

/// A machine that waits in a program, the way to wake it, and its image, which is a copy.
fn waiting(name: &str) -> (std::process::Child, String) {
    let copy = path(name);
    fs::copy(image(), &copy).unwrap();
    let mut command = Command::new(C2W_RUN);
    command.args([
        &copy,
        "-i",
        "sh",
        "-c",
        "echo up; read line; find / -xdev | sort | tail -n 1; echo $line",
    ]);
    command.env_remove("C2W_COLD").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    (child, copy)
}

fn wake(mut child: std::process::Child) -> Output {
    // It may be gone already.
    let _ = child.stdin.take().unwrap().write_all(b"line\n");
    child.wait_with_output().unwrap()
}

#[test]
fn an_image_that_is_cut_short_during_the_run() {
    let (child, copy) = waiting("cut-during.c2w");
    fs::File::options().write(true).open(&copy).unwrap().set_len(8192).unwrap();
    let (status, _, stderr) = parts(&wake(child));
    let line = format!("c2w-run: {copy}: the file changed or was cut short while it was in use\n");
    assert_eq!((status, stderr), (125, line));
}

#[test]
fn an_image_that_is_written_to_during_the_run() {
    let (child, copy) = waiting("written-during.c2w");
    let len = fs::metadata(&copy).unwrap().len();
    fs::File::options().write(true).open(&copy).unwrap().set_len(len + 4096).unwrap();
    let (status, _, stderr) = parts(&wake(child));
    let line = format!("c2w-run: {copy}: the file changed or was cut short while it was in use\n");
    assert_eq!((status, stderr), (125, line));
    // Another file under its name, and no name at all, are no change of it.
    let (child, copy) = waiting("replaced-during.c2w");
    fs::remove_file(&copy).unwrap();
    let (status, stdout, stderr) = parts(&wake(child));
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.ends_with("line\n"), "{stdout}");
}

#[test]
fn a_compressed_image_that_is_damaged() {
    let small = path("small.c2w");
    let plain = c2w_packer::image::Image::open(image()).unwrap();
    c2w_packer::image::compress(&plain, std::path::Path::new(&small)).unwrap();
    let good = fs::read(&small).unwrap();
    for at in [good.len() / 3, good.len() / 2, good.len() - 5000] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        fs::write(&small, bytes).unwrap();
        assert_one_line(&c2w_run(&[&small, "true"]), 125, "small.c2w: corrupt: ");
        assert_one_line(&c2w(&["verify", &small]), 1, "small.c2w: corrupt: ");
    }
    fs::write(&small, &good[..good.len() / 2]).unwrap();
    assert_one_line(&c2w_run(&[&small, "true"]), 125, "small.c2w: truncated: ");
}

#[test]
fn options_that_make_no_sense() {
    assert_one_line(&run(&["--memory", "64k", "true"]), 125, "memory");
    assert_one_line(&run(&["--memory", "900000G", "true"]), 125, "memory");
    assert_one_line(&run(&["-v", "/no/such/directory:/x", "true"]), 125, "/no/such/directory");
    assert_one_line(&run(&["-it", "true"]), 125, "terminal");
    let (status, _, stderr) = parts(&run(&["-v", "nonsense", "true"]));
    assert_eq!(status, 125);
    assert!(stderr.contains("HOST:GUEST"), "{stderr}");
    assert_eq!(run(&["--no-such-option"]).status.code(), Some(125));
}

#[test]
fn options_of_translation_that_make_no_sense() {
    let image = image().display().to_string();
    for size in ["1M", "2G"] {
        assert_one_line(&c2w_run(&["--jit-memory", size, &image, "true"]), 125, "--jit-memory: between");
    }
    assert_one_line(&c2w_run(&["--verify", "--jit", "off", &image, "true"]), 125, "--verify");
    let nowhere = "/no/such/directory/profile";
    assert_one_line(&c2w_run(&["--profile", nowhere, &image, "true"]), 125, nowhere);
}

#[test]
fn packing_what_cannot_be_packed() {
    let output = path("never.c2w");
    let pack = |source: &str| c2w(&["pack", source, "-o", &output]);
    assert_one_line(&pack("rootfs:/no/such/dir"), 1, "/no/such/dir");
    fs::write(path("bad.tar"), vec![7; 10_000]).unwrap();
    assert_one_line(&pack(&format!("rootfs:{}", path("bad.tar"))), 1, "bad.tar");
    assert_one_line(&c2w(&["pack", &format!("rootfs:{}", path("bad.tar")), "-o", "/tmp"]), 1, "directory");
    assert!(!fs::exists(&output).unwrap());
}

#[test]
fn a_full_disk_leaves_no_partial_image() {
    let directory = scratch().join("full");
    fs::create_dir_all(&directory).unwrap();
    let output = directory.join("image.c2w");
    let mut command = Command::new(C2W);
    command.arg("pack").arg(format!("rootfs:{}", common::rootfs().display())).arg("-o").arg(&output);
    image();
    // SAFETY: setting a limit and ignoring a signal are async-signal-safe system calls.
    unsafe {
        command.pre_exec(|| {
            // Writing beyond the limit then fails as writing to a full disk does.
            let limit = rustix::process::Rlimit { current: Some(4 << 20), maximum: Some(4 << 20) };
            rustix::process::setrlimit(rustix::process::Resource::Fsize, limit)?;
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            Ok(())
        });
    }
    let output = finish(command, b"");
    assert_one_line(&output, 1, "image.c2w");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "something was left behind");
}

#[test]
fn kernels_that_cannot_be_booted() {
    let boot = |args: &[&str]| c2w(&[&["boot"], args].concat());
    assert_one_line(&boot(&["--kernel", "/no/such/kernel"]), 1, "/no/such/kernel");
    assert_one_line(&boot(&["--kernel", "/tmp"]), 1, "directory");
    assert_one_line(&boot(&["--kernel", C2W]), 1, "x86_64");
    let kernel = kernel().display().to_string();
    assert_one_line(&boot(&["--kernel", &kernel, "--memory", "4M"]), 1, "memory");
    assert_one_line(&boot(&["--kernel", &kernel, "--disk", "/no/such/disk"]), 1, "/no/such/disk");
    assert_one_line(&boot(&["--kernel", &kernel, "--share", "t=/no/such"]), 1, "/no/such");
}
