//! A round: each program on one side and at once on the next, then the commands.
//!
//! What does not end in time on a side is not tried there again, nor is a side that does not start: a table comes out in
//! bounded time whatever hangs, and says what is missing.

use super::build;
use super::cold::{self, COLD, Cold};
use super::list::{INDIRECT, Workload};
use super::report::{Report, Translation};
use super::results::{Results, Role};
use super::runner::{Agent, Outcome, Programs, Runner, peer};
use super::template::Template;
use crate::assets::Assets;
use crate::guest::{self, TimedOut};
use crate::ours::Ours;
use crate::process::c2w_run;
use crate::qemu::{self, Qemu};
use anyhow::{Result, bail};
use c2w::jit::Jit;
use c2w_packer::toolchain::QemuSystem;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How a side is started in every round.
pub enum Start {
    /// Not at all: the host runs programs, of this directory.
    Native(PathBuf),
    /// QEMU boots a guest.
    Qemu(QemuSystem),
    /// Another emulator does, or runs programs.
    Peer(Template),
    /// c2w boots a guest.
    C2w(Jit),
}

/// How long things may take.
pub struct Limits {
    /// A program.
    pub program: Duration,
    /// A command, or the boot of a guest.
    pub command: Duration,
}

/// Everything that does not change from round to round.
pub struct Suite {
    /// How each side is started.
    pub starts: Vec<Start>,
    /// What the guests are given.
    pub assets: Assets,
    /// The directory of the guest's programs.
    pub programs: PathBuf,
    /// Those that are run, and how often each does its work on a side that does all of it.
    pub workloads: Vec<(Workload, u64)>,
    /// How long it may take.
    pub limits: Limits,
}

/// What comes out.
pub struct Found {
    /// The times.
    pub results: Results,
    /// What explains them.
    pub report: Report,
    /// What went wrong.
    pub failures: Vec<String>,
    /// What is not tried any more, by program or command and by side.
    given_up: BTreeSet<(String, usize)>,
    /// Sides that do not start.
    dead: BTreeSet<usize>,
}

/// The guests of a round, or what else runs programs, by side.
type Runners = Vec<Option<Box<dyn Runner>>>;

impl Suite {
    /// One round of the programs; of one more which measures indirect calls, if that is wanted.
    pub fn programs(&self, found: &mut Found, with_indirect: bool) {
        if self.workloads.is_empty() {
            return;
        }
        let mut runners: Runners = self.starts.iter().map(|_| None).collect();
        let indirect = with_indirect.then_some((INDIRECT, INDIRECT.repeats));
        for (workload, full) in self.workloads.iter().copied().chain(indirect) {
            for side in 0..runners.len() {
                // Not every host has what a guest has.
                let is_native = found.results.sides()[side].role == Role::Native;
                if !found.is_tried(workload.name, side) || is_native && !workload.runs_on(build::host()) {
                    continue;
                }
                if runners[side].is_none() {
                    match self.runner(side) {
                        Ok(runner) => runners[side] = Some(runner),
                        Err(error) => {
                            found.dead.insert(side);
                            found.fail(workload.name, side, &error.context("cannot start, and is left out"));
                            continue;
                        }
                    }
                }
                let repeats = found.results.sides()[side].repeats(full);
                if repeats != full {
                    self.witness(found, &mut runners[..side], &workload, repeats);
                }
                let Some(outcome) = self.run(&mut runners[side], &workload, repeats) else { continue };
                found.report.indirect_ns[side].extend(outcome.as_ref().ok().and_then(|outcome| outcome.ns));
                found.add(workload.name, side, outcome);
            }
        }
        for (side, runner) in runners.iter().enumerate() {
            let peak = runner.as_ref().and_then(|runner| runner.peak_bytes());
            found.report.peak_bytes[side] = found.report.peak_bytes[side].max(peak);
        }
    }

    fn runner(&self, side: usize) -> Result<Box<dyn Runner>> {
        let (assets, programs, limit) = (&self.assets, &self.programs, self.limits.command);
        Ok(match &self.starts[side] {
            Start::Native(directory) => Box::new(Programs::native(directory.clone())),
            Start::Qemu(qemu) => {
                Box::new(Agent::boot(Qemu::start(qemu, assets, &qemu::cmdline(assets.arch)?)?, limit)?)
            }
            Start::Peer(template) => peer(template, assets, programs, limit)?,
            Start::C2w(jit) => Box::new(Agent::boot(Ours::start(assets, *jit)?, limit)?),
        })
    }

    /// Runs a program, if there is somebody to run it.
    fn run(
        &self,
        runner: &mut Option<Box<dyn Runner>>,
        workload: &Workload,
        repeats: u64,
    ) -> Option<Result<Outcome>> {
        let outcome = runner.as_mut()?.run(workload, repeats, self.limits.program);
        if outcome.is_err() {
            // It may be in any state.
            *runner = None;
        }
        Some(outcome)
    }

    /// Lets one of the sides before do only so much, if nobody has yet, for what it computes.
    fn witness(
        &self,
        found: &mut Found,
        before: &mut [Option<Box<dyn Runner>>],
        workload: &Workload,
        repeats: u64,
    ) {
        let Some(row) = found.results.row(workload.name) else { return };
        if found.results.is_known(row, repeats) {
            return;
        }
        let is_able = |(side, runner): &(usize, &mut Option<Box<dyn Runner>>)| {
            let is_native = found.results.sides()[*side].role == Role::Native;
            let is_tried = found.is_tried(workload.name, *side);
            runner.is_some() && is_tried && (!is_native || workload.runs_on(build::host()))
        };
        let Some((side, runner)) = before.iter_mut().enumerate().find(is_able) else { return };
        let checked = self
            .run(runner, workload, repeats)
            .unwrap_or_else(|| bail!("it is gone"))
            .and_then(|outcome| Ok(found.results.check(row, side, repeats, &outcome)?));
        if let Err(error) = checked {
            found.fail(workload.name, side, &error);
        }
    }

    /// One round of the commands.
    pub fn commands(&self, found: &mut Found) {
        let is_wanted = |cold: &&Cold| cold.names.iter().any(|name| found.results.row(name).is_some());
        let wanted: Vec<_> = COLD.iter().filter(is_wanted).collect();
        if wanted.is_empty() {
            return;
        }
        for (side, start) in self.starts.iter().enumerate() {
            match start {
                Start::Qemu(qemu) => self.commands_in_qemu(found, side, qemu),
                Start::C2w(jit) if *jit != Jit::Off => {
                    for &cold in &wanted {
                        self.command(found, side, *jit, cold);
                    }
                }
                Start::Native(_) | Start::Peer(_) | Start::C2w(_) => {}
            }
        }
    }

    /// All of them, for each to find the guest as it is after the one before.
    fn commands_in_qemu(&self, found: &mut Found, side: usize, qemu: &QemuSystem) {
        let mut guest = None;
        for cold in &COLD {
            if !found.is_tried(cold.names[0], side) {
                continue;
            }
            let outcome = self.command_in_qemu(&mut guest, qemu, cold);
            if outcome.is_err() {
                // It may be in any state.
                guest = None;
            }
            if let Ok(outcome) = &outcome {
                found.add(cold.names[1], side, Ok(*outcome));
            }
            found.add(cold.names[0], side, outcome);
        }
    }

    fn command_in_qemu(
        &self,
        guest: &mut Option<(Qemu, Instant)>,
        qemu: &QemuSystem,
        cold: &Cold,
    ) -> Result<Outcome> {
        let (guest, start) = match guest {
            Some(guest) => guest,
            None => {
                let start = Instant::now();
                let mut booted = Qemu::start(qemu, &self.assets, &qemu::cmdline(self.assets.arch)?)?;
                guest::wait_ready(&mut booted, self.limits.command)?;
                guest.insert((booted, start))
            }
        };
        cold::theirs(guest, *start, cold, self.limits.command)
    }

    /// A command under c2w, with and without what its first run leaves, if it leaves something.
    fn command(&self, found: &mut Found, side: usize, jit: Jit, cold: &Cold) {
        let runs = if jit.keeps_code() { 2 } else { 1 };
        let code = match tempfile::tempdir() {
            Ok(code) => code,
            Err(error) => return found.fail(cold.names[0], side, &error.into()),
        };
        for (name, is_warm) in cold.names.into_iter().zip([false, true]).take(runs) {
            if !found.is_tried(name, side) {
                return;
            }
            let code = (code.path(), is_warm);
            let outcome = c2w_run().and_then(|program| {
                cold::ours(&program, &self.assets.image, jit, code, cold, self.limits.command)
            });
            let is_well = outcome.is_ok();
            found.add(name, side, outcome);
            if !is_well {
                return;
            }
        }
    }

    /// What the translators did.
    pub fn translations(&self, found: &mut Found) {
        for (side, start) in self.starts.iter().enumerate() {
            let Start::C2w(jit) = start else { continue };
            let is_tried = |(workload, _): &&(Workload, u64)| found.is_tried(workload.name, side);
            let tried: Vec<_> = self.workloads.iter().filter(is_tried).copied().collect();
            if *jit == Jit::Off || tried.is_empty() {
                continue;
            }
            let count = u32::try_from(tried.len()).unwrap_or(u32::MAX);
            let limit = self.limits.command + self.limits.program.saturating_mul(count);
            let measured = c2w_run()
                .and_then(|program| Translation::measure(&program, &self.assets.image, *jit, &tried, limit));
            match measured {
                Ok(translation) => found.report.translations[side] = Some(translation),
                Err(error) => found.fail("statistics", side, &error),
            }
        }
    }
}

impl Found {
    /// Nothing yet.
    pub fn new(results: Results, report: Report) -> Self {
        Self { results, report, failures: Vec::new(), given_up: BTreeSet::new(), dead: BTreeSet::new() }
    }

    /// Whether something is still run on a side.
    fn is_tried(&self, name: &str, side: usize) -> bool {
        !self.dead.contains(&side) && !self.given_up.contains(&(name.to_string(), side))
    }

    /// Takes note of a run; one of a program that is no line of the table only has to be good.
    fn add(&mut self, name: &str, side: usize, outcome: Result<Outcome>) {
        let added = outcome.and_then(|outcome| {
            if let Some(row) = self.results.row(name) {
                let side_name = &self.results.sides()[side].name;
                eprintln!("workloads: {name}, {side_name}: {:.3} s", outcome.wall.as_secs_f64());
                self.results.add(row, side, &outcome)?;
            }
            Ok(())
        });
        if let Err(error) = added {
            self.fail(name, side, &error);
        }
    }

    fn fail(&mut self, name: &str, side: usize, error: &anyhow::Error) {
        if error.is::<TimedOut>() {
            self.given_up.insert((name.to_string(), side));
        }
        let text = format!("{name}, {}: {error:#}", self.results.sides()[side].name);
        eprintln!("workloads: {text}");
        self.failures.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::Group;
    use super::super::results::Side;
    use super::*;

    fn found() -> Found {
        let side = |name: &str| Side { name: name.to_string(), role: Role::Peer, jit: None };
        let results = Results::new(vec![side("a"), side("b")], [("sieve", Group::Integer, 1)]);
        Found::new(results, Report::new(2))
    }

    #[test]
    fn what_does_not_end_is_not_tried_again_where_it_did_not() {
        let mut found = found();
        found.add("sieve", 0, Err(anyhow::anyhow!("it crashed")));
        assert!(found.is_tried("sieve", 0));
        let error = anyhow::Error::from(TimedOut(Duration::from_secs(20))).context("the boot");
        found.add("sieve", 0, Err(error));
        assert!(!found.is_tried("sieve", 0) && found.is_tried("sieve", 1) && found.is_tried("sort", 0));
        assert_eq!(
            found.failures,
            [
                "sieve, a: it crashed",
                "sieve, a: the boot: has not ended after 20 s: it hangs, or --timeout is too short"
            ]
        );
    }
}
