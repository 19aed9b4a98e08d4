//! What someone used to docker expects of c2w-run in unusual places: odd options, closed streams, a closed terminal.

mod common;

use common::{C2W, C2W_RUN, assert_one_line, finish, image, parts, run, scratch};
use std::fs::{self, File};
use std::process::{Command, Stdio};

/// Architecture of the guests.
pub const ARCH: c2w_packer::image::Arch = c2w_packer::image::Arch::X86_64;

#[track_caller]
fn stdout_of(args: &[&str]) -> String {
    let (status, stdout, stderr) = parts(&run(args));
    assert_eq!(status, 0, "{stderr}");
    stdout
}

#[test]
fn a_reason_is_given_once() {
    for (program, args) in [(C2W_RUN, &["/no/such.c2w"][..]), (C2W, &["verify", "/no/such.c2w"])] {
        let mut command = Command::new(program);
        command.args(args);
        let (_, _, stderr) = parts(&finish(command, b""));
        assert_eq!(stderr.matches("No such file").count(), 1, "{stderr}");
    }
}

#[test]
fn options_that_docker_refuses() {
    assert_one_line(&run(&["-w", "tmp", "pwd"]), 125, "absolute");
    assert_one_line(&run(&["-e", "=x", "env"]), 125, "name");
    assert_one_line(&run(&["-e", "", "env"]), 125, "name");
    assert_one_line(&run(&["-v", "/tmp:/a/..", "ls"]), 125, "/");
    assert_one_line(&run(&["-v", "/tmp:/proc", "ls"]), 125, "/proc");
    assert_one_line(&run(&["-v", "/tmp:/a", "-v", "/tmp:/a/", "ls"]), 125, "/a");
    assert_one_line(&run(&["--memory", "much", "true"]), 125, "--memory");
    assert_one_line(&run(&["--hostname", &"x".repeat(65), "true"]), 125, "64 bytes");
}

#[test]
fn variables_and_names() {
    // The image sets FLAVOUR; the caller has no such variable.
    assert_eq!(stdout_of(&["-e", "FLAVOUR", "sh", "-c", "echo [$FLAVOUR]"]), "[]\n");
    assert_eq!(stdout_of(&["-t", "-e", "TERM=dumb", "sh", "-c", "echo $TERM"]), "dumb\r\n");
    assert_eq!(stdout_of(&["--hostname", "", "hostname"]), "c2w\n");
}

#[test]
fn volumes_nest_however_they_are_given() {
    let directory = |name: &str| {
        let path = scratch().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(name), name).unwrap();
        path.display().to_string()
    };
    let (inner, outer) = (directory("inner"), directory("outer"));
    let args =
        ["-v", &format!("{inner}:/x/y"), "-v", &format!("{outer}:/x"), "cat", "/x/outer", "/x/y/inner"];
    assert_eq!(stdout_of(&args), "outerinner");
}

#[test]
fn without_a_cache_the_image_runs_all_the_same() {
    for cache in [None, Some("/proc/no/such/place")] {
        let mut command = Command::new(C2W_RUN);
        command.arg(image()).args(["echo", "ran"]);
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME").env_remove("C2W_CACHE_DIR");
        command.envs(cache.map(|place| ("C2W_CACHE_DIR", place)));
        assert_eq!(parts(&finish(command, b"")), (0, "ran\n".to_string(), String::new()));
    }
}

#[test]
fn output_that_cannot_be_written() {
    for (program, args, status) in [(C2W_RUN, vec!["echo", "x"], 125), (C2W, vec![], 1)] {
        let mut command = Command::new(program);
        command.args((program == C2W).then_some("verify")).arg(image()).args(args);
        let output =
            command.stdout(File::create("/dev/full").unwrap()).stderr(Stdio::piped()).output().unwrap();
        assert_one_line(&output, status, "standard output");
    }
}

#[test]
fn an_endless_kernel_is_not_read_to_its_end() {
    let mut command = Command::new(C2W);
    command.args(["boot", "--kernel", "/dev/zero", "--memory", "64M"]);
    assert_one_line(&finish(command, b""), 1, "/dev/zero");
}
