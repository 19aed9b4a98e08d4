//! A host for tests: the agent as a child process, spoken to through `Session` over a socket.
#![allow(dead_code)] // Each program that includes it uses a part.

pub mod container;

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use c2w_agent::{Event, FailureKind, Output, ProcessId, RequestId, Session, StartSpec, Status};
use rustix::event::{PollFd, PollFlags, poll};

/// One agent and the connection to it.
pub struct Host {
    pub session: Session,
    /// The agent, unless it runs elsewhere.
    agent: Option<Child>,
    pub runs: BTreeMap<ProcessId, Run>,
    pub answers: BTreeMap<RequestId, Result<(), String>>,
    pub log: Vec<String>,
    /// Input for processes, sent as their credit allows and then closed.
    feeds: BTreeMap<ProcessId, VecDeque<u8>>,
    /// Output is given back its credit when it arrives.
    pub consume: bool,
    socket: UnixStream,
    buffer: Vec<u8>,
}

/// What has come of a process so far.
#[derive(Debug, Default)]
pub struct Run {
    pub started: bool,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub stdin_closed: bool,
    pub status: Option<Status>,
    pub failed: Option<(FailureKind, String)>,
}

impl Run {
    pub fn is_over(&self) -> bool {
        self.status.is_some() || self.failed.is_some()
    }

    /// The exit status a shell would show.
    pub fn exit_status(&self) -> u8 {
        match (&self.status, &self.failed) {
            (Some(status), None) => status.exit_status(),
            (None, Some((kind, _))) => kind.exit_status(),
            other => panic!("ended twice or never: {other:?}"),
        }
    }

    pub fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    pub fn err(&self) -> &str {
        std::str::from_utf8(&self.stderr).expect("text")
    }
}

/// `argv` with a usual PATH and nothing else.
pub fn spec(argv: &[&str]) -> StartSpec {
    StartSpec {
        argv: argv.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/usr/local/bin:/usr/bin:/bin".to_vec(), b"LC_ALL=C".to_vec()],
        ..StartSpec::default()
    }
}

/// A shell script.
pub fn sh(script: &str) -> StartSpec {
    spec(&["sh", "-c", script])
}

impl Host {
    /// Starts this agent with these arguments.
    pub fn new(agent: &str, arguments: &[&str]) -> Host {
        let (socket, theirs) = UnixStream::pair().expect("socketpair");
        let agent = Command::new(agent)
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("start the agent");
        Host::over(socket, Some(agent))
    }

    /// An agent somewhere at the other end of this socket.
    pub fn over(socket: UnixStream, agent: Option<Child>) -> Host {
        socket.set_nonblocking(true).expect("nonblocking");
        Host {
            session: Session::new(),
            agent,
            runs: BTreeMap::new(),
            answers: BTreeMap::new(),
            log: Vec::new(),
            feeds: BTreeMap::new(),
            consume: true,
            socket,
            buffer: vec![0; 65536],
        }
    }

    /// Starts a process.
    pub fn start(&mut self, spec: StartSpec) -> ProcessId {
        let id = self.session.start(spec);
        self.runs.insert(id, Run::default());
        id
    }

    /// Sends this input and then its end, as fast as the process reads.
    pub fn feed(&mut self, id: ProcessId, bytes: &[u8]) {
        self.feeds.insert(id, bytes.iter().copied().collect());
        self.pump_feed(id);
    }

    fn pump_feed(&mut self, id: ProcessId) {
        let Some(queue) = self.feeds.get_mut(&id) else { return };
        loop {
            let piece = queue.as_slices().0;
            if piece.is_empty() {
                self.session.close_stdin(id);
                self.feeds.remove(&id);
                return;
            }
            match self.session.write_stdin(id, piece) {
                0 => return,
                accepted => drop(queue.drain(..accepted)),
            }
        }
    }

    /// Runs a process with this input to its end.
    pub fn run(&mut self, spec: StartSpec, input: &[u8]) -> Run {
        let stdin = spec.stdin;
        let id = self.start(spec);
        if stdin {
            self.feed(id, input);
        }
        self.finish(id)
    }

    /// Serves until the process has ended.
    pub fn finish(&mut self, id: ProcessId) -> Run {
        self.until(|host| host.runs[&id].is_over());
        self.runs.remove(&id).expect("started")
    }

    /// Serves until a request is answered.
    pub fn answer(&mut self, request: RequestId) -> Result<(), String> {
        self.until(|host| host.answers.contains_key(&request));
        self.answers.remove(&request).expect("answered")
    }

    /// Serves until the condition holds.
    pub fn until(&mut self, done: impl Fn(&Host) -> bool) {
        while !done(self) {
            self.serve();
        }
    }

    /// Sends all that is to be sent, which takes an agent that reads.
    pub fn send_all(&mut self) {
        self.until(|host| host.session.outgoing().is_empty());
    }

    /// Writes and reads once, or waits when neither is possible.
    fn serve(&mut self) {
        while !self.session.outgoing().is_empty() {
            match self.socket.write(self.session.outgoing()) {
                Ok(len) => self.session.sent(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("write to the agent: {error}"),
            }
        }
        let feeding: Vec<_> = self.feeds.keys().copied().collect();
        feeding.into_iter().for_each(|id| self.pump_feed(id));
        let mut buffer = std::mem::take(&mut self.buffer);
        match self.socket.read(&mut buffer) {
            Ok(0) => panic!("the agent went away"),
            Ok(len) => {
                let mut input = &buffer[..len];
                while let Some(event) = self.session.next_event(&mut input).expect("protocol") {
                    self.event(event);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut flags = PollFlags::IN;
                flags.set(PollFlags::OUT, !self.session.outgoing().is_empty());
                poll(&mut [PollFd::new(&self.socket, flags)], None).expect("poll");
            }
            Err(error) => panic!("read from the agent: {error}"),
        }
        self.buffer = buffer;
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Ready(_) => {}
            Event::Log(text) => self.log.push(text),
            Event::Done(request) => drop(self.answers.insert(request, Ok(()))),
            Event::Failed(request, why) => drop(self.answers.insert(request, Err(why))),
            Event::Started(id) => self.run_mut(id).started = true,
            Event::StartFailed(id, kind, why) => self.run_mut(id).failed = Some((kind, why)),
            Event::Output(id, output, bytes) => {
                let run = self.run_mut(id);
                match output {
                    Output::Stdout => run.stdout.extend_from_slice(&bytes),
                    Output::Stderr => run.stderr.extend_from_slice(&bytes),
                }
                if self.consume {
                    self.session.consumed(id, output, bytes.len());
                }
            }
            Event::OutputEof(..) => {}
            Event::StdinReady(id) => self.pump_feed(id),
            Event::StdinClosed(id) => {
                self.feeds.remove(&id);
                self.run_mut(id).stdin_closed = true;
            }
            Event::Exited(id, status) => self.run_mut(id).status = Some(status),
        }
    }

    fn run_mut(&mut self, id: ProcessId) -> &mut Run {
        self.runs.get_mut(&id).expect("a process of this test")
    }

    /// The agent's resident memory in bytes.
    pub fn agent_memory(&self) -> u64 {
        let agent = self.agent.as_ref().expect("an agent on this machine");
        let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id())).expect("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        kib * 1024
    }
}

impl Drop for Host {
    /// The agent ends when its connection does.
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(agent) = &mut self.agent {
            let _ = agent.wait();
        }
    }
}
