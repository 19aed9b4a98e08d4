//! What `c2w-run --stats` says.

use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// The statistics, by name. Where a name comes more than once, as parts of two things may have the same, the first counts.
pub struct Stats(BTreeMap<String, u64>);

impl Stats {
    /// Takes them out of what was written to standard error, and returns them and the rest.
    pub fn split(stderr: &str) -> (Self, String) {
        let (mut stats, mut rest) = (BTreeMap::new(), String::new());
        for line in stderr.lines() {
            match statistic(line) {
                Some((name, value)) => {
                    stats.entry(name.to_string()).or_insert(value);
                }
                None => rest += &format!("{line}\n"),
            }
        }
        (Self(stats), rest)
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn get(&self, name: &str) -> Result<u64> {
        self.0.get(name).copied().with_context(|| format!("c2w-run --stats has no {name:?}"))
    }
}

/// A name and a number; warnings and errors have a colon behind their first words.
fn statistic(line: &str) -> Option<(&str, u64)> {
    let (name, value) = line.strip_prefix("c2w-run: ")?.rsplit_once(' ')?;
    let name = name.trim();
    Some((name, value.parse().ok().filter(|_| !name.contains(':'))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_told_from_what_else_is_said() {
        let (stats, rest) = Stats::split(
            "c2w-run: regions translated                 10\n\
             a kernel's word: 5\n\
             c2w-run:   instructions in them             100\n\
             c2w-run: warning: mode 770\n\
             c2w-run: regions from the code cache        0\n\
             c2w-run:   instructions in them             3\n",
        );
        assert_eq!(rest, "a kernel's word: 5\nc2w-run: warning: mode 770\n");
        assert_eq!(stats.get("regions from the code cache").unwrap(), 0);
        assert_eq!(stats.get("instructions in them").unwrap(), 100);
        assert!(stats.get("regions").unwrap_err().to_string().contains("has no \"regions\""));
    }
}
