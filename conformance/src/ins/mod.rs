//! Runs files of instruction cases on a machine and checks disassembly, outputs and that nothing else changed.
//! With `UPDATE_EXPECT=1` in the environment the files are rewritten instead; empty machine code is then
//! assembled from the text.

mod case;

pub use case::{Case, CaseError, Place, Setting, parse, render};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A machine that cases run on.
pub trait Subject: Sized {
    /// Files are rewritten after this machine if that is asked for; another one is only ever compared with them.
    const REWRITES: bool = true;
    /// A machine in the state that every case starts from.
    fn new() -> Self;
    /// Gives a register its value before the run; false if there is none of that name.
    fn set_register(&mut self, name: &str, value: u64) -> bool;
    /// Writes memory; false if it is not RAM.
    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool;
    /// All of RAM and its first address.
    fn memory(&self) -> (u64, &[u8]);
    /// Runs the code until it leaves it, from its first byte to behind its last one or elsewhere.
    fn run(&mut self, code: &[u8]);
    /// What can be observed, by name. Something that exists only after some runs, as an exception, is not there
    /// before.
    fn observe(&mut self) -> BTreeMap<String, u64>;
    /// Instructions as text.
    fn disassemble(code: &[u8]) -> Vec<String>;
    /// Text as instructions.
    fn assemble(text: &str) -> Option<Vec<u8>>;
}

/// Runs every case of every `.ins` file of a directory. Returns the disassembly of all instructions that ran.
///
/// # Errors
/// The failures, one line each, with file and line number.
pub fn run_directory<S: Subject>(directory: &Path) -> anyhow::Result<Vec<String>> {
    let update = S::REWRITES && std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1");
    let mut files: Vec<_> =
        fs::read_dir(directory)?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "ins"));
    files.sort();
    let (mut failures, mut seen) = (Vec::new(), Vec::new());
    for file in files {
        let text = fs::read_to_string(&file)?;
        let mut rewritten = String::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let mut fail = |why: String| failures.push(format!("{}:{number}: {why}", file.display()));
            let mut new_line = line.to_owned();
            match parse(number, line) {
                Err(error) => fail(error.to_string()),
                Ok(None) => {}
                Ok(Some(case)) => match actual::<S>(&case) {
                    Err(why) => fail(why),
                    Ok(actual) => {
                        seen.extend(S::disassemble(&actual.code));
                        if update {
                            new_line = if agrees(&case, &actual) { new_line } else { render(&actual) };
                        } else if !agrees(&case, &actual) {
                            fail(format!("\n  expected {}\n  got      {}", render(&case), render(&actual)));
                        }
                    }
                },
            }
            rewritten.push_str(&new_line);
            rewritten.push('\n');
        }
        if update && rewritten != text {
            fs::write(&file, rewritten)?;
        }
    }
    anyhow::ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(seen)
}

/// Whether what a case expects is what it does. Outputs may be in any order.
fn agrees(expected: &Case, actual: &Case) -> bool {
    expected.code == actual.code
        && expected.text == actual.text
        && actual.outputs.iter().all(|setting| expected.outputs.contains(setting))
        && expected.outputs.iter().all(|setting| actual.outputs.contains(setting))
}

/// The case with the disassembly and the outputs that the machine gives: all that changed, and what the case
/// expects and is so.
fn actual<S: Subject>(case: &Case) -> Result<Case, String> {
    let mut subject = S::new();
    let code = match case.code.as_slice() {
        [] => S::assemble(&case.text).ok_or("neither machine code nor text that assembles")?,
        code => code.to_vec(),
    };
    for Setting { place, value } in &case.inputs {
        let done = match place {
            Place::Register(name) => subject.set_register(name, *value),
            Place::Memory { address, bytes } => {
                subject.write_memory(*address, &value.to_le_bytes()[..*bytes as usize])
            }
        };
        if !done {
            return Err(format!("there is no {place:?}"));
        }
    }
    let before = subject.observe();
    let (base, memory) = subject.memory();
    let memory = memory.to_vec();
    subject.run(&code);
    let mut outputs = Vec::new();
    for (name, value) in subject.observe() {
        let changed = before.get(&name) != Some(&value);
        let setting = Setting { place: Place::Register(name), value };
        if changed || case.outputs.contains(&setting) {
            outputs.push(setting);
        }
    }
    outputs.extend(changed_memory(case, base, &memory, subject.memory().1));
    let text = S::disassemble(&code).join("; ");
    Ok(Case { line: case.line, code, text, inputs: case.inputs.clone(), outputs })
}

/// Memory that differs: in the pieces the case names, else in aligned 64-bit words.
fn changed_memory(case: &Case, base: u64, before: &[u8], after: &[u8]) -> Vec<Setting> {
    let at = |address: u64, bytes: u64| {
        let start = (address - base) as usize;
        let mut value = [0; 8];
        value[..bytes as usize].copy_from_slice(&after[start..start + bytes as usize]);
        u64::from_le_bytes(value)
    };
    let mut changed: Vec<u64> =
        (0..before.len()).filter(|&i| before[i] != after[i]).map(|i| base + i as u64).collect();
    let mut outputs = Vec::new();
    for setting in &case.outputs {
        if let Place::Memory { address, bytes } = setting.place
            && address >= base
            && address + bytes <= base + after.len() as u64
        {
            outputs.push(Setting { place: setting.place.clone(), value: at(address, bytes) });
            changed.retain(|at| !(address..address + bytes).contains(at));
        }
    }
    while let Some(&first) = changed.first() {
        let address = first & !7;
        outputs.push(Setting { place: Place::Memory { address, bytes: 8 }, value: at(address, 8) });
        changed.retain(|at| at & !7 != address);
    }
    outputs
}
