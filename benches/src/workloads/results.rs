//! What was measured of each program on each side, and the table of it.

use super::list::Group;
use super::runner::Outcome;
use crate::figure::{median, number};
use c2w::jit::Jit;
use serde::Serialize;
use std::fmt::{self, Write as _};

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

/// Measurements of one program on one side.
#[derive(Clone, Debug, Default, Serialize)]
struct Samples {
    wall_s: Vec<f64>,
    cpu_s: Vec<f64>,
}

/// Measurements of one program.
#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    group: Group,
    repeats: u64,
    /// What the first side computed, and which it was; every other one has to compute the same.
    checksum: Option<(u64, usize)>,
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
            checksum: None,
            samples: vec![Samples::default(); sides.len()],
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

    /// Takes note of one run of the program with this number on this side.
    ///
    /// # Errors
    /// Another side computed something else; such a run is not counted.
    pub fn add(&mut self, row: usize, side: usize, outcome: &Outcome) -> Result<(), Different> {
        let row = &mut self.rows[row];
        let (expected, first) = *row.checksum.get_or_insert((outcome.checksum, side));
        if expected != outcome.checksum {
            return Err(Different {
                workload: row.name,
                expected,
                first: self.sides[first].name.clone(),
                found: outcome.checksum,
            });
        }
        let samples = &mut row.samples[side];
        samples.wall_s.push(outcome.wall.as_secs_f64());
        samples.cpu_s.extend(outcome.cpu.map(|cpu| cpu.as_secs_f64()));
        Ok(())
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
                "checksum": row.checksum.map(|(checksum, _)| format!("{checksum:016x}")),
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
        write!(f, "X/Y: how many times faster X is than Y; = geometric mean")
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
             X/Y: how many times faster X is than Y; = geometric mean"
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
