//! What is told below the table: how c2w's translators came by their speed, from `c2w-run --stats`, and what the calls and the
//! memory of all sides cost.

use super::build::GUEST_DIRECTORY;
use super::cold::c2w_run;
use super::list::Workload;
use super::results::Results;
use super::stats::Stats;
use crate::figure::{median, number};
use crate::process;
use anyhow::{Result, ensure};
use c2w::jit::Jit;
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// What one translator did while every program ran, the boot included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Translation {
    /// Processor time of the thread that runs the guest, for each of the guest's instructions that were translated.
    vcpu_us: f64,
    /// The same of the thread that compiles in the background.
    background_us: f64,
    /// Of code, for each of those instructions.
    host_bytes: f64,
    /// The part of all instructions retired that translated code retired.
    translated: f64,
    /// Most resident memory at a time, the guest's RAM included.
    peak_bytes: f64,
}

impl Translation {
    fn new(stats: &Stats) -> Result<Self> {
        let get = |name| stats.get(name).map(|value| value as f64);
        let insns = get("instructions in them")?;
        Ok(Self {
            vcpu_us: get("microseconds of translation, vCPU thread")? / insns,
            background_us: get("microseconds of translation, other thread")? / insns,
            host_bytes: get("bytes of code")? / insns,
            translated: get("by translated code")? / get("instructions retired")?,
            peak_bytes: get("peak of resident memory, KiB")? * 1024.0,
        })
    }

    /// Boots the image and runs every program in it, so often as the table says.
    ///
    /// # Errors
    /// `c2w-run` fails, does not end in time, or has other statistics.
    pub fn measure(
        program: &Path,
        image: &Path,
        jit: Jit,
        workloads: &[(Workload, u64)],
        limit: Duration,
    ) -> Result<Self> {
        let runs = workloads.iter().map(|(workload, repeats)| {
            let name = workload.name;
            format!("/{GUEST_DIRECTORY}/{name} {repeats} > /dev/null || {{ echo {name} >&2; exit 1; }}")
        });
        let script = runs.collect::<Vec<_>>().join("\n");
        let mut command = c2w_run(program, jit);
        command.args(["--cold", "--stats"]).arg(image).args(["sh", "-c", &script]);
        let ended = process::run(&mut command, limit)?;
        ensure!(ended.status.success(), "c2w-run ended with {}: {}", ended.status, ended.stderr);
        Self::new(&Stats::split(&ended.stderr).0)
    }
}

/// Everything, of each side in the order of [`Results::sides`].
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Nanoseconds of an indirect call and its return, of each round.
    pub indirect_ns: Vec<Vec<f64>>,
    /// Where there is a translator of c2w's.
    pub translations: Vec<Option<Translation>>,
    /// Most memory of another emulator's process, which has run the same.
    pub peak_bytes: Vec<Option<u64>>,
}

impl Report {
    /// Nothing yet.
    pub fn new(sides: usize) -> Self {
        Self {
            indirect_ns: vec![Vec::new(); sides],
            translations: vec![None; sides],
            peak_bytes: vec![None; sides],
        }
    }

    /// The table of it, with sides named as in the results' table.
    pub fn table<'a>(&'a self, results: &'a Results) -> impl fmt::Display + 'a {
        Table { report: self, results }
    }

    fn peak_mib(&self, side: usize) -> Option<f64> {
        let ours = self.translations[side].map(|translation| translation.peak_bytes);
        Some(ours.or(self.peak_bytes[side].map(|bytes| bytes as f64))? / f64::from(1 << 20))
    }
}

struct Table<'a> {
    report: &'a Report,
    results: &'a Results,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = self.results.sides();
        let line = |f: &mut fmt::Formatter<'_>, name: &str, cell: &dyn Fn(usize) -> String| {
            let width = |side: usize| sides[side].name.len().max(8);
            let cells = (0..sides.len()).map(|side| format!(" {:>1$}", cell(side), width(side)));
            writeln!(f, "{name:<38}{}", cells.collect::<String>())
        };
        line(f, "", &|side| sides[side].name.clone())?;
        let mut row = |name: &str, value: &dyn Fn(usize) -> Option<f64>| {
            line(f, name, &|side| value(side).map_or_else(|| "-".to_string(), number))
        };
        let of =
            |side: usize, part: fn(&Translation) -> f64| self.report.translations[side].as_ref().map(part);
        row("ns per indirect call and return", &|side| median(&self.report.indirect_ns[side]))?;
        row("translation, us per insn, vCPU thread", &|side| of(side, |it| it.vcpu_us))?;
        row("translation, us per insn, 2nd thread", &|side| of(side, |it| it.background_us))?;
        row("host code, bytes per insn", &|side| of(side, |it| it.host_bytes))?;
        row("retired by translated code, %", &|side| of(side, |it| it.translated * 100.0))?;
        row("retired by the interpreter, %", &|side| of(side, |it| 100.0 - it.translated * 100.0))?;
        row("peak of resident memory, MiB", &|side| self.report.peak_mib(side))
    }
}

#[cfg(test)]
mod tests {
    use super::super::list::WORKLOADS;
    use super::super::results::{Role, Side};
    use super::*;

    const STDERR: &str = "a kernel's word\n\
        c2w-run: instructions retired                       2000\n\
        c2w-run:   by the interpreter                       500\n\
        c2w-run:   by translated code                       1500\n\
        c2w-run: regions translated                         10\n\
        c2w-run:   instructions in them                     100\n\
        c2w-run:   bytes of code                            1200\n\
        c2w-run: microseconds of translation, vCPU thread   50\n\
        c2w-run: microseconds of translation, other thread  800\n\
        c2w-run: peak of resident memory, KiB               102400\n";

    #[test]
    fn statistics_are_read() {
        let translation = Translation::new(&Stats::split(STDERR).0).unwrap();
        let expected = Translation {
            vcpu_us: 0.5,
            background_us: 8.0,
            host_bytes: 12.0,
            translated: 0.75,
            peak_bytes: 1024.0 * 102_400.0,
        };
        assert_eq!(translation, expected);
        let error = Translation::new(&Stats::split("c2w-run: instructions retired 1\n").0).unwrap_err();
        assert!(error.to_string().contains("instructions in them"), "{error}");
    }

    #[test]
    fn what_is_known_is_shown() {
        let side = |name: &str, role| Side { name: name.to_string(), role, jit: None };
        let results = Results::new(
            vec![side("QEMU", Role::Peer), side("c2w", Role::C2w)],
            [WORKLOADS[0]].map(|workload| (workload.name, workload.group, 1)),
        );
        let mut report = Report::new(2);
        report.indirect_ns[0] = vec![9.0, 7.0, 8.0];
        report.peak_bytes[0] = Some(300 << 20);
        report.translations[1] = Some(Translation::new(&Stats::split(STDERR).0).unwrap());
        let text = report.table(&results).to_string();
        for part in [
            "call and return            8.00        -",
            "MiB                300      100",
            "code, %                 -     75.0",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
