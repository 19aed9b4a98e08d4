//! System calls that have no safe wrapper elsewhere. All of the agent's `unsafe` is in this file.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Namespaces of a new container's first process.
pub const CONTAINER_NAMESPACES: i32 =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// What `clone` returns on each side.
pub enum Clone {
    /// In the parent: a handle of the child (its end makes it readable).
    Parent(OwnedFd),
    /// In the child.
    Child,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes a child process as fork(2) does, in the new namespaces that `flags` asks for.
///
/// # Errors
/// As clone3(2).
pub fn clone(flags: i32) -> io::Result<Clone> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: clone_args is plain numbers, for which zero means "not used".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (flags | libc::CLONE_PIDFD) as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM and with no stack given this is fork: the child goes on with a copy
    // of this memory. The agent has one thread, so no lock is held by a thread the child lacks.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut args, std::mem::size_of::<libc::clone_args>())
    })?;
    if pid == 0 {
        return Ok(Clone::Child);
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor here, which nothing else owns.
    Ok(Clone::Parent(unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

/// Replaces the program of this process; returns only why it could not.
pub fn execve(program: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| {
        let mut pointers: Vec<_> = list.iter().map(|s| s.as_ptr()).collect();
        pointers.push(std::ptr::null());
        pointers
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: all three are NUL-terminated and live until the call is over.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once, running nothing of the parent's that the child has a copy of.
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Every signal to its default and none blocked: what a program expects to begin with. (Rust's
/// runtime ignores SIGPIPE, and exec keeps that.)
pub fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL runs no code of ours; numbers that may not be set are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an empty set is a valid value, and sigprocmask only reads it.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Sends any signal, real-time ones included.
///
/// # Errors
/// As pidfd_send_signal(2).
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: u8) -> io::Result<()> {
    // SAFETY: no pointer but the null siginfo, which means the one kill(2) would make.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            libc::c_int::from(signal),
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result).map(drop)
}

/// `PIDFD_GET_MNT_NAMESPACE` of linux/pidfd.h: `_IO(0xff, 3)`, since Linux 6.11.
const PIDFD_GET_MNT_NAMESPACE: libc::c_ulong = 0xff03;

/// A handle of the process's mount namespace, which lasts as long as it is held.
///
/// # Errors
/// As pidfd_open(2) says of its ioctls.
pub fn mount_namespace(pidfd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // SAFETY: takes no argument.
    let fd = check(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_MNT_NAMESPACE as _, 0) }.into())?;
    // SAFETY: the descriptor is new and ours.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// `struct rand_pool_info` of random(4) with room for one portion.
#[repr(C)]
struct RandomPool {
    entropy_bits: libc::c_int,
    size_bytes: libc::c_int,
    bytes: [u8; RANDOM_PORTION],
}

const RANDOM_PORTION: usize = 64;
/// `_IOW('R', 0x03, int[2])` and `_IO('R', 0x07)` of linux/random.h.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// Credits `seed` to the kernel's random generator and makes it reseed from its pool now.
///
/// # Errors
/// As ioctl(2) on `/dev/random`; needs CAP_SYS_ADMIN.
pub fn add_entropy(random: BorrowedFd<'_>, seed: &[u8]) -> io::Result<()> {
    for portion in seed.chunks(RANDOM_PORTION) {
        let mut pool = RandomPool {
            entropy_bits: portion.len() as libc::c_int * 8,
            size_bytes: portion.len() as libc::c_int,
            bytes: [0; RANDOM_PORTION],
        };
        pool.bytes[..portion.len()].copy_from_slice(portion);
        // SAFETY: the kernel reads the two counts and `size_bytes` bytes, all inside `pool`.
        check(unsafe { libc::ioctl(random.as_raw_fd(), RNDADDENTROPY as _, &raw const pool) }.into())?;
    }
    // SAFETY: takes no argument.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RNDRESEEDCRNG as _) }.into()).map(drop)
}

/// Switches a network interface on.
///
/// # Errors
/// When there is no such interface, or as ioctl(2).
pub fn interface_up(name: &str) -> io::Result<()> {
    // SAFETY: socket takes numbers only.
    let socket =
        check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: the descriptor is new and ours.
    let socket = unsafe { OwnedFd::from_raw_fd(socket as i32) };
    // SAFETY: ifreq is plain data; zeroes are an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *place = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
    // SAFETY: SIOCSIFFLAGS reads one ifreq.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())
        .map(drop)
}

/// Makes one mount (as from open_tree) refuse writes, before it is attached anywhere.
///
/// # Errors
/// As mount_setattr(2).
pub fn make_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is an empty string, and the kernel reads as many bytes as it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}

/// Leaves the mount namespace (and no other) for a copy of its own.
///
/// # Errors
/// As unshare(2).
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: CLONE_NEWNS changes no descriptor and no memory.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into()).map(drop)
}

/// Sends SIGKILL to every process that this one may signal, but itself (kill(2) with pid -1).
pub fn kill_everything() {
    // SAFETY: numbers only.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}
