//! Processes of the host: `c2w-run` as a user has it, from its start to its end; how long one took, and what to do about
//! one that does not end.

use crate::assets::MEMORY_BYTES;
use crate::guest::{TimedOut, Took};
use crate::memory::{self, Resident};
use crate::tasks::FORKS;
use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a process has left.
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// After how long.
    pub took: Took,
    /// What it wrote to its standard output.
    pub stdout: String,
    /// What it wrote to its standard error.
    pub stderr: String,
}

/// Runs a program without input to its end, or kills it when it has not ended within `limit`.
///
/// # Errors
/// It cannot be started; [`TimedOut`].
pub fn run(command: &mut Command, limit: Duration) -> Result<Ended> {
    let name = command.get_program().to_string_lossy().into_owned();
    let [mut stdout, mut stderr] = [tempfile::tempfile()?, tempfile::tempfile()?];
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let start = Instant::now();
    let mut process = command.spawn().with_context(|| name.clone())?;
    let ended = has_ended(process.id(), start + limit);
    let wall = start.elapsed();
    if !matches!(ended, Ok(true)) {
        // It may have ended by itself.
        let _ = process.kill();
    }
    // Until it is waited for, its account is there.
    let cpu = cpu_time(process.id());
    let status = process.wait()?;
    if !ended? {
        bail!(TimedOut(limit));
    }
    let took = Took { wall, cpu: cpu? };
    Ok(Ended { status, took, stdout: text(&mut stdout)?, stderr: text(&mut stderr)? })
}

/// Waits for the end of a child.
fn has_ended(pid: u32, deadline: Instant) -> Result<bool> {
    let pid = Pid::from_raw(pid.cast_signed()).context("a process has a number")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(poll_until(&mut [PollFd::new(&process, PollFlags::IN)], deadline)?)
}

fn text(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits until something can be done with one of `fds`; false if that is not so by then.
///
/// # Errors
/// The host's.
pub fn poll_until(fds: &mut [PollFd<'_>], deadline: Instant) -> rustix::io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(fds, Some(&left)) {
            Err(Errno::INTR) => {}
            found => return Ok(found? > 0),
        }
    }
}

/// Processor time that a process has used, all threads together, also when it has ended and nobody has waited for it.
///
/// # Errors
/// There is no such process.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): after the name in parentheses, which may hold spaces, come the fields from the third on.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let (utime, stime) = (14, 15);
    let ticks: u64 =
        fields.skip(utime - 3).take(stime - utime + 1).map(str::parse::<u64>).sum::<Result<_, _>>()?;
    Ok(Duration::from_secs(ticks) / rustix::param::clock_ticks_per_second() as u32)
}

/// Load averages of this host over 1, 5 and 15 minutes.
///
/// # Errors
/// It does not tell.
pub fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// The `c2w-run` that lies beside this program.
///
/// # Errors
/// When there is none.
pub fn c2w_run() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("c2w-run");
    ensure!(path.exists(), "{} is missing: cargo build --release -p c2w", path.display());
    Ok(path)
}

/// The program and an image for it.
pub struct Program<'a> {
    path: PathBuf,
    image: &'a Path,
}

/// Resident memory at two moments of a container's life.
pub struct Moments {
    /// The first process runs.
    pub booted: Resident,
    /// A thousand more have come and gone.
    pub forked: Resident,
}

impl<'a> Program<'a> {
    /// The `c2w-run` that lies beside this program.
    ///
    /// # Errors
    /// When there is none.
    pub fn beside_this(image: &'a Path) -> Result<Self> {
        let program = Self { path: c2w_run()?, image };
        // The first run of a file reads all of it, once.
        program.whole_run()?;
        Ok(program)
    }

    /// `c2w-run image true`.
    ///
    /// # Errors
    /// When it fails.
    pub fn whole_run(&self) -> Result<Duration> {
        let start = Instant::now();
        let status = self.command(&["true"]).status().context("c2w-run")?;
        let took = start.elapsed();
        ensure!(status.success(), "c2w-run ended with {status}");
        Ok(took)
    }

    /// `c2w-run image echo hi`, until its first byte arrives.
    ///
    /// # Errors
    /// When it fails.
    pub fn first_byte(&self) -> Result<Duration> {
        let start = Instant::now();
        let mut process = self.command(&["echo", "hi"]).stdout(Stdio::piped()).spawn().context("c2w-run")?;
        let mut said = [0; 1];
        process.stdout.take().context("a pipe")?.read_exact(&mut said)?;
        let took = start.elapsed();
        let status = process.wait()?;
        ensure!(said == *b"h" && status.success(), "c2w-run ended with {status}");
        Ok(took)
    }

    /// Resident memory of a run.
    ///
    /// # Errors
    /// When it fails.
    pub fn memory(&self) -> Result<Moments> {
        let script = format!("echo booted; read line; {FORKS}; echo forked; read line");
        let mut process = self
            .command(&["sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("c2w-run")?;
        let pid = process.id();
        let mut input = process.stdin.take().context("a pipe")?;
        let mut output = BufReader::new(process.stdout.take().context("a pipe")?);
        let mut after = |mark: &str| -> Result<Resident> {
            let mut line = String::new();
            output.read_line(&mut line)?;
            ensure!(line.trim_end() == mark, "c2w-run said {line:?} instead of {mark:?}");
            let resident = memory::resident(pid, MEMORY_BYTES)?;
            input.write_all(b"\n")?;
            Ok(resident)
        };
        let moments = after("booted").and_then(|booted| Ok(Moments { booted, forked: after("forked")? }));
        drop(input);
        if moments.is_err() {
            // It may have ended by itself.
            let _ = process.kill();
        }
        process.wait()?;
        moments
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("-i").arg(self.image).args(arguments).stdin(Stdio::null());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_a_process_leaves_is_known() {
        let busy = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo out; echo err >&2; exit 3";
        let ended = run(&mut sh(busy), Duration::from_secs(600)).unwrap();
        assert_eq!((ended.status.code(), &*ended.stdout, &*ended.stderr), (Some(3), "out\n", "err\n"));
        assert!(ended.took.cpu > Duration::ZERO);
    }

    #[test]
    fn what_hangs_is_killed() {
        let error = run(&mut sh("exec sleep 3600"), Duration::from_millis(50)).err().unwrap();
        assert_eq!(error.downcast_ref(), Some(&TimedOut(Duration::from_millis(50))));
    }
}
