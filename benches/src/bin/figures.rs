//! Prints what c2w is measured by, each figure next to that of QEMU's translator on the same kernel,
//! initial RAM disk and root file system.
//!
//! In every round both machines boot; then each task runs on one and at once on the other, so that
//! what else the host does hits both. `cargo build --release -p c2w` first.

use anyhow::Result;
use c2w::jit::Jit;
use c2w_benches::assets::{Assets, MEMORY_BYTES};
use c2w_benches::figure::{Side, Table, Unit};
use c2w_benches::guest::{self, Guest};
use c2w_benches::memory::{self, Resident};
use c2w_benches::ours::Ours;
use c2w_benches::process::{Program, load};
use c2w_benches::qemu::{self, Qemu};
use c2w_benches::tasks::TASKS;
use c2w_packer::cache::Cache;
use c2w_packer::image::Arch;
use c2w_packer::toolchain::{QemuSystem, qemu_system};
use clap::Parser;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Measure c2w and QEMU on the same guest.
#[derive(Parser)]
struct Args {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Print JSON with every sample instead of a table.
    #[arg(long)]
    json: bool,
    /// Only tasks in the guest whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Architecture of the guest.
    #[arg(long, default_value = "x86_64")]
    arch: Arch,
    /// Measure this image, which needs dash, coreutils, python3 and 512 MiB, instead of a Debian of our own.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let qemu = qemu_system(&Cache::of_user()?, args.arch, &|line| eprintln!("figures: {line}"))?;
    let assets = Assets::make(args.image.as_deref(), args.arch)?;
    let program = Program::beside_this(&assets.image)?;
    let cmdline = qemu::cmdline(args.arch)?;
    let before = load()?;
    let mut table = Table::default();
    for round in 1..=args.rounds {
        eprintln!("figures: round {round} of {}", args.rounds);
        guests(&qemu, &assets, &cmdline, &args.only, &mut table)?;
        whole(&program, &mut table)?;
    }
    let after = load()?;
    if args.json {
        let all = serde_json::json!({
            "rounds": args.rounds,
            "load_before": before,
            "load_after": after,
            "figures": table.json(),
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        println!("{} rounds; load average before: {before}, after: {after}\n{table}", args.rounds);
    }
    Ok(())
}

/// One round on both machines side by side.
fn guests(qemu: &QemuSystem, assets: &Assets, cmdline: &str, only: &str, table: &mut Table) -> Result<()> {
    let clock = Instant::now();
    let cpu = Ours::process_cpu_time();
    let mut ours = Ours::start(assets, Jit::default())?;
    guest::wait_ready(&mut ours, guest::LIMIT)?;
    boot(table, Side::C2w, clock, ours.cpu_time()? - cpu);
    let clock = Instant::now();
    let mut theirs = Qemu::start(qemu, assets, cmdline)?;
    guest::wait_ready(&mut theirs, guest::LIMIT)?;
    boot(table, Side::Qemu, clock, theirs.cpu_time()?);
    rest(table, Side::Qemu, "memory beside RAM, booted", memory::resident(theirs.pid(), MEMORY_BYTES)?);
    guest::furnish(&mut ours)?;
    guest::furnish(&mut theirs)?;
    for task in TASKS.iter().filter(|task| task.name.contains(only)) {
        let sides: [(Side, &mut dyn Guest); 2] = [(Side::C2w, &mut ours), (Side::Qemu, &mut theirs)];
        for (side, guest) in sides {
            guest::run(guest, task.prepare)?;
            let took = guest::run(guest, task.script)?;
            table.add_with_cpu(task.name, task.unit(), side, task.value(took.wall), took.cpu);
        }
    }
    rest(table, Side::Qemu, "memory beside RAM, later", memory::resident(theirs.pid(), MEMORY_BYTES)?);
    Ok(())
}

fn boot(table: &mut Table, side: Side, clock: Instant, cpu: Duration) {
    let seconds = clock.elapsed().as_secs_f64();
    table.add_with_cpu("boot to the agent's ready mark", Unit::Seconds, side, seconds, cpu);
}

/// One round of whole processes.
fn whole(program: &Program<'_>, table: &mut Table) -> Result<()> {
    let seconds = |table: &mut Table, name, took: Duration| {
        table.add(name, Unit::Seconds, Side::C2w, took.as_secs_f64());
    };
    seconds(table, "c2w-run image true", program.whole_run()?);
    seconds(table, "c2w-run image echo hi, 1st byte", program.first_byte()?);
    let moments = program.memory()?;
    for (when, ram, resident) in [
        ("memory beside RAM, booted", "touched RAM, booted", moments.booted),
        ("memory beside RAM, later", "touched RAM, later", moments.forked),
    ] {
        rest(table, Side::C2w, when, resident);
        table.add(ram, Unit::Mebibytes, Side::C2w, mebibytes(resident.ram_bytes));
    }
    Ok(())
}

fn rest(table: &mut Table, side: Side, name: &'static str, resident: Resident) {
    table.add(name, Unit::Mebibytes, side, mebibytes(resident.other_bytes));
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
