//! Commands that are over before most of their code is hot: what is waited for is translation. c2w runs each as its user
//! does, as a process of its own, twice: with an empty directory for translated code, and with what that run has left there.

use super::list::Group;
use super::runner::Outcome;
use crate::guest::{self, Guest};
use crate::process;
use anyhow::{Result, ensure};
use c2w::jit::Jit;
use clap::ValueEnum;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Environment variable that names the directory where `c2w-run` keeps translated code.
pub const CODE_CACHE: &str = "C2W_CODE_CACHE";
/// Its value for none.
pub const NO_CODE_CACHE: &str = "off";
/// What a small Debian needs besides for all of this.
pub const PACKAGES: [&str; 3] = ["python3-minimal", "gcc", "libc6-dev"];
/// Name of the text that is compiled, where the programs are in the guest.
pub const SOURCE: &str = "generated.c";
/// Functions in it, each of some twenty lines.
const FUNCTIONS: usize = 250;

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Cold {
    /// Its name in the table, and with translated code from an earlier run.
    pub names: [&'static str; 2],
    /// Whether the boot before it is timed, too. Else c2w's machine goes on from the image's snapshot.
    pub boots: bool,
    /// What the guest's shell is told.
    script: &'static str,
}

/// All of them, in the order of the table, which is also that of one boot of QEMU.
pub const COLD: [Cold; 4] = [
    Cold { names: ["boot", "boot, warm"], boots: true, script: "true" },
    Cold {
        names: ["tools", "tools, warm"],
        boots: false,
        // What a first script does: many small programs, none for long.
        script: "for n in 1 2 3 4 5 6 7 8; do ls -l /usr/bin | sed 's/  */ /g' | sort -k $n | sha256sum; \
                 grep -c '[aeiou].*x' /usr/share/base-passwd/passwd.master; find /usr/bin -name \"*$n*\" | wc -l; done",
    },
    Cold { names: ["python3", "python3, warm"], boots: false, script: "python3 -c pass" },
    Cold {
        names: ["gcc", "gcc, warm"],
        boots: false,
        script: "gcc -O2 -c /bench/generated.c -o /tmp/o && sha256sum < /tmp/o",
    },
];

/// Lines of the table, and which command each of them is, `true` with what an earlier run has left.
pub fn lines() -> impl Iterator<Item = (&'static str, Group, Cold, bool)> {
    let half = |at: usize, group| COLD.into_iter().map(move |cold| (cold.names[at], group, cold, at == 1));
    half(0, Group::Cold).chain(half(1, Group::Warm))
}

/// A program of some 5000 lines, always the same, with what compilers are busy with: loops, branches, calls, structures.
pub fn source_text() -> String {
    let mut text = String::from(
        "struct item { unsigned key; int value; struct item *next; double weight; };\n\
         extern int seen(const char *, int);\n\n",
    );
    for n in 0..FUNCTIONS {
        let (prime, shift, earlier) = (n * 7919 + 13, n % 13 + 1, n.saturating_sub(n % 7 + 1));
        let call = if n == 0 { "key".to_string() } else { format!("(unsigned)work{earlier}(list, n / 2)") };
        let _ = writeln!(
            text,
            "int work{n}(struct item *list, int n) {{\n\
             \x20   unsigned key = {prime}u;\n\
             \x20   double sum = {n}.5;\n\
             \x20   int table[16];\n\
             \x20   for (int i = 0; i < 16; i++)\n\
             \x20       table[i] = (i * {prime}) >> {shift};\n\
             \x20   for (struct item *at = list; at && n > 0; at = at->next, n--) {{\n\
             \x20       key = (key ^ at->key) * 0x9e3779b1u;\n\
             \x20       if (at->value > table[key & 15])\n\
             \x20           sum += at->weight * {shift};\n\
             \x20       else if (at->value < -{prime})\n\
             \x20           sum -= at->value / (double)(key | 1);\n\
             \x20       switch (key >> 29) {{\n\
             \x20       case 0: table[key & 15] += at->value; break;\n\
             \x20       case {}: at->value ^= table[(key >> 4) & 15]; break;\n\
             \x20       default: at->key += {call}; break;\n\
             \x20       }}\n\
             \x20   }}\n\
             \x20   return seen(\"work{n}\", (int)sum) + (int)(key >> {shift}) + table[{}];\n\
             }}",
            n % 6 + 1,
            n % 16,
        );
    }
    text
}

/// Runs one under c2w, with this directory for translated code.
///
/// # Errors
/// It fails, or does not end in time.
pub fn ours(
    program: &Path,
    image: &Path,
    jit: Jit,
    code: &Path,
    cold: &Cold,
    limit: Duration,
) -> Result<Outcome> {
    let mut command = c2w_run(program, jit);
    command.env(CODE_CACHE, code).args(cold.boots.then_some("--cold")).arg(image);
    let ended = process::run(command.args(["sh", "-c", cold.script]), limit)?;
    // A warning, too: that it boots because the image is another build's, for one.
    let is_well = ended.status.success() && ended.stderr.is_empty();
    ensure!(is_well, "c2w-run ended with {}: {}", ended.status, ended.stderr);
    Ok(outcome(ended.took, &ended.stdout))
}

/// `c2w-run` so far, with no directory for translated code.
pub fn c2w_run(program: &Path, jit: Jit) -> Command {
    let mut command = Command::new(program);
    command.env(CODE_CACHE, NO_CODE_CACHE);
    command.args(jit.to_possible_value().iter().flat_map(|value| ["--jit", value.get_name()]));
    command
}

/// Runs one in another emulator's guest, which may still have to boot: that was begun at `start`.
///
/// # Errors
/// It fails, or does not end in time.
pub fn theirs(guest: &mut dyn Guest, start: Instant, cold: &Cold, limit: Duration) -> Result<Outcome> {
    if cold.boots {
        guest::wait_ready(guest)?;
    }
    let (mut took, said) = guest::execute(guest, &["sh", "-c", cold.script], limit)?;
    if cold.boots {
        (took.wall, took.cpu) = (start.elapsed(), guest.cpu_time()?);
    }
    Ok(outcome(took, &said))
}

fn outcome(took: guest::Took, said: &str) -> Outcome {
    let mut hasher = DefaultHasher::new();
    said.hash(&mut hasher);
    Outcome { wall: took.wall, cpu: Some(took.cpu), checksum: hasher.finish(), ns: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_as_long_as_it_is_called() {
        assert!((5000..5100).contains(&source_text().lines().count()));
    }

    #[test]
    fn the_text_is_a_program() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SOURCE);
        std::fs::write(&path, source_text()).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-Wall", "-Werror", "-fsyntax-only"]).arg(path);
        let ended = process::run(&mut gcc, guest::LIMIT).unwrap();
        assert!(ended.status.success(), "{}", ended.stderr);
    }

    #[test]
    fn scripts_name_what_is_there() {
        assert!(COLD.iter().any(|cold| {
            cold.script.contains(&format!("/{}/{SOURCE}", super::super::build::GUEST_DIRECTORY))
        }));
    }
}
