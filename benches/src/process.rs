//! `c2w-run` as a user has it: a whole process, from its start to its end.

use crate::assets::MEMORY_BYTES;
use crate::memory::{self, Resident};
use crate::tasks::FORKS;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
        let path = std::env::current_exe()?.with_file_name("c2w-run");
        ensure!(path.exists(), "{} is missing: cargo build --release -p c2w", path.display());
        let program = Self { path, image };
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
