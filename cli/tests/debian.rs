//! Programs that people run in containers, in Debian's stable releases for x86_64 as mmdebstrap installs them.

mod common;

use c2w_packer::debian::{installed, package_files};
use c2w_packer::image::Arch;
use common::{C2W_RUN, finish, pack, parts};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Architecture of the guests.
pub const ARCH: Arch = Arch::X86_64;

/// A release and its image.
struct Release {
    suite: &'static str,
    /// Package with Python's own tests.
    python_tests: &'static str,
    /// Those of them that are run. Bookworm's package has none for sqlite3, which another test here uses as a program.
    python_modules: &'static str,
    image: OnceLock<PathBuf>,
}

static TRIXIE: Release = Release {
    suite: "trixie",
    python_tests: "libpython3.13-testsuite",
    python_modules: "test_json test_re test_sqlite3 test_ctypes test_ssl",
    image: OnceLock::new(),
};
static BOOKWORM: Release = Release {
    suite: "bookworm",
    python_tests: "libpython3.11-testsuite",
    python_modules: "test_json test_re test_ctypes test_ssl",
    image: OnceLock::new(),
};

/// Interpreters, compilers, a debugger, and programs in C, C++, Go (fzf) and Rust (ripgrep).
const PACKAGES: [&str; 14] = [
    "bash",
    "ca-certificates",
    "fzf",
    "gcc",
    "gdb",
    "git",
    "libc6-dev",
    "nodejs",
    "openssl",
    "perl",
    "python3",
    "ripgrep",
    "sqlite3",
    "xz-utils",
];

impl Release {
    fn image(&self) -> &Path {
        self.image.get_or_init(|| {
            let packages = [&PACKAGES[..], &[self.python_tests]].concat();
            let rootfs = installed(ARCH, self.suite, &packages, &|text| eprintln!("{text}")).unwrap();
            pack(&rootfs, &format!("{}.c2w", self.suite))
        })
    }

    /// Runs a shell script that must succeed within a quarter of an hour, and returns what it wrote.
    #[track_caller]
    fn run(&self, options: &[&str], script: &str) -> String {
        let mut command = Command::new(C2W_RUN);
        command.arg(self.image()).args(["--memory", "1G"]).args(options);
        command.args(["--", "timeout", "-s", "KILL", "900", "bash", "-ec", script]);
        let (status, stdout, stderr) = parts(&finish(command, b""));
        assert_eq!(status, 0, "{}: {script}\n{stdout}\n{stderr}", self.suite);
        stdout
    }
}

/// The same script with the same output on both.
#[track_caller]
fn both(script: &str, expected: &str) {
    for release in [&TRIXIE, &BOOKWORM] {
        assert_eq!(release.run(&[], script), expected, "{}", release.suite);
    }
}

#[test]
fn bash_and_perl() {
    both("declare -A a=([x]=1 [y]=2); echo $((a[x] + a[y] * 7)) ${BASH_VERSION:0:2}", "15 5.\n");
    let sums = r#"my %h; $h{$_ % 97} += sqrt $_ for 1..100000; printf "%.9f\n", $h{13}"#;
    both(&format!("perl -e '{sums}'"), "217246.297153882\n");
}

#[test]
fn a_c_program_is_compiled_and_runs() {
    let program = r#"
#include <math.h>
#include <stdio.h>
int main(void) {
    double s = 0;
    long double l = 0;
    for (int i = 1; i < 1000; i++) {
        s += sin(i) / i;
        l += 1.0L / i;
    }
    printf("%.15f %.17Lf\n", s, l);
    return 7;
}"#;
    let script = format!("cd /tmp; cat > p.c <<'END'\n{program}\nEND\ngcc -O2 -o p p.c -lm; ./p || echo $?");
    both(&script, "1.069867274779050 7.48447086055034491\n7\n");
}

#[test]
fn python_s_own_tests() {
    for release in [&TRIXIE, &BOOKWORM] {
        let script = format!(
            "cd /tmp; python3 -c 'import sqlite3; print(sqlite3.connect(\":memory:\").execute(\"select 6*7\").fetchone())'
            python3 -m test -q {} > log 2>&1 || {{ cat log; exit 1; }}; tail -n 1 log",
            release.python_modules
        );
        let said = release.run(&[], &script);
        assert!(said.starts_with("(42,)\n"), "{}: {said}", release.suite);
        assert!(said.contains("SUCCESS"), "{}: {said}", release.suite);
    }
}

#[test]
fn openssl_computes_what_it_should_and_measures_itself() {
    let script = "head -c 1000000 /dev/zero | openssl dgst -sha256 -r
        head -c 100000 /dev/zero | openssl enc -aes-128-ctr -K 000102030405060708090a0b0c0d0e0f \
            -iv 00000000000000000000000000000000 | openssl dgst -md5 -r
        openssl speed -seconds 1 -bytes 1024 -evp sha256 2> /dev/null | grep -i sha256
        openssl speed -seconds 1 -bytes 1024 -evp aes-128-gcm 2> /dev/null | grep -i aes-128-gcm";
    for release in [&TRIXIE, &BOOKWORM] {
        let said = release.run(&[], script);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 4, "{}: {said}", release.suite);
        assert!(
            lines[0].starts_with("d29751f2649b32ff572b5e0a9f541ea660a50f94ff0beedfb0b692b924cc8025"),
            "{said}"
        );
        assert!(lines[1].starts_with("5d87462f21d2222d5c2d868f4fe7fbf8"), "{said}");
    }
}

#[test]
fn git_xz_and_sqlite() {
    let script = "cd /tmp; git init -q r; cd r; git config user.email a@b; git config user.name n
        seq 100000 > f; git add f; git commit -qm one; git rev-parse 'HEAD^{tree}'
        xz -9 -k f; xz -dc f.xz | cmp - f; sha1sum < f
        sqlite3 x.db 'create table t(a,b);
            with recursive c(x) as (select 1 union all select x+1 from c where x<20000)
            insert into t select x, x*x from c; create index i on t(b);
            select sum(a), max(b) from t where b > 1000;'";
    both(
        script,
        "3646712b490bfaaa76ad51e8e68d102ed85cd3a4\n9dc4a47b7b3c9a36667a2ce402baf429afb9c17f  -\n200009504|400000000\n",
    );
}

#[test]
fn node_runs_a_script() {
    let script = r#"let m = new Map();
        for (let i = 0; i < 2e5; i++) m.set(i % 1000, (m.get(i % 1000) || 0) + i);
        console.log([...m.values()].reduce((a, b) => a + b), JSON.stringify({a: [1, 2.5, "x"]}), /b+/.exec("abbbc")[0])"#;
    both(&format!("node -e '{script}'"), "19999900000 {\"a\":[1,2.5,\"x\"]} bbb\n");
    for release in [&TRIXIE, &BOOKWORM] {
        assert!(release.run(&[], "node --version").starts_with('v'));
    }
}

#[test]
fn gdb_steps_a_program_and_stops_at_breakpoints() {
    let program = "int g;
int f(int x) { g += x; return g; }
int main(void) { int s = 0; for (int i = 0; i < 3; i++) s += f(i); return s; }";
    let commands = "break f\nrun\nprint x\ncontinue\nprint x\nstepi\nstepi\nfinish\nwatch g\ncontinue\ndelete\ncontinue\n";
    let script = format!(
        "cd /tmp; cat > p.c <<'END'\n{program}\nEND\ncat > commands <<'END'\n{commands}END
        gcc -g -O0 -o p p.c; gdb -batch -nx -x commands ./p 2>&1"
    );
    for release in [&TRIXIE, &BOOKWORM] {
        let said = release.run(&[], &script);
        for part in [
            "$1 = 0",
            "$2 = 1",
            "Value returned is $3 = 1",
            "Hardware watchpoint 2: g",
            "exited with code 04",
        ] {
            assert!(said.contains(part), "{}: no {part:?} in: {said}", release.suite);
        }
    }
}

#[test]
fn programs_in_go_and_rust() {
    both("printf 'alpha\\nbeta\\ngamma\\n' | fzf --filter=am", "gamma\n");
    both("cd /usr/include; rg -c 'define.*_STDIO_H' stdio.h", "1\n");
}

#[test]
fn a_package_is_installed_from_a_share() {
    let script =
        "apt-get install -y /packages/hello_*.deb > /tmp/log 2>&1 || { cat /tmp/log; exit 1; }; hello";
    for release in [&TRIXIE, &BOOKWORM] {
        let packages =
            package_files("amd64", release.suite, &["hello"], &|text| eprintln!("{text}")).unwrap();
        let volume = format!("{}:/packages:ro", packages.display());
        assert_eq!(release.run(&["-v", &volume], script), "Hello, world!\n");
    }
}

#[test]
fn a_static_i386_program_runs() {
    let packages = package_files("i386", "trixie", &["busybox-static"], &|text| eprintln!("{text}")).unwrap();
    let volume = format!("{}:/packages:ro", packages.display());
    let script = "dpkg -x /packages/busybox-static_*_i386.deb /tmp/i386; b=/tmp/i386/usr/bin/busybox
        head -c 5 $b | od -An -tx1; seq 50000 | $b sha256sum; $b sh -c 'echo $((6 * 7))'; $b uname -s";
    assert_eq!(
        TRIXIE.run(&["-v", &volume], script),
        " 7f 45 4c 46 01\n44969d026ed4164dbe77d48d4d359e98ac4057008cafd61723be72bff83e5fd4  -\n42\nLinux\n"
    );
}
