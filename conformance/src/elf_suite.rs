//! Suites of ELF programs in the form of riscv-tests: each starts in M-mode at its entry point and ends by writing
//! its verdict to the word `tohost`.
//!
//! Programs run on the whole board with a clock that follows the instruction count, so that a run is the same
//! everywhere.

use anyhow::{Context, Result, ensure};
use c2w_decoders::boot::MachineConfig;
use c2w_decoders::riscv64::board::BoardParts;
use c2w_decoders::riscv64::boot::{self, BootFiles, Firmware};
use c2w_devices::backend::char::{CharHost, char_channel};
use c2w_engine::clock::InstructionClock;
use c2w_engine::irq::Attention;
use c2w_engine::machine::Exit;
use c2w_engine::mem::device::Request;
use c2w_packer::cache::{Cache, CacheError, CommandError, Key};
use c2w_packer::image::Arch;
use c2w_packer::toolchain::{ToolchainError, cross_gcc};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Memory of the machine: what riscv-tests' virtual memory environment needs, and more.
const MEMORY_BYTES: u64 = 16 << 20;
/// Instructions after which a program counts as hanging.
const LIMIT_INSNS: u64 = 50_000_000;
/// Instructions between two looks at the serial port.
const SLICE_INSNS: u64 = 1_000_000;
/// Guest time that an instruction takes.
const NS_PER_INSN: u64 = 10;
/// Room in the serial port's channel.
const CONSOLE_BYTES: usize = 64 * 1024;
/// Options of the assembler and linker that our own programs are made with.
const GCC_OPTIONS: [&str; 8] = [
    "-nostdlib",
    "-static",
    "-no-pie",
    "-march=rv64gc",
    "-mabi=lp64d",
    "-Wl,--build-id=none",
    "-Wl,--no-warn-rwx-segments",
    "-T",
];

/// Runs of a block before it is translated, so that everything is that runs more than a few times.
const TRANSLATE_AFTER: u32 = 2;

/// How a program's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every case passed.
    Pass,
    /// The first case that failed.
    Failed(u64),
    /// It waits for an interrupt that cannot come.
    Stuck,
    /// It did not end within the limit of instructions.
    Endless,
    /// It asked for power-off or reset instead of giving a verdict.
    Ended(Request),
    /// Translated code did something else than the interpreter.
    Diverged(String),
    /// It could not be started.
    Refused(String),
}

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The interpreter.
    Interpreted,
    /// The translator, with samples of what it made checked against the interpreter.
    Checked,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Pass => write!(f, "pass"),
            Verdict::Failed(number) => write!(f, "case {number} failed"),
            Verdict::Stuck => write!(f, "waits for an interrupt that cannot come"),
            Verdict::Endless => write!(f, "still runs after {LIMIT_INSNS} instructions"),
            Verdict::Ended(request) => write!(f, "ended with {request:?} instead of a verdict"),
            Verdict::Diverged(error) | Verdict::Refused(error) => write!(f, "{error}"),
        }
    }
}

/// A program and how its run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// File name.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
}

/// The table of a suite: a line for each program.
pub fn table(outcomes: &[Outcome]) -> String {
    let width = outcomes.iter().map(|outcome| outcome.name.len()).max().unwrap_or(0);
    outcomes.iter().map(|outcome| format!("{:width$}  {}\n", outcome.name, outcome.verdict)).collect()
}

/// Runs a program given as the bytes of its file. What it writes to the serial port comes back to it.
pub fn run(program: Vec<u8>, tier: Tier) -> Verdict {
    let attention = Attention::default();
    let (console, port) = char_channel(CONSOLE_BYTES, &attention);
    let parts = BoardParts { console: Box::new(console), wall_clock: Box::new(|| 0), virtio: Vec::new() };
    let clock = Box::new(InstructionClock::new(NS_PER_INSN));
    let config = MachineConfig {
        memory_bytes: MEMORY_BYTES,
        backing: None,
        parts,
        clock,
        attention,
        rng_seed: vec![7; 32],
    };
    let files = BootFiles { firmware: Firmware::None, kernel: Some(program), ..BootFiles::default() };
    let mut machine = match boot::machine(&files, config) {
        Ok(machine) => machine,
        Err(error) => return Verdict::Refused(error.to_string()),
    };
    if tier == Tier::Checked {
        if !machine.translate(TRANSLATE_AFTER) {
            return Verdict::Refused("this host runs no generated code".into());
        }
        machine.verify();
    }
    while machine.cpu.retired < LIMIT_INSNS {
        let exit = machine.run(SLICE_INSNS);
        let moved = echo(&port);
        match exit {
            Exit::Budget => {}
            Exit::Request(Request::Finish(0)) => return Verdict::Pass,
            Exit::Request(Request::Finish(number)) => return Verdict::Failed(number),
            Exit::Request(other) => return Verdict::Ended(other),
            Exit::Diverged => {
                return Verdict::Diverged(machine.divergence().map(ToString::to_string).unwrap_or_default());
            }
            Exit::Waiting { .. } if moved => {}
            Exit::Waiting { deadline_ns: None } => return Verdict::Stuck,
            Exit::Waiting { deadline_ns: Some(deadline_ns) } => {
                let retired = machine.cpu.retired;
                machine.cpu.clock.skip_to(deadline_ns, retired);
            }
        }
    }
    Verdict::Endless
}

/// Sends what the program wrote back to it; true if there was anything.
fn echo(port: &CharHost) -> bool {
    let mut bytes = [0; 256];
    let len = port.read(&mut bytes);
    port.write(&bytes[..len]);
    len != 0
}

/// Runs the programs of a directory, in the order of their names. Files that are no 64-bit RISC-V programs, like the
/// listings next to riscv-tests' programs, are passed over.
///
/// # Errors
/// The directory cannot be read, or holds no program.
pub fn run_directory(directory: &Path, tier: Tier) -> Result<Vec<Outcome>> {
    let context = || directory.display().to_string();
    let entries = std::fs::read_dir(directory).with_context(context)?;
    let mut files =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>().with_context(context)?;
    files.sort();
    let mut outcomes = Vec::new();
    for path in files.into_iter().filter(|path| path.is_file()) {
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        if is_program(&bytes) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            outcomes.push(Outcome { name, verdict: run(bytes, tier) });
        }
    }
    ensure!(!outcomes.is_empty(), "{}: no 64-bit RISC-V program in it", directory.display());
    Ok(outcomes)
}

/// A linked ELF file of class 64 for RISC-V.
fn is_program(bytes: &[u8]) -> bool {
    const RISCV: [u8; 2] = [243, 0];
    const EXECUTABLE: [u8; 2] = [2, 0];
    bytes.starts_with(b"\x7fELF\x02")
        && bytes.get(16..18) == Some(&EXECUTABLE)
        && bytes.get(18..20) == Some(&RISCV)
}

/// Why our own programs could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// No compiler.
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    /// A program could not be assembled; the text names the log.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// The programs made from the `.S` files of a directory, with its headers, and the linker script `program.ld` next to it.
/// They are kept in the user's cache until one of these files or the compiler changes.
///
/// # Errors
/// The sources cannot be read, or [`AssembleError`].
pub fn assemble(sources: &Path) -> Result<PathBuf> {
    let cache = Cache::of_user()?;
    let gcc = cross_gcc(&cache, Arch::Riscv64)?;
    let version = Command::new(&gcc).arg("--version").output().with_context(|| gcc.clone())?.stdout;
    let entries = std::fs::read_dir(sources).with_context(|| sources.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    let script = sources.with_file_name("program.ld");
    let mut key = Key::new("elf-suite").with("compiler", version).with("options", GCC_OPTIONS.join(" "));
    for file in files.iter().chain([&script]) {
        key = key.with("name", file.file_name().unwrap_or_default().as_encoded_bytes());
        key = key.with("content", std::fs::read(file)?);
    }
    let made = cache.get_or_build(&key, &|line| eprintln!("{line}"), |build| {
        for source in files.iter().filter(|file| file.extension().is_some_and(|end| end == "S")) {
            let program = build.out.join(source.file_stem().unwrap_or_default());
            let mut command = Command::new(&gcc);
            command.args(GCC_OPTIONS).arg(&script).arg(source).arg("-o").arg(program);
            build.log.run(&format!("assembling {}", source.display()), &mut command)?;
        }
        Ok::<(), AssembleError>(())
    })?;
    Ok(made)
}
