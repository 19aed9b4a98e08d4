//! `c2w-run` behaves like `docker run`: streams, exit status, command line, users, shares, signals.

use crate::common::{C2W_RUN, finish, image, parts, run, run_with_input, scratch};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

/// Bytes without a pattern, from a small generator of its own.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let words = (0..len.div_ceil(8)).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(len).collect()
}

#[test]
fn the_image_says_what_runs_and_the_command_line_overrides_it() {
    assert_eq!(parts(&run(&[])), (0, "default plain in /tmp\n".into(), String::new()));
    assert_eq!(parts(&run(&["-e", "FLAVOUR=sweet", "-w", "/made/now"])).1, "default sweet in /made/now\n");
    assert_eq!(parts(&run(&["--entrypoint", "echo", "--", "-n", "a", "b"])).1, "a b");
    let names = "hostname; cat /etc/hostname; grep -w box /etc/hosts; echo $HOSTNAME";
    let names = parts(&run(&["--hostname", "box", "sh", "-c", names])).1;
    assert_eq!(names, "box\nbox\n127.0.0.1\tbox\nbox\n");
}

#[test]
fn stdout_stderr_and_status_are_the_process_s() {
    let output = run(&["sh", "-c", "echo out; echo err >&2; exit 42"]);
    assert_eq!(parts(&output), (42, "out\n".into(), "err\n".into()));
    // A child's death is the shell's 128 + 9; the container's first process cannot be killed from inside.
    assert_eq!(parts(&run(&["sh", "-c", "sh -c 'kill -9 $$'; exit $?"])).0, 137);
}

#[test]
fn failures_to_start_have_docker_s_statuses() {
    let (status, stdout, stderr) = parts(&run(&["no-such-program"]));
    assert_eq!((status, stdout.as_str()), (127, ""));
    assert!(stderr.contains("no-such-program") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(parts(&run(&["/etc/passwd"])).0, 126);
    assert_eq!(parts(&run(&["-u", "nobody-knows", "true"])).0, 125);
}

#[test]
fn a_binary_stream_passes_unchanged_in_both_directions() {
    let input = noise(64 << 20);
    let output = run_with_input(&["-i", "cat"], &input);
    assert_eq!(output.status.code(), Some(0), "{}", parts(&output).2);
    assert_eq!(output.stdout.len(), input.len());
    assert!(Sha256::digest(&output.stdout) == Sha256::digest(&input));
}

#[test]
fn stdin_ends_when_it_ends_and_is_empty_without_i() {
    assert_eq!(parts(&run_with_input(&["-i", "sh", "-c", "wc -c; echo after"], b"12345")).1, "5\nafter\n");
    assert_eq!(parts(&run_with_input(&["wc", "-c"], b"12345")).1, "0\n");
}

#[test]
fn arguments_and_environment_of_any_bytes_and_size() {
    let mut command = Command::new(C2W_RUN);
    let odd = OsStr::from_bytes(b"a\xff\n'\" \\ b");
    let long = "x".repeat(120_000);
    command.arg(image()).arg("-e").arg(OsStr::from_bytes(b"ODD=\xfe=\n"));
    for number in 0..4 {
        command.arg("-e").arg(format!("LONG{number}={long}"));
    }
    let script = "printf %s \"$1\" | od -An -tx1; printf %s \"$ODD\" | od -An -tx1; \
                  printf %s \"$2$3$4$5$LONG0$LONG1$LONG2$LONG3\" | wc -c";
    command.args(["sh", "-c", script, "sh"]).arg(odd);
    for _ in 0..4 {
        command.arg(&long);
    }
    let (status, stdout, stderr) = parts(&finish(command, b""));
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert_eq!(stdout, " 61 ff 0a 27 22 20 5c 20 62\n fe 3d 0a\n960000\n");
}

#[test]
fn users_are_looked_up_in_the_image() {
    let id = |user| parts(&run(&["-u", user, "sh", "-c", "id -u; id -g; echo $HOME"])).1;
    assert_eq!(id("0"), "0\n0\n/root\n");
    assert_eq!(id("nobody"), "65534\n65534\n/nonexistent\n");
    assert_eq!(id("1234:56"), "1234\n56\n/\n");
}

#[test]
fn the_root_is_writable_unless_told_otherwise_and_forgets() {
    assert_eq!(parts(&run(&["sh", "-c", "echo x > /new && cat /new"])).1, "x\n");
    assert_eq!(parts(&run(&["sh", "-c", "cat /new 2>/dev/null"])).0, 1);
    assert_ne!(parts(&run(&["--read-only", "sh", "-c", "echo x > /new"])).0, 0);
}

#[test]
fn host_directories_and_files_are_shared() {
    let work = scratch().join("volume");
    fs::create_dir_all(work.join("sub")).unwrap();
    fs::write(work.join("in.txt"), "from the host\n").unwrap();
    fs::write(scratch().join("single.txt"), "alone\n").unwrap();
    fs::write(scratch().join("secret.txt"), "secret\n").unwrap();
    symlink("/etc/hostname", work.join("absolute")).unwrap();
    symlink("../secret.txt", work.join("out")).unwrap();
    let volume = format!("{}:/work", work.display());
    let read_only = format!("{}:/ro:ro", work.display());
    let single = format!("{}:/etc/single.txt", scratch().join("single.txt").display());
    let script = "set -e; cat /work/in.txt /etc/single.txt; ls /work; \
        echo made > /work/sub/made; chmod 640 /work/sub/made; mv /work/sub/made /work/sub/moved; \
        ln -s moved /work/sub/link; cat /work/sub/link; \
        ! (echo no > /ro/no) 2>/dev/null; cat /work/out 2>/dev/null || echo confined; ls /etc/single.txt";
    let output = run(&["-v", &volume, "-v", &read_only, "-v", &single, "sh", "-c", script]);
    let (status, stdout, stderr) = parts(&output);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    assert_eq!(stdout, "from the host\nalone\nabsolute\nin.txt\nout\nsub\nmade\nconfined\n/etc/single.txt\n");
    let moved = work.join("sub/moved");
    assert_eq!(fs::read_to_string(&moved).unwrap(), "made\n");
    assert_eq!(fs::metadata(&moved).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(work.join("sub/link")).unwrap().to_str(), Some("moved"));
    assert!(!work.join("no").exists());
    assert_eq!(fs::metadata(&moved).unwrap().uid(), fs::metadata(&work).unwrap().uid());
}

#[test]
fn what_a_guest_maps_and_writes_is_on_the_host_after_the_end() {
    let work = scratch().join("written-back");
    fs::create_dir_all(&work).unwrap();
    let volume = format!("{}:/work", work.display());
    let script = "dd if=/dev/zero of=/work/big bs=64k count=64 2>/dev/null; echo tail >> /work/big";
    assert_eq!(parts(&run(&["-v", &volume, "sh", "-c", script])).0, 0);
    let bytes = fs::read(work.join("big")).unwrap();
    assert_eq!(bytes.len(), (4 << 20) + 5);
    assert!(bytes.ends_with(b"tail\n"));
}

#[test]
fn signals_reach_the_process() {
    let mut command = Command::new(C2W_RUN);
    command.arg(image()).args([
        "sh",
        "-c",
        "trap 'echo got it; exit 3' TERM; echo up; while :; do sleep 0.05; done",
    ]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut up = [0; 3];
    stdout.read_exact(&mut up).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!((child.wait().unwrap().code(), rest.as_str()), (Some(3), "got it\n"));
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let mut command = Command::new(C2W_RUN);
    command.arg(image()).args(["yes"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 64];
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    // The first process of a container ignores SIGPIPE, so that `yes` itself may complain; c2w-run does not.
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("c2w-run"), "{stderr}");
    assert!(output.status.code().is_some(), "c2w-run was not killed itself");
}

#[test]
fn the_clock_is_right_and_random_numbers_differ() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let script = "date +%s; od -An -N16 -tx1 /dev/urandom";
    let lines = |output: String| output.lines().map(str::to_string).collect::<Vec<_>>();
    let first = lines(parts(&run(&["sh", "-c", script])).1);
    let second = lines(parts(&run(&["sh", "-c", script])).1);
    let guest: u64 = first[0].parse().unwrap();
    // Not a measurement: a clock that was not set is decades off.
    assert!((now..now + 600).contains(&guest), "{guest} is not about {now}");
    assert_ne!(first[1], second[1]);
}

#[test]
fn memory_is_what_was_asked_for() {
    let total = |memory| {
        let text = parts(&run(&["--memory", memory, "sh", "-c", "grep MemTotal /proc/meminfo"])).1;
        text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert!((100_000..131_072).contains(&total("128M")));
    assert!((900_000..1_048_576).contains(&total("1G")));
}
