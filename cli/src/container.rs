//! Running an image as `docker run` would: options over the image's defaults, standard streams, signals, terminal,
//! exit status.

use crate::console::ConsoleTail;
use crate::exit;
use crate::host_io::{self, HostEvent, HostIo, Stream};
use crate::jit::{self, JitOptions};
use crate::launch::{self, Launched, State};
use crate::snapshot::Process;
use crate::snapshot::live::{SaveOptions, Saver};
use crate::stats;
use crate::terminal::{self, RawMode};
use crate::timeline::Timeline;
use crate::vm::{Step, Vm};
use crate::volume::Volume;
use anyhow::{Context, Result, bail};
use c2w_agent::{Event, FileSpec, MountSpec, Output, Power, ProcessId, RequestId, StartSpec, WindowSize};
use c2w_engine::mem::device::Request;
use c2w_packer::image::{ByteString, ContainerConfig, Image, SectionId};
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGSYS, SIGTERM, SIGTRAP, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGWINCH, SIGXCPU, SIGXFSZ,
};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Signals that the container gets instead of this program, as with docker's `--sig-proxy`: every one that would
/// end it and leave the terminal as it is, but for SIGKILL and what only a fault of this program causes.
const FORWARDED: [i32; 16] = [
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGABRT, SIGTRAP,
    SIGSYS, SIGXCPU, SIGXFSZ, SIGPWR,
];
/// Only on Linux, and not among the names of signal_hook: a power failure.
const SIGPWR: i32 = 30;
/// So many SIGINT or SIGTERM while the container ignores them end the program, as with docker.
const IMPATIENT: u32 = 3;
/// How long the guest may take to write shared directories back after its process ended.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10);
/// How long a process may go on after the terminal it was started from was closed: nobody is left who could end it.
const HANGUP_LIMIT: Duration = Duration::from_secs(2);
/// Size of a terminal that does not know its own.
const DEFAULT_SIZE: (u16, u16) = (24, 80);
/// Host name of a container that is given none.
const DEFAULT_HOSTNAME: &str = "c2w";
/// Longest host name that Linux takes (sethostname(2)).
const HOSTNAME_BYTES: usize = 64;
/// Largest 9p message that Linux' virtio transport takes: large enough that a read costs no more than its copy.
const SHARE_MSIZE: u32 = 512_000;

/// What the command line says beyond the image.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Pass stdin on.
    pub interactive: bool,
    /// Give the process a terminal.
    pub tty: bool,
    /// `NAME=value` to set, or `NAME` to copy from this program's environment.
    pub env: Vec<OsString>,
    /// Working directory instead of the image's.
    pub workdir: Option<OsString>,
    /// User instead of the image's.
    pub user: Option<OsString>,
    /// Host directories to share.
    pub volumes: Vec<Volume>,
    /// Entry point instead of the image's; an empty one removes it.
    pub entrypoint: Option<OsString>,
    /// Host name of the container.
    pub hostname: Option<OsString>,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// Guest RAM in bytes instead of the image's.
    pub memory_bytes: Option<u64>,
    /// Show the guest kernel's console on stderr.
    pub console: bool,
    /// Boot even if the image has a snapshot.
    pub cold: bool,
    /// How guest code is run.
    pub jit: JitOptions,
    /// Print what the machine did on stderr when it has ended.
    pub stats: bool,
    /// Save the machine while it runs.
    pub save: Option<SaveOptions>,
    /// When this program began, if earlier than this run.
    pub started: Option<Instant>,
    /// Command and arguments instead of the image's.
    pub command: Vec<OsString>,
}

impl RunOptions {
    /// Whether something is asked for that only a process that is yet to start can have.
    pub fn starts_otherwise(&self) -> bool {
        let given = [&self.workdir, &self.user, &self.entrypoint, &self.hostname];
        !self.env.is_empty()
            || !self.command.is_empty()
            || self.read_only
            || given.into_iter().any(Option::is_some)
    }
}

/// Runs the image to the end of its process and gives the exit status for this program, which is to end then: the machine's
/// memory is left to that.
///
/// # Errors
/// When there is no exit status of the process to give: docker's status 125.
pub fn run(image: &Image, options: &RunOptions) -> Result<u8> {
    let spec = start_spec(&image.manifest().config, options);
    if options.tty && options.interactive && !std::io::stdin().is_terminal() {
        bail!("-t needs a terminal as standard input; use -i alone for pipes and files");
    }
    // What goes on from a running process needs none.
    if spec.is_err() && image.header().section(SectionId::MachineState).is_none() {
        return spec.map(|_| exit::HOST_FAILURE);
    }
    let mut timeline = Timeline::since(options.started.unwrap_or_else(Instant::now));
    timeline.mark("the image is open");
    let launched = launch::container(image, options, &mut timeline)?;
    let start = launched.start;
    let spec = match start {
        State::Resumed { process: Some(_) } => None,
        _ => Some(spec?),
    };
    let io = HostIo::start();
    // What nohup(1) started is to outlive its terminal.
    let forwarded: Vec<i32> =
        FORWARDED.into_iter().filter(|signal| *signal != SIGHUP || !host_io::ignores(SIGHUP)).collect();
    io.catch_signals(&forwarded).context("cannot catch signals")?;
    io.catch_signals(&[SIGWINCH]).context("cannot catch signals")?;
    let raw = (options.tty && options.interactive).then(|| RawMode::enter(std::io::stdin())).transpose();
    let raw = raw.context("cannot change the terminal's mode")?;
    let mut run = Run::new(image, launched, io, spec, options);
    run.timeline = timeline;
    let before = run.vm.computer().statistics().retired;
    let status = run.until_end(start);
    drop(raw);
    run.vm.computer().write_profile()?;
    jit::save_code(run.vm.computer_mut(), Duration::ZERO);
    if options.stats {
        eprint!("{}{}", stats::describe(run.vm.computer(), before), run.timeline.describe());
    }
    // Giving a machine's memory back piece by piece takes as long as a small program: the end of the process does it at once.
    std::mem::forget(run.vm);
    status
}

/// The process to start: the image's defaults with the command line's changes, as docker combines them.
pub(crate) fn start_spec(config: &ContainerConfig, options: &RunOptions) -> Result<StartSpec> {
    let bytes = |items: &[ByteString]| items.iter().map(|item| item.0.clone()).collect::<Vec<_>>();
    let given: Vec<Vec<u8>> = options.command.iter().map(|arg| arg.as_bytes().to_vec()).collect();
    let mut argv = match &options.entrypoint {
        Some(entrypoint) if entrypoint.is_empty() => Vec::new(),
        Some(entrypoint) => vec![entrypoint.as_bytes().to_vec()],
        None => bytes(&config.entrypoint),
    };
    if given.is_empty() && options.entrypoint.is_none() {
        argv.extend(bytes(&config.cmd));
    } else {
        argv.extend(given);
    }
    if argv.is_empty() {
        bail!("no command: the image has no default one, give one after the image");
    }
    let hostname = hostname(options);
    if hostname.len() > HOSTNAME_BYTES {
        bail!("--hostname: longer than {HOSTNAME_BYTES} bytes");
    }
    let mut env = vec![[b"HOSTNAME=", hostname].concat()];
    if options.tty {
        env.push(b"TERM=xterm".to_vec());
    }
    for entry in bytes(&config.env) {
        set_env(&mut env, entry);
    }
    for item in &options.env {
        let name_end = item.as_bytes().iter().position(|byte| *byte == b'=');
        if item.is_empty() || name_end == Some(0) {
            bail!("-e {item:?}: a variable needs a name");
        }
        match (name_end, std::env::var_os(item)) {
            (Some(_), _) => set_env(&mut env, item.as_bytes().to_vec()),
            (None, Some(value)) => set_env(&mut env, [item.as_bytes(), b"=", value.as_bytes()].concat()),
            // As docker: what the caller does not have, the container does not get from the image either.
            (None, None) => unset_env(&mut env, item.as_bytes()),
        }
    }
    if let Some(workdir) = options.workdir.as_deref().filter(|dir| !dir.as_bytes().starts_with(b"/")) {
        bail!("-w {workdir:?}: the directory must be an absolute path");
    }
    Ok(StartSpec {
        argv,
        env,
        cwd: match &options.workdir {
            Some(workdir) => workdir.as_bytes().to_vec(),
            None => config.working_dir.0.clone(),
        },
        user: match &options.user {
            Some(user) => user.as_bytes().to_vec(),
            None => config.user.clone().into_bytes(),
        },
        tty: options.tty.then(|| window_size(host_terminal_size().unwrap_or(DEFAULT_SIZE))),
        stdin: options.interactive,
        read_only_root: options.read_only,
        privileged: false,
    })
}

/// The files that docker writes into every container, too.
pub(crate) fn host_files(hostname: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    let local = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t";
    [("/etc/hostname", [hostname, b"\n"].concat()), ("/etc/hosts", [local, hostname, b"\n"].concat())]
}

/// The container's host name: an empty one is as none.
pub(crate) fn hostname(options: &RunOptions) -> &[u8] {
    let given = options.hostname.as_deref().map(OsStrExt::as_bytes).filter(|name| !name.is_empty());
    given.unwrap_or(DEFAULT_HOSTNAME.as_bytes())
}

/// Removes the variable `name`.
fn unset_env(env: &mut Vec<Vec<u8>>, name: &[u8]) {
    env.retain(|entry| !entry.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"=")));
}

/// Sets `NAME=value`, replacing an earlier entry of the same name.
fn set_env(env: &mut Vec<Vec<u8>>, entry: Vec<u8>) {
    let name_end = entry.iter().position(|byte| *byte == b'=').map_or(entry.len(), |at| at + 1);
    match env.iter_mut().find(|old| old.starts_with(&entry[..name_end])) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

/// Rows and columns of the terminal that shows the output or gives the input.
fn host_terminal_size() -> Option<(u16, u16)> {
    terminal::size(std::io::stdout()).or_else(|| terminal::size(std::io::stdin()))
}

fn window_size((rows, columns): (u16, u16)) -> WindowSize {
    WindowSize { rows, columns }
}

/// A run from power-on to the end of the process.
struct Run<'a> {
    image: &'a Image,
    vm: Vm,
    console: ConsoleTail,
    io: HostIo,
    /// Number of the share of each volume.
    places: Vec<usize>,
    /// Where shares are mounted, by their number.
    mounted: Vec<Vec<u8>>,
    /// The host name that the container has already.
    hostname: Option<Vec<u8>>,
    /// How the process is started.
    how: Process,
    saver: Option<Saver>,
    timeline: Timeline,
    options: &'a RunOptions,
    /// The agent got everything that precedes the start.
    prepared: bool,
    /// Taken when the process is started.
    spec: Option<StartSpec>,
    process: Option<ProcessId>,
    /// Requests that must succeed before the process starts, and what each is for.
    requests: BTreeMap<RequestId, String>,
    /// Input that the guest had no room for yet.
    stdin: Vec<u8>,
    stdin_eof: bool,
    /// How the process ended, and until when the guest may write back.
    ended: Option<(u8, Instant)>,
    ending_signals: u32,
    /// The terminal was closed: until when the process may end by itself.
    hung_up: Option<Instant>,
}

impl<'a> Run<'a> {
    fn new(
        image: &'a Image,
        launched: Launched,
        io: HostIo,
        spec: Option<StartSpec>,
        options: &'a RunOptions,
    ) -> Self {
        let (process, how) = match launched.start {
            State::Resumed { process: Some((process, how)) } => (Some(process), how),
            _ => (None, Process { tty: options.tty, stdin: options.interactive }),
        };
        Self {
            image,
            vm: launched.vm,
            console: launched.console,
            io,
            places: launched.places,
            mounted: launched.mounted,
            hostname: launched.hostname,
            how,
            saver: options.save.clone().map(Saver::new),
            timeline: Timeline::default(),
            options,
            prepared: false,
            spec,
            process,
            requests: BTreeMap::new(),
            stdin: Vec::new(),
            stdin_eof: false,
            ended: None,
            ending_signals: 0,
            hung_up: None,
        }
    }

    fn until_end(&mut self, start: State) -> Result<u8> {
        if let State::Resumed { .. } = start {
            self.prepare()?;
            self.start_when_prepared();
        }
        loop {
            while let Ok(event) = self.io.events.try_recv() {
                if let Some(status) = self.host_event(event)? {
                    return Ok(status);
                }
            }
            let step = self.vm.step();
            self.console.take(self.options.console);
            let mut quiet = true;
            while let Some(event) = self.vm.next_event()? {
                quiet = false;
                self.guest_event(event)?;
            }
            self.save(matches!(step, Step::Idle(_)));
            if self.hung_up.is_some_and(|limit| self.ended.is_none() && Instant::now() >= limit) {
                self.end(exit::of_signal(SIGHUP));
            }
            if let Some((status, limit)) = self.ended {
                let written_back = !self.has_writable_shares() || Instant::now() >= limit;
                if !self.io.has_pending_output() && (written_back || matches!(step, Step::Ended(_))) {
                    return Ok(status);
                }
            }
            match step {
                Step::Ran => {}
                Step::Idle(_) if !quiet => {}
                Step::Idle(wait) => {
                    if let Some(status) = self.idle(wait)? {
                        return Ok(status);
                    }
                }
                Step::Ended(_) if self.ended.is_some() => {
                    // Only output is left to be written.
                    if let Some(status) = self.idle(None)? {
                        return Ok(status);
                    }
                }
                Step::Ended(request) => bail!("{}", self.unexpected_end(request)),
                Step::Diverged => {
                    eprint!("c2w-run: {}", self.vm.computer().divergence().unwrap_or_default());
                    return Ok(exit::DIVERGED);
                }
            }
        }
    }

    /// Waits for the host, at most until the guest's next timer.
    fn idle(&mut self, wait: Option<Duration>) -> Result<Option<u8>> {
        if wait.is_none() && self.process.is_none() {
            bail!("the guest waits for an interrupt that no device will raise{}", self.console.describe());
        }
        let mut wait = wait.unwrap_or(Duration::from_secs(3600));
        if let (Some(limit), None) = (self.hung_up, self.ended) {
            wait = wait.min(limit.saturating_duration_since(Instant::now()));
        }
        match self.io.events.recv_timeout(wait) {
            Ok(event) => self.host_event(event),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            // The sender lives in `self.io`.
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }

    fn unexpected_end(&self, request: Request) -> String {
        let what = match request {
            Request::PowerOff => "the guest switched itself off",
            Request::Reset => "the guest's kernel failed or restarted",
            Request::Finish(_) => "the guest ended the machine",
        };
        format!("{what} before the process ended{}", self.console.describe())
    }

    fn has_writable_shares(&self) -> bool {
        self.options.volumes.iter().any(|volume| !volume.read_only)
    }

    /// Something happened outside; gives a status if that ends the program.
    fn host_event(&mut self, event: HostEvent) -> Result<Option<u8>> {
        self.io.note(&event);
        match event {
            HostEvent::Stdin(bytes) => {
                self.stdin = bytes;
                self.pass_stdin();
            }
            HostEvent::StdinEof => {
                self.stdin_eof = true;
                self.pass_stdin();
            }
            HostEvent::Written(stream, len) => {
                if let Some(process) = self.process {
                    self.vm.session.consumed(process, output(stream), len);
                }
            }
            HostEvent::Broken(stream, error) => {
                if let Some(process) = self.process {
                    self.vm.session.close_output(process, output(stream));
                }
                if error.kind() != std::io::ErrorKind::BrokenPipe {
                    bail!("cannot write to {stream}: {error}");
                }
            }
            HostEvent::Signal(SIGWINCH) => {
                let size = host_terminal_size();
                if let (Some(process), Some(size), true) = (self.process, size, self.options.tty) {
                    self.vm.session.resize(process, window_size(size));
                }
            }
            HostEvent::Signal(SIGUSR1) if self.saver.is_some() => {
                self.saver.iter_mut().for_each(Saver::ask);
            }
            HostEvent::Signal(signal) => {
                let Some(process) = self.process else { return Ok(Some(exit::of_signal(signal))) };
                self.vm.session.signal(process, signal as u8);
                self.ending_signals += u32::from(matches!(signal, SIGINT | SIGTERM | SIGHUP));
                let hung_up = || terminal::hung_up(std::io::stdin()) || terminal::hung_up(std::io::stdout());
                if signal == SIGHUP && hung_up() {
                    self.hung_up = Some(Instant::now() + HANGUP_LIMIT);
                }
                if self.ending_signals >= IMPATIENT {
                    return Ok(Some(exit::of_signal(signal)));
                }
            }
        }
        Ok(None)
    }

    /// Something happened in the guest.
    fn guest_event(&mut self, event: Event) -> Result<()> {
        self.timeline.mark(match &event {
            Event::Started(_) => "the process runs",
            Event::Output(..) => "it prints",
            Event::Exited(..) => "it has ended",
            _ => "the agent answers",
        });
        match event {
            Event::Ready(_) => self.prepare()?,
            Event::Done(request) if self.saver.as_mut().is_some_and(|saver| saver.done(request)) => {}
            Event::Done(request) => {
                self.requests.remove(&request);
                self.start_when_prepared();
            }
            Event::Failed(request, message) if self.save_failed(request) => {
                self.say(&format!("cannot save the machine: {message}"));
            }
            Event::Failed(request, message) => {
                let what = self.requests.remove(&request).unwrap_or_else(|| "request".to_string());
                bail!("{what}: {message}");
            }
            Event::Log(text) => self.say(text.trim_end()),
            Event::Started(_) => {}
            Event::StartFailed(_, kind, message) => {
                self.say(&message);
                self.end(kind.exit_status());
            }
            Event::Output(_, output, bytes) => {
                self.saver.iter_mut().for_each(|saver| saver.printed(output, &bytes));
                self.io.write(stream(output), bytes);
            }
            Event::OutputEof(..) => {}
            Event::StdinReady(_) => self.pass_stdin(),
            Event::StdinClosed(_) => self.stdin.clear(),
            Event::Exited(_, status) => self.end(status.exit_status()),
        }
        Ok(())
    }

    /// The agent is ready: brings the guest up to date and mounts the shares.
    fn prepare(&mut self) -> Result<()> {
        // An agent may say so after booting and as its answer; each time after the first it gets nothing more.
        if std::mem::replace(&mut self.prepared, true) {
            return Ok(());
        }
        let session = &mut self.vm.session;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        session.set_clock(since_epoch.as_nanos() as u64);
        let mut seed = [0; 64];
        getrandom::fill(&mut seed).context("no random numbers from the host")?;
        session.add_entropy(&seed);
        if let Some(process) = self.process {
            // It was stopped when the machine was saved, and goes on only now.
            self.requests.insert(session.thaw(), "cannot let the container go on".to_string());
            if !self.options.interactive {
                session.close_stdin(process);
            }
        } else if self.hostname.as_deref() != Some(hostname(self.options)) {
            let hostname = hostname(self.options);
            self.requests.insert(session.set_hostname(hostname), "cannot set the host name".to_string());
            for (path, contents) in host_files(hostname) {
                let file = FileSpec { path: path.as_bytes().to_vec(), mode: 0o644, contents };
                self.requests.insert(session.write_file(file), format!("cannot write {path}"));
            }
        }
        for (place, volume) in self.places.iter().zip(&self.options.volumes) {
            if *place < self.mounted.len() {
                continue;
            }
            let mount = MountSpec {
                tag: launch::share_tag(*place).into_bytes(),
                source: launch::share_source(volume)?,
                target: volume.guest.as_bytes().to_vec(),
                read_only: volume.read_only,
                msize: SHARE_MSIZE,
                options: b"cache=mmap".to_vec(),
            };
            let what = format!("cannot mount {} at {}", volume.host.display(), volume.guest.display());
            self.requests.insert(session.mount(mount), what);
        }
        // New ones have the places behind the old ones, in this order.
        let old = self.mounted.len();
        let new = self.places.iter().zip(&self.options.volumes).filter(|(place, _)| **place >= old);
        self.mounted.extend(new.map(|(_, volume)| volume.guest.as_bytes().to_vec()));
        if self.process.is_some() && self.how.stdin {
            self.io.read_stdin();
        }
        Ok(())
    }

    /// Goes on with saving the machine, if that was asked for.
    fn save(&mut self, idle: bool) {
        if self.process.is_none() || self.ended.is_some() || !self.requests.is_empty() {
            return;
        }
        let at_rest = idle && !self.io.has_pending_output();
        let Some(saver) = &mut self.saver else { return };
        match saver.go_on(self.image, &mut self.vm, (self.how, &self.mounted), at_rest) {
            Some(Ok(path)) => self.say(&format!("saved the machine as {}", path.display())),
            Some(Err(error)) => self.say(&format!("cannot save the machine: {error:#}")),
            None => {}
        }
    }

    fn save_failed(&mut self, request: RequestId) -> bool {
        self.saver.as_mut().is_some_and(|saver| saver.failed(request, &mut self.vm))
    }

    fn start_when_prepared(&mut self) {
        if !self.requests.is_empty() {
            return;
        }
        if let Some(spec) = self.spec.take() {
            let reads = spec.stdin;
            self.process = Some(self.vm.session.start(spec));
            if reads {
                self.io.read_stdin();
            }
        }
    }

    /// Gives the guest as much of the waiting input as it takes.
    fn pass_stdin(&mut self) {
        let Some(process) = self.process else { return };
        if !self.stdin.is_empty() {
            let taken = self.vm.session.write_stdin(process, &self.stdin);
            self.stdin.drain(..taken);
            if !self.stdin.is_empty() {
                return;
            }
            self.io.want_stdin();
        }
        if self.stdin_eof {
            self.vm.session.close_stdin(process);
        }
    }

    /// The process has ended; what is left is to write shared files back.
    fn end(&mut self, status: u8) {
        self.ended = Some((status, Instant::now() + SHUTDOWN_LIMIT));
        if self.has_writable_shares() {
            self.vm.session.shutdown(Power::Off);
        }
    }

    /// Shows a line on stderr. If nobody reads there, it is dropped: the guest's words end nothing.
    fn say(&self, text: &str) {
        // A raw terminal needs a carriage return, too.
        let line_end = if self.options.tty && self.options.interactive { "\r\n" } else { "\n" };
        let _ = std::io::stderr().write_all(format!("c2w-run: {text}{line_end}").as_bytes());
    }
}

fn stream(output: Output) -> Stream {
    match output {
        Output::Stdout => Stream::Stdout,
        Output::Stderr => Stream::Stderr,
    }
}

fn output(stream: Stream) -> Output {
    match stream {
        Stream::Stdout => Output::Stdout,
        Stream::Stderr => Output::Stderr,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::MachineState;
    use crate::vm::Computer;
    use c2w_agent::Ready;
    use c2w_devices::backend::char::char_channel;
    use c2w_engine::irq::Attention;
    use c2w_engine::jit::TranslatorStatistics;
    use c2w_engine::machine::{Exit, Statistics};
    use c2w_engine::mem::ram::Ram;

    fn words(words: &[&str]) -> Vec<ByteString> {
        words.iter().map(|word| ByteString(word.as_bytes().to_vec())).collect()
    }

    fn argv(config: &ContainerConfig, entrypoint: Option<&str>, command: &[&str]) -> Option<String> {
        let options = RunOptions {
            entrypoint: entrypoint.map(OsString::from),
            command: command.iter().map(OsString::from).collect(),
            ..RunOptions::default()
        };
        let argv = start_spec(config, &options).ok()?.argv;
        Some(argv.iter().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn command_lines_combine_as_in_docker() {
        let both = ContainerConfig {
            entrypoint: words(&["/e"]),
            cmd: words(&["c", "d"]),
            ..ContainerConfig::default()
        };
        assert_eq!(argv(&both, None, &[]).as_deref(), Some("/e c d"));
        assert_eq!(argv(&both, None, &["x"]).as_deref(), Some("/e x"));
        assert_eq!(argv(&both, Some("/n"), &[]).as_deref(), Some("/n"));
        assert_eq!(argv(&both, Some("/n"), &["x"]).as_deref(), Some("/n x"));
        assert_eq!(argv(&both, Some(""), &["x"]).as_deref(), Some("x"));
        assert_eq!(argv(&ContainerConfig::default(), None, &[]), None);
    }

    /// A computer that does nothing.
    struct Still;

    impl Computer for Still {
        fn run(&mut self, _budget: u64) -> Exit {
            Exit::Budget
        }
        fn now_ns(&self) -> u64 {
            0
        }
        fn statistics(&self) -> Statistics {
            Statistics::default()
        }
        fn translator_statistics(&self) -> Option<TranslatorStatistics> {
            None
        }
        fn devices_can_wake(&self) -> bool {
            true
        }
        fn save(&self) -> MachineState {
            unreachable!("nothing here saves it")
        }
        fn ram(&self) -> &Ram {
            unreachable!("nothing here looks at it")
        }
    }

    fn manifest_only(path: &std::path::Path) -> Image {
        use c2w_packer::image::{Arch, ImageWriter, MachineConfig, Manifest, Provenance, SectionId};
        let machine = MachineConfig { arch: Arch::Riscv64, memory_bytes: 1 << 20, cmdline: String::new() };
        let (config, provenance) = (ContainerConfig::default(), Provenance::default());
        let mut writer = ImageWriter::create(path, Arch::Riscv64).unwrap();
        writer.add_bytes(SectionId::Manifest, &Manifest { machine, config, provenance }.to_json()).unwrap();
        writer.finish().unwrap();
        Image::open(path).unwrap()
    }

    #[test]
    fn an_agent_that_is_ready_again_and_again_fills_no_memory() {
        let attention = Attention::default();
        let ((_port, port), (_serial, console)) =
            (char_channel(64, &attention), char_channel(64, &attention));
        let vm = Vm::new(Box::new(Still), port);
        let console = ConsoleTail::new(console);
        let launched = Launched {
            vm,
            console,
            places: Vec::new(),
            mounted: Vec::new(),
            hostname: None,
            start: State::Cold,
        };
        let options = RunOptions::default();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image.c2w");
        let image = manifest_only(&path);
        let mut run = Run::new(&image, launched, HostIo::start(), Some(StartSpec::default()), &options);
        run.guest_event(Event::Ready(Ready::default())).unwrap();
        let waiting_bytes = run.vm.session.outgoing().len();
        run.guest_event(Event::Ready(Ready::default())).unwrap();
        assert_eq!(run.vm.session.outgoing().len(), waiting_bytes);
    }

    #[test]
    fn environment_entries_replace_each_other() {
        let mut env = vec![b"A=1".to_vec(), b"AB=2".to_vec()];
        set_env(&mut env, b"A=3".to_vec());
        set_env(&mut env, b"C=4".to_vec());
        assert_eq!(env, [b"A=3".to_vec(), b"AB=2".to_vec(), b"C=4".to_vec()]);
    }
}
