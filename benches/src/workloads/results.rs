//! What was measured of each program on each side, and the table of it.

use super::list::{Group, Workload};
use super::runner::Outcome;
use crate::figure::{median, number};
use serde::Serialize;
use std::fmt;

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
    workload: Workload,
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

/// A quotient of two medians that is a column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ratio {
    /// How many times faster c2w is than the first peer.
    Peer,
    /// The same by processor time, which a busy host distorts less.
    PeerByCpu,
    /// Which part of the host's speed c2w has.
    Native,
}

const RATIOS: [Ratio; 3] = [Ratio::Peer, Ratio::PeerByCpu, Ratio::Native];

impl Results {
    /// Nothing yet, of these programs with these counts.
    pub fn new(sides: Vec<Side>, workloads: impl IntoIterator<Item = (Workload, u64)>) -> Self {
        let rows = workloads.into_iter().map(|(workload, repeats)| Row {
            workload,
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

    /// The programs and their counts.
    pub fn workloads(&self) -> Vec<(Workload, u64)> {
        self.rows.iter().map(|row| (row.workload, row.repeats)).collect()
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
                workload: row.workload.name,
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

    fn ratio(&self, row: &Row, ratio: Ratio) -> Option<f64> {
        let than = match ratio {
            Ratio::Peer | Ratio::PeerByCpu => self.side(Role::Peer)?,
            Ratio::Native => self.side(Role::Native)?,
        };
        let (c2w, than) = (&row.samples[self.side(Role::C2w)?], &row.samples[than]);
        match ratio {
            Ratio::Peer | Ratio::Native => quotient(&than.wall_s, &c2w.wall_s),
            Ratio::PeerByCpu => quotient(&than.cpu_s, &c2w.cpu_s),
        }
    }

    /// The geometric mean of a ratio over a group, or over everything.
    fn mean(&self, group: Option<Group>, ratio: Ratio) -> Option<f64> {
        let rows = self.rows.iter().filter(|row| group.is_none_or(|group| row.workload.group == group));
        geometric_mean(rows.filter_map(|row| self.ratio(row, ratio)))
    }

    /// Every sample, medians and ratios.
    pub fn json(&self) -> serde_json::Value {
        let ratios = |ratio: &dyn Fn(Ratio) -> Option<f64>| {
            let [peer, cpu, native] = RATIOS.map(ratio);
            serde_json::json!({ "to_peer": peer, "to_peer_by_cpu": cpu, "to_native": native })
        };
        let rows = self.rows.iter().map(|row| {
            let medians = row.samples.iter().map(|samples| median(&samples.wall_s));
            serde_json::json!({
                "name": row.workload.name,
                "group": row.workload.group.to_string(),
                "repeats": row.repeats,
                "checksum": row.checksum.map(|(checksum, _)| format!("{checksum:016x}")),
                "samples": row.samples,
                "wall_median_s": medians.collect::<Vec<_>>(),
                "speed": ratios(&|ratio| self.ratio(row, ratio)),
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
        let peer = self.side(Role::Peer).map_or("peer", |side| &self.sides[side].name);
        let seconds = self.sides.iter().map(|side| format!("{} s", side.name));
        let ratios = [format!("c2w/{peer}"), "by cpu".to_string(), "c2w/native".to_string()];
        let header: Vec<String> = seconds.chain(ratios).collect();
        line(f, &header, "workload", &header)?;
        let shown = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_string(), ratio_text);
        let mean = |f: &mut fmt::Formatter<'_>, name: &str, group| {
            let seconds = self.sides.iter().map(|_| String::new());
            let means = RATIOS.map(|ratio| shown(self.mean(group, ratio)));
            line(f, &header, name, &seconds.chain(means).collect::<Vec<_>>())
        };
        for group in Group::ALL {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.workload.group == group).collect();
            for row in &rows {
                let seconds = row.samples.iter().map(|samples| median(&samples.wall_s));
                let seconds = seconds.map(|median| median.map_or_else(|| "-".to_string(), seconds_text));
                let ratios = RATIOS.map(|ratio| shown(self.ratio(row, ratio)));
                line(f, &header, row.workload.name, &seconds.chain(ratios).collect::<Vec<_>>())?;
            }
            if !rows.is_empty() {
                mean(f, &format!("= {group}"), Some(group))?;
            }
        }
        mean(f, "= all", None)?;
        write!(f, "c2w/X: how many times faster c2w is than X; = geometric mean")
    }
}

/// A line of cells, each as wide as its header, or a number.
fn line(f: &mut fmt::Formatter<'_>, header: &[String], name: &str, cells: &[String]) -> fmt::Result {
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
        Outcome { wall: Duration::from_millis(wall_ms), cpu: cpu_ms.map(Duration::from_millis), checksum }
    }

    /// Two programs of the first group, one of the second.
    fn results() -> Results {
        let sides = [("native", Role::Native), ("QEMU", Role::Peer), ("c2w", Role::C2w)];
        let sides = sides.map(|(name, role)| Side { name: name.to_string(), role });
        Results::new(sides.to_vec(), [0, 1, 8].map(|at| (WORKLOADS[at], 10)))
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
            "workload           native s   QEMU s    c2w s c2w/QEMU   by cpu c2w/native\n\
             sieve                 0.100     1.00    0.500     2.00     4.00       0.20\n\
             sort                  0.100     1.00     2.00     0.50     1.00     0.0500\n\
             = integer                                         1.00     2.00       0.10\n\
             nbody-f32             0.010     4.00     1.00     4.00     8.00     0.0100\n\
             = floating point                                  4.00     8.00     0.0100\n\
             = all                                             1.59     3.17     0.0464\n\
             c2w/X: how many times faster c2w is than X; = geometric mean"
        );
        assert_eq!(results.speed(2, 0, 1), Some(400.0));
        assert_eq!(results.json()["workloads"][1]["speed"]["to_peer"], 0.5);
    }

    #[test]
    fn what_is_missing_is_left_out_of_means() {
        let mut results = results();
        results.add(0, 2, &outcome(100, Some(100), 7)).unwrap();
        results.add(1, 1, &outcome(100, Some(0), 7)).unwrap();
        results.add(1, 2, &outcome(100, Some(0), 7)).unwrap();
        let text = results.to_string();
        assert!(text.contains("sieve                     -        -    0.100        -        -"), "{text}");
        assert!(text.contains("= all                                             1.00        -"), "{text}");
    }

    #[test]
    fn sides_have_to_compute_the_same() {
        let mut results = results();
        results.add(0, 0, &outcome(1, None, 0xab)).unwrap();
        let error = results.add(0, 2, &outcome(1, None, 0xac)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sieve: the checksum is 00000000000000ac instead of 00000000000000ab as on native"
        );
        assert_eq!(results.speed(0, 2, 0), None);
    }
}
