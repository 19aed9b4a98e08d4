//! From the host's error numbers to the guest's.

use rustix::io::Errno as Host;

use crate::backend::fs::Errno;

/// What the guest is told when the host answered `host`. Anything a file call should not answer is `EIO`.
pub(super) fn to_guest(host: Host) -> Errno {
    match host {
        Host::PERM => Errno::EPERM,
        Host::NOENT => Errno::ENOENT,
        Host::INTR => Errno::EINTR,
        Host::NXIO => Errno::ENXIO,
        Host::TOOBIG => Errno::E2BIG,
        Host::BADF => Errno::EBADF,
        Host::AGAIN => Errno::EAGAIN,
        Host::NOMEM => Errno::ENOMEM,
        Host::ACCESS => Errno::EACCES,
        Host::BUSY => Errno::EBUSY,
        Host::EXIST => Errno::EEXIST,
        Host::XDEV => Errno::EXDEV,
        Host::NODEV => Errno::ENODEV,
        Host::NOTDIR => Errno::ENOTDIR,
        Host::ISDIR => Errno::EISDIR,
        Host::INVAL => Errno::EINVAL,
        Host::NFILE => Errno::ENFILE,
        Host::MFILE => Errno::EMFILE,
        Host::TXTBSY => Errno::ETXTBSY,
        Host::FBIG => Errno::EFBIG,
        Host::NOSPC => Errno::ENOSPC,
        Host::SPIPE => Errno::ESPIPE,
        Host::ROFS => Errno::EROFS,
        Host::MLINK => Errno::EMLINK,
        Host::RANGE => Errno::ERANGE,
        Host::DEADLK => Errno::EDEADLK,
        Host::NAMETOOLONG => Errno::ENAMETOOLONG,
        Host::NOLCK => Errno::ENOLCK,
        Host::NOTEMPTY => Errno::ENOTEMPTY,
        Host::LOOP => Errno::ELOOP,
        Host::NODATA => Errno::ENODATA,
        Host::OVERFLOW => Errno::EOVERFLOW,
        Host::OPNOTSUPP | Host::NOSYS => Errno::EOPNOTSUPP,
        Host::STALE => Errno::ESTALE,
        Host::DQUOT => Errno::EDQUOT,
        _ => Errno::EIO,
    }
}
