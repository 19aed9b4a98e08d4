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
        // What could steer the reader's terminal is not passed on: the guest is not trusted.
        let text: String = String::from_utf8_lossy(&self.tail)
            .chars()
            .map(|c| if c.is_control() && !c.is_whitespace() { char::REPLACEMENT_CHARACTER } else { c })
            .collect();
        let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            return String::new();
        }
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        format!("; its console said last:\n  {}", last.join("\n  "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use c2w_devices::backend::char::{CharBackend, char_channel};
    use c2w_engine::irq::Attention;

    #[test]
    fn an_error_message_holds_no_control_characters_of_the_guest() {
        let (mut device, host) = char_channel(4096, &Attention::default());
        device.write(b"booting\r\n\x1b]0;title\x07panic\xc2\x9b2J\r\n");
        let mut console = ConsoleTail::new(host);
        console.take(false);
        let expected = "; its console said last:\n  booting\n  \u{fffd}]0;title\u{fffd}panic\u{fffd}2J";
        assert_eq!(console.describe(), expected);
    }
}
