//! Every form of the x86_64 instructions that are known, with random operands and states, against the processor of the
//! test machine: all registers, flags, memory and exceptions, from the interpreter and from recorded IR.
//!
//! What is not compared stands in `x86_64/undefined.rs` (flags) and `x86_64/excluded.rs` (forms). A table of all forms
//! with the number of cases of each is written to `x86_64-forms.txt` in the tests' temporary directory.
//!
//! Environment: `X86_64_ONLY` lists mnemonics or starts of form names (`add,Fld_*,Cvt*`), `X86_64_ROUNDS` the cases of
//! each form, `X86_64_SEED` the first random number, `X86_64_SHOW` how many differences of a form are printed.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use c2w_conformance::riscv64::random::Random;
use c2w_conformance::x86_64::compare::Bench;
use c2w_conformance::x86_64::excluded;
use c2w_conformance::x86_64::features::{host_has, is_demanded};
use c2w_conformance::x86_64::forms::{self, Template};
use c2w_conformance::x86_64::generate::{Generator, Options};
use c2w_conformance::x86_64::ours::Ours;
use c2w_decoders::x86_64::decode::decode;
use c2w_decoders::x86_64::insn::Op;
use c2w_decoders::x86_64::mode::ModeBits;
use c2w_engine::guest::Mode;
use iced_x86::{Code, Mnemonic};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Cases of each form.
const ROUNDS: u64 = 300;
/// Differences of a form that are printed.
const SHOWN: usize = 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Whether the environment asks for this form.
fn is_wanted(code: Code) -> bool {
    let Ok(list) = std::env::var("X86_64_ONLY") else { return true };
    let name = format!("{code:?}").to_lowercase();
    let mnemonic = format!("{:?}", code.mnemonic()).to_lowercase();
    list.to_lowercase().split(',').any(|wanted| match wanted.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => mnemonic == wanted || name == wanted,
    })
}

/// Whether the decoder makes something of encodings of a form, in user mode or as supervisor.
fn is_known(templates: &[Template], mode: Mode) -> bool {
    let user = ModeBits::of(mode);
    let supervisor = Mode(user.difference(ModeBits::USER).bits());
    templates.iter().any(|template| {
        let mut bytes = forms::prefixes(template.selector, template.address_size, template.wide);
        bytes.extend(&template.opcode);
        let at = bytes.len();
        bytes.resize(24, 0);
        // Some values of an operand may raise exceptions.
        let next = [template.next.first(), template.next.last()];
        next.into_iter().flatten().any(|&next| {
            bytes[at] = next;
            let known = |&mode: &Mode| decode(&bytes, mode).is_some_and(|d| d.insn.op != Op::Raise);
            [mode, supervisor].iter().any(known)
        })
    })
}

/// Note of forms that the processor of the test machine has not got.
const NOT_COMPARABLE: &str = "not comparable on this processor";

/// Forms that the guest's processor must have and the decoder does not know.
fn missing(bits: u32) -> Vec<Code> {
    // They are known by always raising #UD or, without performance counters, #GP.
    let raises = |code: Code| {
        matches!(code.mnemonic(), Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 | Mnemonic::Rdpmc)
    };
    // 64-bit code alone has these, except on processors of AMD; these NOPs are undefined there.
    let makers = |code: Code| {
        let calls = matches!(code, Code::Syscall | Code::Sysretd) && bits == 32;
        calls || format!("{code:?}").ends_with("0F0D")
    };
    let mode = Ours::new().mode(bits == 32);
    let forms = forms::all(bits).into_iter();
    let demanded = forms.filter(|(code, _)| is_demanded(*code) && !raises(*code) && !makers(*code));
    demanded.filter(|(_, templates)| !is_known(templates, mode)).map(|(code, _)| code).collect()
}

/// What is known of a form at the end.
#[derive(Default)]
struct Row {
    cases: u64,
    exceptions: u64,
    differences: Vec<String>,
    differing: u64,
    note: &'static str,
}

fn run_forms(bits: u32) -> BTreeMap<Code, Row> {
    let seed = number("X86_64_SEED", 1);
    let mut random = Random(seed);
    let mut bench = Bench::new(|| random.draw()).expect("tests may map the window");
    let faults = bench.has_paging();
    let options = Options { bits, faults, segment_bases: bench.has_segment_bases() };
    let mode = bench.mode(bits == 32);
    let (rounds, shown) = (number("X86_64_ROUNDS", ROUNDS), number("X86_64_SHOW", SHOWN as u64) as usize);
    let mut rows: BTreeMap<Code, Row> = BTreeMap::new();
    for (code, templates) in forms::all(bits) {
        let known = is_known(&templates, mode);
        if !known || !is_wanted(code) {
            continue;
        }
        let row = rows.entry(code).or_default();
        if let Some(reason) = excluded::reason(code) {
            row.note = reason.covered_by;
            continue;
        }
        if !host_has(code) {
            row.note = NOT_COMPARABLE;
            continue;
        }
        let mut generator = Generator { random: Random(seed ^ (code as u64) << 20), options };
        for _ in 0..rounds * 4 {
            if row.cases >= rounds {
                break;
            }
            let Some(case) = generator.case(&templates) else { continue };
            let actual = case.insn.code();
            if actual != code && actual != Code::INVALID {
                continue;
            }
            row.cases += 1;
            let checked = bench.check(&case);
            row.exceptions += u64::from(checked.exception);
            if let Some(difference) = checked.difference {
                row.differing += 1;
                if row.differences.len() < shown {
                    row.differences.push(difference);
                }
            }
        }
    }
    rows
}

/// The table and whether all is well.
fn report(bits: u32, rows: &BTreeMap<Code, Row>) -> bool {
    let mut table = String::from("form                                     cases exceptions differing\n");
    let mut problems = String::new();
    let (mut cases, mut compared, mut elsewhere) = (0, 0, 0);
    for (code, row) in rows {
        let Row { cases: count, exceptions, differing, note, .. } = row;
        let name = format!("{code:?}");
        let _ = writeln!(table, "{name:40} {count:5} {exceptions:10} {differing:9} {note}");
        cases += count;
        if !note.is_empty() {
            elsewhere += 1;
        } else if *count == 0 {
            let _ = writeln!(problems, "{name}: known to the decoder, but no case was made");
        } else {
            compared += 1;
        }
        if *differing > 0 {
            let _ = writeln!(problems, "{name}: {differing} of {count} cases differ");
            row.differences.iter().for_each(|difference| problems.push_str(difference));
        }
    }
    let differing: Vec<Code> =
        rows.iter().filter(|(_, row)| row.differing > 0).map(|(code, _)| *code).collect();
    let summary = format!(
        "{bits}-bit: {compared} forms compared in {cases} cases, {elsewhere} covered elsewhere, {} differ {differing:?}",
        differing.len()
    );
    let _ = writeln!(table, "{summary}");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("x86_64-forms-{bits}.txt"));
    std::fs::write(&path, table).expect("the tests' temporary directory can be written");
    println!("{problems}{summary}; table: {}", path.display());
    problems.is_empty()
}

#[test]
fn forms_64() {
    assert!(report(64, &run_forms(64)), "forms differ from the processor");
}

#[test]
fn nothing_is_missing_64() {
    let missing = missing(64);
    assert!(missing.is_empty(), "{} forms are not known: {missing:?}", missing.len());
}

#[test]
fn forms_32() {
    assert!(report(32, &run_forms(32)), "forms differ from the processor");
}

#[test]
fn nothing_is_missing_32() {
    let missing = missing(32);
    assert!(missing.is_empty(), "{} forms are not known: {missing:?}", missing.len());
}
