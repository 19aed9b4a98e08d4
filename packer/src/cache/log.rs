//! Running other programs with everything they say in one file, so that the error that reaches
//! the user is one line that names the file.

use super::CacheError;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("{what}: cannot run {program}: {source}")]
    Start {
        /// What it was for.
        what: String,
        /// The program's name.
        program: String,
        /// What the system answered.
        source: io::Error,
    },
    /// Its end could not be observed.
    #[error("{what}: {source}")]
    Lost {
        /// What it was for.
        what: String,
        /// What the system answered.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{what} failed ({status}); see {}", log.display())]
    Failed {
        /// What it was for.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// Where its output is.
        log: PathBuf,
    },
}

/// The log file of one build.
#[derive(Debug)]
pub struct Log {
    file: File,
    path: PathBuf,
}

impl Log {
    /// An empty log at `path`.
    ///
    /// # Errors
    /// [`CacheError::Io`] when it cannot be written.
    pub fn create(path: PathBuf) -> Result<Log, CacheError> {
        let file = File::create(&path).map_err(CacheError::io("create", &path))?;
        Ok(Log { file, path })
    }

    /// Where the log is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a line. A log that cannot be written does not stop a build.
    pub fn note(&self, line: &str) {
        if let Err(error) = writeln!(&self.file, "{line}") {
            tracing::debug!(%error, "cannot write to the log");
        }
    }

    /// Runs `command` to its end with both outputs in the log and nothing on its standard input.
    /// `what` says in the error what it was for, e.g. "unpacking the source".
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be started or does not succeed.
    pub fn run(&self, what: &str, command: &mut Command) -> Result<(), CommandError> {
        self.execute(what, command.stdout(self.sink())).map(drop)
    }

    /// As [`Log::run`], but returns what the program printed on its standard output.
    ///
    /// # Errors
    /// [`CommandError`] when it cannot be started or does not succeed.
    pub fn capture(&self, what: &str, command: &mut Command) -> Result<Vec<u8>, CommandError> {
        self.execute(what, command.stdout(Stdio::piped())).map(|output| output.stdout)
    }

    /// Runs `producer` and `consumer` with the output of the first as the input of the second.
    ///
    /// # Errors
    /// [`CommandError`] when either cannot be started or does not succeed.
    pub fn pipe(
        &self,
        what: &str,
        producer: &mut Command,
        consumer: &mut Command,
    ) -> Result<(), CommandError> {
        self.note(&format!("+ {producer:?} | {consumer:?}"));
        let mut source =
            start(what, producer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(self.sink()))?;
        let input = source.stdout.take().map_or_else(Stdio::null, Stdio::from);
        let sink = start(what, consumer.stdin(input).stdout(self.sink()).stderr(self.sink()));
        // Its copy of the pipe keeps the producer from noticing that the consumer has gone.
        consumer.stdin(Stdio::null());
        let ends = [sink.and_then(|child| self.end(what, child)), self.end(what, source)];
        ends.into_iter().try_for_each(|end| end.map(drop))
    }

    fn execute(&self, what: &str, command: &mut Command) -> Result<Output, CommandError> {
        self.note(&format!("+ {command:?}"));
        // Messages are kept in English, the language of everything else in the log.
        command.env("LC_ALL", "C").stdin(Stdio::null()).stderr(self.sink());
        let child = start(what, command)?;
        self.end(what, child)
    }

    fn end(&self, what: &str, child: Child) -> Result<Output, CommandError> {
        match child.wait_with_output() {
            Ok(output) if output.status.success() => Ok(output),
            Ok(output) => Err(CommandError::Failed {
                what: what.to_owned(),
                status: output.status,
                log: self.path.clone(),
            }),
            Err(source) => Err(CommandError::Lost { what: what.to_owned(), source }),
        }
    }

    fn sink(&self) -> Stdio {
        self.file.try_clone().map_or_else(|_| Stdio::null(), Stdio::from)
    }
}

fn start(what: &str, command: &mut Command) -> Result<Child, CommandError> {
    command.spawn().map_err(|source| CommandError::Start {
        what: what.to_owned(),
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_in_the_log_and_the_error_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(dir.path().join("log")).unwrap();
        log.run("saying", Command::new("sh").args(["-c", "echo out; echo err >&2"])).unwrap();
        assert_eq!(
            log.capture("asking", Command::new("sh").args(["-c", "echo answer"])).unwrap(),
            b"answer\n"
        );
        let error = log.run("failing", Command::new("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert_eq!(error, format!("failing failed (exit status: 3); see {}", log.path().display()));
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert!(text.contains("\nout\nerr\n"), "{text}");
        assert!(!text.contains("answer\n"), "{text}");
        let error = log.run("starting", &mut Command::new("/no/such/program")).unwrap_err();
        assert!(matches!(error, CommandError::Start { .. }));
    }

    #[test]
    fn a_pipe_fails_with_either_end() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(dir.path().join("log")).unwrap();
        let pipe = |producer: &str, consumer: &str| {
            log.pipe(
                "piping",
                Command::new("sh").args(["-c", producer]),
                Command::new("sh").args(["-c", consumer]),
            )
        };
        pipe("echo through", "cat").unwrap();
        assert!(std::fs::read_to_string(log.path()).unwrap().ends_with("through\n"));
        assert!(pipe("exit 1", "cat").is_err());
        assert!(pipe("echo x", "exit 1").is_err());
        // A producer that never ends by itself ends with its consumer.
        assert!(pipe("while echo y; do :; done", "exit 1").is_err());
    }
}
