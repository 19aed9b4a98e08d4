//! Runs files of recorded blocks: code above, its printed IR below. With `UPDATE_EXPECT=1` in the environment the
//! IR in the files is rewritten instead.
//!
//! A case is a run of lines up to an empty one: comments after `#`, code after `>`, and IR.

use std::fs;
use std::path::Path;

/// Checks every `.ir` file of a directory; `print` gives the IR of code, and whether it keeps the invariants of a
/// block is its business, too. Returns the number of cases.
///
/// # Errors
/// The cases that differ, each with its place.
pub fn run_directory(
    directory: &Path,
    print: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<usize> {
    let update = std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1");
    let mut files: Vec<_> =
        fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ir"));
    files.sort();
    let (mut failures, mut count) = (Vec::new(), 0);
    for file in files {
        let text = fs::read_to_string(&file)?;
        let mut rewritten = Vec::new();
        for case in text.split("\n\n").map(str::trim_end).filter(|case| !case.is_empty()) {
            count += 1;
            let head: Vec<&str> = case.lines().take_while(|line| line.starts_with(['#', '>'])).collect();
            let code: Vec<&str> = head.iter().filter_map(|line| line.strip_prefix('>')).collect();
            let head = head.join("\n");
            match print(&code.join("\n")) {
                Err(error) => failures.push(format!("{}: {head}\n{error}", file.display())),
                Ok(ir) => {
                    let new = format!("{head}\n{}", ir.trim_end());
                    if !update && new != case {
                        failures.push(format!("{}: expected\n{case}\ngot\n{new}", file.display()));
                    }
                    rewritten.push(new);
                }
            }
        }
        if update && failures.is_empty() {
            fs::write(&file, rewritten.join("\n\n") + "\n")?;
        }
    }
    anyhow::ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(count)
}
