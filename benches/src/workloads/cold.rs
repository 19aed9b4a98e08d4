//! Commands that are over before most of their code is hot: what is waited for is translation. c2w runs each as its user
//! does, as a process of its own, twice: with an empty directory for translated code, and with what that run has left there.

use super::list::Group;
use super::runner::Outcome;
use super::stats::Stats;
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
/// Pieces of it, each of some forty lines.
const PIECES: usize = 132;

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

/// A program of some 5000 lines, always the same, as people write them: types, words about what follows, and short functions
/// with loops, branches and structures that call what is elsewhere. Compilers are soon done with each.
pub fn source_text() -> String {
    let mut text = String::from(
        "struct item {\n\
         \x20   unsigned key;\n\
         \x20   int value;\n\
         \x20   struct item *next;\n\
         };\n\
         \n\
         extern int seen(const char *name, int value);\n",
    );
    for n in 0..PIECES {
        let (prime, shift) = (n * 7919 + 13, n % 13 + 1);
        let _ = write!(
            text,
            "\n\
             // What is kept of kind {n}: the last ones come first,\n\
             // and of these there is room for a number of them.\n\
             struct store{n} {{\n\
             \x20   struct item *first;\n\
             \x20   int count;\n\
             \x20   int limit;\n\
             \x20   unsigned key;\n\
             }};\n\
             \n\
             // Puts an item in front of the others, if there is still room,\n\
             // and says how many there are.\n\
             int put{n}(struct store{n} *store, struct item *item)\n\
             {{\n\
             \x20   if (store->count >= store->limit)\n\
             \x20       return seen(\"store{n} is full\", store->limit);\n\
             \n\
             \x20   item->key ^= {prime}u;\n\
             \x20   item->next = store->first;\n\
             \x20   store->first = item;\n\
             \x20   store->key = item->key >> {shift};\n\
             \n\
             \x20   return ++store->count;\n\
             }}\n\
             \n\
             // Sums the values of items with larger keys than one.\n\
             int sum{n}(const struct store{n} *store, unsigned least)\n\
             {{\n\
             \x20   int sum = {n};\n\
             \n\
             \x20   for (const struct item *at = store->first; at; at = at->next)\n\
             \x20       if (at->key > least)\n\
             \x20           sum += at->value * {shift};\n\
             \x20       else if (at->value < -{prime})\n\
             \x20           return seen(\"store{n}\", at->value);\n\
             \n\
             \x20   return sum;\n\
             }}\n",
        );
    }
    text
}

/// Nothing of the translated code that an earlier run has left was of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no region came from the code cache, which the run before has left: it was not warm")]
pub struct NotWarm;

/// Runs one under c2w, with this directory for translated code, in which an earlier run has left something if it is `warm`.
///
/// # Errors
/// It fails, does not end in time, or makes no use of what was left.
pub fn ours(
    program: &Path,
    image: &Path,
    jit: Jit,
    (code, warm): (&Path, bool),
    cold: &Cold,
    limit: Duration,
) -> Result<Outcome> {
    let mut command = c2w_run(program, jit);
    command.env(CODE_CACHE, code).arg("--stats").args(cold.boots.then_some("--cold")).arg(image);
    let ended = process::run(command.args(["sh", "-c", cold.script]), limit)?;
    let (stats, complaints) = Stats::split(&ended.stderr);
    // A warning, too: that it boots because the image is another build's, for one.
    let is_well = ended.status.success() && complaints.is_empty();
    ensure!(is_well, "c2w-run ended with {}: {complaints}", ended.status);
    ensure!(!warm || stats.get("regions from the code cache")? > 0, NotWarm);
    Ok(outcome(ended.took, &ended.stdout))
}

/// `c2w-run` so far, with no directory for translated code.
pub fn c2w_run(program: &Path, jit: Jit) -> Command {
    let mut command = Command::new(program);
    command.env(CODE_CACHE, NO_CODE_CACHE);
    command.args(jit.to_possible_value().iter().flat_map(|value| ["--jit", value.get_name()]));
    command
}

/// Runs one in another emulator's guest, which has just booted if that is timed; its start was at `start`.
///
/// # Errors
/// It fails, or does not end in time.
pub fn theirs(guest: &mut dyn Guest, start: Instant, cold: &Cold, limit: Duration) -> Result<Outcome> {
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

    /// A shell script stands for `c2w-run`.
    #[test]
    fn a_run_has_to_be_as_warm_as_it_is_called() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("c2w-run");
        let run = |says: &str, warm| {
            std::fs::write(&program, format!("#!/bin/sh\n{says}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
            let code = (directory.path(), warm);
            ours(&program, &program, Jit::Native, code, &COLD[1], guest::LIMIT)
                .map(|outcome| outcome.checksum)
        };
        let recalled =
            |count: u32| format!("echo 'c2w-run: regions from the code cache          {count}' >&2; echo hi");
        let checksum = run(&recalled(0), false).unwrap();
        assert_eq!(run(&recalled(7), true).unwrap(), checksum);
        assert_eq!(run(&recalled(0), true).unwrap_err().downcast_ref(), Some(&NotWarm));
        let warns = format!("{}; echo 'c2w-run: warning: it boots' >&2", recalled(7));
        assert!(run(&warns, true).unwrap_err().to_string().contains("warning: it boots"));
    }

    #[test]
    fn scripts_name_what_is_there() {
        assert!(COLD.iter().any(|cold| {
            cold.script.contains(&format!("/{}/{SOURCE}", super::super::build::GUEST_DIRECTORY))
        }));
    }
}
