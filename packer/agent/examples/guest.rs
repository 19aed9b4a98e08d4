//! Checks an agent in a running machine: connects to the socket behind its console port and does
//! what `tests/containers.rs` does, and what only PID 1 of a machine can be asked for.
//!
//! The machine has a 9p device with the tag `share0` and a file `f` in it that says "from-host".
//!
//! `cargo run --example guest -- SOCKET`, or with `SOCKET COMMAND ARGUMENT...` to run that.

#[cfg(target_os = "linux")]
#[path = "../tests/host/mod.rs"]
mod host;

#[cfg(target_os = "linux")]
fn main() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().expect("the socket's path");
    let command: Vec<String> = arguments.collect();
    let mut host = host::Host::over(UnixStream::connect(path).expect("connect"), None);
    host.session.add_entropy(&[7; 64]);
    host.session.set_clock(1_700_000_000_000_000_000);
    if !command.is_empty() {
        let argv: Vec<&str> = command.iter().map(String::as_str).collect();
        let run = host.run(host::spec(&argv), b"");
        std::io::stdout().write_all(&run.stdout).expect("stdout");
        std::io::stderr().write_all(&run.stderr).expect("stderr");
        if let Some((_, why)) = &run.failed {
            eprintln!("{why}");
        }
        std::process::exit(run.exit_status().into());
    }
    for (name, check) in host::container::CHECKS {
        eprintln!("{name}");
        check(&mut host);
    }
    let clock = host.run(host::spec(&["date", "-u", "+%Y-%m-%d"]), b"");
    assert_eq!(clock.out(), "2023-11-14\n");
    let flags = host.run(host::spec(&["cat", "/sys/class/net/lo/flags"]), b"");
    assert_eq!(flags.out(), "0x9\n", "lo is up: {flags:?}");
    let limits = host.run(host::sh("ulimit -n; ulimit -Hn"), b"");
    assert_eq!(limits.out(), "1048576\n1048576\n");
    shares(&mut host);
    let bytes: Vec<u8> =
        (0..8_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let cat = c2w_agent::StartSpec { stdin: true, ..host::spec(&["cat"]) };
    assert!(host.run(cat, &bytes).stdout == bytes, "a binary stream survives");
    assert!(host.log.is_empty(), "{:?}", host.log);
    host.session.shutdown(c2w_agent::Power::Off);
    host.send_all();
    eprintln!("all is well");
}

/// Shares: read-write, read-only, one file, into a container that runs, and what cannot be mounted.
#[cfg(target_os = "linux")]
fn shares(host: &mut host::Host) {
    let share = |source: &str, target: &str, read_only| c2w_agent::MountSpec {
        tag: b"share0".to_vec(),
        source: source.as_bytes().to_vec(),
        target: target.as_bytes().to_vec(),
        read_only,
        msize: 512_000,
        options: b"cache=mmap".to_vec(),
    };
    let mut mount = |spec| {
        let request = host.session.mount(spec);
        host.answer(request)
    };
    assert_eq!(mount(share("", "/data", false)), Ok(()));
    assert_eq!(mount(share("/", "/data-ro", true)), Ok(()));
    assert_eq!(mount(share("f", "/one/file", false)), Ok(()));
    let no_tag = mount(c2w_agent::MountSpec { tag: b"nothing".to_vec(), ..share("", "/x", false) });
    assert!(no_tag.as_ref().is_err_and(|why| why.contains("mount share nothing on /x")), "{no_tag:?}");
    let no_source = mount(share("no-such-file", "/x", false));
    assert!(no_source.as_ref().is_err_and(|why| why.contains("no such file")), "{no_source:?}");
    let script = "cat /data/f /data-ro/f /one/file; echo new > /data/g; cat /data-ro/g; (echo > /data-ro/h) 2>&1 | grep -c Read-only; rm /data/g";
    let run = host.run(host::sh(script), b"");
    assert_eq!((run.out(), run.err()), ("from-host\nfrom-host\nfrom-host\nnew\n1\n", ""));
    let first = host.start(c2w_agent::StartSpec { stdin: true, ..host::sh("read line; cat /late/f") });
    host.until(|host| host.runs[&first].started);
    let request = host.session.mount(share("", "/late", false));
    assert_eq!(host.answer(request), Ok(()));
    host.feed(first, b"\n");
    assert_eq!(host.finish(first).out(), "from-host\n");
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this example runs on Linux only");
}
