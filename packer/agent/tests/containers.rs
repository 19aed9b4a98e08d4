//! Containers over this machine's own root directory, which takes root's privileges; without them
//! the agent must say so in one line. The same checks run in a guest (`examples/guest.rs`).
#![cfg(target_os = "linux")]

mod host;

use std::process::{Command, Stdio};

use host::Host;

#[test]
fn containers_keep_what_they_promise() {
    if rustix::process::geteuid().is_root() {
        // In containers that are made when they are asked for, and in such that are there before.
        for prepares in [false, true] {
            let mut host = Host::new(env!("CARGO_BIN_EXE_c2w-init"), &["--container", "/"]);
            for (name, check) in host::container::CHECKS {
                eprintln!("{name}, prepared: {prepares}");
                if prepares {
                    let prepared = host.session.prepare();
                    assert_eq!(host.answer(prepared), Ok(()));
                }
                check(&mut host);
            }
            assert!(host.log.is_empty(), "{:?}", host.log);
        }
    } else {
        let refused = Command::new(env!("CARGO_BIN_EXE_c2w-init"))
            .args(["--container", "/"])
            .stdin(Stdio::null())
            .output()
            .expect("start the agent");
        let message = String::from_utf8_lossy(&refused.stderr);
        assert_eq!((refused.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert!(message.contains("needs root"), "{message}");
    }
}
