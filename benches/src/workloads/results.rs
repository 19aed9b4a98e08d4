//! What was measured of each program on each side, and the table of it.
//!
//! A side that is much slower than the others does a part of the work. Its times are multiplied by what is missing, and what
//! it computes is compared with what another side computes of the same part.

use super::list::Group;
use super::runner::Outcome;
use crate::figure::{median, number};
use c2w::jit::Jit;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// The interpreter does a quarter of a program's work. With much less, the start of a program would count.
const INTERPRETERS_PART: u64 = 4;

/// Who runs the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The host by itself.
    Native,
    /// QEMU or another emulator.
    Peer,
    /// This project.
    C2w,
}

/// One of them.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Its name in the table.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// How c2w runs guest code, if it is c2w.
    #[serde(skip)]
    pub jit: Option<Jit>,
}

impl Side {
    /// What of a program's work is done by others for each that this side does.
    fn part(&self) -> u64 {
        if self.jit == Some(Jit::Off) { INTERPRETERS_PART } else { 1 }
    }

    /// How often a program does its work on this side, if it does it so often on others.
    pub fn repeats(&self, full: u64) -> u64 {
        (full / self.part()).max(1)
    }
}

/// Measurements of one program on one side, as if it had done all of the work.
#[derive(Clone, Debug, Serialize)]
struct Samples {
    /// What it did of it.
    repeats: u64,
    wall_s: Vec<f64>,
    cpu_s: Vec<f64>,
}

/// Measurements of one program.
#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    group: Group,
    repeats: u64,
    /// By repeats, what the first side computed, and which it was; every other one has to compute the same.
    checksums: BTreeMap<u64, (u64, usize)>,
    samples: Vec<Samples>,
}

/// Everything measured, in the order of the workloads.
#[derive(Clone, Debug)]
pub struct Results {
    sides: Vec<Side>,
    rows: Vec<Row>,
}

/// A quotient of two medians that is a column of the table: how many times faster a side is than another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    side: usize,
    than: usize,
    /// By processor time, which a busy host distorts less than wall time.
    by_cpu: bool,
}

impl Results {
    /// Nothing yet, of programs with these names, of these groups, with these counts.
    pub fn new(sides: Vec<Side>, programs: impl IntoIterator<Item = (&'static str, Group, u64)>) -> Self {
        let rows = programs.into_iter().map(|(name, group, repeats)| Row {
            name,
            group,
            repeats,
            checksums: BTreeMap::new(),
            samples: sides
                .iter()
                .map(|side| Samples { repeats: side.repeats(repeats), wall_s: Vec::new(), cpu_s: Vec::new() })
                .collect(),
        });
        Self { rows: rows.collect(), sides }
    }

    /// Who is compared.
    pub fn sides(&self) -> &[Side] {
        &self.sides
    }

    /// The programs' names.
    pub fn names(&self) -> Vec<&'static str> {
        self.rows.iter().map(|row| row.name).collect()
    }

    /// The number of the program with this name.
    pub fn row(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.name == name)
    }

    /// Takes note of one run of the program with this number on this side, which did what [`Side::repeats`] says.
    ///
    /// # Errors
    /// Another side computed something else; such a run is not counted.
    pub fn add(&mut self, row: usize, side: usize, outcome: &Outcome) -> Result<(), Different> {
        let repeats = self.rows[row].samples[side].repeats;
        self.check(row, side, repeats, outcome)?;
        let row = &mut self.rows[row];
        let whole = row.repeats as f64 / repeats as f64;
        let samples = &mut row.samples[side];
        samples.wall_s.push(outcome.wall.as_secs_f64() * whole);
        samples.cpu_s.extend(outcome.cpu.map(|cpu| cpu.as_secs_f64() * whole));
        Ok(())
    }

    /// Only compares what was computed by a run which did its work so often.
    ///
    /// # Errors
    /// Another side computed something else.
    pub fn check(
        &mut self,
        row: usize,
        side: usize,
        repeats: u64,
        outcome: &Outcome,
    ) -> Result<(), Different> {
        let row = &mut self.rows[row];
        let (expected, first) = *row.checksums.entry(repeats).or_insert((outcome.checksum, side));
        if expected != outcome.checksum {
            return Err(Different {
                workload: row.name,
                expected,
                first: self.sides[first].name.clone(),
                found: outcome.checksum,
            });
        }
        Ok(())
    }

    /// Whether a run that does its work so often would be compared with another side's.
    pub fn is_known(&self, row: usize, repeats: u64) -> bool {
        self.rows[row].checksums.contains_key(&repeats)
    }

    fn side(&self, role: Role) -> Option<usize> {
        self.sides.iter().position(|side| side.role == role)
    }

    /// The side that others are compared with in the chart: the first peer, else the host.
    pub fn baseline(&self) -> Option<usize> {
        self.side(Role::Peer).or_else(|| self.side(Role::Native))
    }

    /// How many times faster a side is than another one on the program with this number.
    pub fn speed(&self, row: usize, side: usize, than: usize) -> Option<f64> {
        let samples = &self.rows[row].samples;
        quotient(&samples[than].wall_s, &samples[side].wall_s)
    }

    /// Every side of c2w next to the first peer; the first of them also by processor time, and next to the host.
    fn ratios(&self) -> Vec<Ratio> {
        let c2w = (0..self.sides.len()).filter(|side| self.sides[*side].role == Role::C2w);
        let ratio = |by_cpu| move |(side, than)| Ratio { side, than, by_cpu };
        let first = c2w.clone().next();
        let to_peer = c2w.filter_map(|side| Some((side, self.side(Role::Peer)?))).map(ratio(false));
        let by_cpu = first.zip(self.side(Role::Peer)).map(ratio(true));
        to_peer.chain(by_cpu).chain(first.zip(self.side(Role::Native)).map(ratio(false))).collect()
    }

    fn title(&self, ratio: Ratio) -> String {
        let name = |side: usize| &self.sides[side].name;
        format!("{}/{}{}", name(ratio.side), name(ratio.than), if ratio.by_cpu { " cpu" } else { "" })
    }

    fn ratio(row: &Row, ratio: Ratio) -> Option<f64> {
        let (side, than) = (&row.samples[ratio.side], &row.samples[ratio.than]);
        if ratio.by_cpu { quotient(&than.cpu_s, &side.cpu_s) } else { quotient(&than.wall_s, &side.wall_s) }
    }

    fn rows_of(&self, group: Option<Group>) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| group.is_none_or(|group| row.group == group))
    }

    /// The geometric mean of a ratio over a group, or over everything.
    fn mean(&self, group: Option<Group>, ratio: Ratio) -> Option<f64> {
        geometric_mean(self.rows_of(group).filter_map(|row| Self::ratio(row, ratio)))
    }

    /// What each side of c2w is to reach in every group, next to what it does.
    pub fn aims(&self) -> String {
        let mut text = String::new();
        for ratio in self.ratios().into_iter().filter(|ratio| !ratio.by_cpu) {
            let side = &self.sides[ratio.side];
            let (Role::Peer, Some(jit)) = (self.sides[ratio.than].role, side.jit) else { continue };
            for group in Group::ALL {
                let (Some(aim), Some(mean)) = (group.aim(jit), self.mean(Some(group), ratio)) else {
                    continue;
                };
                let each =
                    self.rows_of(Some(group)).filter_map(|row| Some((Self::ratio(row, ratio)?, row.name)));
                let Some((least, name)) = each.min_by(|(a, _), (b, _)| a.total_cmp(b)) else { continue };
                let verdict = if mean >= aim { "reached" } else { "missed" };
                let _ = writeln!(
                    text,
                    "{:<10} {:<16} {:>5}, aim {:>5}: {verdict:<8} least: {name} {}",
                    side.name,
                    group,
                    number(mean),
                    number(aim),
                    number(least),
                );
            }
        }
        text
    }

    /// How many runs the medians are of, which is less in some groups than in others.
    fn rounds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<(usize, Vec<String>)> = Vec::new();
        for group in Group::ALL {
            let runs = self.rows_of(Some(group)).flat_map(|row| &row.samples);
            match (runs.map(|samples| samples.wall_s.len()).max(), groups.last_mut()) {
                (None | Some(0), _) => {}
                (Some(count), Some((same, names))) if count == *same => names.push(group.to_string()),
                (Some(count), _) => groups.push((count, vec![group.to_string()])),
            }
        }
        let text = |(count, names): &(usize, Vec<String>)| format!("{count} ({})", names.join(", "));
        write!(f, "seconds: medians of {}", groups.iter().map(text).collect::<Vec<_>>().join("; of "))
    }

    /// Every sample, medians and ratios.
    pub fn json(&self) -> serde_json::Value {
        let ratios = |value: &dyn Fn(Ratio) -> Option<f64>| -> serde_json::Value {
            let all = self.ratios().into_iter().map(|ratio| (self.title(ratio), value(ratio).into()));
            all.collect::<serde_json::Map<_, _>>().into()
        };
        let rows = self.rows.iter().map(|row| {
            let medians = row.samples.iter().map(|samples| median(&samples.wall_s));
            serde_json::json!({
                "name": row.name,
                "group": row.group.to_string(),
                "repeats": row.repeats,
                "checksum": row.checksums.get(&row.repeats).map(|(checksum, _)| format!("{checksum:016x}")),
                "samples": row.samples,
                "wall_median_s": medians.collect::<Vec<_>>(),
                "speed": ratios(&|ratio| Self::ratio(row, ratio)),
            })
        });
        let groups =
            Group::ALL.map(|group| (group.to_string(), ratios(&|ratio| self.mean(Some(group), ratio))));
        serde_json::json!({
            "sides": self.sides,
            "workloads": rows.collect::<Vec<_>>(),
            "geometric_means": groups.into_iter().collect::<serde_json::Map<_, _>>(),
            "geometric_mean": ratios(&|ratio| self.mean(None, ratio)),
        })
    }
}

/// Two sides did not compute the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{workload}: the checksum is {found:016x} instead of {expected:016x} as on {first}")]
pub struct Different {
    workload: &'static str,
    expected: u64,
    first: String,
    found: u64,
}

fn quotient(numerator: &[f64], denominator: &[f64]) -> Option<f64> {
    let quotient = median(numerator)? / median(denominator)?;
    // Processor time may be less than what it is counted in.
    (quotient.is_finite() && quotient > 0.0).then_some(quotient)
}

fn geometric_mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let logarithms: Vec<f64> = values.into_iter().map(f64::ln).collect();
    let count = logarithms.len();
    (count > 0).then(|| (logarithms.iter().sum::<f64>() / count as f64).exp())
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.sides.iter().map(|side| format!("{} s", side.name));
        let ratios = self.ratios();
        let header: Vec<String> = seconds.chain(ratios.iter().map(|ratio| self.title(*ratio))).collect();
        line(f, &header, "workload", &header)?;
        let shown = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_string(), ratio_text);
        let mean = |f: &mut fmt::Formatter<'_>, name: &str, group| {
            let seconds = self.sides.iter().map(|_| String::new());
            let means = ratios.iter().map(|ratio| shown(self.mean(group, *ratio)));
            line(f, &header, name, &seconds.chain(means).collect::<Vec<_>>())
        };
        for group in Group::ALL {
            for row in self.rows_of(Some(group)) {
                let seconds = row.samples.iter().map(|samples| median(&samples.wall_s));
                let seconds = seconds.map(|median| median.map_or_else(|| "-".to_string(), seconds_text));
                let ratios = ratios.iter().map(|ratio| shown(Self::ratio(row, *ratio)));
                line(f, &header, row.name, &seconds.chain(ratios).collect::<Vec<_>>())?;
            }
            if self.rows_of(Some(group)).next().is_some() {
                mean(f, &format!("= {group}"), Some(group))?;
            }
        }
        mean(f, "= all", None)?;
        writeln!(f, "X/Y: how many times faster X is than Y; = geometric mean")?;
        self.rounds(f)?;
        for side in self.sides.iter().filter(|side| side.part() > 1) {
            write!(f, "\n{}: times of 1/{} of the work, times {1}", side.name, side.part())?;
        }
        let is_missing = |row: &Row| row.samples.iter().any(|samples| samples.wall_s.is_empty());
        if self.rows.iter().any(is_missing) {
            write!(
                f,
                "\n-: failed, as is said below, or there is nothing to run: other guests' programs; commands for the host, \
                 for other emulators and for the interpreter; warm ones where no code is kept"
            )?;
        }
        Ok(())
    }
}

/// A line of cells, each as wide as its header, or a number.
pub(super) fn line(
    f: &mut fmt::Formatter<'_>,
    header: &[String],
    name: &str,
    cells: &[String],
) -> fmt::Result {
    let cells = header.iter().zip(cells).map(|(header, cell)| format!(" {cell:>0$}", header.len().max(8)));
    writeln!(f, "{name:<18}{}", cells.collect::<String>())
}

/// Milliseconds are shown of what is shorter than a second.
fn seconds_text(seconds: f64) -> String {
    if seconds < 1.0 { format!("{seconds:.3}") } else { number(seconds) }
}

fn ratio_text(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.4}") } else { number(ratio) }
}

#[cfg(test)]
mod tests {
    use super::super::list::WORKLOADS;
    use super::*;
    use std::time::Duration;

    fn outcome(wall_ms: u64, cpu_ms: Option<u64>, checksum: u64) -> Outcome {
        let cpu = cpu_ms.map(Duration::from_millis);
        Outcome { wall: Duration::from_millis(wall_ms), cpu, checksum, ns: None }
    }

    /// Two programs of the first group, one of the second.
    fn results() -> Results {
        let sides =
            [("host", Role::Native, None), ("QEMU", Role::Peer, None), ("c2w", Role::C2w, Some(Jit::Native))];
        let sides = sides.map(|(name, role, jit)| Side { name: name.to_string(), role, jit });
        let programs = [0, 1, 8].map(|at| (WORKLOADS[at].name, WORKLOADS[at].group, 10));
        Results::new(sides.to_vec(), programs)
    }

    #[test]
    fn means_are_geometric() {
        assert_eq!(geometric_mean([]), None);
        assert!((geometric_mean([1.0, 4.0, 16.0]).unwrap() - 4.0).abs() < 1e-12);
    }

    #[test]
    fn the_table_has_medians_ratios_and_means() {
        let mut results = results();
        for (row, native, qemu, c2w) in [(0, 100, 1000, 500), (1, 100, 1000, 2000), (2, 10, 4000, 1000)] {
            results.add(row, 0, &outcome(native, None, 7)).unwrap();
            for noise in [0, 900, 90] {
                results.add(row, 1, &outcome(qemu - 90 + noise, Some(2 * qemu), 7)).unwrap();
                results.add(row, 2, &outcome(c2w - 90 + noise, Some(c2w), 7)).unwrap();
            }
        }
        assert_eq!(
            results.to_string(),
            "workload             host s   QEMU s    c2w s c2w/QEMU c2w/QEMU cpu c2w/host\n\
             sieve                 0.100     1.00    0.500     2.00         4.00     0.20\n\
             sort                  0.100     1.00     2.00     0.50         1.00   0.0500\n\
             = integer                                         1.00         2.00     0.10\n\
             nbody-f32             0.010     4.00     1.00     4.00         8.00   0.0100\n\
             = floating point                                  4.00         8.00   0.0100\n\
             = all                                             1.59         3.17   0.0464\n\
             X/Y: how many times faster X is than Y; = geometric mean\n\
             seconds: medians of 3 (integer, floating point)"
        );
        assert_eq!(
            results.aims(),
            "c2w        integer           1.00, aim  2.00: missed   least: sort 0.50\n\
             c2w        floating point    4.00, aim  4.00: reached  least: nbody-f32 4.00\n"
        );
        assert_eq!(results.speed(2, 0, 1), Some(400.0));
        assert_eq!(results.json()["workloads"][1]["speed"]["c2w/QEMU"], 0.5);
    }

    #[test]
    fn what_is_missing_is_left_out_of_means() {
        let mut results = results();
        results.add(0, 2, &outcome(100, Some(100), 7)).unwrap();
        results.add(1, 1, &outcome(100, Some(0), 7)).unwrap();
        results.add(1, 2, &outcome(100, Some(0), 7)).unwrap();
        let text = results.to_string();
        assert!(
            text.contains("sieve                     -        -    0.100        -            -"),
            "{text}"
        );
        assert!(
            text.contains("= all                                             1.00            -"),
            "{text}"
        );
    }

    #[test]
    fn a_slow_sides_times_are_of_a_part_of_the_work() {
        let side = |name: &str, role, jit| Side { name: name.to_string(), role, jit };
        let sides = vec![
            side("host", Role::Native, None),
            side("QEMU", Role::Peer, None),
            side("interpreter", Role::C2w, Some(Jit::Off)),
        ];
        assert_eq!([42, 3].map(|full| sides[2].repeats(full)), [10, 1]);
        assert_eq!(sides[1].repeats(42), 42);
        let mut results = Results::new(sides, [("sieve", Group::Integer, 42), ("boot", Group::Cold, 1)]);
        for side in [0, 1] {
            results.add(0, side, &outcome(420, Some(420), 0xab)).unwrap();
        }
        results.add(1, 1, &outcome(1000, None, 1)).unwrap();
        results.add(1, 1, &outcome(1000, None, 1)).unwrap();
        assert!(results.is_known(0, 42) && !results.is_known(0, 10));
        results.check(0, 0, 10, &outcome(40, None, 0xac)).unwrap();
        assert!(results.is_known(0, 10));
        let error = results.add(0, 2, &outcome(200, Some(200), 0xab)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sieve: the checksum is 00000000000000ab instead of 00000000000000ac as on host"
        );
        results.add(0, 2, &outcome(200, Some(200), 0xac)).unwrap();
        assert_eq!(
            results.to_string(),
            "workload             host s   QEMU s interpreter s interpreter/QEMU interpreter/QEMU cpu interpreter/host\n\
             sieve                 0.420    0.420         0.840             0.50                 0.50             0.50\n\
             = integer                                                      0.50                 0.50             0.50\n\
             boot                      -     1.00             -                -                    -                -\n\
             = cold                                                            -                    -                -\n\
             = all                                                          0.50                 0.50             0.50\n\
             X/Y: how many times faster X is than Y; = geometric mean\n\
             seconds: medians of 1 (integer); of 2 (cold)\n\
             interpreter: times of 1/4 of the work, times 4\n\
             -: failed, as is said below, or there is nothing to run: other guests' programs; commands for the host, \
             for other emulators and for the interpreter; warm ones where no code is kept"
        );
    }

    #[test]
    fn sides_have_to_compute_the_same() {
        let mut results = results();
        results.add(0, 0, &outcome(1, None, 0xab)).unwrap();
        let error = results.add(0, 2, &outcome(1, None, 0xac)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sieve: the checksum is 00000000000000ac instead of 00000000000000ab as on host"
        );
        assert_eq!(results.speed(0, 2, 0), None);
    }
}
