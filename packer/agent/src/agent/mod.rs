//! The agent: PID 1 of the guest.
//!
//! Without arguments and as PID 1 it mounts the root file system and serves the host on the
//! virtio-console port; see [`boot`] and [`server`]. For development it serves the socket that is
//! its stdin on an ordinary Linux: `--plain` starts processes beside itself, `--container DIR`
//! (as root) in a container over that directory.

mod boot;
mod container;
mod error;
mod freeze;
mod link;
mod path;
mod process;
mod server;
mod share;
mod spawn;
mod sys;
mod system;
mod user;

use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use c2w_agent::Power;
use rustix::fs::{Mode, OFlags};

use error::{AgentError, During};
use link::Link;
use server::{End, Server};
use spawn::World;

/// Runs the agent as its arguments say.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mode = arguments.first().and_then(|mode| mode.to_str());
    match (mode, arguments.get(1)) {
        (Some("--plain"), None) => develop(|| Ok(World::Plain)),
        (Some("--container"), Some(image)) => develop(|| containers(boot::directory(Path::new(image))?)),
        // The kernel passes on words of its command line that it does not know.
        _ if rustix::process::getpid().is_init() => be_init(),
        _ => {
            eprintln!(
                "c2w-init is the first program of a c2w guest; to try it: c2w-init --plain | --container DIR"
            );
            ExitCode::from(2)
        }
    }
}

/// PID 1: whatever happens, the machine ends with a line on the console and never hangs.
fn be_init() -> ! {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("c2w-init: {panic}");
        if spawn::IN_CHILD.load(Ordering::Relaxed) {
            sys::exit(1);
        }
        system::stop(Power::Off);
    }));
    match serve_machine() {
        Ok(power) => system::stop(power),
        Err(error) => {
            eprintln!("c2w-init: {error}");
            system::stop(Power::Off);
        }
    }
}

fn serve_machine() -> Result<Power, AgentError> {
    let world = containers(boot::machine()?)?;
    let complaints = boot::network();
    let mut server = Server::new(world, Link::port()?)?;
    complaints.into_iter().for_each(|error| server.log(error.to_string()));
    match server.run()? {
        End::Shutdown(power) => Ok(power),
        End::HostGone => Ok(Power::Off),
    }
}

fn containers(root: std::os::fd::OwnedFd) -> Result<World, AgentError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own_pids = rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())
        .during(|| "open the own PID namespace".into())?;
    Ok(World::Containers { root, own_pids })
}

/// Serves the socket on stdin, until the host closes it.
fn develop(world: impl FnOnce() -> Result<World, AgentError>) -> ExitCode {
    let serve = || {
        // Taken off stdin, so that no process inherits it.
        let socket =
            rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).during(|| "duplicate stdin".into())?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .during(|| "open /dev/null".into())?;
        rustix::stdio::dup2_stdin(null.as_fd()).during(|| "dup2".into())?;
        Server::new(world()?, Link::socket(socket)?)?.run()
    };
    match serve() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("c2w-init: {error}");
            ExitCode::FAILURE
        }
    }
}
