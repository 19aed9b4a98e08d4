//! The host-target interface of RISC-V test programs: two words of RAM that the program and the host write.
//!
//! The program writes a command to `tohost`; the host looks at it from time to time, carries it out and answers in
//! `fromhost`. Commands have a device in bits 63:56, a function in 55:48 and a payload below.

use c2w_devices::uart::Uart;
use c2w_engine::addr::{Gpa, Width};
use c2w_engine::mem::device::{DeviceEnv, MmioDevice, Request};
use serde::{Deserialize, Serialize};

/// Device of system calls and the end of the run.
const SYSCALL: u64 = 0;
/// Device of console characters: function 1 writes one.
const CONSOLE: u64 = 1;
/// Number of the write system call: a file descriptor, an address and a length.
const SYS_WRITE: u64 = 64;
/// Longest text that one system call may write, in bytes.
const LONGEST_WRITE: u64 = 1 << 20;

/// Where the two words are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HtifState {
    /// The program's word.
    pub tohost: Gpa,
    /// The host's word, if the program has one.
    pub fromhost: Option<Gpa>,
}

/// The interface of one program.
#[derive(Clone, Debug)]
pub struct Htif {
    state: HtifState,
}

impl Htif {
    /// The interface with its words at the given places.
    pub fn restore(state: &HtifState) -> Self {
        Self { state: *state }
    }

    /// Where the words are.
    pub fn save(&self) -> HtifState {
        self.state
    }

    /// Carries out a command that waits; text goes to the serial port.
    pub fn service(&self, uart: &mut Uart, env: &mut DeviceEnv<'_>) {
        let Ok(command @ 1..) = env.ram.read_u64(self.state.tohost) else { return };
        let (device, function, payload) = (command >> 56, command >> 48 & 0xff, command & 0xffff_ffff_ffff);
        match (device, function) {
            // An odd payload ends the run: 1 is a pass, else the failing test's number is above the lowest bit.
            (SYSCALL, 0) if payload & 1 != 0 => *env.request = Some(Request::Finish(payload >> 1)),
            (SYSCALL, 0) => self.syscall(Gpa(payload), uart, env),
            (CONSOLE, 1) => {
                uart.write(0, Width::W8, payload & 0xff, env);
                self.answer(command & !0xffff_ffff_ffff, env);
            }
            // Input never arrives, and other devices do not exist: the program finds no answer.
            _ => {}
        }
        // The words were read a moment ago, so they are in RAM.
        let _ = env.ram.write(self.state.tohost, &[0; 8]);
    }

    /// A system call with its number and arguments at `block`; the result replaces the number.
    fn syscall(&self, block: Gpa, uart: &mut Uart, env: &mut DeviceEnv<'_>) {
        let word = |index: u64| env.ram.read_u64(block.offset(8 * index)).unwrap_or(0);
        let (number, text, len_bytes) = (word(0), Gpa(word(2)), word(3).min(LONGEST_WRITE));
        let mut result = u64::MAX;
        if number == SYS_WRITE
            && let Ok(text) = env.ram.slice(text, len_bytes).map(<[u8]>::to_vec)
        {
            for byte in text {
                uart.write(0, Width::W8, byte.into(), env);
            }
            result = len_bytes;
        }
        // A block outside RAM gets no result: the program gave a wrong address.
        let _ = env.ram.write(block, &result.to_le_bytes());
        self.answer(1, env);
    }

    fn answer(&self, value: u64, env: &mut DeviceEnv<'_>) {
        if let Some(fromhost) = self.state.fromhost {
            // A word outside RAM is the program's mistake and only hurts itself.
            let _ = env.ram.write(fromhost, &value.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use c2w_devices::backend::char::char_channel;
    use c2w_engine::irq::{Attention, IrqLines};
    use c2w_engine::mem::ram::Ram;

    /// Writes `command` to `tohost`; gives the request, the text and the answer.
    fn run(command: u64, ram_words: &[(u64, u64)]) -> (Option<Request>, Vec<u8>, u64) {
        let attention = Attention::default();
        let (console, host) = char_channel(64, &attention);
        let mut uart = Uart::new(Box::new(console), IrqLines::new(&attention).line(0));
        let mut ram = Ram::new(Gpa(0), 0x1000);
        for &(at, word) in ram_words {
            ram.write(Gpa(at), &word.to_le_bytes()).unwrap();
        }
        ram.write(Gpa(0x100), &command.to_le_bytes()).unwrap();
        let mut request = None;
        let mut env = DeviceEnv { ram: &mut ram, now_ns: 0, request: &mut request };
        let state = HtifState { tohost: Gpa(0x100), fromhost: Some(Gpa(0x108)) };
        Htif::restore(&state).service(&mut uart, &mut env);
        assert_eq!(ram.read_u64(Gpa(0x100)).unwrap(), 0);
        let mut text = [0; 64];
        let len = host.read(&mut text);
        (request, text[..len].to_vec(), ram.read_u64(Gpa(0x108)).unwrap())
    }

    #[test]
    fn commands() {
        assert_eq!(run(0, &[]), (None, vec![], 0));
        assert_eq!(run(1, &[]), (Some(Request::Finish(0)), vec![], 0));
        assert_eq!(run(7 << 1 | 1, &[]), (Some(Request::Finish(7)), vec![], 0));
        assert_eq!(run(1 << 56 | 1 << 48 | 0x41, &[]), (None, vec![0x41], 1 << 56 | 1 << 48));
        let block = [(0x200, SYS_WRITE), (0x208, 1), (0x210, 0x300), (0x218, 2), (0x300, 0x6968)];
        assert_eq!(run(0x200, &block), (None, b"hi".to_vec(), 1));
        assert_eq!(run(0xffff_0000, &[]), (None, vec![], 1), "a block outside RAM");
    }
}
