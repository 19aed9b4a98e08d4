//! The program's own standard streams and signals, as events for the thread that runs the machine.
//!
//! A thread for each stream does the blocking calls. Memory is bounded: stdin is read one chunk ahead, and output
//! is limited by the credit that whoever produces it gets back only when it was written.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// Bytes read from stdin at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// An output stream of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stdout => "standard output",
            Self::Stderr => "standard error",
        })
    }
}

/// What happened outside the machine.
#[derive(Debug)]
pub enum HostEvent {
    /// Bytes from stdin; the next come after [`HostIo::want_stdin`].
    Stdin(Vec<u8>),
    /// No more input follows.
    StdinEof,
    /// So many bytes were written out.
    Written(Stream, usize),
    /// The stream can no longer be written to.
    Broken(Stream, io::Error),
    /// A signal arrived.
    Signal(i32),
}

/// The threads around the standard streams and the channel on which they report.
pub struct HostIo {
    /// What happened, in order.
    pub events: Receiver<HostEvent>,
    sender: Sender<HostEvent>,
    stdin: Option<Sender<()>>,
    stdout: Writer,
    stderr: Writer,
}

struct Writer {
    /// Gone after a failure: what is written then is dropped.
    chunks: Option<Sender<Vec<u8>>>,
    pending: usize,
}

impl HostIo {
    /// Starts the writers, which run as long as the program.
    pub fn start() -> Self {
        let (sender, events) = mpsc::channel();
        let stdout = Writer::start(Stream::Stdout, io::stdout(), sender.clone());
        let stderr = Writer::start(Stream::Stderr, io::stderr(), sender.clone());
        Self { events, sender, stdin: None, stdout, stderr }
    }

    /// Starts reading stdin; the first chunk needs no [`HostIo::want_stdin`].
    pub fn read_stdin(&mut self) {
        let (wanted, wants) = mpsc::channel();
        let events = self.sender.clone();
        thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            let mut chunk = vec![0; CHUNK_BYTES];
            loop {
                let event = match stdin.read(&mut chunk) {
                    Ok(0) => HostEvent::StdinEof,
                    Ok(len) => HostEvent::Stdin(chunk[..len].to_vec()),
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    // A terminal that hung up, a socket that was reset: there is no more input.
                    Err(_) => HostEvent::StdinEof,
                };
                let last = matches!(event, HostEvent::StdinEof);
                if events.send(event).is_err() || last || wants.recv().is_err() {
                    return;
                }
            }
        });
        self.stdin = Some(wanted);
    }

    /// The last chunk of stdin was used; the next one may be read.
    pub fn want_stdin(&self) {
        if let Some(wanted) = &self.stdin {
            // The reader is gone after end of file.
            let _ = wanted.send(());
        }
    }

    /// Reports these signals as events instead of letting them end the program.
    ///
    /// # Errors
    /// If the system refuses a handler.
    pub fn catch_signals(&self, signals: &[i32]) -> io::Result<()> {
        let mut caught = signal_hook::iterator::Signals::new(signals)?;
        let events = self.sender.clone();
        thread::spawn(move || {
            for signal in caught.forever() {
                if events.send(HostEvent::Signal(signal)).is_err() {
                    return;
                }
            }
        });
        Ok(())
    }

    /// Queues bytes for an output stream; [`HostEvent::Written`] tells when they are out.
    pub fn write(&mut self, stream: Stream, bytes: Vec<u8>) {
        let writer = self.writer(stream);
        if let Some(chunks) = &writer.chunks {
            writer.pending += bytes.len();
            // A writer that failed has said so, which is noted when its event is read.
            let _ = chunks.send(bytes);
        }
    }

    /// Takes note of a [`HostEvent::Written`] or [`HostEvent::Broken`].
    pub fn note(&mut self, event: &HostEvent) {
        match event {
            HostEvent::Written(stream, len) => self.writer(*stream).pending -= len,
            HostEvent::Broken(stream, _) => *self.writer(*stream) = Writer { chunks: None, pending: 0 },
            _ => {}
        }
    }

    /// Whether queued output has not been written yet.
    pub fn has_pending_output(&self) -> bool {
        self.stdout.pending + self.stderr.pending > 0
    }

    fn writer(&mut self, stream: Stream) -> &mut Writer {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// Whether this program was started with the signal ignored. Only Linux tells (proc(5), `SigIgn`); false elsewhere.
pub fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

impl Writer {
    fn start(stream: Stream, mut to: impl Write + Send + 'static, events: Sender<HostEvent>) -> Self {
        let (chunks, queue) = mpsc::channel::<Vec<u8>>();
        thread::spawn(move || {
            for chunk in queue {
                let event = match to.write_all(&chunk).and_then(|()| to.flush()) {
                    Ok(()) => HostEvent::Written(stream, chunk.len()),
                    Err(error) => HostEvent::Broken(stream, error),
                };
                let broken = matches!(event, HostEvent::Broken(..));
                if events.send(event).is_err() || broken {
                    return;
                }
            }
        });
        Self { chunks: Some(chunks), pending: 0 }
    }
}
