//! Starting one process: its pipes or terminal on the agent's side, and on the child's side
//! everything between clone and exec.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use c2w_agent::{Command, DEFAULT_PATH, Decoder, FailureKind, Message, StartSpec, WindowSize};
use rustix::fs::{Access, AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Resource, Rlimit};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::ThreadNameSpaceType;

use super::container::{self, View};
use super::error::{AgentError, During, describe, errno_of};
use super::path;
use super::sys::{self, Clone};
use super::user::{self, UserError};

/// Where processes run.
pub enum World {
    /// In containers over this root, from an agent in the PID namespace of the second descriptor.
    Containers {
        /// The container's root, seen from outside.
        root: OwnedFd,
        /// The agent's own PID namespace, to come back to.
        own_pids: OwnedFd,
    },
    /// Beside the agent, without any isolation: for development and tests.
    Plain,
}

/// A child that is about to exec.
pub struct Launched {
    /// Readable when the child has ended.
    pub pidfd: OwnedFd,
    /// End of file when the program runs; else an exit status and a message, see [`failure`].
    pub outcome: OwnedFd,
    /// Its input and output.
    pub streams: Streams,
}

/// The agent's side of a child's input and output.
#[derive(Default)]
pub struct Streams {
    /// Where its input goes.
    pub stdin: Option<Rc<OwnedFd>>,
    /// Where its stdout (or all output) and stderr come from.
    pub outputs: [Option<Rc<OwnedFd>>; 2],
    /// Our side of its terminal, if it has one.
    pub terminal: Option<Rc<OwnedFd>>,
    /// The terminal's other side, kept open until the child has it.
    pub terminal_peer: Option<OwnedFd>,
}

impl Streams {
    /// Those of a process on a terminal.
    fn of_terminal(ours: OwnedFd, peer: OwnedFd, stdin: bool) -> Streams {
        let ours = Rc::new(ours);
        Streams {
            stdin: stdin.then(|| Rc::clone(&ours)),
            outputs: [Some(Rc::clone(&ours)), None],
            terminal: Some(ours),
            terminal_peer: Some(peer),
        }
    }
}

/// Why a program does not run. Worded as docker words it.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("no command specified")]
    NoCommand,
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    NoSuchFile(String),
    #[error("exec: {0:?}: is a directory")]
    Directory(String),
    #[error("exec: {0:?}: permission denied")]
    Permission(String),
    #[error("exec {program}: {}", describe(.errno))]
    Exec { program: String, errno: Errno },
    #[error("an argument or a variable contains a NUL byte")]
    Nul,
    #[error("chdir to cwd ({cwd:?}) failed: {}", describe(.errno))]
    Cwd { cwd: String, errno: Errno },
    #[error("{0}")]
    User(#[from] UserError),
    #[error("{0}")]
    Agent(#[from] AgentError),
}

impl StartError {
    fn kind(&self) -> FailureKind {
        match self {
            StartError::NotInPath(_) | StartError::NoSuchFile(_) => FailureKind::NotFound,
            StartError::Exec { errno: Errno::NOENT, .. } => FailureKind::NotFound,
            StartError::Directory(_) | StartError::Permission(_) | StartError::Exec { .. } => {
                FailureKind::NotExecutable
            }
            StartError::Cwd { errno: Errno::ACCESS, .. } => FailureKind::NotExecutable,
            _ => FailureKind::Other,
        }
    }
}

/// What the child wrote to [`Launched::outcome`].
pub fn failure(outcome: &[u8]) -> (FailureKind, String) {
    let status = outcome.first().copied().unwrap_or_default();
    let message = String::from_utf8_lossy(outcome.get(1..).unwrap_or_default()).into_owned();
    (FailureKind::from_exit_status(status).unwrap_or(FailureKind::Other), message)
}

/// Whether this is a child that has not come to exec. (The agent's panic hook stops the machine;
/// a child's must not.)
pub static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// What the child takes over.
struct ChildSide<'a> {
    /// The first process of a new container, or one beside others.
    joins: Option<BorrowedFd<'a>>,
    stdio: [OwnedFd; 3],
    /// The terminal's name, as the container sees it.
    terminal: Option<String>,
    hostname: Option<&'a [u8]>,
    /// Its limits and capabilities are those of a container already.
    is_confined: bool,
}

/// Starts a process: in the container of the process `joins`, or as the first of a new one.
///
/// # Errors
/// When the kernel lacks something. That the program cannot run is told by [`Launched::outcome`].
pub fn launch(
    world: &World,
    joins: Option<BorrowedFd<'_>>,
    hostname: Option<&[u8]>,
    spec: &StartSpec,
) -> Result<Launched, AgentError> {
    let (outcome, child_outcome) = pipe()?;
    nonblocking(&outcome)?;
    let mut streams = Streams::default();
    let mut terminal = None;
    let stdio = match spec.tty {
        Some(size) => {
            let (ours, peer, name) = open_terminal(world, size)?;
            terminal = Some(name);
            let again = || peer.try_clone().during(|| "duplicate a terminal".into());
            let stdio = [again()?, again()?, again()?];
            streams = Streams::of_terminal(ours, peer, spec.stdin);
            stdio
        }
        None => {
            let input = if spec.stdin {
                let (child, ours) = pipe()?;
                nonblocking(&ours)?;
                streams.stdin = Some(Rc::new(ours));
                child
            } else {
                rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .during(|| "open /dev/null".into())?
            };
            let mut output = |index: usize| {
                let (ours, child) = pipe()?;
                nonblocking(&ours)?;
                streams.outputs[index] = Some(Rc::new(ours));
                Ok::<_, AgentError>(child)
            };
            [input, output(0)?, output(1)?]
        }
    };
    let cloned = match (world, joins) {
        (World::Containers { .. }, None) => sys::clone(sys::CONTAINER_NAMESPACES),
        (World::Containers { own_pids, .. }, Some(first)) => {
            // A process cannot change its PID namespace, only that of its children to come.
            rustix::thread::move_into_thread_name_spaces(first, ThreadNameSpaceType::PROCESS_ID)
                .during(|| "join the container's PID namespace".into())?;
            let cloned = sys::clone(0);
            if !matches!(cloned, Ok(Clone::Child)) {
                rustix::thread::move_into_link_name_space(own_pids.as_fd(), None)
                    .during(|| "return to the own PID namespace".into())?;
            }
            cloned
        }
        (World::Plain, _) => sys::clone(0),
    };
    match cloned.during(|| "clone".into())? {
        Clone::Parent(pidfd) => Ok(Launched { pidfd, outcome, streams }),
        Clone::Child => {
            IN_CHILD.store(true, Ordering::Relaxed);
            let side = ChildSide { joins, stdio, terminal, hostname, is_confined: false };
            let Err(error) = child(world, spec, side);
            fail(&child_outcome, &error)
        }
    }
}

/// The child's end without a program.
fn fail(outcome: &OwnedFd, error: &StartError) -> ! {
    let mut text = vec![error.kind().exit_status()];
    text.extend_from_slice(error.to_string().as_bytes());
    text.truncate(4096); // one piece (PIPE_BUF), and fits into one report
    let _ = rustix::io::write(outcome, &text);
    sys::exit(1);
}

/// A new container whose first process waits to be told what it is.
pub struct Waiting {
    pidfd: OwnedFd,
    outcome: OwnedFd,
    /// Where it is told.
    order: OwnedFd,
    stdin: OwnedFd,
    outputs: [OwnedFd; 2],
}

impl Waiting {
    /// Makes a container ahead of its first process.
    ///
    /// # Errors
    /// As pipe(2) and clone(2). What fails later is told when the process is started.
    pub fn new(world: &World) -> Result<Waiting, AgentError> {
        let (outcome, child_outcome) = pipe()?;
        let (child_order, order) = pipe()?;
        let (child_stdin, stdin) = pipe()?;
        let (stdout, child_stdout) = pipe()?;
        let (stderr, child_stderr) = pipe()?;
        for fd in [&outcome, &stdin, &stdout, &stderr] {
            nonblocking(fd)?;
        }
        match sys::clone(sys::CONTAINER_NAMESPACES).during(|| "clone".into())? {
            Clone::Parent(pidfd) => Ok(Waiting { pidfd, outcome, order, stdin, outputs: [stdout, stderr] }),
            Clone::Child => {
                IN_CHILD.store(true, Ordering::Relaxed);
                drop((order, stdin, stdout, stderr));
                let stdio = [child_stdin, child_stdout, child_stderr];
                let Err(error) = wait_for_order(world, child_order, stdio);
                fail(&child_outcome, &error)
            }
        }
    }

    /// Lets it become this process, which is not privileged.
    ///
    /// # Errors
    /// As [`launch`].
    pub fn launch(
        self,
        world: &World,
        hostname: Option<&[u8]>,
        spec: &StartSpec,
    ) -> Result<Launched, AgentError> {
        let mut streams = Streams::default();
        let mut terminal = None;
        match spec.tty {
            Some(size) => {
                let (ours, peer, name) = open_terminal(world, size)?;
                terminal = Some(name);
                streams = Streams::of_terminal(ours, peer, spec.stdin);
            }
            None => {
                streams.stdin = spec.stdin.then(|| Rc::new(self.stdin));
                streams.outputs = self.outputs.map(|fd| Some(Rc::new(fd)));
            }
        }
        let order = Order { hostname: hostname.map(<[u8]>::to_vec), terminal, spec: spec.clone() };
        let bytes = order.encode();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(&self.order, rest) {
                Ok(len) => rest = &rest[len..],
                Err(Errno::INTR) => {}
                // It has failed, and says why.
                Err(_) => break,
            }
        }
        Ok(Launched { pidfd: self.pidfd, outcome: self.outcome, streams })
    }
}

/// What a waiting process is told.
struct Order {
    hostname: Option<Vec<u8>>,
    terminal: Option<String>,
    spec: StartSpec,
}

impl Order {
    /// Commands of the protocol serve here, too: their fields are just these.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(name) = &self.hostname {
            Command::Hostname { request: 0, name: name.clone() }.encode(&mut bytes);
        }
        if let Some(name) = &self.terminal {
            Command::Stdin { process: 0, bytes: name.clone().into_bytes() }.encode(&mut bytes);
        }
        Command::Start { process: 0, spec: self.spec.clone() }.encode(&mut bytes);
        bytes
    }

    fn read(from: &OwnedFd) -> Result<Order, AgentError> {
        let mut decoder = Decoder::<Command>::default();
        let (mut hostname, mut terminal) = (None, None);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let len = match rustix::io::read(from, &mut buffer[..]) {
                Ok(0) => return Err(AgentError::Protocol("nobody waits for this container any more")),
                Err(Errno::INTR) => continue,
                read => read.during(|| "read what to start".into())?,
            };
            let mut input = &buffer[..len];
            while let Some(command) = decoder.next(&mut input)? {
                match command {
                    Command::Hostname { name, .. } => hostname = Some(name),
                    Command::Stdin { bytes, .. } => terminal = String::from_utf8(bytes).ok(),
                    Command::Start { spec, .. } => return Ok(Order { hostname, terminal, spec }),
                    _ => return Err(AgentError::Protocol("no order")),
                }
            }
        }
    }
}

/// A waiting process's way to exec.
fn wait_for_order(world: &World, order: OwnedFd, stdio: [OwnedFd; 3]) -> Result<Infallible, StartError> {
    begin()?;
    container::enter(false)?;
    limits()?;
    // From what the program may have; this process keeps what it has.
    container::drop_capabilities()?;
    // So that they are in memory.
    for name in ["/etc/passwd", "/etc/group"] {
        let _ = std::fs::read(name);
    }
    let Order { hostname, terminal, spec } = Order::read(&order)?;
    drop(order);
    let [mut stdin, stdout, stderr] = stdio;
    if !spec.stdin && terminal.is_none() {
        stdin = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .during(|| "open /dev/null".into())?;
    }
    let side = ChildSide {
        joins: None,
        stdio: [stdin, stdout, stderr],
        terminal,
        hostname: hostname.as_deref(),
        is_confined: true,
    };
    settle(&spec, &side)?;
    program(world, &spec, side)
}

fn pipe() -> Result<(OwnedFd, OwnedFd), AgentError> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).during(|| "create a pipe".into())
}

fn nonblocking(fd: &OwnedFd) -> Result<(), AgentError> {
    rustix::io::ioctl_fionbio(fd, true).during(|| "make a pipe non-blocking".into())
}

/// The kernel's form of a window size.
pub fn winsize(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Both sides of a new terminal, and its name in the container.
fn open_terminal(world: &World, size: WindowSize) -> Result<(OwnedFd, OwnedFd, String), AgentError> {
    let action = || "create a terminal".into();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let ours = match world {
        World::Containers { root, .. } => path::open_in(root.as_fd(), b"/dev/pts/ptmx", flags),
        World::Plain => rustix::fs::open("/dev/ptmx", flags, Mode::empty()),
    }
    .during(action)?;
    rustix::pty::unlockpt(&ours).during(action)?;
    let peer =
        rustix::pty::ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .during(action)?;
    rustix::termios::tcsetwinsize(&ours, winsize(size)).during(action)?;
    let name = rustix::pty::ptsname(&ours, Vec::new()).during(action)?;
    Ok((ours, peer, name.to_string_lossy().into_owned()))
}

/// The child's way to exec; returns only why it did not get there.
fn child(world: &World, spec: &StartSpec, side: ChildSide<'_>) -> Result<Infallible, StartError> {
    begin()?;
    if let World::Containers { .. } = world {
        if let Some(first) = side.joins {
            let spaces = ThreadNameSpaceType::MOUNT
                | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
                | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME;
            rustix::thread::move_into_thread_name_spaces(first, spaces)
                .during(|| "join the container".into())?;
        } else {
            container::enter(spec.privileged)?;
            settle(spec, &side)?;
        }
    }
    program(world, spec, side)
}

/// What every child does first.
fn begin() -> Result<(), AgentError> {
    sys::default_signals();
    rustix::process::setsid().map(drop).during(|| "setsid".into())
}

/// The first process's part in its container.
fn settle(spec: &StartSpec, side: &ChildSide<'_>) -> Result<(), AgentError> {
    container::settle(&View {
        hostname: side.hostname,
        terminal: side.terminal.as_deref(),
        read_only: spec.read_only_root,
    })
}

/// From inside the container to exec.
fn program(world: &World, spec: &StartSpec, side: ChildSide<'_>) -> Result<Infallible, StartError> {
    let [mut stdin, mut stdout, mut stderr] = side.stdio;
    if let World::Containers { .. } = world {
        if let Some(name) = &side.terminal {
            // Opened again where the container's `/dev/pts` is, so that ttyname(3) finds it.
            let open =
                || rustix::fs::open(&**name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
            stdin = open().during(|| format!("open {name}"))?;
            stdout = open().during(|| format!("open {name}"))?;
            stderr = open().during(|| format!("open {name}"))?;
        }
        if !side.is_confined {
            limits()?;
        }
    }
    if side.terminal.is_some() {
        rustix::process::ioctl_tiocsctty(&stdin).during(|| "take the terminal".into())?;
    }
    rustix::stdio::dup2_stdin(&stdin).during(|| "dup2".into())?;
    rustix::stdio::dup2_stdout(&stdout).during(|| "dup2".into())?;
    rustix::stdio::dup2_stderr(&stderr).during(|| "dup2".into())?;
    rustix::process::umask(Mode::from_raw_mode(0o022));

    let read = |name: &str| std::fs::read(name).unwrap_or_default();
    let user = user::resolve(&spec.user, &read("/etc/passwd"), &read("/etc/group"))?;
    if !spec.cwd.is_empty() {
        make_cwd(&spec.cwd)?;
    }
    if rustix::process::geteuid().is_root() {
        if matches!(world, World::Containers { .. }) && !spec.privileged && !side.is_confined {
            container::drop_capabilities()?;
        }
        become_user(spec, &user)?;
    }
    let cwd = if spec.cwd.is_empty() { b"/" } else { spec.cwd.as_slice() };
    if !matches!(world, World::Plain) || !spec.cwd.is_empty() {
        rustix::process::chdir(cwd).map_err(|errno| StartError::Cwd { cwd: text(cwd), errno })?;
    }

    let mut env = spec.env.clone();
    let value = |env: &[Vec<u8>], name: &[u8]| {
        env.iter().rev().find_map(|variable| Some(variable.strip_prefix(name)?.to_vec()))
    };
    if value(&env, b"HOME=").is_none() {
        env.push([b"HOME=", user.home.as_slice()].concat());
    }
    if value(&env, b"PATH=").is_none() {
        env.insert(0, [b"PATH=", DEFAULT_PATH.as_bytes()].concat());
    }
    let path = value(&env, b"PATH=").unwrap_or_default();
    let program = find_program(spec.argv.first().ok_or(StartError::NoCommand)?, &path)?;
    let strings = |list: &[Vec<u8>]| list.iter().map(|bytes| c_string(bytes)).collect::<Result<Vec<_>, _>>();
    let error = sys::execve(&c_string(&program)?, &strings(&spec.argv)?, &strings(&env)?);
    Err(StartError::Exec { program: text(&program), errno: errno_of(&error) })
}

/// Resource limits as docker's daemon passes them on, or as high as they may be set.
fn limits() -> Result<(), AgentError> {
    for (resource, most) in [(Resource::Nofile, Some(1_048_576)), (Resource::Nproc, None)] {
        let wanted = Rlimit { current: most, maximum: most };
        match rustix::process::setrlimit(resource, wanted) {
            Err(Errno::PERM) => {
                let maximum = rustix::process::getrlimit(resource).maximum;
                rustix::process::setrlimit(resource, Rlimit { current: maximum, maximum })
            }
            other => other,
        }
        .during(|| format!("set {resource:?} limit"))?;
    }
    Ok(())
}

fn make_cwd(cwd: &[u8]) -> Result<(), StartError> {
    let mut end = 0;
    while end < cwd.len() {
        end = cwd[end + 1..].iter().position(|byte| *byte == b'/').map_or(cwd.len(), |at| end + 1 + at);
        match rustix::fs::mkdir(&cwd[..end], Mode::from_raw_mode(0o755)) {
            // What is in the way, if anything, shows when the directory is entered.
            Ok(()) | Err(Errno::EXIST | Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::NOTDIR) => {}
            Err(errno) => return Err(StartError::Cwd { cwd: text(cwd), errno }),
        }
    }
    Ok(())
}

fn become_user(spec: &StartSpec, user: &user::User) -> Result<(), AgentError> {
    let action = || format!("become user {}", user.uid);
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    // So that the program can open /dev/stdout and its like, whoever it runs as.
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let stat = rustix::fs::fstat(fd).during(action)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let ours = kind == FileType::Fifo || spec.tty.is_some();
        if ours && stat.st_uid != user.uid {
            rustix::fs::fchown(fd, Some(uid), None).during(action)?;
        }
    }
    let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups).during(action)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).during(action)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).during(action)
}

/// The file that a command names: itself if it has a slash, else the first of that name in `path`
/// that this user may execute.
fn find_program(name: &[u8], path: &[u8]) -> Result<Vec<u8>, StartError> {
    if name.contains(&b'/') {
        return executable(name).map(|()| name.to_vec());
    }
    let directories = path.split(|byte| *byte == b':').filter(|_| !name.is_empty());
    for directory in directories {
        let directory = if directory.is_empty() { b"." } else { directory };
        let candidate = [directory, b"/", name].concat();
        if executable(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(StartError::NotInPath(text(name)))
}

fn executable(path: &[u8]) -> Result<(), StartError> {
    let stat = match rustix::fs::stat(path) {
        Err(Errno::ACCESS) => return Err(StartError::Permission(text(path))),
        Err(_) => return Err(StartError::NoSuchFile(text(path))),
        Ok(stat) => stat,
    };
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(StartError::Directory(text(path)));
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty())
        .map_err(|_| StartError::Permission(text(path)))
}

fn c_string(bytes: &[u8]) -> Result<CString, StartError> {
    CString::new(bytes).map_err(|_| StartError::Nul)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
