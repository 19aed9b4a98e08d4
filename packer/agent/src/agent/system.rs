//! What concerns the whole machine: clock, entropy, and its end.

use c2w_agent::Power;
use rustix::fs::{Mode, OFlags};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, Timespec};

use super::error::{AgentError, During};
use super::sys;

/// Sets the wall clock, in nanoseconds since 1970 UTC.
///
/// # Errors
/// As clock_settime(2).
pub fn set_clock(unix_ns: u64) -> Result<(), AgentError> {
    let time =
        Timespec { tv_sec: (unix_ns / 1_000_000_000) as i64, tv_nsec: (unix_ns % 1_000_000_000) as i64 };
    rustix::time::clock_settime(ClockId::Realtime, time).during(|| "set the clock".into())
}

/// Gives the kernel's random generator a seed that it uses from now on.
///
/// # Errors
/// As ioctl(2) on `/dev/urandom`.
pub fn add_entropy(seed: &[u8]) -> Result<(), AgentError> {
    let random = rustix::fs::open("/dev/urandom", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .during(|| "open /dev/urandom".into())?;
    use std::os::fd::AsFd;
    sys::add_entropy(random.as_fd(), seed).during(|| "add entropy".into())
}

/// Whether Linux would take this host name (sethostname(2)).
///
/// # Errors
/// When it is too long.
pub fn check_hostname(name: &[u8]) -> Result<(), AgentError> {
    if name.len() > 64 { Err(AgentError::Protocol("host name of more than 64 bytes")) } else { Ok(()) }
}

/// Stops the machine. Only PID 1 of the machine may come here.
pub fn stop(power: Power) -> ! {
    sys::kill_everything();
    // With every process killed their files are closed; wait for what is on its way to a share.
    while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
    rustix::fs::sync();
    let command = match power {
        Power::Off => RebootCommand::PowerOff,
        Power::Reboot => RebootCommand::Restart,
    };
    let _ = rustix::system::reboot(command);
    // The kernel panics when PID 1 ends, which is the last way there is to stop.
    sys::exit(1);
}
