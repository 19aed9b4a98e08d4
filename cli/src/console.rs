//! The guest kernel's console while a container runs: shown on request, else its last lines are kept for the error
//! message of a boot that failed.

use c2w_devices::backend::char::CharHost;
use std::io::Write;

/// Bytes kept.
const TAIL_BYTES: usize = 16 * 1024;
/// Lines shown.
const TAIL_LINES: usize = 12;

/// The end of what the kernel's console said.
pub struct ConsoleTail {
    console: CharHost,
    tail: Vec<u8>,
}

impl ConsoleTail {
    /// Follows the console behind `console`.
    pub fn new(console: CharHost) -> Self {
        Self { console, tail: Vec::new() }
    }

    /// Takes what was said since the last call, and shows it on stderr if asked to.
    pub fn take(&mut self, show: bool) {
        let mut bytes = [0; 4096];
        loop {
            let len = self.console.read(&mut bytes);
            if len == 0 {
                break;
            }
            if show {
                // A closed stderr takes nothing from the container.
                let _ = std::io::stderr().write_all(&bytes[..len]);
            }
            self.tail.extend_from_slice(&bytes[..len]);
        }
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    /// The last lines, to be put behind an error message; empty if the console said nothing.
    pub fn describe(&self) -> String {
        let text = String::from_utf8_lossy(&self.tail);
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return String::new();
        }
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("; its console said last:\n  {}", last.join("\n  "))
    }
}
