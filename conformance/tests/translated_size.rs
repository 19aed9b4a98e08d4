//! What the native translator makes of a fixed set of loops, counted: a regression shows without a clock. With
//! `UPDATE_EXPECT=1` in the environment the file of counts is rewritten instead.

#![cfg(all(unix, target_arch = "x86_64"))]

use anyhow::{Context, ensure};
use c2w_conformance::{riscv64, x86_64};
use c2w_decoders::riscv64::asm::assemble;
use c2w_engine::guest::Guest;
use c2w_engine::machine::Machine;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Enough for every block of a loop to run often.
const INSNS: u64 = 100_000;

/// A line about what a loop becomes.
fn describe<G: Guest>(guest: &str, name: &str, mut machine: Machine<G>) -> anyhow::Result<String> {
    ensure!(machine.translate(1), "this host runs generated code");
    machine.run(INSNS);
    let done = machine.translator_statistics().context("the machine translates")?;
    ensure!(done.retired > INSNS / 2, "{guest} {name}: only {} instructions ran translated", done.retired);
    Ok(format!(
        "{guest} {name}: {} guest instructions in {} regions, {} bytes of code",
        done.insns, done.regions, done.code_bytes
    ))
}

#[test]
fn loops_become_as_much_code_as_expected() -> anyhow::Result<()> {
    let mut got = String::new();
    for (name, text) in riscv64::loops::LOOPS {
        let image = assemble(text).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        writeln!(got, "{}", describe("riscv64", name, riscv64::user_machine(&image))?)?;
    }
    for (name, insns) in x86_64::loops::LOOPS {
        writeln!(got, "{}", describe("x86_64", name, x86_64::user_machine(&insns.concat()))?)?;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/translated/size.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1") {
        return Ok(fs::write(path, got)?);
    }
    let want = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    ensure!(got == want, "{}: expected\n{want}\ngot\n{got}", path.display());
    Ok(())
}
