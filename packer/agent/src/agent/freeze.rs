//! Holding a container still while its machine is saved, and until the machine that goes on has its clock and its
//! entropy: the freezer of control groups, which no process can see, as `docker pause` uses it.

use std::fs;

use rustix::mount::MountFlags;

use super::boot::mount;
use super::error::{AgentError, During};

/// Where the agent has its own view of all control groups. No container has it.
const GROUPS: &str = "/groups";
const FROZEN: &str = "/groups/frozen";

/// How often and with which pause it is asked whether all have stopped: a process may be on its way through the kernel.
const TRIES: u32 = 2000;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

/// Stops every process that is not in the agent's own PID namespace.
///
/// # Errors
/// The kernel has no control groups, or a process does not stop.
pub fn freeze() -> Result<(), AgentError> {
    if !fs::exists(FROZEN).unwrap_or_default() {
        doing("create", GROUPS, fs::create_dir_all(GROUPS))?;
        if !fs::exists("/groups/cgroup.procs").unwrap_or_default() {
            mount("cgroup", GROUPS, "cgroup2", MountFlags::empty(), c"")?;
            // The container's view of the same file system, which was first, is read-only, and so is all of it by now.
            let writable = rustix::mount::mount_remount(GROUPS, MountFlags::empty(), c"");
            writable.during(|| format!("remount {GROUPS}"))?;
        }
        doing("create", FROZEN, fs::create_dir(FROZEN))?;
    }
    set("cgroup.freeze", "1")?;
    // Until there is none: what was moved last may have started another before.
    while move_processes(GROUPS, FROZEN)? > 0 {}
    for _ in 0..TRIES {
        let events = read(FROZEN, "cgroup.events")?;
        if events.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(AgentError::Protocol("a process of the container does not stop"))
}

/// Lets them go on.
///
/// # Errors
/// As write(2).
pub fn thaw() -> Result<(), AgentError> {
    if !fs::exists(FROZEN).unwrap_or_default() {
        return Ok(());
    }
    set("cgroup.freeze", "0")?;
    while move_processes(FROZEN, GROUPS)? > 0 {}
    Ok(())
}

/// Moves the processes of containers from one group to another; how many there were.
fn move_processes(from: &str, to: &str) -> Result<usize, AgentError> {
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let mut moved = 0;
    for pid in read(from, "cgroup.procs")?.lines() {
        let space = fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        // Threads of the kernel are in the agent's; what has just ended is in none.
        if space.is_none() || space == own {
            continue;
        }
        moved += usize::from(fs::write(format!("{to}/cgroup.procs"), pid).is_ok());
    }
    Ok(moved)
}

fn set(name: &str, value: &str) -> Result<(), AgentError> {
    let path = format!("{FROZEN}/{name}");
    doing("write", &path, fs::write(&path, value))
}

fn read(group: &str, name: &str) -> Result<String, AgentError> {
    let path = format!("{group}/{name}");
    doing("read", &path, fs::read_to_string(&path))
}

fn doing<T>(what: &str, path: &str, result: std::io::Result<T>) -> Result<T, AgentError> {
    result.during(|| format!("{what} {path}"))
}
