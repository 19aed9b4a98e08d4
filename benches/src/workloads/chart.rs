//! The results as a picture: for every program a bar for each side, as long as the side is faster than the baseline.

use super::results::Results;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::path::Path;

/// Width of the picture.
const WIDTH: u32 = 960;
/// Height of one bar.
const BAR: u32 = 9;
/// Space above the first program, with the title and the legend, and below the last one, with the scale.
const MARGINS: u32 = 110;
/// Width of the names.
const NAMES: u32 = 130;
/// Colours of the sides; the one that is compared with has none.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x6c, 0xa8),
    RGBColor(0xe0, 0x7b, 0x39),
    RGBColor(0x5b, 0x9e, 0x4d),
    RGBColor(0x8e, 0x63, 0xa8),
    RGBColor(0x8a, 0x8a, 0x8a),
    RGBColor(0xc4, 0x4e, 0x52),
];

/// Writes the picture to `path` as SVG. Nothing is written if there is nothing to compare.
///
/// # Errors
/// The file cannot be written.
pub fn write(results: &Results, title: &str, path: &Path) -> Result<()> {
    let Some(baseline) = results.baseline() else { return Ok(()) };
    let names = results.names();
    let sides: Vec<usize> = (0..results.sides().len()).filter(|side| *side != baseline).collect();
    let bars: Vec<(usize, usize, f64)> = (0..names.len())
        .flat_map(|row| sides.iter().enumerate().map(move |(at, side)| (row, at, *side)))
        .filter_map(|(row, at, side)| Some((row, at, results.speed(row, side, baseline)?)))
        .collect();
    if bars.is_empty() {
        return Ok(());
    }
    // Each program has a place of height 1, in which the bars are side by side with a gap below.
    let place = sides.len() as f64 + 1.0;
    let height = (place * f64::from(BAR)) as u32 * names.len() as u32 + MARGINS;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    let fail = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| fail(&error))?;
    let base = &results.sides()[baseline].name;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{title}: speed, {base} = 1"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(scale(&bars).log_scale(), 0.0..names.len() as f64)
        .map_err(|error| fail(&error))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc(format!("times the speed of {base}"))
        .x_label_formatter(&|speed| speed.to_string())
        .draw()
        .map_err(|error| fail(&error))?;
    let y = |row: usize, at: f64| (names.len() - row) as f64 - at / place;
    for (at, side) in sides.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let mine = bars.iter().filter(|(_, bar, _)| *bar == at).map(|(row, bar, speed)| {
            let (top, bottom) = (y(*row, *bar as f64 + 0.5), y(*row, *bar as f64 + 1.5));
            Rectangle::new([(1.0, top), (*speed, bottom)], colour.filled())
        });
        chart
            .draw_series(mine)
            .map_err(|error| fail(&error))?
            .label(results.sides()[*side].name.clone())
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 14, y + 4)], colour.filled()));
    }
    let places = names.iter().enumerate().map(|(row, name)| {
        let style = ("sans-serif", 12).into_text_style(&root);
        let (_, from_top) = chart.backend_coord(&(1.0, y(row, place / 2.0)));
        Text::new(*name, (12, from_top - 6), style)
    });
    for name in places.collect::<Vec<_>>() {
        root.draw(&name).map_err(|error| fail(&error))?;
    }
    chart
        .configure_series_labels()
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(|error| fail(&error))?;
    root.present().map_err(|error| fail(&error))
}

/// Powers of ten around all bars, which begin at 1, and a little more: at the very ends, plotters rounds marks away.
fn scale(bars: &[(usize, usize, f64)]) -> std::ops::Range<f64> {
    let (least, most) = exponents(bars.iter().map(|(_, _, speed)| *speed));
    10f64.powf(least - 0.001)..10f64.powf(most + 0.001)
}

fn exponents(speeds: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) = speeds.fold((0.0, 0.0), |(least, most): (f64, f64), speed| {
        (least.min(speed.log10().floor()), most.max(speed.log10().ceil()))
    });
    (least, if most > least { most } else { least + 1.0 })
}

#[cfg(test)]
mod tests {
    use super::super::list::WORKLOADS;
    use super::super::results::{Role, Side};
    use super::super::runner::Outcome;
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_scale_holds_every_bar() {
        assert_eq!(exponents([0.3, 40.0].into_iter()), (-1.0, 2.0));
        assert_eq!(exponents([1.0].into_iter()), (0.0, 1.0));
    }

    #[test]
    fn programs_and_sides_are_named() {
        let sides = [("QEMU", Role::Peer), ("c2w", Role::C2w)];
        let sides = sides.map(|(name, role)| Side { name: name.to_string(), role, jit: None });
        let mut results =
            Results::new(sides.to_vec(), [0, 1].map(|at| (WORKLOADS[at].name, WORKLOADS[at].group, 1)));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("chart.svg");
        write(&results, "nothing", &path).unwrap();
        assert!(!path.exists());
        for (side, wall_ms) in [(0, 100), (1, 50)] {
            let outcome = Outcome { wall: Duration::from_millis(wall_ms), cpu: None, checksum: 1, ns: None };
            results.add(1, side, &outcome).unwrap();
        }
        write(&results, "a title", &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for part in ["<svg", "a title: speed, QEMU = 1", "sort", "c2w", "</svg>"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
