//! Figures: what was measured in every round, medians, ratios, and how they are printed.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Wall time.
    #[serde(rename = "s")]
    Seconds,
    /// 10^6 bytes a second.
    #[serde(rename = "MB/s")]
    MegabytesPerSecond,
    /// 2^20 bytes.
    #[serde(rename = "MiB")]
    Mebibytes,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::Seconds => "s",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::Mebibytes => "MiB",
        })
    }
}

/// Whose number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This project.
    C2w,
    /// QEMU with TCG.
    Qemu,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    name: &'static str,
    unit: Unit,
    c2w: Vec<f64>,
    /// Empty where there is nothing to compare with.
    qemu: Vec<f64>,
    /// Seconds of processor time, all threads of the emulator together; not known for memory.
    c2w_cpu: Vec<f64>,
    /// The same of QEMU.
    qemu_cpu: Vec<f64>,
}

impl Figure {
    /// How many times better c2w is, between the medians: above 1 it is faster or smaller.
    fn ratio(&self) -> Option<f64> {
        let (c2w, qemu) = (median(&self.c2w)?, median(&self.qemu)?);
        Some(match self.unit {
            Unit::Seconds | Unit::Mebibytes => qemu / c2w,
            Unit::MegabytesPerSecond => c2w / qemu,
        })
    }

    /// The same of processor time, which a busy host distorts less than wall time.
    fn cpu_ratio(&self) -> Option<f64> {
        Some(median(&self.qemu_cpu)? / median(&self.c2w_cpu)?)
    }
}

/// All figures, in the order in which they first came.
#[derive(Clone, Debug, Default)]
pub struct Table {
    figures: Vec<Figure>,
    index: BTreeMap<&'static str, usize>,
}

impl Table {
    /// Takes note of one measurement.
    pub fn add(&mut self, name: &'static str, unit: Unit, side: Side, value: f64) {
        let figure = self.line(name, unit);
        match side {
            Side::C2w => figure.c2w.push(value),
            Side::Qemu => figure.qemu.push(value),
        }
    }

    /// Takes note of a measurement and of the processor time it took.
    pub fn add_with_cpu(&mut self, name: &'static str, unit: Unit, side: Side, value: f64, cpu: Duration) {
        self.add(name, unit, side, value);
        let figure = self.line(name, unit);
        match side {
            Side::C2w => figure.c2w_cpu.push(cpu.as_secs_f64()),
            Side::Qemu => figure.qemu_cpu.push(cpu.as_secs_f64()),
        }
    }

    fn line(&mut self, name: &'static str, unit: Unit) -> &mut Figure {
        let index = *self.index.entry(name).or_insert_with(|| {
            let (c2w, qemu, c2w_cpu, qemu_cpu) = Default::default();
            self.figures.push(Figure { name, unit, c2w, qemu, c2w_cpu, qemu_cpu });
            self.figures.len() - 1
        });
        &mut self.figures[index]
    }

    /// Every sample, medians and ratios.
    pub fn json(&self) -> serde_json::Value {
        let lines = self.figures.iter().map(|figure| {
            serde_json::json!({
                "figure": figure,
                "c2w_median": median(&figure.c2w),
                "qemu_median": median(&figure.qemu),
                "ratio": figure.ratio(),
                "c2w_cpu_median_s": median(&figure.c2w_cpu),
                "qemu_cpu_median_s": median(&figure.qemu_cpu),
                "cpu_ratio": figure.cpu_ratio(),
            })
        });
        lines.collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["c2w", "QEMU TCG", "ratio", "cpu s", "QEMU", "ratio"].map(str::to_string);
        line(f, "median (least-most)", "unit", &header)?;
        for figure in &self.figures {
            let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let cpu = |samples| median(samples).map_or_else(String::new, number);
            let cells = [
                summary(&figure.c2w),
                summary(&figure.qemu),
                ratio(figure.ratio()),
                cpu(&figure.c2w_cpu),
                cpu(&figure.qemu_cpu),
                ratio(figure.cpu_ratio()),
            ];
            line(f, figure.name, &figure.unit.to_string(), &cells)?;
        }
        write!(f, "ratio: how many times faster, or smaller, c2w is than QEMU")
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, unit: &str, cells: &[String; 6]) -> fmt::Result {
    let [c2w, qemu, ratio, cpu, qemu_cpu, cpu_ratio] = cells;
    writeln!(
        f,
        "{name:<32} {unit:<4} {c2w:>18} {qemu:>18} {ratio:>5} | {cpu:>5} {qemu_cpu:>5} {cpu_ratio:>5}"
    )
}

/// The middle one; of an even number, the mean of the two in the middle.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    let sorted = sorted(samples);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn summary(samples: &[f64]) -> String {
    match (median(samples), sorted(samples).as_slice()) {
        (Some(median), [least, .., most]) => {
            format!("{} ({}-{})", number(median), number(*least), number(*most))
        }
        (Some(only), _) => number(only),
        (None, _) => "-".to_string(),
    }
}

/// Three digits that matter, as far as a table goes.
pub(crate) fn number(value: f64) -> String {
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut table = Table::default();
        table.add("time", Unit::Seconds, Side::C2w, 2.0);
        table.add("time", Unit::Seconds, Side::Qemu, 1.0);
        table.add("speed", Unit::MegabytesPerSecond, Side::C2w, 300.0);
        table.add("speed", Unit::MegabytesPerSecond, Side::Qemu, 100.0);
        table.add("alone", Unit::Mebibytes, Side::C2w, 30.0);
        let ratios: Vec<_> = table.figures.iter().map(Figure::ratio).collect();
        assert_eq!(ratios, [Some(0.5), Some(3.0), None]);
    }
}
