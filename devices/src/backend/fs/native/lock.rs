//! Locks that other programs of the host respect: open-file-description locks (`F_OFD_SETLK`, `fcntl(2)`).
//!
//! Process-associated locks would not do: closing any descriptor of the file would drop them.

use std::os::fd::AsRawFd;

use super::handle::NativeFile;
use crate::backend::fs::{Errno, LockKind, LockRange, Result};

/// Takes or gives up a lock without waiting. `false`: somebody else holds it.
pub(super) fn set(file: &NativeFile, range: LockRange, kind: Option<LockKind>) -> Result<bool> {
    // Host offsets end at i64::MAX: nothing beyond can be locked, and "to the end" is length 0.
    let first = i64::try_from(range.first).map_err(|_| Errno::EOVERFLOW)?;
    let length = match range.last.checked_sub(range.first) {
        None => return Err(Errno::EINVAL),
        Some(_) if range.last >= i64::MAX as u64 => 0,
        Some(distance) => distance as i64 + 1,
    };
    let request = libc::flock {
        l_type: match kind {
            Some(LockKind::Read) => libc::F_RDLCK,
            Some(LockKind::Write) => libc::F_WRLCK,
            None => libc::F_UNLCK,
        } as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: first,
        l_len: length,
        l_pid: 0,
    };
    // SAFETY: F_OFD_SETLK reads one `struct flock`, which `request` is and which outlives the call;
    // the descriptor is open as long as `file` is borrowed.
    let answer = unsafe { libc::fcntl(file.fd.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if answer == 0 {
        return Ok(true);
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        // The server's own rights do not allow this lock on the host (a write lock on a file it may only
        // read), or the file system has none: it then holds among the guest's processes only.
        Some(libc::EBADF | libc::ENOSYS | libc::EOPNOTSUPP | libc::EINVAL) => Ok(true),
        Some(libc::ENOLCK) => Err(Errno::ENOLCK),
        _ => Err(Errno::EIO),
    }
}
