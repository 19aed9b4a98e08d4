//! From the kernel's first program to a container's root waiting to be used.
//!
//! The agent lives on a small tmpfs of its own and never enters the container's root:
//!
//! ```text
//! /dev /proc /sys   the agent's own
//! /image            the root disk, read-only
//! /scratch          tmpfs: upper and work directory of the overlay
//! /shares           9p shares, each mounted once
//! /root             overlay of the two, with /dev, /sys etc. of the container mounted in it
//! ```
//!
//! These mounts are shared and a container's are their slaves (mount_namespaces(7)): what is
//! mounted below `/root` later, a 9p share, appears in a running container too.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::error::{AgentError, During};
use super::path;

/// The disk with the root file system: the first virtio-blk device.
const ROOT_DISK: &str = "/dev/vda";

/// How long a device that the kernel has not announced yet is waited for: tries and pause. Long,
/// because an emulated machine may be slow; a host that never offers the device is told so.
const DEVICE_TRIES: u32 = 2000;
const DEVICE_PAUSE_NS: i64 = 5_000_000;

const NOTHING: MountFlags = MountFlags::empty();
const NO_SUID_DEV_EXEC: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// As PID 1 of a machine: mounts everything, and returns the container's root.
///
/// # Errors
/// When there is no usable root disk or the kernel lacks something.
pub fn machine() -> Result<OwnedFd, AgentError> {
    base("/base")?;
    // Over the initramfs, which cannot be unmounted or pivoted away from.
    mount_here(|| rustix::mount::mount_move("/base", "/"), "/")?;
    rustix::process::chroot(".").during(|| "chroot".into())?;
    mount("devtmpfs", "/dev", "devtmpfs", NOTHING, c"")?;
    mount("sysfs", "/sys", "sysfs", NO_SUID_DEV_EXEC, c"")?;
    mount("proc", "/proc", "proc", NO_SUID_DEV_EXEC, c"")?;
    let kind = probe(ROOT_DISK)?;
    mount(ROOT_DISK, "/image", kind, MountFlags::RDONLY, c"")?;
    overlay("/image")
}

/// As root of an ordinary Linux, for development: the same with a directory in the place of the
/// disk, in a mount namespace of its own.
///
/// # Errors
/// As [`machine`], and without the privilege.
pub fn directory(image: &Path) -> Result<OwnedFd, AgentError> {
    super::sys::own_mounts().during(|| "leave the mount namespace (this needs root)".into())?;
    change(MountPropagationFlags::PRIVATE)?;
    let place = rustix::fs::open(image, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .during(|| format!("open {}", image.display()))?;
    base("/tmp")?;
    let image = path::of_fd(&place);
    rustix::mount::mount_bind(&*image, "/tmp/image").during(|| "bind the image".into())?;
    rustix::mount::mount_bind_recursive("/dev", "/tmp/dev").during(|| "bind /dev".into())?;
    mount("sysfs", "/tmp/sys", "sysfs", NO_SUID_DEV_EXEC, c"")?;
    mount("proc", "/tmp/proc", "proc", NO_SUID_DEV_EXEC, c"")?;
    pivot("/tmp")?;
    overlay("/image")
}

/// Makes the directory `to` the root of this mount namespace and drops the former root.
///
/// # Errors
/// As pivot_root(2): `to` has to be a mount point.
pub fn pivot(to: &str) -> Result<(), AgentError> {
    rustix::process::chdir(to).during(|| format!("enter {to}"))?;
    // The former root ends up stacked on the new one, from where it is taken away.
    rustix::process::pivot_root(".", ".").during(|| "pivot_root".into())?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).during(|| "unmount the former root".into())?;
    rustix::process::chdir("/").during(|| "enter the new root".into())
}

/// A system call on mount points, in words when it fails.
pub fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    data: &CStr,
) -> Result<(), AgentError> {
    mount_here(|| rustix::mount::mount(source, target, kind, flags, data), kind)
}

fn mount_here(call: impl FnOnce() -> rustix::io::Result<()>, what: &str) -> Result<(), AgentError> {
    call().during(|| format!("mount {what}"))
}

fn change(how: MountPropagationFlags) -> Result<(), AgentError> {
    rustix::mount::mount_change("/", how | MountPropagationFlags::REC)
        .during(|| "change mount propagation".into())
}

/// A tmpfs at `at` with the directories listed above, and makes it the working directory.
fn base(at: &str) -> Result<(), AgentError> {
    make_directory(at)?;
    mount("tmpfs", at, "tmpfs", MountFlags::NOSUID, c"size=1m,mode=755")?;
    rustix::process::chdir(at).during(|| format!("enter {at}"))?;
    ["dev", "proc", "sys", "image", "scratch", "root", "shares"].into_iter().try_for_each(make_directory)
}

fn make_directory(name: &str) -> Result<(), AgentError> {
    match rustix::fs::mkdir(name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => other.during(|| format!("create directory {name}")),
    }
}

/// Which file system is on the disk, by its magic number.
fn probe(disk: &'static str) -> Result<&'static str, AgentError> {
    let fd = wait_for(|| match rustix::fs::open(disk, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT | Errno::NXIO | Errno::NODEV) => Ok(None),
        opened => opened.map(Some).during(|| format!("open {disk}")),
    })?
    .ok_or(AgentError::NoDisk(disk))?;
    let mut start = [0; 2048];
    let len = rustix::io::read(&fd, &mut start).during(|| format!("read {disk}"))?;
    if len < start.len() {
        return Err(AgentError::UnknownFileSystem(disk));
    }
    // (offset, magic, name): erofs_fs.h, squashfs_fs.h and ext4.h of the kernel.
    let known: [(usize, &[u8], &str); 3] = [
        (1024, &0xe0f5_e1e2_u32.to_le_bytes(), "erofs"),
        (0, b"hsqs", "squashfs"),
        (1024 + 56, &0xef53_u16.to_le_bytes(), "ext4"),
    ];
    let found = known.iter().find(|(at, magic, _)| start[*at..].starts_with(magic));
    found.map(|(_, _, name)| *name).ok_or(AgentError::UnknownFileSystem(disk))
}

/// Asks `ready` again and again, with pauses, until it has something.
///
/// # Errors
/// What `ready` fails with. `None` when the time is over.
pub fn wait_for<T>(
    mut ready: impl FnMut() -> Result<Option<T>, AgentError>,
) -> Result<Option<T>, AgentError> {
    for _ in 0..DEVICE_TRIES {
        if let Some(found) = ready()? {
            return Ok(Some(found));
        }
        let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: DEVICE_PAUSE_NS };
        let _ = rustix::thread::nanosleep(&pause);
    }
    Ok(None)
}

/// Mounts the overlay with everything in it that is the same for every container.
fn overlay(image: &str) -> Result<OwnedFd, AgentError> {
    let system = rustix::system::sysinfo();
    let options =
        format!("size={},nr_inodes=0,mode=755", scratch_bytes(system.totalram * u64::from(system.mem_unit)));
    let options = CString::new(options).unwrap_or_default();
    mount("tmpfs", "/scratch", "tmpfs", NOTHING, &options)?;
    make_directory("/scratch/upper")?;
    make_directory("/scratch/work")?;
    // The overlay's own root directory is that of the upper layer.
    let stat = rustix::fs::stat(image).during(|| format!("stat {image}"))?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chown("/scratch/upper", Some(uid), Some(gid)).during(|| "chown the root".into())?;
    rustix::fs::chmod("/scratch/upper", Mode::from_raw_mode(stat.st_mode))
        .during(|| "chmod the root".into())?;
    // redirect_dir: directories of the image can be renamed, as on any other file system.
    let data = c"lowerdir=/image,upperdir=/scratch/upper,workdir=/scratch/work,redirect_dir=on";
    mount("overlay", "/root", "overlay", NOTHING, data)?;
    let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/root", place, Mode::empty()).during(|| "open /root".into())?;
    furnish(&root)?;
    change(MountPropagationFlags::SHARED)?;
    Ok(root)
}

/// How much of the memory a container's changes to its files may fill: nearly all, but with enough
/// left for a few processes. Past it programs are told that the disk is full, which they can
/// handle; without a limit the kernel kills one of them, and then another.
fn scratch_bytes(memory_bytes: u64) -> u64 {
    let few_processes = (48 << 20).min(memory_bytes / 3);
    memory_bytes - few_processes.max(memory_bytes / 10)
}

/// What docker mounts in a container, but for what belongs to the namespaces of one container.
fn furnish(root: &OwnedFd) -> Result<(), AgentError> {
    use std::os::fd::AsFd;
    let root = root.as_fd();
    let sys = path::directory(root, b"/sys")?;
    mount("sysfs", &path::of_fd(&sys), "sysfs", NO_SUID_DEV_EXEC.union(MountFlags::RDONLY), c"")?;
    let cgroup = path::directory(root, b"/sys/fs/cgroup");
    // A kernel without control groups has no such directory, and containers do without.
    if let Ok(cgroup) = cgroup {
        let _ = mount(
            "cgroup",
            &path::of_fd(&cgroup),
            "cgroup2",
            NO_SUID_DEV_EXEC.union(MountFlags::RDONLY),
            c"",
        );
    }
    path::directory(root, b"/proc")?;

    let dev = path::directory(root, b"/dev")?;
    mount("tmpfs", &path::of_fd(&dev), "tmpfs", MountFlags::NOSUID, c"size=65536k,mode=755")?;
    let dev = path::directory(root, b"/dev")?;
    // Linux' numbers for them: devices.txt of the kernel's documentation.
    let nodes =
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    for (name, major, minor) in nodes {
        // (The mode is given to chmod too, which no umask narrows.)
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, rustix::fs::makedev(major, minor))
            .and_then(|()| rustix::fs::chmodat(&dev, name, mode, AtFlags::empty()))
            .during(|| format!("create device {name}"))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        rustix::fs::symlinkat(target, &dev, name).during(|| format!("create link {name}"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))
            .during(|| format!("create directory /dev/{name}"))?;
    }
    let within = |name: &str| format!("{}/{name}", path::of_fd(&dev));
    let suid_exec = MountFlags::NOSUID.union(MountFlags::NOEXEC);
    mount("devpts", &within("pts"), "devpts", suid_exec, c"newinstance,ptmxmode=0666,mode=0620,gid=5")?;
    mount("shm", &within("shm"), "tmpfs", NO_SUID_DEV_EXEC, c"size=65536k,mode=1777")
}

/// Kernel settings that docker makes for a container's network, and the loopback interface.
/// Returns what did not work; a container can do without.
pub fn network() -> Vec<AgentError> {
    let set = |name: &str, value: &[u8]| {
        let file = rustix::fs::openat(CWD, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        file.and_then(|fd| rustix::io::write(fd, value)).map(drop).during(|| format!("write {name}"))
    };
    [
        super::sys::interface_up("lo").during(|| "bring up lo".into()),
        // Every user may ping, and listen on ports below 1024.
        set("/proc/sys/net/ipv4/ping_group_range", b"0 2147483647"),
        set("/proc/sys/net/ipv4/ip_unprivileged_port_start", b"0"),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::scratch_bytes;

    #[test]
    fn something_is_always_left_of_the_memory() {
        // (MiB of memory, MiB for changed files)
        for (memory, scratch) in [(60, 40), (120, 80), (250, 202), (1000, 900), (8000, 7200)] {
            assert_eq!(scratch_bytes(memory << 20) >> 20, scratch);
        }
        assert_eq!(scratch_bytes(0), 0);
    }
}
