//! Runs the suite of small programs in `benches/guest` under c2w, under QEMU's translator on the same kernel, initial RAM
//! disk and root file system, and on the host itself, and prints how their speeds compare. A chart is written, too.
//!
//! In every round the guests boot; then each program runs on one side and at once on the next, so that what else the host
//! does hits all. Every side has to compute the same. The host runs the very programs of an x86_64 guest where it is one
//! itself.
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

use anyhow::{Context, Result, bail, ensure};
use c2w::jit::Jit;
use c2w_benches::assets::Assets;
use c2w_benches::ours::Ours;
use c2w_benches::qemu::{self, Qemu};
use c2w_benches::workloads::build::{self, add_to_rootfs, programs};
use c2w_benches::workloads::chart;
use c2w_benches::workloads::list::WORKLOADS;
use c2w_benches::workloads::results::{Results, Role, Side};
use c2w_benches::workloads::runner::{Agent, Programs, Runner, peer};
use c2w_benches::workloads::template::Template;
use c2w_packer::cache::Cache;
use c2w_packer::demo;
use c2w_packer::image::Arch;
use c2w_packer::toolchain::{QemuSystem, qemu_system};
use clap::Parser;
use std::path::{Path, PathBuf};

/// Length of the disk and the shared file that QEMU and c2w are also given; no program here reads them.
const BULK_BYTES: u64 = 1 << 20;

/// Compare the speed of small programs under c2w, under QEMU and without either.
#[derive(Parser)]
struct Args {
    /// Architecture of the guest.
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// Only programs whose name or group contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Make runs so many times longer.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    scale: f64,
    /// Also measure another emulator; see the head of this program's source.
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<Template>,
    /// Do without QEMU.
    #[arg(long)]
    no_qemu: bool,
    /// Do without c2w.
    #[arg(long)]
    no_c2w: bool,
    /// How c2w runs guest code.
    #[arg(long, value_enum, default_value_t)]
    jit: Jit,
    /// Print JSON with every sample instead of a table.
    #[arg(long)]
    json: bool,
    /// Where to write the chart instead of beside this program.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
}

/// How a side is started in every round.
enum Start<'a> {
    Native(PathBuf),
    Qemu(QemuSystem),
    Peer(&'a Template),
    C2w,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let guest_programs = programs(Some(args.arch))?;
    let mut starts = vec![(native(args.arch, &guest_programs)?, "native".to_string(), Role::Native)];
    if !args.no_qemu {
        let qemu = qemu_system(&Cache::of_user()?, args.arch, &|line| eprintln!("workloads: {line}"))?;
        starts.push((Start::Qemu(qemu), "QEMU".to_string(), Role::Peer));
    }
    for template in &args.peer {
        starts.push((Start::Peer(template), template.name.clone(), Role::Peer));
    }
    if !args.no_c2w {
        starts.push((Start::C2w, "c2w".to_string(), Role::C2w));
    }
    let wanted = |text: &str| text.contains(&args.only);
    let workloads = WORKLOADS
        .iter()
        .filter(|workload| workload.runs_on(Some(args.arch)))
        .filter(|workload| wanted(workload.name) || wanted(&workload.group.to_string()))
        .map(|workload| (*workload, workload.scaled(args.scale)));
    let sides = starts.iter().map(|(_, name, role)| Side { name: name.clone(), role: *role });
    let mut results = Results::new(sides.collect(), workloads);
    ensure!(!results.workloads().is_empty(), "no program's name or group contains {:?}", args.only);
    let assets = assets(args.arch, &guest_programs)?;
    let mut failures = Vec::new();
    for round in 1..=args.rounds {
        eprintln!("workloads: round {round} of {}", args.rounds);
        let runners = starts.iter().map(|(start, name, _)| {
            runner(start, &assets, &guest_programs, args.jit).with_context(|| name.clone())
        });
        measure(&mut runners.collect::<Result<Vec<_>>>()?, &mut results, &mut failures);
    }
    let title = format!("{} guest", args.arch);
    let beside = std::env::current_exe()?.with_file_name(format!("workloads-{}.svg", args.arch));
    let path = args.chart.unwrap_or(beside);
    chart::write(&results, &title, &path)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&results.json())?);
    } else {
        println!("{title}, {} rounds\n{results}", args.rounds);
        println!("chart: {}", path.display());
    }
    if !failures.is_empty() {
        bail!("{} runs failed:\n{}", failures.len(), failures.join("\n"));
    }
    Ok(())
}

/// The host's own programs, which are the guest's where the architectures are the same.
fn native(guest: Arch, guest_programs: &Path) -> Result<Start<'static>> {
    Ok(Start::Native(match build::host() {
        Some(host) if host == guest => guest_programs.to_path_buf(),
        host => programs(host)?,
    }))
}

/// What the guests are given: the small Debian with the programs in it.
fn assets(arch: Arch, guest_programs: &Path) -> Result<Assets> {
    let base = demo::rootfs(arch, &|line| eprintln!("workloads: {line}"))?;
    let directory = tempfile::tempdir()?;
    let rootfs = directory.path().join("rootfs.tar");
    add_to_rootfs(&base, guest_programs, &rootfs)?;
    Assets::of_rootfs(rootfs, arch, BULK_BYTES)
}

fn runner(start: &Start<'_>, assets: &Assets, programs: &Path, jit: Jit) -> Result<Box<dyn Runner>> {
    Ok(match start {
        Start::Native(directory) => Box::new(Programs::native(directory.clone())),
        Start::Qemu(qemu) => Box::new(Agent::boot(Qemu::start(qemu, assets, &qemu::cmdline(assets.arch)?)?)?),
        Start::Peer(template) => peer(template, assets, programs)?,
        Start::C2w => Box::new(Agent::boot(Ours::start(assets, jit)?)?),
    })
}

/// One round.
fn measure(runners: &mut [Box<dyn Runner>], results: &mut Results, failures: &mut Vec<String>) {
    for (row, (workload, repeats)) in results.workloads().into_iter().enumerate() {
        for (side, runner) in runners.iter_mut().enumerate() {
            let Side { name, role } = &results.sides()[side];
            // Not every host has what a guest has.
            if *role == Role::Native && !workload.runs_on(build::host()) {
                continue;
            }
            let what = format!("{}, {name}", workload.name);
            let added = runner.run(&workload, repeats).and_then(|outcome| {
                eprintln!("workloads: {what}: {:.3} s", outcome.wall.as_secs_f64());
                Ok(results.add(row, side, &outcome)?)
            });
            if let Err(error) = added {
                eprintln!("workloads: {what}: {error:#}");
                failures.push(format!("{what}: {error:#}"));
            }
        }
    }
}
