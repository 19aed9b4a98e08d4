//! `c2w-init`: PID 1 of the guest. See the library for the protocol and `agent` for what it does.

#[cfg(target_os = "linux")]
mod agent;

/// Elsewhere there is nothing that it could do.
#[cfg(not(target_os = "linux"))]
mod agent {
    pub fn main() -> std::process::ExitCode {
        eprintln!("c2w-init runs on Linux only");
        std::process::ExitCode::FAILURE
    }
}

fn main() -> std::process::ExitCode {
    agent::main()
}
