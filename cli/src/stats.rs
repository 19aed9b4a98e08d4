//! What `--stats` prints.

use crate::vm::Computer;
use std::fmt::Write as _;

/// What a machine has done, a fact a line; `before` is what had retired when it went on.
pub fn describe(computer: &dyn Computer, before: u64) -> String {
    let machine = computer.statistics();
    let mut text = String::new();
    let mut line = |name: &str, value: u64| {
        let _ = writeln!(text, "c2w-run: {name:<42} {value}");
    };
    let retired = machine.retired.saturating_sub(before);
    line("instructions retired", retired);
    if let Some(translator) = computer.translator_statistics() {
        line("  by the interpreter", retired.saturating_sub(translator.retired));
        line("  by translated code", translator.retired);
    }
    line("instructions decoded", machine.decoded);
    line("  kept now", machine.decoded_kept);
    line("TLB misses", machine.walks);
    line("looks at devices and timers", machine.looks);
    line("interrupts taken", machine.interrupts);
    line("pages of code overwritten", machine.invalidated_pages);
    if let Some(translator) = computer.translator_statistics() {
        line("regions translated", translator.regions);
        line("  blocks in them", translator.blocks);
        line("  instructions in them", translator.insns);
        line("  made anew over more blocks", translator.grown);
        line("  bytes of code", translator.code_bytes);
        line("  lost to writes", translator.invalidated);
        line("regions translated ahead", translator.ahead);
        line("  of these, used", translator.ahead_used);
        line("regions from the code cache", translator.recalled);
        line("  instructions in them", translator.recalled_insns);
        line("bytes of code and tables now", translator.kept_bytes);
        line("generations of code dropped", translator.dropped_generations);
        line("microseconds of translation, vCPU thread", translator.translation_ns / 1000);
        line("microseconds of translation, other thread", translator.background_ns / 1000);
        line("entries of translated code", translator.entries);
        line("  left to look at devices and timers", translator.pauses);
        line("  left because of an exception", translator.traps);
        line("  left for an instruction to interpret", translator.interpreted);
        line("  left where nothing was linked yet", translator.unlinked);
        line("  left by a jump not in the jump cache", translator.jump_misses);
        line("calls out of translated code", translator.call_outs);
        line("  of these, helpers", translator.helpers);
    }
    if let Some(verifier) = computer.verifier_statistics() {
        line("stretches checked", verifier.stretches);
        line("  instructions in them", verifier.insns);
        line("  not checked, for a device or written code", verifier.unchecked);
    }
    if let Some(peak_bytes) = peak_bytes() {
        line("peak of resident memory, KiB", peak_bytes >> 10);
    }
    text
}

/// Most memory that this process has had at a time, where the system says so.
fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().strip_suffix(" kB")?;
    kib.trim().parse::<u64>().ok()?.checked_mul(1024)
}
