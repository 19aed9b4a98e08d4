//! Figures: what was measured in every round, medians, ratios, and how they are printed.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

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
    /// `qemu-system-riscv64` with TCG.
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
        let index = *self.index.entry(name).or_insert_with(|| {
            self.figures.push(Figure { name, unit, c2w: Vec::new(), qemu: Vec::new() });
            self.figures.len() - 1
        });
        match side {
            Side::C2w => self.figures[index].c2w.push(value),
            Side::Qemu => self.figures[index].qemu.push(value),
        }
    }

    /// Every sample, medians and ratios.
    pub fn json(&self) -> serde_json::Value {
        let lines = self.figures.iter().map(|figure| {
            serde_json::json!({
                "figure": figure,
                "c2w_median": median(&figure.c2w),
                "qemu_median": median(&figure.qemu),
                "ratio": figure.ratio(),
            })
        });
        lines.collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<32} {:<5} {:>20} {:>20} {:>7}",
            "median (least-most)", "unit", "c2w", "QEMU TCG", "ratio"
        )?;
        for figure in &self.figures {
            let ratio = figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let [c2w, qemu] = [&figure.c2w, &figure.qemu].map(|samples| summary(samples));
            writeln!(f, "{:<32} {:<5} {c2w:>20} {qemu:>20} {ratio:>7}", figure.name, figure.unit)?;
        }
        write!(f, "ratio: how many times faster, or smaller, c2w is than QEMU")
    }
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median(samples: &[f64]) -> Option<f64> {
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
fn number(value: f64) -> String {
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
