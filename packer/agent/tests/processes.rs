//! The agent's process part against real processes, on the machine of the test.
#![cfg(target_os = "linux")]

mod host;

use c2w_agent::{FailureKind, Output, StartSpec, Status, WINDOW_BYTES, WindowSize};
use host::{Host, sh, spec};
use sha2::{Digest, Sha256};

const SIGTERM: u8 = 15;
const SIGPIPE: u8 = 13;
const SIGHUP: u8 = 1;

/// An agent that starts processes beside itself.
fn plain() -> Host {
    Host::new(env!("CARGO_BIN_EXE_c2w-init"), &["--plain"])
}

fn with_stdin(spec: StartSpec) -> StartSpec {
    StartSpec { stdin: true, ..spec }
}

/// Bytes that repeat nowhere near.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn stdout_and_stderr_stay_apart() {
    let run = plain().run(sh("echo out; echo err >&2; printf 'a\\000b'"), b"");
    assert!(run.started);
    assert_eq!((run.out(), run.err(), run.exit_status()), ("out\na\0b", "err\n", 0));
}

#[test]
fn ends_of_processes() {
    // (script, what it ends with)
    let cases = [
        ("exit 0", Status::Code(0)),
        ("exit 3", Status::Code(3)),
        ("exit 255", Status::Code(255)),
        ("kill -9 $$", Status::Signal(9)),
        ("kill -15 $$", Status::Signal(SIGTERM)),
        ("kill -34 $$", Status::Signal(34)),
    ];
    let mut host = plain();
    for (script, status) in cases {
        assert_eq!(host.run(sh(script), b"").status, Some(status), "{script}");
    }
}

#[test]
fn failures_to_start() {
    let dir = std::env::temp_dir().join(format!("c2w-agent-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("directory");
    let make = |name: &str, contents: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        let path = dir.join(name);
        std::fs::write(&path, contents).expect("write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        path.to_str().expect("text").to_string()
    };
    let plain_text = make("plain", "not a program\n", 0o644);
    let no_shebang = make("no-shebang", "echo hello\n", 0o755);
    let lost_shebang = make("lost-shebang", "#!/no/such/interpreter\n", 0o755);
    let folder = dir.to_str().expect("text").to_string();
    let cases = [
        (
            "no-such-program",
            FailureKind::NotFound,
            r#"exec: "no-such-program": executable file not found in $PATH"#,
        ),
        ("/no/such", FailureKind::NotFound, r#"exec: "/no/such": stat /no/such: no such file or directory"#),
        ("", FailureKind::NotFound, r#"exec: "": executable file not found in $PATH"#),
        (&lost_shebang, FailureKind::NotFound, "no such file or directory"),
        (&plain_text, FailureKind::NotExecutable, "permission denied"),
        (&no_shebang, FailureKind::NotExecutable, "exec format error"),
        (&folder, FailureKind::NotExecutable, "is a directory"),
    ];
    let mut host = plain();
    for (program, kind, why) in cases {
        let run = host.run(spec(&[program]), b"");
        let (failed, message) = run.failed.expect(program);
        assert!(!run.started);
        assert_eq!(failed, kind, "{message}");
        assert!(message.contains(why), "{message:?} has no {why:?}");
    }
    let nothing = host.run(spec(&[]), b"");
    assert_eq!(nothing.failed.map(|(kind, _)| kind), Some(FailureKind::Other));
    let nobody = host.run(StartSpec { user: b"no-such-user".to_vec(), ..sh("true") }, b"");
    let (kind, message) = nobody.failed.expect("no such user");
    assert_eq!(kind, FailureKind::Other);
    assert!(message.contains("unable to find user no-such-user"), "{message}");
    std::fs::remove_dir_all(&dir).expect("clean up");
    // And after all of these it still works.
    assert_eq!(host.run(sh("echo fine"), b"").out(), "fine\n");
}

#[test]
fn stdin_and_its_end_reach_the_process() {
    let mut host = plain();
    assert_eq!(host.run(with_stdin(spec(&["cat"])), b"one\ntwo").out(), "one\ntwo");
    assert_eq!(host.run(with_stdin(spec(&["cat"])), b"").out(), "");
    // Not open: end of file at once.
    assert_eq!(host.run(spec(&["cat"]), b"").exit_status(), 0);
    // More than anybody reads.
    let run = host.run(with_stdin(sh("head -c 5; exec 0<&-; sleep 0.1")), &noise(4 << 20));
    assert_eq!((run.stdout.as_slice(), run.exit_status()), (&noise(5)[..], 0));
}

#[test]
fn a_large_binary_stream_survives_the_way_there_and_back() {
    let bytes = noise(64 << 20);
    let run = plain().run(with_stdin(spec(&["cat"])), &bytes);
    assert_eq!(run.stdout.len(), bytes.len());
    assert_eq!(Sha256::digest(&run.stdout), Sha256::digest(&bytes));
    assert_eq!(run.exit_status(), 0);
}

#[test]
fn arguments_and_environment_of_any_size_and_any_bytes() {
    // Linux allows a quarter of the stack limit in all, and 128 KiB for one string.
    let mut odd: Vec<Vec<u8>> =
        vec![b"\xff\xfe\n 'quoted' \"$HOME\"".to_vec(), Vec::new(), vec![b'x'; 128 * 1024 - 1]];
    odd.extend((0..900_u32).map(|n| n.to_string().repeat(200).into_bytes()));
    let mut start = spec(&["sh", "-c", r#"printf '%s\0' "$@"; printf '%s' "$BIG" | wc -c; echo "$#""#, "sh"]);
    start.argv.extend(odd.iter().cloned());
    start.env.push([b"BIG=".as_slice(), &vec![b'y'; 100_000]].concat());
    start.env.push(b"ODD\xff=\xfe".to_vec());
    let run = plain().run(start, b"");
    let mut expected: Vec<u8> =
        odd.iter().flat_map(|argument| [argument.as_slice(), b"\0"].concat()).collect();
    expected.extend_from_slice(format!("100000\n{}\n", odd.len()).as_bytes());
    assert_eq!(run.err(), "");
    assert!(run.stdout == expected, "arguments came out differently");

    let mut too_big = spec(&["true"]);
    too_big.argv.extend(std::iter::repeat_n(vec![b'x'; 100_000], 70));
    let (kind, message) = plain().run(too_big, b"").failed.expect("too big");
    assert_eq!(kind, FailureKind::NotExecutable);
    assert!(message.contains("argument list too long"), "{message}");
}

#[test]
fn defaults_of_the_environment() {
    let start = StartSpec { argv: vec![b"env".to_vec()], ..StartSpec::default() };
    let run = plain().run(start, b"");
    let mut names: Vec<_> =
        run.out().lines().map(|line| line.split('=').next().unwrap_or_default()).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "PATH"]);
    assert!(run.out().contains(&format!("PATH={}\n", c2w_agent::DEFAULT_PATH)), "{}", run.out());
    // A missing working directory is made; the default signals are back, SIGPIPE too.
    let dir = std::env::temp_dir().join(format!("c2w-cwd-{}/a/b", std::process::id()));
    let start = StartSpec {
        cwd: dir.to_str().expect("text").as_bytes().to_vec(),
        ..sh("pwd; umask; grep SigBlk /proc/self/status; grep -o 'SigIgn:.*' /proc/self/status | tail -c 5")
    };
    let run = plain().run(start, b"");
    // (Of the ignored ones the first sixteen, SIGPIPE among them: two beyond them are the C library's.)
    assert_eq!(run.out(), format!("{}\n0022\nSigBlk:\t0000000000000000\n0000\n", dir.display()));
    std::fs::remove_dir_all(dir.parent().and_then(|a| a.parent()).expect("parents")).expect("clean up");
}

#[test]
fn signals() {
    let mut host = plain();
    let id = host.start(sh("trap 'echo caught; exit 7' TERM; echo ready; while :; do sleep 0.05; done"));
    host.until(|host| host.runs[&id].stdout == b"ready\n");
    host.session.signal(id, SIGTERM);
    let run = host.finish(id);
    assert_eq!((run.out(), run.exit_status()), ("ready\ncaught\n", 7));

    let id = host.start(spec(&["sleep", "1000"]));
    host.until(|host| host.runs[&id].started);
    host.session.signal(id, SIGTERM);
    assert_eq!(host.finish(id).exit_status(), 128 + SIGTERM);
}

#[test]
fn several_processes_at_once() {
    let mut host = plain();
    let slow = host.start(with_stdin(spec(&["cat"])));
    let sleeper = host.start(spec(&["sleep", "1000"]));
    let first = host.run(sh("echo quick; exit 5"), b"");
    assert_eq!((first.out(), first.exit_status()), ("quick\n", 5));
    host.feed(slow, b"late");
    assert_eq!(host.finish(slow).out(), "late");
    assert_eq!(host.session.write_stdin(slow, b"nobody is there"), 15);
    host.session.signal(sleeper, 9);
    assert_eq!(host.finish(sleeper).status, Some(Status::Signal(9)));
}

#[test]
fn a_slow_reader_stops_the_process_and_not_the_agent() {
    let mut host = plain();
    // One that works, to bring the agent's memory to what it needs anyway.
    let warm = host.run(sh("head -c 4000000 /dev/zero"), b"");
    assert_eq!(warm.stdout.len(), 4_000_000);
    let before = host.agent_memory();

    host.consume = false;
    let flood = host.start(sh("head -c 400000000 /dev/zero"));
    host.until(|host| host.runs[&flood].stdout.len() == WINDOW_BYTES as usize);
    // Others are served meanwhile, and nothing more comes of the first.
    host.consume = true;
    for _ in 0..20 {
        assert_eq!(host.run(sh("echo other"), b"").out(), "other\n");
    }
    assert_eq!(host.runs[&flood].stdout.len(), WINDOW_BYTES as usize);
    let after = host.agent_memory();
    assert!(after < before + 1024 * 1024, "the agent grew from {before} to {after} bytes");
    // It goes on when its output is taken.
    host.session.consumed(flood, Output::Stdout, WINDOW_BYTES as usize);
    host.until(|host| host.runs[&flood].stdout.len() >= 1_000_000);
    host.session.signal(flood, 9);
    assert_eq!(host.finish(flood).status, Some(Status::Signal(9)));
}

#[test]
fn a_process_that_does_not_read_stops_the_host() {
    let mut host = plain();
    host.run(with_stdin(spec(&["cat"])), &noise(4 << 20));
    let before = host.agent_memory();
    let id = host.start(with_stdin(sh("echo ready; sleep 1000")));
    host.until(|host| host.runs[&id].stdout == b"ready\n");
    let mut accepted = 0;
    for _ in 0..100 {
        accepted += host.session.write_stdin(id, &noise(100_000));
        assert_eq!(host.run(sh("echo other"), b"").out(), "other\n");
    }
    // One window at the agent, and what the pipe holds, for which credit came back.
    assert!(accepted <= 2 * WINDOW_BYTES as usize, "{accepted} bytes were accepted");
    assert!(host.agent_memory() < before + (1 << 20));
    host.session.signal(id, 9);
    host.finish(id);
}

#[test]
fn all_output_comes_before_the_end_and_nobody_waits_for_what_is_left_behind() {
    let mut host = plain();
    // The pipe is full when the process ends.
    let run = host.run(sh("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2; exit 4"), b"");
    assert_eq!((run.stdout.len(), run.stderr.len(), run.exit_status()), (60000, 60000, 4));
    // A process that stays in the background holds the pipe, and even writes into it.
    let run = host.run(sh("(while :; do echo more; sleep 0.01; done) & echo $!; exit 6"), b"");
    assert_eq!(run.exit_status(), 6);
    let pid = run.out().lines().next().expect("a number").to_string();
    // (Its next write finds no reader.)
    assert_eq!(
        host.run(sh(&format!("while kill -0 {pid}; do sleep 0.01; done 2>/dev/null")), b"").exit_status(),
        0
    );
}

#[test]
fn output_that_nobody_wants() {
    let mut host = plain();
    let id = host.start(spec(&["yes"]));
    host.until(|host| host.runs[&id].stdout.len() > 100_000);
    host.session.close_output(id, Output::Stdout);
    assert_eq!(host.finish(id).status, Some(Status::Signal(SIGPIPE)));
}

fn on_tty(spec: StartSpec) -> StartSpec {
    StartSpec { tty: Some(WindowSize { rows: 30, columns: 100 }), stdin: true, ..spec }
}

#[test]
fn a_terminal() {
    let mut host = plain();
    let script = r#"
        [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all
        stty size
        while [ "$(stty size)" = "30 100" ]; do sleep 0.02; done
        stty size
        read line; echo "got $line"
        trap 'echo; echo interrupted; exit 9' INT
        echo waiting
        while :; do sleep 0.05; done"#;
    let id = host.start(on_tty(sh(script)));
    let shows = |text: &'static str| move |host: &Host| host.runs[&id].out().contains(text);
    host.until(shows("30 100\r\n"));
    assert!(host.runs[&id].out().starts_with("all\r\n"));
    host.session.resize(id, WindowSize { rows: 41, columns: 142 });
    host.until(shows("41 142\r\n"));
    host.session.write_stdin(id, b"hello\r");
    host.until(shows("got hello\r\n"));
    assert!(host.runs[&id].out().contains("hello\r\n"), "input is echoed");
    host.until(shows("waiting\r\n"));
    host.session.write_stdin(id, b"\x03");
    let run = host.finish(id);
    assert!(run.out().ends_with("interrupted\r\n"), "{:?}", run.out());
    assert_eq!((run.err(), run.exit_status()), ("", 9));
}

#[test]
fn ends_of_terminals() {
    let mut host = plain();
    // All of it arrives, though it ends before it is read.
    let run = host.run(on_tty(sh("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")), b"");
    assert!(run.out().ends_with("line 1999\r\n"));
    // The end of the input is seen, at the start of a line and within one.
    for input in ["", "one\n", "half a line"] {
        let run = host.run(on_tty(sh("stty -echo; echo go; wc -c; echo done")), input.as_bytes());
        assert!(run.out().contains(&format!("{}\r\ndone\r\n", input.len())), "{input:?}: {:?}", run.out());
    }
    // Hanging up.
    let id = host.start(on_tty(sh("echo here; sleep 1000")));
    host.until(|host| host.runs[&id].out().contains("here"));
    host.session.close_output(id, Output::Stdout);
    assert_eq!(host.finish(id).status, Some(Status::Signal(SIGHUP)));
}
