//! Checks an agent in a running machine: connects to the socket behind its console port and does
//! what `tests/containers.rs` does, and what only PID 1 of a machine can be asked for.
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
    let bytes: Vec<u8> =
        (0..8_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let cat = c2w_agent::StartSpec { stdin: true, ..host::spec(&["cat"]) };
    assert!(host.run(cat, &bytes).stdout == bytes, "a binary stream survives");
    assert!(host.log.is_empty(), "{:?}", host.log);
    host.session.shutdown(c2w_agent::Power::Off);
    host.send_all();
    eprintln!("all is well");
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this example runs on Linux only");
}
