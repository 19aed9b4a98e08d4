//! What `--stats` prints.

use crate::vm::Computer;
use std::fmt::Write as _;

/// What a machine has done, a fact a line; `before` is what had retired when it went on.
pub fn describe(computer: &dyn Computer, before: u64) -> String {
    let machine = computer.statistics();
    let mut text = String::new();
    let mut line = |name: &str, value: u64| {
        let _ = writeln!(text, "c2w-run: {name:<34} {value}");
    };
    let retired = machine.retired.saturating_sub(before);
    line("instructions retired", retired);
    line("instructions decoded", machine.decoded);
    line("pages of code overwritten", machine.invalidated_pages);
    if let Some(translator) = computer.translator_statistics() {
        line("retired by the interpreter", retired.saturating_sub(translator.retired));
        line("retired by translated code", translator.retired);
        line("regions translated", translator.regions);
        line("blocks in them", translator.blocks);
        line("instructions in them", translator.insns);
        line("bytes of code", translator.code_bytes);
        line("microseconds of translation", translator.translation_ns / 1000);
        line("entries from the run loop", translator.entries);
        line("calls out of code", translator.call_outs);
        line("of these, helpers", translator.helpers);
        line("ways out not linked yet", translator.unlinked);
        line("jumps not in the jump cache", translator.jump_misses);
        line("regions lost to writes", translator.invalidated);
        line("times all code was dropped", translator.flushes);
    }
    text
}
