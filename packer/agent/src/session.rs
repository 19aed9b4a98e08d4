//! The host's end of a connection to the agent, without I/O: bytes from the guest go in and
//! events come out; commands go in and bytes for the guest come out.
//!
//! The guest is not trusted. Whatever it sends, the session holds a bounded amount of memory: one
//! message of input, [`OUTGOING_LIMIT`] bytes of stdin for the guest besides what was commanded,
//! and no output at all (each piece is handed out as an event, and the guest has credit for no
//! more than a window until the caller says that it was consumed).

use std::collections::BTreeMap;

use crate::message::{
    Command, FailureKind, FileSpec, MountSpec, Output, Power, Ready, Report, StartSpec, Status, WindowSize,
};
use crate::wire::{Decoder, MAX_FRAME_PAYLOAD, Message, WireError};
use crate::{VERSION, WINDOW_BYTES};

/// Stdin is not accepted while this many bytes wait to be sent.
const OUTGOING_LIMIT: usize = 1024 * 1024;

/// A process of this session. Numbers are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(u32);

/// A request that the agent answers with `Done` or `Failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(u32);

/// Why a session cannot go on. The machine behind it may be stopped; nothing else is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The bytes are not the protocol.
    #[error("the guest's agent sent nonsense: {0}")]
    Wire(#[from] WireError),
    /// The agent is of another build.
    #[error("the guest's agent speaks protocol version {agent}, this program {}", VERSION)]
    Version {
        /// What the agent said.
        agent: u32,
    },
    /// A report about something that was not asked for, or in the wrong order.
    #[error("the guest's agent reported out of order")]
    OutOfOrder,
    /// More output than there was credit for.
    #[error("the guest's agent sent more output than it may")]
    WindowExceeded,
}

/// What happened in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent is there.
    Ready(Ready),
    /// A request was carried out.
    Done(RequestId),
    /// A request could not be carried out, and why.
    Failed(RequestId, String),
    /// A line for a person.
    Log(String),
    /// The process runs its program.
    Started(ProcessId),
    /// The process could not be started and is forgotten.
    StartFailed(ProcessId, FailureKind, String),
    /// Output. Call [`Session::consumed`] with its length when it has been passed on.
    Output(ProcessId, Output, Vec<u8>),
    /// The stream has ended.
    OutputEof(ProcessId, Output),
    /// [`Session::write_stdin`] accepts bytes (again).
    StdinReady(ProcessId),
    /// The process reads no more; input is dropped.
    StdinClosed(ProcessId),
    /// The process has ended and is forgotten.
    Exited(ProcessId, Status),
}

/// State of a connection on which no message is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SessionState {
    next_id: u32,
    processes: Vec<(u32, Process)>,
}

/// Numbers of restored sessions are below this, and far from being used up.
const MAX_RESTORED_ID: u32 = 1 << 30;

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Process {
    started: bool,
    tty: bool,
    /// Bytes of stdin that the guest may still be sent.
    stdin_credit: u32,
    stdin_open: bool,
    outputs: [Incoming; 2],
}

#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Incoming {
    /// Bytes that the guest may still send.
    credit: u32,
    /// Bytes consumed that no credit was given back for yet.
    owed: u32,
    open: bool,
}

/// The host's end of one connection.
///
/// ```
/// use c2w_agent::{Session, StartSpec};
/// let mut session = Session::new();
/// let shell = session.start(StartSpec { argv: vec![b"sh".to_vec()], ..StartSpec::default() });
/// # let _ = shell;
/// let n = session.outgoing().len(); // write these to the port, as many as it takes
/// session.sent(n);
/// let mut input: &[u8] = &[]; // what the port had to read
/// while let Some(event) = session.next_event(&mut input)? {
///     println!("{event:?}");
/// }
/// # Ok::<(), c2w_agent::SessionError>(())
/// ```
#[derive(Debug)]
pub struct Session {
    decoder: Decoder<Report>,
    outgoing: Vec<u8>,
    /// How much of `outgoing` was sent.
    sent: usize,
    next_id: u32,
    processes: BTreeMap<ProcessId, Process>,
}

impl Default for Session {
    fn default() -> Self {
        Session::new()
    }
}

impl Session {
    /// A new connection, to an agent that boots or to one in a resumed machine. Says hello;
    /// commands may follow at once.
    pub fn new() -> Session {
        let mut session = Session::silent();
        session.command(&Command::Hello { version: VERSION });
        session
    }

    fn silent() -> Session {
        Session {
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            sent: 0,
            next_id: 1,
            processes: BTreeMap::new(),
        }
    }

    /// The state, to go on from with the same agent in a resumed machine. Call it when the session is quiet.
    pub fn save(&self) -> SessionState {
        let processes = self.processes.iter().map(|(id, process)| (id.0, process.clone())).collect();
        SessionState { next_id: self.next_id, processes }
    }

    /// The saved session; `None` if it is not one.
    pub fn restore(state: &SessionState) -> Option<Session> {
        let mut session = Session::silent();
        session.next_id = state.next_id;
        for (id, process) in &state.processes {
            let incoming = |incoming: &Incoming| {
                incoming.credit.checked_add(incoming.owed).is_some_and(|both| both <= WINDOW_BYTES)
            };
            let possible = process.stdin_credit <= WINDOW_BYTES && process.outputs.iter().all(incoming);
            let known = (1..state.next_id).contains(id);
            if !possible || !known || session.processes.insert(ProcessId(*id), process.clone()).is_some() {
                return None;
            }
        }
        (1..MAX_RESTORED_ID).contains(&state.next_id).then_some(session)
    }

    /// The processes that have neither ended nor failed to start.
    pub fn processes(&self) -> impl Iterator<Item = ProcessId> + '_ {
        self.processes.keys().copied()
    }

    /// Bytes for the guest, in order.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// Whether no message is on its way as far as this end knows: all was sent, and what came in is whole.
    pub fn is_quiet(&self) -> bool {
        self.outgoing().is_empty() && self.decoder.is_empty()
    }

    /// The first `len` bytes of [`Session::outgoing`] were written to the port.
    pub fn sent(&mut self, len: usize) {
        self.sent = (self.sent + len).min(self.outgoing.len());
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        } else if self.sent >= OUTGOING_LIMIT {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Takes bytes from `input` until something happened (`Some`), or until all are taken.
    ///
    /// # Errors
    /// When the guest broke the protocol. The session is of no use then.
    pub fn next_event(&mut self, input: &mut &[u8]) -> Result<Option<Event>, SessionError> {
        while let Some(report) = self.decoder.next(input)? {
            if let Some(event) = self.report(report)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Sets the guest's wall clock.
    pub fn set_clock(&mut self, unix_ns: u64) {
        self.command(&Command::Clock { unix_ns });
    }

    /// Gives the guest's random generator secret random bytes of the host; 64 are plenty.
    pub fn add_entropy(&mut self, seed: &[u8]) {
        self.command(&Command::Entropy { seed: seed.to_vec() });
    }

    /// Sets the host name of containers started from now on.
    pub fn set_hostname(&mut self, name: &[u8]) -> RequestId {
        self.request(|request| Command::Hostname { request, name: name.to_vec() })
    }

    /// Writes a file in the container's root.
    pub fn write_file(&mut self, file: FileSpec) -> RequestId {
        self.request(|request| Command::File { request, file })
    }

    /// Mounts a share in the container.
    pub fn mount(&mut self, mount: MountSpec) -> RequestId {
        self.request(|request| Command::Mount { request, mount })
    }

    /// Makes the next container ahead of its first process.
    pub fn prepare(&mut self) -> RequestId {
        self.request(|request| Command::Prepare { request })
    }

    /// Reads files of the container into the guest's memory.
    pub fn read_files(&mut self, paths: Vec<Vec<u8>>) -> RequestId {
        self.request(|request| Command::Read { request, paths })
    }

    /// Stops the processes of the container, without their noticing, until [`Session::thaw`].
    pub fn freeze(&mut self) -> RequestId {
        self.request(|request| Command::Freeze { request })
    }

    /// Lets them go on.
    pub fn thaw(&mut self) -> RequestId {
        self.request(|request| Command::Thaw { request })
    }

    /// Starts a process.
    pub fn start(&mut self, spec: StartSpec) -> ProcessId {
        let process = ProcessId(self.take_id());
        let incoming = |open| Incoming { credit: WINDOW_BYTES, owed: 0, open };
        self.processes.insert(
            process,
            Process {
                started: false,
                tty: spec.tty.is_some(),
                stdin_credit: WINDOW_BYTES,
                stdin_open: spec.stdin,
                outputs: [incoming(true), incoming(spec.tty.is_none())],
            },
        );
        self.command(&Command::Start { process: process.0, spec });
        process
    }

    /// Sends input; returns how many bytes were accepted, which is less than all when the process
    /// is slow to read ([`Event::StdinReady`] tells when to go on). Input for a process that is
    /// gone or reads no more is accepted and dropped.
    pub fn write_stdin(&mut self, process: ProcessId, bytes: &[u8]) -> usize {
        let waiting = self.outgoing.len() - self.sent;
        let Some(state) = self.processes.get_mut(&process).filter(|state| state.stdin_open) else {
            return bytes.len();
        };
        let room = OUTGOING_LIMIT.saturating_sub(waiting).min(state.stdin_credit as usize);
        let accepted = &bytes[..bytes.len().min(room)];
        state.stdin_credit -= accepted.len() as u32;
        for bytes in accepted.chunks(MAX_FRAME_PAYLOAD) {
            self.command(&Command::Stdin { process: process.0, bytes: bytes.to_vec() });
        }
        accepted.len()
    }

    /// How many bytes [`Session::write_stdin`] would take now; `None` when they would be dropped.
    pub fn stdin_room(&self, process: ProcessId) -> Option<usize> {
        let state = self.processes.get(&process).filter(|state| state.stdin_open)?;
        let waiting = self.outgoing.len() - self.sent;
        Some(OUTGOING_LIMIT.saturating_sub(waiting).min(state.stdin_credit as usize))
    }

    /// Ends the process's input.
    pub fn close_stdin(&mut self, process: ProcessId) {
        if let Some(state) = self.processes.get_mut(&process).filter(|state| state.stdin_open) {
            state.stdin_open = false;
            self.command(&Command::StdinEof { process: process.0 });
        }
    }

    /// `len` bytes of this output were passed on; the process may write as much again.
    pub fn consumed(&mut self, process: ProcessId, output: Output, len: usize) {
        let Some(state) = self.processes.get_mut(&process) else { return };
        let incoming = &mut state.outputs[index(output)];
        let held = WINDOW_BYTES - incoming.credit - incoming.owed;
        incoming.owed += u32::try_from(len).unwrap_or(u32::MAX).min(held);
        // Half a window at a time: few messages, and the guest never waits for the rest.
        if incoming.open && incoming.owed >= WINDOW_BYTES / 2 {
            let bytes = std::mem::take(&mut incoming.owed);
            incoming.credit += bytes;
            self.command(&Command::Window { process: process.0, output, bytes });
        }
    }

    /// Nobody wants this output any more: the process gets SIGPIPE when it writes.
    pub fn close_output(&mut self, process: ProcessId, output: Output) {
        if self.processes.contains_key(&process) {
            self.command(&Command::CloseOutput { process: process.0, output });
        }
    }

    /// The terminal has a new size.
    pub fn resize(&mut self, process: ProcessId, size: WindowSize) {
        if self.processes.get(&process).is_some_and(|state| state.tty) {
            self.command(&Command::Resize { process: process.0, size });
        }
    }

    /// Sends a signal by its Linux number.
    pub fn signal(&mut self, process: ProcessId, signal: u8) {
        if self.processes.contains_key(&process) {
            self.command(&Command::Signal { process: process.0, signal });
        }
    }

    /// Ends every process and stops the machine.
    pub fn shutdown(&mut self, power: Power) {
        self.command(&Command::Shutdown { power });
    }

    /// Whether the process has neither ended nor failed to start.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.processes.contains_key(&process)
    }

    fn command(&mut self, command: &Command) {
        command.encode(&mut self.outgoing);
    }

    fn request(&mut self, make: impl FnOnce(u32) -> Command) -> RequestId {
        let id = self.take_id();
        self.command(&make(id));
        RequestId(id)
    }

    fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// What a report means, after checking that it may come now.
    fn report(&mut self, report: Report) -> Result<Option<Event>, SessionError> {
        Ok(Some(match report {
            Report::Ready(ready) => {
                if ready.version != VERSION {
                    return Err(SessionError::Version { agent: ready.version });
                }
                Event::Ready(ready)
            }
            Report::Done { request } => Event::Done(self.asked(request)?),
            Report::Failed { request, message } => Event::Failed(self.asked(request)?, message),
            Report::Log { text } => Event::Log(text),
            Report::Started { process } => {
                let (id, state) = self.process(process, false)?;
                state.started = true;
                Event::Started(id)
            }
            Report::StartFailed { process, kind, message } => {
                let (id, _) = self.process(process, false)?;
                self.processes.remove(&id);
                Event::StartFailed(id, kind, message)
            }
            Report::Output { process, output, bytes } => {
                let (id, state) = self.process(process, true)?;
                let incoming = &mut state.outputs[index(output)];
                if !incoming.open {
                    return Err(SessionError::OutOfOrder);
                }
                let credit = incoming.credit.checked_sub(bytes.len() as u32);
                incoming.credit = credit.ok_or(SessionError::WindowExceeded)?;
                if bytes.is_empty() {
                    return Ok(None);
                }
                Event::Output(id, output, bytes)
            }
            Report::OutputEof { process, output } => {
                let (id, state) = self.process(process, true)?;
                if !std::mem::replace(&mut state.outputs[index(output)].open, false) {
                    return Err(SessionError::OutOfOrder);
                }
                Event::OutputEof(id, output)
            }
            Report::StdinWindow { process, bytes } => {
                let (id, state) = self.process(process, true)?;
                let credit = state.stdin_credit.checked_add(bytes).filter(|credit| *credit <= WINDOW_BYTES);
                state.stdin_credit = credit.ok_or(SessionError::OutOfOrder)?;
                if !state.stdin_open {
                    return Ok(None);
                }
                Event::StdinReady(id)
            }
            Report::StdinClosed { process } => {
                let (id, state) = self.process(process, true)?;
                state.stdin_open = false;
                Event::StdinClosed(id)
            }
            Report::Exited { process, status } => {
                let (id, state) = self.process(process, true)?;
                if state.outputs.iter().any(|incoming| incoming.open) {
                    return Err(SessionError::OutOfOrder);
                }
                self.processes.remove(&id);
                Event::Exited(id, status)
            }
        }))
    }

    fn asked(&self, request: u32) -> Result<RequestId, SessionError> {
        if (1..self.next_id).contains(&request) {
            Ok(RequestId(request))
        } else {
            Err(SessionError::OutOfOrder)
        }
    }

    fn process(&mut self, id: u32, started: bool) -> Result<(ProcessId, &mut Process), SessionError> {
        let id = ProcessId(id);
        let state = self.processes.get_mut(&id).filter(|state| state.started == started);
        Ok((id, state.ok_or(SessionError::OutOfOrder)?))
    }
}

fn index(output: Output) -> usize {
    match output {
        Output::Stdout => 0,
        Output::Stderr => 1,
    }
}
