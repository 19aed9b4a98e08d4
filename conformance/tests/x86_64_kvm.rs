//! System-level programs of random state, on our machine and under the hypervisor of the system that tests run on: page
//! rights, gates, segments, far transfers, privileges, debug registers. The states at the end are compared whole.
//!
//! Without a hypervisor the programs run on our machine alone, which must bring each to an end; the test says so. What a
//! hypervisor in software says, which has not all checks of a processor, is printed and counts for nothing.
//! `X86_64_ROUNDS`, `X86_64_SEED` and `X86_64_SHOW` are those of `x86_64_native.rs`; `X86_64_ONLY` lists families.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use c2w_conformance::riscv64::random::Random;
use c2w_conformance::x86_64::kvm::{Hypervisor, is_software};
use c2w_conformance::x86_64::programs::{FAMILIES, Family};
use c2w_conformance::x86_64::system::{End, Finished, Program, TABLES};
use std::fmt::Write as _;

const ROUNDS: u64 = 300;
const SHOWN: u64 = 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn is_wanted(family: &Family) -> bool {
    std::env::var("X86_64_ONLY").map_or(true, |list| list.split(',').any(|name| name == family.name))
}

/// Takes away what a hypervisor in software does in its own way: it keeps IOPL and AC clear while the guest runs, and does
/// not set A and D in the guest's page tables.
fn align(want: &mut Finished, got: &mut Finished) {
    const FLAGS: u64 = 0x5_3000;
    const ACCESSED_DIRTY: u64 = 0x60;
    for finished in [&mut *want, &mut *got] {
        finished.rflags &= !FLAGS;
    }
    for (index, (w, g)) in want.memory.chunks_exact_mut(8).zip(got.memory.chunks_exact(8)).enumerate() {
        let mask = if index as u64 * 8 >= TABLES { ACCESSED_DIRTY } else { FLAGS };
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        if (number(w) ^ number(g)) & !mask == 0 {
            w.copy_from_slice(g);
        }
    }
}

/// What differs.
fn differences(program: &Program, want: &Finished, got: &Finished) -> String {
    let mut text = String::new();
    let mut line = |name: &str, want: u64, got: u64| {
        if want != got {
            let _ = writeln!(text, "      {name}: processor {want:#x} here {got:#x}");
        }
    };
    for i in 0..16 {
        line(&format!("register {i}"), want.gpr[i], got.gpr[i]);
    }
    line("rip", want.rip, got.rip);
    line("rflags", want.rflags, got.rflags);
    for (i, name) in ["cr0", "cr2", "cr3", "cr4", "efer"].iter().enumerate() {
        line(name, want.control[i], got.control[i]);
    }
    line("dr6", want.debug_status, got.debug_status);
    for (i, name) in ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"].iter().enumerate() {
        if want.segments[i] != got.segments[i] {
            let _ = writeln!(text, "      {name}: processor {:x?}", want.segments[i]);
            let _ = writeln!(text, "      {name}: here      {:x?}", got.segments[i]);
        }
    }
    if want.end != got.end {
        let _ = writeln!(text, "      end: processor {:?} here {:?}", want.end, got.end);
    }
    if let Some(at) = (0..want.memory.len()).find(|&at| want.memory[at] != got.memory[at]) {
        let (at, end) = (at & !7, (at & !7) + 32);
        let [w, g] = [want, got].map(|f| format!("{:02x?}", &f.memory[at..end.min(f.memory.len())]));
        let _ =
            writeln!(text, "      memory at {at:#x}: processor {w}\n      memory at {at:#x}: here      {g}");
    }
    if text.is_empty() { text } else { format!("  {}\n{text}", program.name) }
}

#[test]
fn programs_end_alike() {
    let mut hypervisor = Hypervisor::new();
    if let Err(error) = &hypervisor {
        println!("no hypervisor ({error}): our machine runs alone");
    }
    let (rounds, shown) = (number("X86_64_ROUNDS", ROUNDS), number("X86_64_SHOW", SHOWN));
    let mut all_well = true;
    for family in FAMILIES.iter().filter(|family| is_wanted(family)) {
        let mut random = Random(number("X86_64_SEED", 1) ^ family.name.len() as u64);
        let (mut compared, mut not_possible, mut differing) = (0, 0, 0);
        for _ in 0..rounds {
            let program = (family.make)(&mut random);
            let mut got = program.run();
            if let End::Other(end) = &got.end {
                println!("  {}: {end}", program.name);
                all_well = false;
            }
            let Ok(hypervisor) = &mut hypervisor else { continue };
            match hypervisor.run(&program) {
                Ok(Some(mut want)) => {
                    compared += 1;
                    if is_software() {
                        align(&mut want, &mut got);
                    }
                    let difference = differences(&program, &want, &got);
                    if !difference.is_empty() {
                        differing += 1;
                        if differing <= shown {
                            print!("{difference}");
                        }
                    }
                }
                Ok(None) => not_possible += 1,
                Err(error) => {
                    println!("  {}: the hypervisor refuses the state: {error}", program.name);
                    not_possible += 1;
                }
            }
        }
        all_well &= differing == 0 || is_software();
        println!("{}: {compared} compared, {differing} differ, {not_possible} not carried out", family.name);
    }
    assert!(all_well, "programs end differently");
}
