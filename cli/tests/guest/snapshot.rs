//! Images with a booted machine in them: what two runs share and what they do not, clocks, damaged snapshots, services,
//! and machines that are saved while they run.

use super::translation::statistic;
use crate::ARCH;
use crate::common::{C2W, C2W_RUN, finish, image, parts, rootfs, scratch};
use c2w::snapshot::resume::{self, Start};
use c2w::snapshot::{MachineState, Saved, programs, take};
use c2w::{container::RunOptions, launch::Launched, timeline::Timeline};
use c2w_devices::virtio::mmio::VirtioMmioState;
use c2w_packer::image::{Image, ImageWriter, SectionId};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// Runs an image that has a snapshot, whatever the environment says about snapshots.
fn resume(image: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(C2W_RUN);
    command.arg(image).args(args).env_remove("C2W_COLD");
    finish(command, b"")
}

fn stdout(output: &Output) -> String {
    let (status, stdout, stderr) = parts(output);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

/// Packs the small Debian with these options.
fn pack(name: &str, options: &[&str]) -> Output {
    let mut command = Command::new(C2W);
    command.args(["pack", "--arch", &ARCH.to_string()]).arg(format!("rootfs:{}", rootfs().display()));
    command.args(options).arg("-o").arg(scratch().join(name));
    finish(command, b"")
}

#[track_caller]
fn packed(name: &str, options: &[&str]) -> PathBuf {
    let (status, _, stderr) = parts(&pack(name, options));
    assert_eq!(status, 0, "{stderr}");
    scratch().join(name)
}

/// An image in whose guest a command ran before it was saved.
fn warm() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        packed("warm.c2w", &["--warm", "sh -c 'cat /proc/uptime > /before; date +%s >> /before'"])
    })
}

/// Whether the machine went on from a snapshot, as `--stats` tells.
fn was_resumed(image: &Path, args: &[&str]) -> bool {
    let mut all = vec!["--stats"];
    all.extend(args);
    parts(&resume(image, &all)).2.contains("until the machine is restored")
}

#[test]
fn a_run_goes_on_from_the_snapshot_unless_it_asks_for_what_that_has_not() {
    assert!(was_resumed(image(), &["true"]));
    assert!(was_resumed(image(), &["--memory", "512M", "-e", "A=b", "-w", "/usr", "-u", "nobody", "true"]));
    assert!(!was_resumed(image(), &["--cold", "true"]));
    assert!(!was_resumed(image(), &["--memory", "256M", "true"]));
    let script =
        "while read name size unit; do [ $name = MemTotal: ] && [ $size -gt 900000 ] && echo much; done";
    let (status, stdout, stderr) =
        parts(&resume(image(), &["--memory", "1G", "sh", "-c", &format!("{script} < /proc/meminfo; true")]));
    assert_eq!((status, stdout.as_str()), (0, "much\n"), "{stderr}");
    let reason = "its kernel found 512 MiB of memory when it booted, and --memory asks for 1024 MiB; booting instead\n";
    assert!(stderr.ends_with(reason) && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn a_compressed_image_is_expanded_once_and_does_the_same() {
    let path = packed("compressed.c2w", &["--compress", "--cmd", "echo small"]);
    let (small, large) = (fs::metadata(&path).unwrap().len(), fs::metadata(image()).unwrap().len());
    assert!(small < large / 2, "{small} of {large}");
    let cache = tempfile::tempdir_in(scratch()).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(C2W_RUN);
        command.arg(&path).args(arguments).env_remove("C2W_COLD").env("C2W_CACHE_DIR", cache.path());
        finish(command, b"")
    };
    let expanded = || fs::read_dir(cache.path().join("expanded")).unwrap().count();
    for _ in 0..2 {
        assert_eq!(stdout(&run(&[])), "small\n");
        // The file and its lock.
        assert_eq!(expanded(), 2);
    }
    assert!(parts(&run(&["--stats", "true"])).2.contains("until the machine is restored"));
    // What is saved from it is plain, and of its own.
    let saved = scratch().join("from-compressed.c2w");
    let options = ["--snapshot", saved.to_str().unwrap(), "--snapshot-when", "mark"];
    assert_eq!(parts(&run(&[&options[..], &["sh", "-c", "echo mark; sleep 1; echo after"]].concat())).0, 0);
    assert_eq!(stdout(&resume(&saved, &[])), "after\n");
    // What only looks at it expands nothing.
    let look = |arguments: &[&str]| {
        let mut command = Command::new(C2W);
        command.args(arguments).env("C2W_CACHE_DIR", scratch().join("unused"));
        stdout(&finish(command, b""))
    };
    let name = path.to_str().unwrap();
    assert_eq!(look(&["verify", name]), format!("{name}: good\n"));
    assert_eq!(look(&["ls", "-lR", name]), look(&["ls", "-lR", image().to_str().unwrap()]));
    assert!(look(&["cat", name, "/etc/passwd"]).starts_with("root:"));
    let text = look(&["inspect", name]);
    assert!(text.contains(", compressed from ") && text.contains("; this build resumes it"), "{text}");
    assert!(!scratch().join("unused/expanded").exists());
}

#[test]
fn the_same_input_is_compressed_to_the_same_bytes() {
    let bytes = |name: &str| fs::read(packed(name, &["--compress", "--no-snapshot"])).unwrap();
    assert!(bytes("small-one.c2w") == bytes("small-two.c2w"));
}

#[test]
fn the_shell_and_what_it_needs_are_likely_to_be_started() {
    let paths = programs::likely(&Image::open(image()).unwrap()).unwrap();
    let paths: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
    let has = |name: &str| paths.iter().any(|path| path.ends_with(name));
    assert!(has("/bin/sh") && has("/libc.so.6"), "{paths:?}");
    assert!(paths.iter().any(|path| path.contains("/ld-linux-")), "{paths:?}");
}

#[test]
fn the_shell_is_in_memory_before_it_is_started() {
    // The third number is of sectors read (Documentation/block/stat.rst). The shell is longer than `cat`, which nobody
    // expected to be started: it would have read more of them.
    let sectors = |command: &[&str]| {
        let text = stdout(&resume(image(), command));
        text.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()
    };
    let of_shell = sectors(&["sh", "-c", "read line < /sys/block/vda/stat; echo $line"]);
    let of_cat = sectors(&["cat", "/sys/block/vda/stat"]);
    assert!(of_shell < of_cat, "{of_shell} sectors, {of_cat} with cat");
}

#[test]
fn two_runs_share_no_randomness() {
    // The last line is the row of AT_RANDOM (25) of the shell's auxiliary vector, and the bytes it points to.
    let script = "od -An -N32 -tx1 /dev/urandom; od -An -N32 -tx1 /dev/random; cat /proc/sys/kernel/random/uuid; \
        cat /proc/sys/kernel/random/boot_id; \
        at=$(od -An -v -t u8 -w16 /proc/$$/auxv | while read kind value; do [ $kind = 25 ] && echo $value; done); \
        dd if=/proc/$$/mem bs=1 skip=$at count=16 2>/dev/null | od -An -tx1; mktemp -u";
    let run = || stdout(&resume(image(), &["sh", "-c", script]));
    let (first, second) = (run(), run());
    assert_eq!((first.lines().count(), second.lines().count()), (8, 8), "{first}{second}");
    for (one, other) in first.lines().zip(second.lines()) {
        assert!(one.trim().len() >= 10, "{first}");
        assert_ne!(one, other);
    }
}

#[test]
fn the_wall_clock_is_right_and_monotonic_time_goes_on() {
    let text = stdout(&resume(warm(), &["sh", "-c", "cat /before /proc/uptime; date +%s; date +%s"]));
    let number = |line: usize| text.lines().nth(line).unwrap().split('.').next().unwrap().parse::<u64>();
    let hundredths = |line: usize| {
        let word = text.lines().nth(line).unwrap().split(' ').next().unwrap().replace('.', "");
        word.parse::<u64>().unwrap()
    };
    assert!(hundredths(2) > hundredths(0), "{text}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (before, after) = (number(1).unwrap(), number(3).unwrap());
    // Not a measurement: a clock that went on from the snapshot would show a time before this test began.
    assert!(before <= after && (now - 600..=now).contains(&after), "{text} is not about {now}");
}

#[test]
fn what_ran_before_the_snapshot_left_its_files() {
    assert_eq!(stdout(&resume(warm(), &["sh", "-c", "wc -l < /before; echo x > /after"])), "2\n");
    assert_eq!(parts(&resume(warm(), &["cat", "/after"])).0, 1);
    let (status, _, stderr) = parts(&pack("fails.c2w", &["--warm", "sh -c 'echo no >&2; exit 3'"]));
    assert!(status == 1 && stderr.contains("--warm: the command ended with status 3"), "{stderr}");
    assert!(stderr.contains("no\n") && !scratch().join("fails.c2w").exists(), "{stderr}");
}

#[test]
fn runs_of_one_image_go_side_by_side() {
    let script = "echo $0 > /mine; sleep 1; cat /mine; hostname";
    let start = |number: usize| {
        let mut command = Command::new(C2W_RUN);
        command.arg(image()).args([
            "--hostname",
            &format!("h{number}"),
            "sh",
            "-c",
            script,
            &number.to_string(),
        ]);
        command.env_remove("C2W_COLD").stdout(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..4).map(start).collect();
    for (number, child) in children.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{number}\nh{number}\n"));
    }
}

#[test]
fn volumes_are_attached_to_a_machine_that_booted_without_them() {
    let directories: Vec<_> = (0..5).map(|number| scratch().join(format!("place-{number}"))).collect();
    let mut args = Vec::new();
    for (number, directory) in directories.iter().enumerate() {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("n"), number.to_string()).unwrap();
        args.extend(["-v".to_string(), format!("{}:/v/{number}", directory.display())]);
    }
    args.extend(["sh", "-c", "cat /v/*/n; echo kept > /v/4/new"].map(str::to_string));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert_eq!(stdout(&resume(image(), &args)), "01234");
    assert_eq!(fs::read_to_string(directories[4].join("new")).unwrap(), "kept\n");
}

/// Writes the image again with another content of a section.
fn forge(name: &str, id: SectionId, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let source = Image::open(image()).unwrap();
    let path = scratch().join(name);
    let mut writer = ImageWriter::create(&path, ARCH).unwrap();
    let mut bytes = source.read(id).unwrap();
    change(&mut bytes);
    for section in &source.header().sections {
        match section.id {
            same if same == id => writer.add_bytes(id, &bytes).unwrap(),
            other => writer.copy_section(&source, other).unwrap(),
        }
    }
    writer.finish().unwrap();
    path
}

#[test]
fn a_snapshot_of_another_build_is_not_used() {
    // Its name follows the eight bytes of the magic number.
    let path = forge("other-build.c2w", SectionId::MachineState, |state| state[8] ^= 1);
    let (status, stdout, stderr) = parts(&resume(&path, &["echo", "ran"]));
    assert_eq!((status, stdout.as_str()), (0, "ran\n"), "{stderr}");
    assert!(stderr.contains("another build") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn damaged_snapshots_are_refused() {
    let refused = |path: &Path, text: &str| {
        let (status, stdout, stderr) = parts(&resume(path, &["echo", "ran"]));
        assert_eq!((status, stdout.as_str()), (125, ""), "{stderr}");
        assert!(stderr.contains(text) && stderr.lines().count() == 1, "{stderr:?} does not say {text:?}");
    };
    let copy = |name: &str| {
        let path = scratch().join(name);
        fs::copy(image(), &path).unwrap();
        path
    };
    let section = |id| Image::open(image()).unwrap().header().section(id).unwrap().clone();
    for (id, text) in [(SectionId::MachineState, "section state"), (SectionId::RamSnapshot, "section ram")] {
        let path = copy("flipped.c2w");
        let mut bytes = fs::read(&path).unwrap();
        let section = section(id);
        bytes[(section.offset + section.len_bytes / 2) as usize] ^= 0x10;
        fs::write(&path, bytes).unwrap();
        refused(&path, text);
    }
    let path = copy("short.c2w");
    let ram = section(SectionId::RamSnapshot);
    fs::File::options().write(true).open(&path).unwrap().set_len(ram.offset + ram.len_bytes / 2).unwrap();
    refused(&path, "truncated: section ram");
    // With good checksums.
    let forged = |change: &dyn Fn(&mut Vec<u8>)| forge("forged.c2w", SectionId::MachineState, change);
    refused(&forged(&|state| state[0] ^= 1), "no state");
    refused(&forged(&|state| state.truncate(state.len() - 1)), "cannot be read");
    refused(&forged(&|state| state.push(0)), "cannot be read");
    let changed = |change: &dyn Fn(&mut Saved)| {
        forged(&|state| {
            let mut saved = Saved::decode(state).unwrap();
            change(&mut saved);
            *state = saved.encode().unwrap();
        })
    };
    refused(&changed(&|saved| saved.memory_bytes /= 8), "past the machine's memory");
    refused(&changed(&|saved| saved.runs.swap(0, 1)), "out of order");
    refused(&changed(&|saved| assert!(saved.runs.pop().is_some())), "does not fit the ram section");
    fn devices(saved: &mut Saved) -> &mut Vec<VirtioMmioState> {
        match &mut saved.machine {
            MachineState::Riscv64(state) => &mut state.board.virtio,
            MachineState::X86_64(state) => &mut state.board.virtio,
        }
    }
    refused(&changed(&|saved| devices(saved).swap(0, 1)), "its devices are not those of the machine");
    refused(&changed(&|saved| devices(saved).truncate(2)), "it has fewer devices than the machine");
    let path = forge("other-ram.c2w", SectionId::RamSnapshot, |ram| ram.truncate(4096));
    refused(&path, "does not fit the ram section");
}

#[test]
fn a_machine_that_is_saved_restored_and_saved_again_is_the_same() {
    let source = Image::open(image()).unwrap();
    let Start::Resumed(launched) =
        resume::machine(&source, &RunOptions::default(), &mut Timeline::default()).unwrap()
    else {
        panic!("the image has a snapshot");
    };
    let Launched { vm, .. } = *launched;
    let path = scratch().join("again.c2w");
    take::write(&source, &vm, Default::default(), &path).unwrap();
    let again = Image::open(&path).unwrap();
    again.verify().unwrap();
    assert!(again.read(SectionId::RamSnapshot).unwrap() == source.read(SectionId::RamSnapshot).unwrap());
    let state = |image: &Image| Saved::decode(&image.read(SectionId::MachineState).unwrap()).unwrap();
    let (first, second) = (state(&source), state(&again));
    assert_eq!(
        (first.runs, first.session, first.memory_bytes),
        (second.runs, second.session, second.memory_bytes)
    );
    assert_eq!(first.machine.virtio(), second.machine.virtio());
}

#[test]
fn a_service_goes_on_where_it_was_ready() {
    let script = "echo starting; echo ready on $$; n=0; while [ $n -lt 8 ]; do sleep 0.2; n=$((n + 1)); \
        echo tick $n >&2; done; date +%Y; exit 7";
    let cmd = format!("[\"sh\", \"-c\", \"{script}\"]");
    let path = packed("service.c2w", &["--cmd", &cmd, "--snapshot-when", "ready on"]);
    for _ in 0..2 {
        let (status, stdout, stderr) = parts(&resume(&path, &[]));
        let year = chrono_year();
        assert_eq!((status, stdout.as_str()), (7, format!("{year}\n").as_str()), "{stderr}");
        assert!(stderr.ends_with("tick 7\ntick 8\n"), "{stderr}");
    }
    // What only another start can do is done by one.
    assert_eq!(stdout(&resume(&path, &["echo", "other"])), "other\n");
    let (status, _, stderr) = parts(&pack("never.c2w", &["--cmd", "echo no", "--snapshot-when", "yes"]));
    assert!(status == 1 && stderr.contains("without printing \"yes\""), "{stderr}");
}

/// The year, as the guest's `date` says it.
fn chrono_year() -> String {
    let output = Command::new("date").args(["-u", "+%Y"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

#[test]
fn a_running_machine_is_saved_and_runs_on_twice() {
    let work = scratch().join("live");
    fs::create_dir_all(&work).unwrap();
    let saved = scratch().join("saved.c2w");
    let volume = format!("{}:/work", work.display());
    let script = "exec 3>> /work/log; echo begin >&3; echo mark; sleep 1; echo end >&3; echo after; exit 5";
    let options = ["-v", &volume, "--snapshot", saved.to_str().unwrap(), "--snapshot-when", "mark"];
    let (status, stdout, stderr) = parts(&resume(image(), &[&options[..], &["sh", "-c", script]].concat()));
    assert_eq!((status, stdout.as_str()), (5, "mark\nafter\n"), "{stderr}");
    assert!(stderr.contains("saved the machine") && stderr.lines().count() == 1, "{stderr}");
    Image::open(&saved).unwrap().verify().unwrap();
    let (status, stdout, stderr) = parts(&resume(&saved, &["-v", &volume]));
    assert_eq!((status, stdout.as_str(), stderr.as_str()), (5, "after\n", ""));
    let log = fs::read_to_string(work.join("log")).unwrap();
    assert!(log.starts_with("begin\nend\n"), "{log}");
}

#[test]
fn a_signal_saves_the_machine() {
    let saved = scratch().join("signalled.c2w");
    let mut command = Command::new(C2W_RUN);
    command.arg(image()).arg("--snapshot").arg(&saved).env_remove("C2W_COLD");
    command.args(["-i", "sh", "-c", "echo up; read line; echo got $line"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    use std::io::{Read, Write};
    let mut up = [0; 3];
    child.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::USR1).unwrap();
    for _ in 0..600 {
        if saved.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    child.stdin.take().unwrap().write_all(b"one\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got one\n");
    let mut command = Command::new(C2W_RUN);
    command.arg(&saved).arg("-i").env_remove("C2W_COLD");
    assert_eq!(parts(&finish(command, b"two\n")), (0, "got two\n".to_string(), String::new()));
    // Without input there is its end.
    assert_eq!(stdout(&resume(&saved, &[])), "got\n");
}

/// The image says what its start runs often. It is made once, by as many runs as that takes.
#[cfg(all(unix, target_arch = "x86_64"))]
#[test]
fn what_a_start_needs_is_translated_ahead_of_it() {
    let has_thread = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
    // What packs may have been told to make other code: then it has noted nothing.
    let is_noted = std::env::var_os("C2W_JIT").is_none_or(|jit| jit == "native");
    let makes = has_thread && is_noted;
    let cache = tempfile::tempdir_in(scratch()).unwrap();
    let name = cache.path().to_str().unwrap();
    let once = |options: &[&str]| {
        let all = [&["--jit", "native", "--stats"], options, &["--", "echo", "on"]].concat();
        let (status, stdout, stderr) = parts(&resume(image(), &all));
        assert_eq!((status, stdout.as_str()), (0, "on\n"), "{stderr}");
        ["regions translated ahead", "regions from the code cache"].map(|line| statistic(&stderr, line))
    };
    let mut runs = 0;
    let mut ahead = 0;
    loop {
        let [made, recalled] = once(&["--code-cache", name]);
        assert_eq!(recalled > 0, runs > 0);
        assert!(made > 0 || runs > 0 || !makes, "nothing was made ahead");
        (runs, ahead) = (runs + 1, ahead + made);
        if made == 0 {
            break;
        }
        assert!(runs < 100, "{ahead} regions were made in {runs} runs");
    }
    // It needs no cache, and is checked like any other code.
    let [made, recalled] = once(&["--code-cache", "off", "--verify"]);
    assert_eq!((made > 0, recalled), (makes, 0));
    // A machine that boots has other code where the snapshot has this.
    assert_eq!(once(&["--code-cache", "off", "--cold"]), [0, 0]);
}
