//! What the host can ask of the agent and what the agent can say.

/// An output stream of a process. A process on a tty has only `Stdout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// File descriptor 1, or the tty.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// A terminal's size in character cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A process to start. The first one becomes PID 1 of a new container (its own PID, mount, IPC and
/// UTS namespaces); further ones join it, until it ends and everything in it with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartSpec {
    /// Program and arguments. A program without a slash is looked up in `PATH`.
    pub argv: Vec<Vec<u8>>,
    /// Environment, `NAME=value`. `PATH` and `HOME` are added when missing.
    pub env: Vec<Vec<u8>>,
    /// Absolute working directory, created when missing; empty means `/`.
    pub cwd: Vec<u8>,
    /// `user`, `user:group`, `uid`, `uid:gid` as `docker run --user` takes it, names from the
    /// image's `/etc/passwd` and `/etc/group`; empty means root.
    pub user: Vec<u8>,
    /// Give it a terminal of this size as stdin, stdout and stderr, else three pipes.
    pub tty: Option<WindowSize>,
    /// Keep stdin open for data; else it is `/dev/null` (or a silent terminal).
    pub stdin: bool,
    /// The container sees its root read-only. Only the container's first process decides.
    pub read_only_root: bool,
    /// All capabilities, nothing masked under `/proc` and `/sys`; else what docker gives by
    /// default. (The boundary of safety is the machine, not this.)
    pub privileged: bool,
}

/// A 9p share to mount in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountSpec {
    /// The virtio-9p device's mount tag.
    pub tag: Vec<u8>,
    /// What to mount of the share, relative to its root; empty means all of it. May be a file.
    pub source: Vec<u8>,
    /// Absolute path in the container; created when missing, as a directory or an empty file as
    /// the source is.
    pub target: Vec<u8>,
    /// Refuse writes.
    pub read_only: bool,
    /// Largest 9p message in bytes.
    pub msize: u32,
    /// Further mount options of the kernel's 9p client, comma separated (`cache=mmap`).
    pub options: Vec<u8>,
}

/// A file to write in the container's root, its missing parent directories included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSpec {
    /// Absolute path in the container.
    pub path: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// The whole content.
    pub contents: Vec<u8>,
}

/// How the machine stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Switch off.
    Off,
    /// Start again.
    Reboot,
}

/// From host to agent. `request` and `process` numbers are chosen by the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// The host's protocol version; answered by `Ready`.
    Hello {
        /// [`crate::VERSION`].
        version: u32,
    },
    /// Set the wall clock, in nanoseconds since 1970 UTC.
    Clock {
        /// Nanoseconds since the epoch.
        unix_ns: u64,
    },
    /// Mix these secret random bytes into the kernel's generator, credit them and reseed at once.
    Entropy {
        /// Random bytes of the host.
        seed: Vec<u8>,
    },
    /// Set the host name. Answered.
    Hostname {
        /// Number repeated in the answer.
        request: u32,
        /// At most 64 bytes (Linux).
        name: Vec<u8>,
    },
    /// Write a file. Answered.
    File {
        /// Number repeated in the answer.
        request: u32,
        /// What to write.
        file: FileSpec,
    },
    /// Mount a share. Answered.
    Mount {
        /// Number repeated in the answer.
        request: u32,
        /// What to mount.
        mount: MountSpec,
    },
    /// Start a process. Answered by `Started` or `StartFailed`.
    Start {
        /// Number of the process, not used before.
        process: u32,
        /// What to start.
        spec: StartSpec,
    },
    /// Input, within the process's stdin credit.
    Stdin {
        /// Number of the process.
        process: u32,
        /// Data.
        bytes: Vec<u8>,
    },
    /// No more input follows.
    StdinEof {
        /// Number of the process.
        process: u32,
    },
    /// The host passed on this much output: credit for more.
    Window {
        /// Number of the process.
        process: u32,
        /// Which stream.
        output: Output,
        /// Bytes.
        bytes: u32,
    },
    /// The terminal has a new size.
    Resize {
        /// Number of the process.
        process: u32,
        /// The new size.
        size: WindowSize,
    },
    /// Send a signal to the process.
    Signal {
        /// Number of the process.
        process: u32,
        /// Linux signal number.
        signal: u8,
    },
    /// Nobody reads this output any more: the process gets SIGPIPE when it writes.
    CloseOutput {
        /// Number of the process.
        process: u32,
        /// Which stream.
        output: Output,
    },
    /// Make the next container ahead of its first process, which then starts sooner. Answered.
    Prepare {
        /// Number repeated in the answer.
        request: u32,
    },
    /// Read these files of the container, so that they are in memory when they are needed. Answered; what is no file is
    /// passed over.
    Read {
        /// Number repeated in the answer.
        request: u32,
        /// Absolute paths.
        paths: Vec<Vec<u8>>,
    },
    /// Stop every process of the container, without its noticing, until `Thaw`. Answered.
    Freeze {
        /// Number repeated in the answer.
        request: u32,
    },
    /// Let them go on. Answered.
    Thaw {
        /// Number repeated in the answer.
        request: u32,
    },
    /// End every process, write file systems back, stop the machine.
    Shutdown {
        /// How.
        power: Power,
    },
}

/// What the agent says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ready {
    /// Protocol version.
    pub version: u32,
    /// Machine name as in `uname -m`.
    pub arch: String,
    /// Kernel release as in `uname -r`.
    pub kernel: String,
}

/// Why a process was not started, by the exit status docker gives for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No such program: 127.
    NotFound,
    /// A file that cannot be executed: 126.
    NotExecutable,
    /// Everything else: 125.
    Other,
}

impl FailureKind {
    /// The exit status that tells of it.
    pub fn exit_status(self) -> u8 {
        match self {
            FailureKind::NotFound => 127,
            FailureKind::NotExecutable => 126,
            FailureKind::Other => 125,
        }
    }

    /// The kind an exit status tells of.
    pub fn from_exit_status(status: u8) -> Option<FailureKind> {
        match status {
            127 => Some(FailureKind::NotFound),
            126 => Some(FailureKind::NotExecutable),
            125 => Some(FailureKind::Other),
            _ => None,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// By exit with this status.
    Code(u8),
    /// By this signal.
    Signal(u8),
}

impl Status {
    /// The status a shell or docker shows for it: a signal is 128 and its number.
    pub fn exit_status(self) -> u8 {
        match self {
            Status::Code(code) => code,
            Status::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// From agent to host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The agent is there: sent after boot and as the answer to `Hello`.
    Ready(Ready),
    /// The request was carried out.
    Done {
        /// The command's number.
        request: u32,
    },
    /// The request could not be carried out.
    Failed {
        /// The command's number.
        request: u32,
        /// Why, for a person.
        message: String,
    },
    /// Something a person may want to know.
    Log {
        /// One line.
        text: String,
    },
    /// The process runs its program.
    Started {
        /// Number of the process.
        process: u32,
    },
    /// The process does not run, and no more is said of it.
    StartFailed {
        /// Number of the process.
        process: u32,
        /// Which kind of failure.
        kind: FailureKind,
        /// Why, for a person.
        message: String,
    },
    /// Output, within the stream's credit.
    Output {
        /// Number of the process.
        process: u32,
        /// Which stream.
        output: Output,
        /// Data.
        bytes: Vec<u8>,
    },
    /// This stream has no more.
    OutputEof {
        /// Number of the process.
        process: u32,
        /// Which stream.
        output: Output,
    },
    /// The process took this much input: credit for more.
    StdinWindow {
        /// Number of the process.
        process: u32,
        /// Bytes.
        bytes: u32,
    },
    /// The process reads no more input; what is sent is dropped.
    StdinClosed {
        /// Number of the process.
        process: u32,
    },
    /// The process ended; all its output was sent before.
    Exited {
        /// Number of the process.
        process: u32,
        /// How.
        status: Status,
    },
}
