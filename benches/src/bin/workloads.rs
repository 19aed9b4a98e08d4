//! Runs the suite of small programs in `benches/guest` under c2w in each of its ways, under QEMU's translator on the same
//! kernel, initial RAM disk and root file system, and on the host itself, and prints how their speeds compare. A chart is
//! written, too. `cargo build --release -p c2w` first.
//!
//! In every round the guests boot; then each program runs on one side and at once on the next, so that what else the host
//! does hits all. Every side has to compute the same; the interpreter does a part of the work, and its times are multiplied.
//! The host runs the very programs of an x86_64 guest where it is one itself. A program that has not ended in time is named,
//! its side starts anew, and later rounds leave it out there. So they do with a side that does not boot.
//!
//! Then, in the first two rounds, come whole commands of which most code runs once, by `c2w-run` with an empty directory for
//! translated code (the group `cold`), and again with the same directory (`code cache warm`), from which some code has to
//! come then; where none is kept, only the first is run. QEMU keeps nothing, and has one time for both: in a guest that has
//! booted, as c2w's goes on from the image's snapshot; only in `boot` both boot.
//!
//! Below the table stand the geometric means next to what is aimed at, and what explains them, from `c2w-run --stats` while
//! it boots and runs every program once more.
//!
//! # Other emulators
//!
//! `--peer 'NAME=COMMAND'` adds one. The command is split into words as a shell does, then placeholders are replaced; no
//! shell runs. Which placeholders it has tells how it is driven:
//!
//! * `{agent_fd}`: the emulator boots `{kernel}` and `{initrd}` with the command line `{cmdline}`, `{memory_mib}` MiB,
//!   `{rootfs}` as its first and only disk, and gives the guest a virtio console port named `c2w.agent` which is the
//!   stream socket that the emulator inherits as this descriptor;
//! * `{agent_socket}`: the same, but the emulator connects to the Unix socket at this path;
//! * `{program}`: the emulator runs one program of the guest's architecture, `{program} {repeats}`, not a whole computer;
//! * none of these: the emulator boots `{kernel}` without the RAM disk, with the command line `{console_cmdline}`, and its
//!   serial console is its standard input and output. The first process is then a script in the root file system, which
//!   obeys lines.
//!
//! `{share}` is a directory of the host that may be shared. Two examples, of which the first says what this program does
//! with QEMU by itself (`--no-qemu` leaves that out; the first peer then takes QEMU's place in the ratios):
//!
//! ```text
//! --peer "tcg=qemu-system-riscv64 -M virt -accel tcg -m {memory_mib} -display none -monitor none -nic none -serial none
//!         -global virtio-mmio.force-legacy=false -kernel {kernel} -initrd {initrd} -append '{cmdline}'
//!         -drive file={rootfs},id=root,format=raw,if=none,readonly=on -device virtio-blk-device,drive=root
//!         -device virtio-serial-device -chardev socket,id=agent,fd={agent_fd}
//!         -device virtserialport,chardev=agent,name=c2w.agent -device virtio-rng-device"
//! --peer "console=qemu-system-riscv64 -M virt -m {memory_mib} -display none -monitor none -nic none -serial stdio
//!         -kernel {kernel} -append '{console_cmdline}'
//!         -drive file={rootfs},id=root,format=raw,if=none,readonly=on -device virtio-blk-device,drive=root"
//! ```

use anyhow::{Result, bail, ensure};
use c2w::jit::Jit;
use c2w::snapshot::pack::SnapshotOptions;
use c2w_benches::assets::Assets;
use c2w_benches::process::load;
use c2w_benches::workloads::build::{self, add_to_rootfs, programs};
use c2w_benches::workloads::chart;
use c2w_benches::workloads::cold::{self, COLD};
use c2w_benches::workloads::list::{Group, WORKLOADS};
use c2w_benches::workloads::report::Report;
use c2w_benches::workloads::results::{Results, Role, Side};
use c2w_benches::workloads::suite::{Found, Limits, Start, Suite};
use c2w_benches::workloads::template::Template;
use c2w_packer::cache::Cache;
use c2w_packer::demo;
use c2w_packer::image::Arch;
use c2w_packer::toolchain::qemu_system;
use clap::Parser;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Length of the disk and the shared file that QEMU and c2w are also given; no program here reads them.
const BULK_BYTES: u64 = 1 << 20;

/// Compare the speed of small programs under c2w, under QEMU and without either.
#[derive(Parser)]
struct Args {
    /// Architecture of the guest.
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// Only programs whose name or group contains one of these.
    #[arg(long, value_name = "TEXT,...", value_delimiter = ',')]
    only: Vec<String>,
    /// How often everything is measured; whole commands twice at most.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Make runs so many times longer.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// How c2w runs guest code, a column for each; the first is compared in more ways.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "native,wasm,cranelift,off")]
    engines: Vec<Jit>,
    /// Seconds in which a program has to end on any side; commands and boots may take four times as long.
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    timeout: u64,
    /// Also measure another emulator; see the head of this program's source.
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<Template>,
    /// Do without QEMU.
    #[arg(long)]
    no_qemu: bool,
    /// Do without c2w.
    #[arg(long)]
    no_c2w: bool,
    /// Leave out what is told below the table.
    #[arg(long)]
    no_report: bool,
    /// Print JSON with every sample instead of a table.
    #[arg(long)]
    json: bool,
    /// Where to write the chart instead of beside this program.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

/// Rounds in which the commands are measured, at most: they take as long as all programs together.
const COMMAND_ROUNDS: u32 = 2;
/// How much longer than a program a command, or the boot of a guest, may take.
const COMMANDS_LIMIT: u32 = 4;

fn main() -> Result<()> {
    let args = Args::parse();
    let guest_programs = programs(Some(args.arch))?;
    let (starts, sides): (Vec<_>, Vec<_>) = sides(&args, &guest_programs)?.into_iter().unzip();
    let wanted = |name: &str, group: Group| {
        let group = group.to_string();
        args.only.is_empty() || args.only.iter().any(|text| name.contains(text) || group.contains(text))
    };
    let workloads = WORKLOADS.iter().filter(|workload| workload.runs_on(Some(args.arch)));
    let workloads = workloads.filter(|workload| wanted(workload.name, workload.group));
    let workloads: Vec<_> = workloads.map(|workload| (*workload, workload.scaled(args.scale))).collect();
    let lines = workloads.iter().map(|(workload, repeats)| (workload.name, workload.group, *repeats));
    let cold = cold::lines().filter(|(name, group, ..)| wanted(name, *group));
    let lines: Vec<_> = lines.chain(cold.map(|(name, group, ..)| (name, group, 1))).collect();
    ensure!(!lines.is_empty(), "no program's name or group contains {}", args.only.join(" or "));
    let count = sides.len();
    let mut found = Found::new(Results::new(sides, lines), Report::new(count));
    let has_cold = COLD.iter().any(|cold| cold.names.iter().any(|name| found.results.row(name).is_some()));
    let assets = assets(args.arch, &guest_programs, has_cold)?;
    let limit = Duration::from_secs(args.timeout);
    let limits = Limits { program: limit, command: limit.saturating_mul(COMMANDS_LIMIT) };
    let suite = Suite { starts, assets, programs: guest_programs, workloads, limits };
    let before = load()?;
    for round in 1..=args.rounds {
        eprintln!("workloads: round {round} of {}", args.rounds);
        suite.programs(&mut found, !args.no_report);
        if round <= COMMAND_ROUNDS {
            suite.commands(&mut found);
        }
    }
    if !args.no_report {
        suite.translations(&mut found);
    }
    let title = format!("{} guest", args.arch);
    let beside = std::env::current_exe()?.with_file_name(format!("workloads-{}.svg", args.arch));
    let path = args.chart.unwrap_or(beside);
    let Found { results, report, failures, .. } = found;
    chart::write(&results, &title, &path)?;
    if args.json {
        let mut json = results.json();
        json["report"] = serde_json::to_value(&report)?;
        println!("{}", serde_json::to_string_pretty(&json)?);
    } else {
        println!("{title}, {} rounds; load average before: {before}, after: {}", args.rounds, load()?);
        println!("{results}\n\n{}", results.aims());
        if !args.no_report {
            println!("{}", report.table(&results));
        }
        println!("chart: {}", path.display());
    }
    if !failures.is_empty() {
        bail!("{} runs failed:\n{}", failures.len(), failures.join("\n"));
    }
    Ok(())
}

/// Who is compared: the host, QEMU, other emulators, c2w.
fn sides(args: &Args, guest_programs: &Path) -> Result<Vec<(Start, Side)>> {
    let side = |name: &str, role| Side { name: name.to_string(), role, jit: None };
    let mut sides = vec![(native(args.arch, guest_programs)?, side("host", Role::Native))];
    if !args.no_qemu {
        let qemu = qemu_system(&Cache::of_user()?, args.arch, &|line| eprintln!("workloads: {line}"))?;
        sides.push((Start::Qemu(qemu), side("QEMU", Role::Peer)));
    }
    let peers = args.peer.iter();
    sides.extend(peers.map(|template| (Start::Peer(template.clone()), side(&template.name, Role::Peer))));
    let engines = args.engines.iter().filter(|_| !args.no_c2w);
    sides.extend(engines.map(|jit| {
        let name = match jit {
            Jit::Native => "c2w",
            Jit::Wasm => "wasm",
            Jit::Cranelift => "cranelift",
            Jit::Off => "interpreter",
        };
        (Start::C2w(*jit), Side { jit: Some(*jit), ..side(name, Role::C2w) })
    }));
    Ok(sides)
}

/// The host's own programs, which are the guest's where the architectures are the same.
fn native(guest: Arch, guest_programs: &Path) -> Result<Start> {
    Ok(Start::Native(match build::host() {
        Some(host) if host == guest => guest_programs.to_path_buf(),
        host => programs(host)?,
    }))
}

/// What the guests are given: the small Debian with the programs in it, and what the commands need.
fn assets(arch: Arch, guest_programs: &Path, has_cold: bool) -> Result<Assets> {
    let packages = if has_cold { &cold::PACKAGES[..] } else { &[] };
    let base = demo::rootfs_with(arch, packages, &|line| eprintln!("workloads: {line}"))?;
    let directory = tempfile::tempdir()?;
    let rootfs = directory.path().join("rootfs.tar");
    add_to_rootfs(&base, guest_programs, &rootfs)?;
    let snapshot = SnapshotOptions::default();
    Assets::of_rootfs(rootfs, arch, BULK_BYTES, Some(snapshot))
}
