//! Where workloads run: in a guest with the agent, in a guest that is driven over its serial console, or one process for
//! each.

use super::build::{CONSOLE_INIT, GUEST_DIRECTORY};
use super::list::Workload;
use super::template::{Drive, Placeholder, Template};
use crate::assets::{Assets, MEMORY_BYTES};
use crate::guest::{self, Guest, TimedOut};
use crate::ours::CMDLINE;
use crate::process::{self, poll_until};
use crate::qemu::Qemu;
use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags};
use rustix::io::{FdFlags, fcntl_setfd};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What `build::CONSOLE_INIT_TEXT` says when it is ready for the first line.
const CONSOLE_READY: &str = "c2w-ready";
/// What it says after a line, before the status.
const CONSOLE_END: &str = "c2w-end ";
/// How long to sleep between two looks whether an emulator has connected.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// On the clock.
    pub wall: Duration,
    /// Of the host's processors, if known.
    pub cpu: Option<Duration>,
    /// What the program computed.
    pub checksum: u64,
    /// What it measured itself, for [`super::list::INDIRECT`].
    pub ns: Option<f64>,
}

impl Outcome {
    /// From the lines that a program has said.
    fn new<'a>(
        wall: Duration,
        cpu: Option<Duration>,
        said: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Self> {
        let ns = said.clone().find_map(|line| line.trim().strip_prefix("ns ")?.parse().ok());
        Ok(Self { wall, cpu, checksum: checksum(said)?, ns })
    }
}

/// Something that runs workloads.
pub trait Runner {
    /// Runs one, which does its work so many times.
    ///
    /// # Errors
    /// It did not end well, not within `limit`, or the whole machine did not; then nothing else can be run.
    fn run(&mut self, workload: &Workload, repeats: u64, limit: Duration) -> Result<Outcome>;

    /// Most memory that a process which emulates a machine has had at a time, if that is known.
    fn peak_bytes(&self) -> Option<u64> {
        None
    }
}

/// A guest with the agent in it.
pub struct Agent<G>(G);

impl<G: Guest> Agent<G> {
    /// Waits until it has booted and has every program in its page cache.
    ///
    /// # Errors
    /// When the machine ended or the agent broke the protocol, or has not booted in time.
    pub fn boot(mut guest: G, limit: Duration) -> Result<Self> {
        guest::wait_ready(&mut guest, limit)?;
        guest::run(&mut guest, &warm_up())?;
        Ok(Self(guest))
    }
}

impl<G: Guest> Runner for Agent<G> {
    fn run(&mut self, workload: &Workload, repeats: u64, limit: Duration) -> Result<Outcome> {
        let program = format!("/{GUEST_DIRECTORY}/{}", workload.name);
        let (took, said) = guest::execute(&mut self.0, &[&program, &repeats.to_string()], limit)?;
        Outcome::new(took.wall, Some(took.cpu), said.lines())
    }

    fn peak_bytes(&self) -> Option<u64> {
        self.0.peak_bytes()
    }
}

/// Reads every program once.
fn warm_up() -> String {
    format!("cat /{GUEST_DIRECTORY}/* > /dev/null")
}

/// The line that is a checksum; a kernel may have said something, too.
fn checksum<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<u64> {
    let is_checksum = |line: &&str| line.len() == 16 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    let found = lines.into_iter().map(str::trim).find(is_checksum);
    Ok(u64::from_str_radix(found.context("there is no checksum")?, 16)?)
}

/// A process for each run: the host itself, or an emulator of user programs.
pub struct Programs {
    template: Template,
    directory: PathBuf,
}

impl Programs {
    /// Runs programs of `directory` by `template`.
    pub fn new(template: Template, directory: PathBuf) -> Self {
        Self { template, directory }
    }

    /// Runs them by themselves.
    pub fn native(directory: PathBuf) -> Self {
        let template = "native={program} {repeats}".parse();
        Self::new(template.expect("this is a template"), directory)
    }
}

impl Runner for Programs {
    fn run(&mut self, workload: &Workload, repeats: u64, limit: Duration) -> Result<Outcome> {
        let words = self.template.fill(|placeholder| {
            Ok(match placeholder {
                Placeholder::Program => self.directory.join(workload.name).display().to_string(),
                Placeholder::Repeats => repeats.to_string(),
                other => bail!("{other:?} is for emulators that boot"),
            })
        })?;
        let ended = process::run(&mut command(&words), limit)?;
        let (status, complaint) = (ended.status, ended.stderr);
        ensure!(status.success(), "`{}` ended with {status}: {complaint}", words.join(" "));
        Outcome::new(ended.took.wall, Some(ended.took.cpu), ended.stdout.lines())
    }
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

/// Starts another emulator and waits until it is ready. `programs` are those of the guest's architecture.
///
/// # Errors
/// It could not be started or did not get that far in time.
pub fn peer(
    template: &Template,
    assets: &Assets,
    programs: &Path,
    limit: Duration,
) -> Result<Box<dyn Runner>> {
    let name = || template.name.clone();
    match template.drive {
        Drive::Program => Ok(Box::new(Programs::new(template.clone(), programs.to_path_buf()))),
        Drive::AgentFd => {
            let (socket, theirs) = UnixStream::pair()?;
            // The child is to have this descriptor under the same number.
            fcntl_setfd(&theirs, FdFlags::empty())?;
            let mut command = booting(template, assets, &theirs.as_raw_fd().to_string())?;
            let process = command.stdout(Stdio::null()).spawn().with_context(name)?;
            // Else the socket would stay open when the emulator ends.
            drop(theirs);
            agent(process, socket, limit).with_context(name)
        }
        Drive::AgentSocket => {
            let directory = tempfile::tempdir()?;
            let path = directory.path().join("agent");
            let listener = UnixListener::bind(&path)?;
            let mut command = booting(template, assets, &path.display().to_string())?;
            let mut process = command.stdout(Stdio::null()).spawn().with_context(name)?;
            let socket = accept(&listener, &mut process).with_context(name)?;
            agent(process, socket, limit).with_context(name)
        }
        Drive::Console => {
            let mut command = booting(template, assets, "")?;
            Ok(Box::new(Console::boot(&mut command, limit).with_context(name)?))
        }
    }
}

/// The command of an emulator that boots.
fn booting(template: &Template, assets: &Assets, agent: &str) -> Result<Command> {
    let words = template.fill(|placeholder| {
        let path = |path: &Path| Ok(path.display().to_string());
        match placeholder {
            Placeholder::Kernel => path(&assets.kernel),
            Placeholder::Initrd => path(&assets.initrd),
            Placeholder::Rootfs => path(&assets.rootfs),
            Placeholder::Share => path(&assets.share),
            Placeholder::Cmdline => Ok(CMDLINE.to_string()),
            Placeholder::ConsoleCmdline => Ok(format!(
                "{CMDLINE} root=/dev/vda ro rootfstype=erofs init=/{GUEST_DIRECTORY}/{CONSOLE_INIT}"
            )),
            Placeholder::MemoryMib => Ok((MEMORY_BYTES >> 20).to_string()),
            Placeholder::AgentFd | Placeholder::AgentSocket => Ok(agent.to_string()),
            other => bail!("{other:?} is for emulators that run one program"),
        }
    })?;
    Ok(command(&words))
}

fn agent(process: Child, socket: UnixStream, limit: Duration) -> Result<Box<dyn Runner>> {
    socket.set_nonblocking(true)?;
    Ok(Box::new(Agent::boot(Qemu::around(process, socket), limit)?))
}

/// Waits for an emulator's connection as long as it lives.
fn accept(listener: &UnixListener, process: &mut Child) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((socket, _)) => return Ok(socket),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(status) = process.try_wait()? {
            bail!("ended with {status} before it connected");
        }
        thread::sleep(CONNECT_PAUSE);
    }
}

/// A guest whose first process is a script that obeys its serial console.
struct Console {
    process: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// What was read beyond the last line.
    rest: Vec<u8>,
}

impl Console {
    fn boot(command: &mut Command, limit: Duration) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().context("a pipe")?;
        let output = process.stdout.take().context("a pipe")?;
        let mut console = Self { process, input, output, rest: Vec::new() };
        console.lines_until(limit, |line| (line == CONSOLE_READY).then_some(())).context("the boot")?;
        console.obey(&warm_up(), limit)?;
        Ok(console)
    }

    /// Has a line obeyed and returns what was said meanwhile.
    fn obey(&mut self, line: &str, limit: Duration) -> Result<Vec<String>> {
        writeln!(self.input, "{line}")
            .and_then(|()| self.input.flush())
            .context("cannot write to the console")?;
        let (said, status) =
            self.lines_until(limit, |line| line.strip_prefix(CONSOLE_END).map(str::to_string))?;
        ensure!(status == "0", "`{line}` ended with {status}: {}", said.join("\n"));
        Ok(said)
    }

    /// Lines before one of which `end` says something, and what it says.
    fn lines_until<T>(
        &mut self,
        limit: Duration,
        end: impl Fn(&str) -> Option<T>,
    ) -> Result<(Vec<String>, T)> {
        let deadline = Instant::now() + limit;
        let mut said = Vec::new();
        loop {
            while let Some(newline) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=newline).collect();
                let line = String::from_utf8_lossy(&line).trim().to_string();
                if let Some(end) = end(&line) {
                    return Ok((said, end));
                }
                said.push(line);
            }
            let is_there = poll_until(&mut [PollFd::new(&self.output, PollFlags::IN)], deadline)?;
            ensure!(is_there, TimedOut(limit));
            let mut chunk = [0; 4096];
            let len = self.output.read(&mut chunk).context("cannot read from the console")?;
            self.rest.extend(&chunk[..len]);
            if len == 0 {
                said.push(String::from_utf8_lossy(&self.rest).trim().to_string());
                bail!("the emulator has ended: {}", said.join("\n"));
            }
        }
    }
}

impl Runner for Console {
    fn run(&mut self, workload: &Workload, repeats: u64, limit: Duration) -> Result<Outcome> {
        let start = Instant::now();
        let said = self.obey(&format!("/{GUEST_DIRECTORY}/{} {repeats}", workload.name), limit)?;
        Outcome::new(start.elapsed(), None, said.iter().map(String::as_str))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::LIMIT;

    #[test]
    fn checksums_are_found_among_other_lines() {
        let said = "[    1.000000] a kernel's word\r\n0123456789abcdef\r\n";
        assert_eq!(checksum(said.lines()).unwrap(), 0x0123_4567_89ab_cdef);
        assert!(checksum("0123456789abcde\n+123456789abcdef\n".lines()).is_err());
    }

    /// The shell stands for an emulator: what it reads and writes is the console.
    #[test]
    fn a_console_is_obeyed_line_by_line() {
        let script = "echo noise; echo c2w-ready; while read -r line; do case $line in cat*) echo c2w-end 0;; \
                      */sieve*) echo 000000000000002a; echo c2w-end 0;; *) echo no; echo c2w-end 127;; esac; done";
        let words: Vec<String> = ["sh", "-c", script].map(str::to_string).to_vec();
        let mut console = Console::boot(&mut command(&words), LIMIT).unwrap();
        let sieve = super::super::list::WORKLOADS[0];
        assert_eq!(console.run(&sieve, 1, LIMIT).unwrap().checksum, 42);
        let error = console.run(&super::super::list::WORKLOADS[1], 1, LIMIT).unwrap_err();
        assert!(error.to_string().contains("127: no"), "{error}");
        let mut hangs =
            command(&["sh", "-c", "echo c2w-ready; echo c2w-end 0; exec sleep 3600"].map(str::to_string));
        let error =
            Console::boot(&mut hangs, LIMIT).unwrap().run(&sieve, 1, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&TimedOut(Duration::from_millis(50))));
        let mut gone = command(&["sh", "-c", "echo bad"].map(str::to_string));
        assert!(Console::boot(&mut gone, LIMIT).is_err_and(|error| format!("{error:#}").contains("bad")));
    }
}
