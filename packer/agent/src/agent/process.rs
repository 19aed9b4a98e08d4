//! One process that the host asked for: its input and output under flow control, and its end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use c2w_agent::{MAX_FRAME_PAYLOAD, Output, Report, Status, WINDOW_BYTES, WindowSize};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::termios::{LocalModes, SpecialCodeIndex};

use super::error::{AgentError, During};
use super::link::Link;
use super::spawn::{self, Launched};
use super::sys;

/// More than a terminal holds back (its buffers are 64 KiB and a line). After its process has
/// ended, no more than this is read from it: others may write there for ever.
const TERMINAL_REST: usize = 128 * 1024;

/// Which of a process's descriptors an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The process has ended.
    End,
    /// News of its start.
    Outcome,
    /// Its stdin pipe takes more.
    Stdin,
    /// An output pipe has more.
    Output(Output),
    /// Its terminal has or takes more.
    Terminal,
}

/// How far it is.
enum Stage {
    /// Between clone and exec; what it has told of a failure.
    Starting(OwnedFd, Vec<u8>),
    Running,
    /// Ended, output may be left.
    Ended(Status),
    /// All was said.
    Over,
}

struct Input {
    fd: Rc<OwnedFd>,
    writable: bool,
    queue: VecDeque<u8>,
    /// The host sends no more.
    eof: bool,
    /// Bytes that the host may still send.
    credit: u32,
    /// Bytes passed on that the host was given no credit for yet.
    owed: u32,
}

struct Outgoing {
    fd: Rc<OwnedFd>,
    output: Output,
    readable: bool,
    /// Bytes that may still be sent.
    credit: u32,
    /// After the process's end: bytes that it left.
    rest: Option<usize>,
    /// The host has no use for it.
    unwanted: bool,
}

/// A process.
pub struct Process {
    id: u32,
    pidfd: OwnedFd,
    ended: bool,
    stage: Stage,
    stdin: Option<Input>,
    outputs: [Option<Outgoing>; 2],
    terminal: Option<Rc<OwnedFd>>,
    terminal_peer: Option<OwnedFd>,
}

impl Process {
    /// Takes over what was just launched.
    pub fn new(id: u32, launched: Launched) -> Process {
        let streams = launched.streams;
        let outgoing = |fd: Option<Rc<OwnedFd>>, output| {
            fd.map(|fd| Outgoing {
                fd,
                output,
                readable: true,
                credit: WINDOW_BYTES,
                rest: None,
                unwanted: false,
            })
        };
        let [stdout, stderr] = streams.outputs;
        Process {
            id,
            pidfd: launched.pidfd,
            ended: false,
            stage: Stage::Starting(launched.outcome, Vec::new()),
            stdin: streams.stdin.map(|fd| Input {
                fd,
                writable: true,
                queue: VecDeque::new(),
                eof: false,
                credit: WINDOW_BYTES,
                owed: 0,
            }),
            outputs: [outgoing(stdout, Output::Stdout), outgoing(stderr, Output::Stderr)],
            terminal: streams.terminal,
            terminal_peer: streams.terminal_peer,
        }
    }

    /// What to watch for it.
    pub fn sources(&self) -> Vec<(Source, BorrowedFd<'_>)> {
        let mut sources = vec![(Source::End, self.pidfd.as_fd())];
        if let Stage::Starting(outcome, _) = &self.stage {
            sources.push((Source::Outcome, outcome.as_fd()));
        }
        if let Some(terminal) = &self.terminal {
            sources.push((Source::Terminal, terminal.as_fd()));
            return sources;
        }
        sources.extend(self.stdin.iter().map(|input| (Source::Stdin, input.fd.as_fd())));
        let outputs = self.outputs.iter().flatten();
        sources.extend(outputs.map(|outgoing| (Source::Output(outgoing.output), outgoing.fd.as_fd())));
        sources
    }

    /// Notes an event of one of the sources.
    pub fn event(&mut self, source: Source) {
        let reads = |output| match source {
            Source::Output(ready) => ready == output,
            Source::Terminal => true,
            _ => false,
        };
        for outgoing in self.outputs.iter_mut().flatten() {
            outgoing.readable |= reads(outgoing.output);
        }
        if let Some(input) = &mut self.stdin {
            input.writable |= matches!(source, Source::Stdin | Source::Terminal);
        }
        self.ended |= source == Source::End;
    }

    /// The process is between clone and exec.
    pub fn is_starting(&self) -> bool {
        matches!(self.stage, Stage::Starting(..))
    }

    /// Waits until it has come to exec or has failed to.
    ///
    /// # Errors
    /// As poll(2).
    pub fn wait_started(&mut self, link: &mut Link) -> Result<(), AgentError> {
        while let Stage::Starting(outcome, _) = &self.stage {
            let mut news = [PollFd::new(outcome, PollFlags::IN)];
            match rustix::event::poll(&mut news, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).during(|| "wait for a start".into()),
            }
            self.settle(link)?;
        }
        Ok(())
    }

    /// It runs its program, as far as is known.
    pub fn is_running(&self) -> bool {
        matches!(self.stage, Stage::Running) && !self.ended
    }

    /// All was said about it.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// A handle of the process.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Takes input from the host.
    ///
    /// # Errors
    /// When it is more than the host has credit for.
    pub fn stdin(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        let Some(input) = self.stdin.as_mut().filter(|input| !input.eof) else { return Ok(()) };
        input.credit = u32::try_from(bytes.len())
            .ok()
            .and_then(|len| input.credit.checked_sub(len))
            .ok_or(AgentError::Protocol("more stdin than there was credit for"))?;
        input.queue.extend(bytes);
        Ok(())
    }

    /// The host sends no more input.
    pub fn stdin_eof(&mut self) {
        let terminal = self.terminal.clone();
        let Some(input) = &mut self.stdin else { return };
        input.eof = true;
        // A terminal's input has no end, but a character that means it. It counts at the start of
        // a line; elsewhere it only hands the line on, so there it takes two.
        if let Some(end) = terminal.and_then(|terminal| end_of_file_character(&terminal)) {
            let at_line_start = input.queue.back().is_none_or(|byte| *byte == b'\n' || *byte == b'\r');
            input.queue.extend(std::iter::repeat_n(end, if at_line_start { 1 } else { 2 }));
        }
    }

    /// The host takes this much more output.
    pub fn window(&mut self, output: Output, bytes: u32) {
        for outgoing in self.outputs.iter_mut().flatten().filter(|outgoing| outgoing.output == output) {
            outgoing.credit = outgoing.credit.saturating_add(bytes);
        }
    }

    /// Nobody reads this output any more. On a terminal this hangs up.
    pub fn close_output(&mut self, output: Output) {
        for outgoing in self.outputs.iter_mut().flatten().filter(|outgoing| outgoing.output == output) {
            outgoing.unwanted = true;
        }
    }

    /// The terminal has a new size.
    pub fn resize(&mut self, size: WindowSize) {
        if let Some(terminal) = &self.terminal {
            // A size is not worth a failure.
            let _ = rustix::termios::tcsetwinsize(terminal, spawn::winsize(size));
        }
    }

    /// Sends it a signal. It may just have ended, and numbers that are no signal do nothing.
    pub fn signal(&self, signal: u8) {
        if !matches!(self.stage, Stage::Ended(_) | Stage::Over) {
            let _ = sys::send_signal(self.pidfd.as_fd(), signal);
        }
    }

    /// Moves what can be moved without waiting; whether anything was.
    ///
    /// # Errors
    /// When the kernel refuses something that cannot be refused.
    pub fn pump(&mut self, link: &mut Link, buffer: &mut [u8]) -> Result<bool, AgentError> {
        if self.is_starting() && !self.settle(link)? {
            return Ok(false);
        }
        if matches!(self.stage, Stage::Over) {
            return Ok(false);
        }
        if self.ended && matches!(self.stage, Stage::Running) {
            self.stage = Stage::Ended(self.reap()?);
            self.stdin = None;
            for outgoing in self.outputs.iter_mut().flatten() {
                // What is in the pipe now is the process's; what comes later is from others that
                // it left behind, and nobody waits for them.
                outgoing.rest = Some(match &self.terminal {
                    Some(_) => TERMINAL_REST,
                    None => rustix::io::ioctl_fionread(&outgoing.fd).during(|| "ask a pipe".into())? as usize,
                });
                outgoing.readable = true;
            }
        }
        let mut moved = self.pump_stdin(link);
        for outgoing in &mut self.outputs {
            let Some(open) = outgoing else { continue };
            match open.pump(self.id, link, buffer) {
                Some(more) => moved |= more,
                None => {
                    link.send(&Report::OutputEof { process: self.id, output: open.output });
                    if open.unwanted && self.terminal.take().is_some() {
                        self.stdin = None;
                    }
                    *outgoing = None;
                    moved = true;
                }
            }
        }
        if let Stage::Ended(status) = self.stage
            && self.outputs.iter().all(Option::is_none)
        {
            link.send(&Report::Exited { process: self.id, status });
            self.stage = Stage::Over;
            moved = true;
        }
        Ok(moved)
    }

    /// Learns how the start went; whether it is decided.
    fn settle(&mut self, link: &mut Link) -> Result<bool, AgentError> {
        let Stage::Starting(outcome, told) = &mut self.stage else { return Ok(true) };
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&*outcome, &mut buffer) {
                Ok(0) => break,
                Ok(len) => told.extend_from_slice(&buffer[..len]),
                Err(Errno::INTR) => {}
                Err(_) => return Ok(false),
            }
        }
        self.terminal_peer = None;
        if told.is_empty() {
            self.stage = Stage::Running;
            link.send(&Report::Started { process: self.id });
        } else {
            let (kind, message) = spawn::failure(told);
            self.reap()?;
            self.stage = Stage::Over;
            link.send(&Report::StartFailed { process: self.id, kind, message });
        }
        Ok(true)
    }

    /// Waits for the process's end, which is there or due.
    fn reap(&self) -> Result<Status, AgentError> {
        let end = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED)
            .during(|| "wait for a process".into())?;
        let code = end.as_ref().and_then(|end| end.exit_status());
        let signal = end.as_ref().and_then(|end| end.terminating_signal());
        Ok(match (code, signal) {
            (Some(code), _) => Status::Code(code as u8),
            (None, Some(signal)) => Status::Signal(signal as u8),
            (None, None) => Status::Code(255),
        })
    }

    fn pump_stdin(&mut self, link: &mut Link) -> bool {
        let Some(input) = &mut self.stdin else { return false };
        let mut moved = false;
        while input.writable && !input.queue.is_empty() {
            match rustix::io::write(&*input.fd, input.queue.as_slices().0) {
                Ok(len) => {
                    input.queue.drain(..len);
                    input.owed = input.owed.saturating_add(len as u32);
                    moved = true;
                }
                Err(Errno::AGAIN) => input.writable = false,
                Err(Errno::INTR) => {}
                Err(_) => {
                    // It reads no more.
                    self.stdin = None;
                    link.send(&Report::StdinClosed { process: self.id });
                    return true;
                }
            }
        }
        // (What was added for a terminal's end of file had no credit, and comes after the last.)
        if input.owed >= WINDOW_BYTES / 2 && !input.eof {
            let bytes = std::mem::take(&mut input.owed);
            input.credit += bytes;
            link.send(&Report::StdinWindow { process: self.id, bytes });
        }
        if input.eof && input.queue.is_empty() {
            self.stdin = None;
        }
        moved
    }
}

impl Outgoing {
    /// Passes output on; whether some was. `None` at its end.
    fn pump(&mut self, process: u32, link: &mut Link, buffer: &mut [u8]) -> Option<bool> {
        if self.unwanted {
            return None;
        }
        if !self.readable || self.rest == Some(0) {
            return self.rest.is_none().then_some(false);
        }
        let most = buffer.len().min(MAX_FRAME_PAYLOAD).min(self.credit as usize);
        let most = most.min(link.room()).min(self.rest.unwrap_or(usize::MAX));
        if most == 0 {
            return Some(false);
        }
        match rustix::io::read(&*self.fd, &mut buffer[..most]) {
            // (EIO is a terminal that nobody has open any more.)
            Ok(0) | Err(Errno::IO) => None,
            Ok(len) => {
                self.credit -= len as u32;
                if let Some(rest) = &mut self.rest {
                    *rest = rest.saturating_sub(len);
                }
                link.send_output(process, self.output, &buffer[..len]);
                Some(true)
            }
            Err(Errno::INTR) => Some(true),
            Err(_) => {
                self.readable = false;
                self.rest.is_none().then_some(false)
            }
        }
    }
}

/// The terminal's end-of-file character, if it is in the mode that knows one.
fn end_of_file_character(terminal: &OwnedFd) -> Option<u8> {
    let modes = rustix::termios::tcgetattr(terminal).ok()?;
    modes.local_modes.contains(LocalModes::ICANON).then(|| modes.special_codes[SpecialCodeIndex::VEOF])
}
