//! A command whose standard streams are a machine's serial console.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A machine whose console the test types on.
pub struct Session {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    seen: String,
}

impl Session {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, stdin, stdout, seen: String::new() }
    }

    /// Reads until `text` appears, and forgets what came before its end.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
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

    /// Types a line.
    pub fn send(&mut self, line: &str) {
        self.stdin.write_all(line.as_bytes()).unwrap();
        self.stdin.write_all(b"\n").unwrap();
    }

    /// Waits for the end of the program, its input still open.
    pub fn status(mut self) -> Option<i32> {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Ends the program.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
