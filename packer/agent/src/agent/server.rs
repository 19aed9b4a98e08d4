//! The agent's loop: commands from the host, events of processes, and nothing that waits but the
//! one call that waits for all of them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use c2w_agent::{Command, FailureKind, MAX_FRAME_PAYLOAD, Output, Power, Ready, Report, StartSpec, VERSION};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::error::{AgentError, During};
use super::link::Link;
use super::process::{Process, Source};
use super::share::Shares;
use super::spawn::{self, Waiting, World};
use super::{freeze, path, sys, system};

/// Why the loop ended.
pub enum End {
    /// The host asked for it.
    Shutdown(Power),
    /// The host closed the connection.
    HostGone,
}

/// The agent.
pub struct Server {
    world: World,
    link: Link,
    epoll: OwnedFd,
    processes: BTreeMap<u32, Process>,
    /// The process whose namespaces the others join.
    first: Option<u32>,
    hostname: Option<Vec<u8>>,
    /// The last container's mounts: taking them down can wait until after its end was told.
    mounts: Option<OwnedFd>,
    /// The next container, made ahead.
    waiting: Option<Waiting>,
    shares: Shares,
}

/// The event data of the connection. (Those of processes have fewer bits.)
const LINK: u64 = u64::MAX;

const SOURCES: [Source; 6] = [
    Source::End,
    Source::Outcome,
    Source::Stdin,
    Source::Output(Output::Stdout),
    Source::Output(Output::Stderr),
    Source::Terminal,
];

impl Server {
    /// An agent for this connection.
    ///
    /// # Errors
    /// As epoll_create(2) and epoll_ctl(2).
    pub fn new(world: World, link: Link) -> Result<Server, AgentError> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).during(|| "create epoll".into())?;
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
        epoll::add(&epoll, link.fd(), EventData::new_u64(LINK), flags).during(|| "watch the port".into())?;
        Ok(Server {
            world,
            link,
            epoll,
            processes: BTreeMap::new(),
            first: None,
            hostname: None,
            mounts: None,
            waiting: None,
            shares: Shares::default(),
        })
    }

    /// Says something to the host's user.
    pub fn log(&mut self, text: String) {
        self.link.send(&Report::Log { text });
    }

    /// Says that the agent is ready, and serves until the end.
    ///
    /// # Errors
    /// When the connection is of no use any more.
    pub fn run(&mut self) -> Result<End, AgentError> {
        self.say_ready();
        let mut buffer = vec![0; MAX_FRAME_PAYLOAD];
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        loop {
            let mut moved = false;
            if self.link.has_input() {
                let Some(commands) = self.link.receive()? else { return Ok(End::HostGone) };
                for command in commands {
                    if let Some(end) = self.command(command)? {
                        self.link.flush()?;
                        return Ok(end);
                    }
                }
                moved = self.link.has_input();
            }
            for process in self.processes.values_mut() {
                moved |= process.pump(&mut self.link, &mut buffer)?;
            }
            self.processes.retain(|_, process| !process.is_over());
            if self.first.is_some_and(|first| !self.processes.contains_key(&first)) {
                self.first = None;
            }
            // (A process may have been out of room.)
            moved |= self.link.flush()?;
            // Without a pause while there is more to move, but never without looking at the rest.
            let pause = moved.then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), pause.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).during(|| "wait for events".into()),
            }
            for event in &events {
                self.event(event.data.u64());
            }
        }
    }

    fn event(&mut self, data: u64) {
        if data == LINK {
            self.link.readable = true;
            self.link.writable = true;
            return;
        }
        let process = self.processes.get_mut(&((data >> 8) as u32));
        if let (Some(process), Some(source)) = (process, SOURCES.get(data as usize & 0xff)) {
            process.event(*source);
        }
    }

    fn say_ready(&mut self) {
        let name = rustix::system::uname();
        self.link.send(&Report::Ready(Ready {
            version: VERSION,
            arch: name.machine().to_string_lossy().into_owned(),
            kernel: name.release().to_string_lossy().into_owned(),
        }));
    }

    fn command(&mut self, command: Command) -> Result<Option<End>, AgentError> {
        match command {
            // (The host decides whether it can live with this version.)
            Command::Hello { .. } => self.say_ready(),
            Command::Clock { unix_ns } => {
                if let Err(error) = system::set_clock(unix_ns) {
                    self.log(error.to_string());
                }
            }
            Command::Entropy { seed } => {
                if let Err(error) = system::add_entropy(&seed) {
                    self.log(error.to_string());
                }
            }
            Command::Hostname { request, name } => {
                let result = system::check_hostname(&name).map(|()| self.hostname = Some(name));
                self.answer(request, result);
            }
            Command::File { request, file } => {
                let result = root(&self.world).and_then(|root| path::write(root, &file));
                self.answer(request, result);
            }
            Command::Mount { request, mount } => {
                let result = root(&self.world).and_then(|root| self.shares.mount(root, &mount));
                self.answer(request, result);
            }
            Command::Prepare { request } => {
                let result = self.prepare();
                self.answer(request, result);
            }
            Command::Read { request, paths } => {
                let result = root(&self.world)
                    .map(|root| paths.iter().for_each(|path| path::read_through(root, path)));
                self.answer(request, result);
            }
            Command::Freeze { request } => self.answer(request, freeze::freeze()),
            Command::Thaw { request } => self.answer(request, freeze::thaw()),
            Command::Start { process, spec } => self.start(process, &spec)?,
            Command::Shutdown { power } => return Ok(Some(End::Shutdown(power))),
            // What is about a process may come too late for it.
            Command::Stdin { process, bytes } => {
                self.processes.get_mut(&process).map_or(Ok(()), |process| process.stdin(&bytes))?;
            }
            Command::StdinEof { process } => self.on(process, Process::stdin_eof),
            Command::Window { process, output, bytes } => {
                self.on(process, |process| process.window(output, bytes));
            }
            Command::Resize { process, size } => self.on(process, |process| process.resize(size)),
            Command::Signal { process, signal } => self.on(process, |process| process.signal(signal)),
            Command::CloseOutput { process, output } => {
                self.on(process, |process| process.close_output(output));
            }
        }
        Ok(None)
    }

    fn prepare(&mut self) -> Result<(), AgentError> {
        root(&self.world)?;
        if self.first.is_none() && self.waiting.is_none() {
            self.waiting = Some(Waiting::new(&self.world)?);
        }
        Ok(())
    }

    fn start(&mut self, id: u32, spec: &StartSpec) -> Result<(), AgentError> {
        if self.processes.contains_key(&id) {
            return Err(AgentError::Protocol("process number used twice"));
        }
        let joins = match self.first.and_then(|first| self.processes.get_mut(&first)) {
            Some(first) => {
                // Its namespaces are not ready to be joined before it comes to exec. That depends
                // on nothing the host has to send here, so it may be waited for.
                first.wait_started(&mut self.link)?;
                first.is_running().then(|| first.pidfd())
            }
            None => None,
        };
        let joined = joins.is_some();
        let hostname = self.hostname.as_deref();
        let waiting = if joined || spec.privileged { None } else { self.waiting.take() };
        let launched = match waiting {
            Some(waiting) => waiting.launch(&self.world, hostname, spec),
            None => spawn::launch(&self.world, joins, hostname, spec),
        };
        match launched {
            Ok(launched) => {
                // (Without such a handle the mounts go when the process ends.)
                let mounts = sys::mount_namespace(launched.pidfd.as_fd()).ok();
                let process = Process::new(id, launched);
                for (source, fd) in process.sources() {
                    let number = SOURCES.iter().position(|known| *known == source).unwrap_or_default();
                    let data = EventData::new_u64(u64::from(id) << 8 | number as u64);
                    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                    epoll::add(&self.epoll, fd, data, flags).during(|| "watch a process".into())?;
                }
                self.processes.insert(id, process);
                if !joined && matches!(self.world, World::Containers { .. }) {
                    self.first = Some(id);
                    self.mounts = mounts;
                }
            }
            Err(error) => self.link.send(&Report::StartFailed {
                process: id,
                kind: FailureKind::Other,
                message: error.to_string(),
            }),
        }
        Ok(())
    }

    /// Does something to a process, unless it has ended meanwhile.
    fn on(&mut self, id: u32, act: impl FnOnce(&mut Process)) {
        if let Some(process) = self.processes.get_mut(&id) {
            act(process);
        }
    }

    fn answer(&mut self, request: u32, result: Result<(), AgentError>) {
        self.link.send(&match result {
            Ok(()) => Report::Done { request },
            Err(error) => Report::Failed { request, message: error.to_string() },
        });
    }
}

fn root(world: &World) -> Result<BorrowedFd<'_>, AgentError> {
    match world {
        World::Containers { root, .. } => Ok(root.as_fd()),
        World::Plain => Err(AgentError::Protocol("there is no container")),
    }
}
