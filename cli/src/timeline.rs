//! Where the time of a run goes, for `--stats`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Moments of a run, in the order in which they came first.
#[derive(Clone, Debug)]
pub struct Timeline {
    start: Instant,
    marks: Vec<(&'static str, Duration)>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Timeline {
    /// A run that began then.
    pub fn since(start: Instant) -> Self {
        Self { start, marks: Vec::new() }
    }

    /// Now is the moment of this name, unless there was one before.
    pub fn mark(&mut self, name: &'static str) {
        if self.marks.iter().all(|(known, _)| *known != name) {
            self.marks.push((name, self.start.elapsed()));
        }
    }

    /// A line for each moment.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        for (name, when) in &self.marks {
            let _ =
                writeln!(text, "c2w-run: {:<34} {}", format!("microseconds until {name}"), when.as_micros());
        }
        text
    }
}
