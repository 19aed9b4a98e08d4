//! What a container's first process does to see only its container: its own `/proc`, what docker
//! masks, and the overlay as root.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::CapabilitySet;

use super::boot::{self, mount};
use super::error::{AgentError, During};
use super::path;

/// What the first process decides for its container.
pub struct View<'a> {
    /// Host name, if one was set.
    pub hostname: Option<&'a [u8]>,
    /// Name of the first process's terminal as the container sees it.
    pub terminal: Option<&'a str>,
    /// Writes to the root are refused.
    pub read_only: bool,
}

/// Below `/proc`: hidden from containers, and read-only in them, as in docker's defaults.
const MASKED: [&str; 9] =
    ["asound", "acpi", "interrupts", "kcore", "keys", "latency_stats", "timer_list", "sched_debug", "scsi"];
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// The capabilities docker leaves a container by default.
const DEFAULT_CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

const NO_SUID_DEV_EXEC: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Makes the agent's `/root` the root of this process, which is the first of new PID, mount, IPC
/// and UTS namespaces; `privileged` masks nothing. [`settle`] does the rest.
///
/// # Errors
/// As mount(2) and pivot_root(2).
pub fn enter(privileged: bool) -> Result<(), AgentError> {
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .during(|| "change mount propagation".into())?;
    // The agent's own descriptor of it belongs to the agent's mount namespace.
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/root", place, Mode::empty()).during(|| "open the root".into())?;
    let proc = path::directory(root.as_fd(), b"/proc")?;
    mount("proc", &path::of_fd(&proc), "proc", NO_SUID_DEV_EXEC, c"")?;
    let proc = path::directory(root.as_fd(), b"/proc")?;
    let proc = path::of_fd(&proc);
    let mqueue = path::directory(root.as_fd(), b"/dev/mqueue")?;
    // A kernel may be built without message queues.
    let _ = mount("mqueue", &path::of_fd(&mqueue), "mqueue", NO_SUID_DEV_EXEC, c"");
    if privileged {
        let sys = path::directory(root.as_fd(), b"/sys")?;
        remount(&path::of_fd(&sys), NO_SUID_DEV_EXEC)?;
        let cgroup = path::directory(root.as_fd(), b"/sys/fs/cgroup");
        cgroup.and_then(|cgroup| remount(&path::of_fd(&cgroup), NO_SUID_DEV_EXEC)).ok();
    } else {
        let null = path::file(root.as_fd(), b"/dev/null")?;
        for name in MASKED {
            mask(&path::of_fd(&null), &format!("{proc}/{name}"))?;
        }
        for name in READ_ONLY {
            protect(&format!("{proc}/{name}"))?;
        }
    }
    boot::pivot("/root")
}

/// Does in the container what its first process decides.
///
/// # Errors
/// As mount(2) and sethostname(2).
pub fn settle(view: &View<'_>) -> Result<(), AgentError> {
    if let Some(terminal) = view.terminal {
        let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", place, Mode::empty()).during(|| "open the root".into())?;
        let console = path::file(root.as_fd(), b"/dev/console")?;
        let terminal = path::file(root.as_fd(), terminal.as_bytes())?;
        rustix::mount::mount_bind(&*path::of_fd(&terminal), &*path::of_fd(&console))
            .during(|| "bind /dev/console".into())?;
    }
    if view.read_only {
        remount("/", MountFlags::RDONLY)?;
    }
    match view.hostname {
        Some(name) => rustix::system::sethostname(name).during(|| "set the host name".into()),
        None => Ok(()),
    }
}

/// Changes the flags of one mount point, not of the file system below it.
fn remount(target: &str, flags: MountFlags) -> Result<(), AgentError> {
    rustix::mount::mount_remount(target, flags | MountFlags::BIND, c"").during(|| format!("remount {target}"))
}

/// Hides a file behind `null` and a directory behind an empty one.
fn mask(null: &str, target: &str) -> Result<(), AgentError> {
    match rustix::mount::mount_bind(null, target) {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTDIR) => mount("tmpfs", target, "tmpfs", MountFlags::RDONLY, c"size=0k"),
        other => other.during(|| format!("mask {target}")),
    }
}

/// Makes a file or directory read-only.
fn protect(target: &str) -> Result<(), AgentError> {
    match rustix::mount::mount_bind_recursive(target, target) {
        Err(Errno::NOENT) => Ok(()),
        bound => {
            bound.during(|| format!("bind {target}"))?;
            remount(target, NO_SUID_DEV_EXEC | MountFlags::RDONLY)
        }
    }
}

/// Takes from the bounding set what docker's containers do not have. It must be done before the
/// user changes, and exec then gives root the rest and other users nothing (capabilities(7)).
///
/// # Errors
/// As prctl(2).
pub fn drop_capabilities() -> Result<(), AgentError> {
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if DEFAULT_CAPABILITIES.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Past the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            other => other.during(|| "drop capabilities".into())?,
        }
    }
    Ok(())
}
