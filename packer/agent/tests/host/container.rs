//! What must be true in a container, whether the agent is PID 1 of a machine or not.
//!
//! The image needs a shell, coreutils, grep and `/etc/passwd` with root.

use c2w_agent::{FileSpec, StartSpec, Status, WindowSize};

use super::{Host, sh, spec};

const SIGTERM: u8 = 15;

/// Panics when something is not as it must be.
type Check = fn(&mut Host);

/// The checks, by name.
pub const CHECKS: [(&str, Check); 11] = [
    ("first process", first_process),
    ("mounts", mounts),
    ("devices", devices),
    ("privileges", privileges),
    ("users", users),
    ("files and host name", files),
    ("read-only root", read_only_root),
    ("working directory", working_directory),
    ("second process", second_process),
    ("terminal", terminal),
    ("overlay", overlay),
];

/// The output of a script that must work.
#[track_caller]
fn output(host: &mut Host, spec: StartSpec) -> String {
    let run = host.run(spec, b"");
    assert!(
        run.failed.is_none() && run.stderr.is_empty(),
        "{run:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert_eq!(run.exit_status(), 0, "{run:?}");
    run.out().to_string()
}

fn as_user(user: &str, spec: StartSpec) -> StartSpec {
    StartSpec { user: user.as_bytes().to_vec(), ..spec }
}

fn first_process(host: &mut Host) {
    assert_eq!(output(host, sh("echo $$; read pid rest < /proc/self/stat; echo $pid")), "1\n1\n");
    // What it leaves behind ends with it, and holds up nothing.
    let run = host.run(sh("sleep 1000 & (while :; do echo x; sleep 0.01; done) & exit 3"), b"");
    assert_eq!(run.exit_status(), 3);
    // PID 1 is deaf to signals that it does not handle, but for SIGKILL.
    let id = host.start(sh("echo ready; while :; do sleep 0.02; echo; done"));
    host.until(|host| host.runs[&id].out().starts_with("ready"));
    host.session.signal(id, SIGTERM);
    let seen = host.runs[&id].stdout.len();
    host.until(|host| host.runs[&id].stdout.len() > seen + 5);
    host.session.signal(id, 9);
    assert_eq!(host.finish(id).status, Some(Status::Signal(9)));
}

fn mounts(host: &mut Host) {
    let mounts = output(host, spec(&["cat", "/proc/mounts"]));
    let mut places: Vec<(&str, &str)> = Vec::new();
    for line in mounts.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        places.push((fields[1], fields[2]));
    }
    assert_eq!(places[0], ("/", "overlay"), "{mounts}");
    for expected in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
    ] {
        assert!(places.contains(&expected), "{expected:?} is missing in {mounts}");
    }
    assert!(
        !mounts.contains("/scratch") || mounts.matches("/scratch").count() == 2,
        "the agent shows: {mounts}"
    );
    let masked = "cat /proc/kcore /proc/timer_list 2>/dev/null | wc -c; (echo x > /proc/sys/kernel/domainname) 2>&1 | grep -c Read-only; (: > /sys/x) 2>&1 | grep -c Read-only";
    let lines = output(host, sh(masked));
    assert_eq!(lines, "0\n1\n1\n");
}

fn devices(host: &mut Host) {
    let listed = output(
        host,
        sh("ls /dev; head -c 3 /dev/zero | wc -c; echo lost > /dev/null; [ -c /dev/null ] && echo null"),
    );
    let expected = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero 3 null";
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    assert_eq!(
        output(host, sh("[ $(head -c 32 /dev/urandom | wc -c) = 32 ] && echo fd > /dev/stdout")),
        "fd\n"
    );
    assert_eq!(output(host, sh("echo >> /dev/shm/file && stat -c %a /dev/shm /dev/null")), "1777\n666\n");
}

fn privileges(host: &mut Host) {
    let state = sh("grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2 | tr '\\n' ' '; umask");
    // Docker's default set.
    let (none, some) = ("0000000000000000", "00000000a80425fb");
    assert_eq!(output(host, state.clone()), format!("{none} {some} {some} {some} {none} 0022\n"));
    let expected = format!("{none} {none} {none} {some} {none} 0022\n");
    assert_eq!(output(host, as_user("4000", state.clone())), expected);
    let privileged = output(host, StartSpec { privileged: true, ..state });
    assert!(!privileged.contains(some) && privileged.contains("1ff"), "{privileged}");
    let mount = sh("mount=mount; type mount >/dev/null || mount='busybox mount'; mkdir -p /mnt;
        $mount -t tmpfs none /mnt 2>/dev/null && echo mounted || echo refused");
    assert_eq!(output(host, mount.clone()), "refused\n");
    assert_eq!(output(host, StartSpec { privileged: true, ..mount }), "mounted\n");
}

fn users(host: &mut Host) {
    let who = sh("id -u; id -g; id -G; echo $HOME; echo written > /dev/stdout");
    assert_eq!(output(host, as_user("4000:4001", who.clone())), "4000\n4001\n4001\n/\nwritten\n");
    let root = output(host, who);
    assert!(root.starts_with("0\n0\n0") && root.ends_with("/root\nwritten\n"), "{root}");
    let private = StartSpec { cwd: b"/root".to_vec(), ..as_user("4000", sh("pwd")) };
    assert_eq!(output(host, sh("chmod 700 /root; echo x > /root/f; chmod 755 /root/f")), "");
    let (_, why) = host.run(private, b"").failed.expect("not its directory");
    assert!(why.contains("permission denied"), "{why}");
    assert_eq!(host.run(as_user("4000", spec(&["/root/f"])), b"").exit_status(), 126);
    assert_eq!(host.run(as_user("no-such-user", spec(&["true"])), b"").exit_status(), 125);
}

fn files(host: &mut Host) {
    let file = |path: &str, mode, contents: &str| FileSpec {
        path: path.as_bytes().to_vec(),
        mode,
        contents: contents.as_bytes().to_vec(),
    };
    let requests = [
        host.session.set_hostname(b"box"),
        host.session.write_file(file("/etc/hosts", 0o644, "127.0.0.1 localhost\n")),
        host.session.write_file(file("/new/deep/file", 0o600, "secret")),
    ];
    for request in requests {
        assert_eq!(host.answer(request), Ok(()));
    }
    let shown =
        sh("cat /proc/sys/kernel/hostname /etc/hosts /new/deep/file; stat -c ' %a %U' /new/deep/file");
    assert_eq!(output(host, shown), "box\n127.0.0.1 localhost\nsecret 600 root\n");
    // Links stay inside, and one that leads nowhere is replaced.
    output(host, sh("ln -s /no/where /dangling; ln -s /../../../etc /etc-link"));
    for path in ["/dangling", "/etc-link/through"] {
        let request = host.session.write_file(file(path, 0o644, path));
        assert_eq!(host.answer(request), Ok(()), "{path}");
    }
    assert_eq!(
        output(host, sh("cat /dangling /etc/through; [ -L /dangling ] || echo")),
        "/dangling/etc-link/through\n"
    );
    for (path, why) in
        [("relative", "not an absolute path"), ("/etc/hosts/under", "not a directory"), ("/etc", "directory")]
    {
        let request = host.session.write_file(file(path, 0o644, ""));
        let error = host.answer(request).expect_err(path);
        assert!(error.contains(why), "{path}: {error}");
    }
    // What is no file is passed over, and a pipe is not waited for.
    output(host, sh("mkfifo /pipe"));
    let paths = ["/bin/sh", "/etc", "/no/such/file", "/pipe", "/etc-link/hosts", "relative"];
    let request = host.session.read_files(paths.map(|path| path.as_bytes().to_vec()).into());
    assert_eq!(host.answer(request), Ok(()));
    let long = host.session.set_hostname(&[b'x'; 65]);
    assert!(host.answer(long).is_err());
}

fn read_only_root(host: &mut Host) {
    let script = "(echo > /file) 2>&1 | grep -c Read-only; echo fine > /dev/shm/x; cat /dev/shm/x";
    assert_eq!(output(host, StartSpec { read_only_root: true, ..sh(script) }), "1\nfine\n");
    assert_eq!(output(host, sh("echo > /file; rm /file")), "");
}

fn working_directory(host: &mut Host) {
    let there = StartSpec { cwd: b"/made/for/it".to_vec(), ..as_user("4000", sh("pwd; stat -c '%a %u' .")) };
    assert_eq!(output(host, there), "/made/for/it\n755 0\n");
    let file = StartSpec { cwd: b"/etc/passwd".to_vec(), ..sh("pwd") };
    assert_eq!(host.run(file, b"").exit_status(), 125);
    assert_eq!(output(host, StartSpec { cwd: b"relative".to_vec(), ..sh("pwd") }), "/relative\n");
}

fn second_process(host: &mut Host) {
    // Both at once, as a host does that has only just resumed.
    let first = host.start(StartSpec { stdin: true, ..sh("echo mine > /tmp/shared; read line; exit 8") });
    let joined = host.run(sh("until [ -s /tmp/shared ]; do sleep 0.01; done; cat /tmp/shared; tr '\\0' ' ' < /proc/1/cmdline | cut -c1-5; [ $$ != 1 ] && echo other"), b"");
    assert_eq!(joined.out(), "mine\nsh -c\nother\n", "{joined:?}");
    assert_eq!(host.run(spec(&["no-such-program"]), b"").exit_status(), 127);
    let user = host.run(as_user("4000", sh("id -u; (echo > /proc/1/comm) 2>/dev/null || echo no")), b"");
    assert_eq!(user.out(), "4000\nno\n");
    let left = host.start(sh("echo here; sleep 1000"));
    host.until(|host| host.runs[&left].out() == "here\n");
    host.feed(first, b"\n");
    assert_eq!(host.finish(first).exit_status(), 8);
    assert_eq!(host.finish(left).status, Some(Status::Signal(9)));
    // The next one is first in a new container.
    assert_eq!(output(host, sh("echo $$; cat /tmp/shared")), "1\nmine\n");
}

fn terminal(host: &mut Host) {
    let size = WindowSize { rows: 24, columns: 132 };
    let script =
        "tty; stty size; ls -l /dev/console | cut -c1; echo to the console > /dev/console; stat -c %u $(tty)";
    let shown = output(host, StartSpec { tty: Some(size), ..as_user("4000", sh(script)) });
    assert_eq!(shown, "/dev/pts/0\r\n24 132\r\nc\r\nto the console\r\n4000\r\n");
    let first = host.start(StartSpec { tty: Some(size), stdin: true, ..spec(&["cat"]) });
    let second = output(host, StartSpec { tty: Some(size), ..sh("tty") });
    assert_eq!(second, "/dev/pts/1\r\n");
    host.session.write_stdin(first, b"\x03");
    // PID 1 again: only what handles the signal would end.
    host.session.write_stdin(first, b"line\r\x04");
    assert_eq!(host.finish(first).exit_status(), 0);
}

fn overlay(host: &mut Host) {
    // Rename of a directory of the image, which a plain overlay refuses.
    assert_eq!(
        output(host, sh("mkdir -p /opt; mv /opt /opt.moved && mv /opt.moved /opt && ls -d /opt")),
        "/opt\n"
    );
    let free = output(host, sh("df -k / | tail -1 | tr -s ' ' | cut -d' ' -f4"));
    assert!(free.trim().parse::<u64>().expect("a number") > 1000, "{free}");
}
