//! `c2w-run -it`: a real terminal in the container that follows the host's, and a host terminal that is left as it was.

mod common;

use common::{C2W_RUN, image};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// A terminal of the host with `c2w-run` in it.
struct Session {
    controller: File,
    terminal: OwnedFd,
    child: Child,
    seen: String,
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Session {
    fn start(args: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let open = || rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let terminal = open();
        tcsetwinsize(&terminal, size(33, 101)).unwrap();
        let mut command = Command::new(C2W_RUN);
        command.arg(image()).args(args).stdin(open()).stdout(open()).stderr(open());
        let controlling = open();
        // SAFETY: both calls are async-signal-safe system calls on descriptors that live until the exec.
        unsafe {
            command.pre_exec(move || {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(&controlling)?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        Self { controller: File::from(controller), terminal, child, seen: String::new() }
    }

    /// Reads until `text` has appeared; what came before it is forgotten.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let mut bytes = [0; 4096];
            let len = self.controller.read(&mut bytes).unwrap_or(0);
            assert!(len > 0, "the terminal closed before {text:?} came: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    fn type_text(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).unwrap();
    }

    fn resize(&self, rows: u16, columns: u16) {
        // The kernel sends SIGWINCH to the foreground process group: to c2w-run.
        tcsetwinsize(&self.terminal, size(rows, columns)).unwrap();
    }

    fn end(mut self) -> (i32, bool) {
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        (status, modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }
}

#[test]
fn a_shell_in_a_terminal() {
    let mut session = Session::start(&["-it", "sh"]);
    session.wait_for("# ");
    session.type_text("tty; stty size; echo $TERM\n");
    session.wait_for("/dev/pts/");
    session.wait_for("33 101");
    session.wait_for("xterm");
    session.resize(50, 132);
    session.type_text("until stty size | grep '50 132'; do sleep 0.05; done; echo resized\n");
    session.wait_for("50 132\r\n");
    session.wait_for("resized\r\n");
    // Ctrl-C ends the program in the foreground, not the shell and not c2w-run.
    session.type_text("echo begin; sleep 1000; echo en''d\n");
    session.wait_for("begin\r\n");
    session.type_text("\x03");
    session.wait_for("# ");
    session.type_text("echo alive; exit 5\n");
    session.wait_for("alive\r\n");
    assert_eq!(session.end(), (5, true));
}

#[test]
fn the_terminal_is_restored_when_a_signal_ends_the_run() {
    let mut session = Session::start(&[
        "-it",
        "sh",
        "-c",
        "trap 'echo ignored' TERM; echo up; while :; do sleep 0.05; done",
    ]);
    session.wait_for("up\r\n");
    let pid = rustix::process::Pid::from_child(&session.child);
    let terminate = || rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    for _ in 0..2 {
        terminate();
        session.wait_for("ignored\r\n");
    }
    // As with docker, the third one ends a run that ignores them.
    terminate();
    assert_eq!(session.end(), (128 + 15, true));
}

#[test]
fn the_terminal_is_restored_after_a_failure() {
    let session = Session::start(&["-it", "no-such-program"]);
    assert_eq!(session.end(), (127, true));
}
