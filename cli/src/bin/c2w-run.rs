//! `c2w-run`: runs an image.c2w like `docker run` runs a container.

use c2w::container::{RunOptions, run};
use c2w::image_files::open_runnable;
use c2w::jit::JitOptions;
use c2w::snapshot::live::SaveOptions;
use c2w::volume::{self, Volume};
use c2w::{exit, size, usage};
use clap::Parser;
use clap::builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Run an image.c2w like a container.
///
/// The exit status is that of the process, 128 + N if signal N ended it, 127 if the command was not found, 126 if
/// it cannot be executed, 125 if c2w-run itself failed.
#[derive(Parser)]
#[command(name = "c2w-run", version)]
struct Args {
    /// The image to run.
    image: PathBuf,
    /// Pass standard input on to the process.
    #[arg(short, long)]
    interactive: bool,
    /// Give the process a terminal.
    #[arg(short, long)]
    tty: bool,
    /// Set an environment variable, or copy it from the caller's environment.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,
    /// Directory to start in.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<OsString>,
    /// User, and group, to run as: names from the image or numbers.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<OsString>,
    /// Share a directory or file of the host; `ro` refuses writes.
    #[arg(short, long, value_name = "HOST:GUEST[:ro]", value_parser = OsStringValueParser::new().try_map(|text| Volume::parse(&text)))]
    volume: Vec<Volume>,
    /// Run this instead of the image's entry point.
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<OsString>,
    /// Host name inside the container.
    #[arg(long, value_name = "NAME")]
    hostname: Option<OsString>,
    /// The container cannot write to its root file system.
    #[arg(long)]
    read_only: bool,
    /// Memory of the guest, for instance 512M.
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    memory: Option<u64>,
    /// Show the guest kernel's messages on standard error.
    #[arg(long)]
    console: bool,
    /// Boot the guest's kernel even if the image holds a machine that has booted.
    #[arg(long, env = "C2W_COLD", value_parser = clap::builder::FalseyValueParser::new())]
    cold: bool,
    /// Save the running machine as this image when SIGUSR1 arrives, or as the next option says. It runs on; the image
    /// goes on from there.
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// Save it when the process prints this.
    #[arg(long, value_name = "TEXT", requires = "snapshot", value_parser = NonEmptyStringValueParser::new())]
    snapshot_when: Option<String>,
    #[command(flatten)]
    jit: JitOptions,
    /// Print on standard error what the machine did, when it has ended.
    #[arg(long)]
    stats: bool,
    /// Command to run instead of the image's, with its arguments.
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    let started = Instant::now();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // clap's own status for bad usage means something else here.
            usage::report("c2w-run", &error);
            return ExitCode::from(if error.use_stderr() { exit::HOST_FAILURE } else { 0 });
        }
    };
    let result = open_runnable(&args.image, &|text| eprintln!("c2w-run: {text}")).and_then(|image| {
        let options = RunOptions {
            interactive: args.interactive,
            tty: args.tty,
            env: args.env,
            workdir: args.workdir,
            user: args.user,
            volumes: volume::arrange(args.volume)?,
            entrypoint: args.entrypoint,
            hostname: args.hostname,
            read_only: args.read_only,
            memory_bytes: args.memory,
            console: args.console,
            cold: args.cold,
            jit: args.jit,
            stats: args.stats,
            started: Some(started),
            save: args.snapshot.map(|output| SaveOptions { output, when: args.snapshot_when }),
            command: args.command,
        };
        let status = run(&image, &options);
        // Whatever came out of it may come from that.
        image.check_unchanged()?;
        status
    });
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("c2w-run: {error:#}");
            ExitCode::from(exit::HOST_FAILURE)
        }
    }
}
