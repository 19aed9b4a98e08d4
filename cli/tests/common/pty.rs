//! A terminal of the host with `c2w-run` in it.

use super::{C2W_RUN, image};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// A terminal of the host with `c2w-run` in it.
pub struct Session {
    controller: File,
    terminal: OwnedFd,
    /// The command.
    pub child: Child,
    seen: String,
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Session {
    /// Starts the command with the test image.
    pub fn start(args: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let open = || {
            rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap()
        };
        let terminal = open();
        tcsetwinsize(&terminal, size(33, 101)).unwrap();
        let mut command = Command::new(C2W_RUN);
        command.arg(image()).args(args).stdin(open()).stdout(open()).stderr(open());
        let controlling = open();
        // SAFETY: all three are async-signal-safe system calls on descriptors that live until the exec.
        unsafe {
            command.pre_exec(move || {
                // Whoever runs the tests may ignore it, as nohup does.
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
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
    pub fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let mut bytes = [0; 4096];
            let len = self.controller.read(&mut bytes).unwrap_or(0);
            assert!(len > 0, "the terminal closed before {text:?} came: {:?}", self.seen);
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end);
    }

    /// Types.
    pub fn type_text(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).unwrap();
    }

    /// Changes the terminal's size.
    pub fn resize(&self, rows: u16, columns: u16) {
        // The kernel sends SIGWINCH to the foreground process group: to c2w-run.
        tcsetwinsize(&self.terminal, size(rows, columns)).unwrap();
    }

    /// Waits for the end; gives the status, and whether the terminal is in its normal mode.
    pub fn end(mut self) -> (i32, bool) {
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        (status, modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    /// Closes the terminal, as a window does; gives the command's status.
    pub fn hang_up(self) -> i32 {
        let Self { controller, terminal, mut child, .. } = self;
        drop((controller, terminal));
        child.wait().unwrap().code().unwrap_or(-1)
    }
}
