//! `c2w`: makes, checks and boots images.

use c2w::commands::{boot, cat, demo, extract, inspect, ls, pack, pull, push, unpack, verify};
use c2w::{exit, usage};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Turn a container image into one file that runs anywhere.
#[derive(Parser)]
#[command(name = "c2w", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pack(Box<pack::Args>),
    Boot(boot::Args),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Ls(ls::Args),
    Cat(cat::Args),
    Extract(extract::Args),
    Unpack(unpack::Args),
    Push(push::Args),
    Pull(pull::Args),
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            usage::report("c2w", &error);
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 });
        }
    };
    let result = match args.command {
        Command::Pack(args) => pack::run(&args),
        Command::Boot(args) => boot::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Ls(args) => ls::run(&args),
        Command::Cat(args) => cat::run(&args),
        Command::Extract(args) => extract::run(&args),
        Command::Unpack(args) => unpack::run(&args),
        Command::Push(args) => push::run(&args),
        Command::Pull(args) => pull::run(&args),
        Command::Demo(args) => demo::run(&args),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("c2w: {error:#}");
            ExitCode::from(exit::FAILURE)
        }
    }
}
