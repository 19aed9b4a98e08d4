//! Error numbers of the guest's ABI.
//!
//! The 9P2000.L protocol carries Linux error numbers (`asm-generic/errno*.h`, the same on every
//! guest c2w has), so they are constants of ours: the program's own host may number them otherwise.

use std::fmt;

/// A Linux error number, as it is sent to the guest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(pub u32);

macro_rules! errnos {
    ($($name:ident = $number:literal $text:literal)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Errno = Errno($number);)*

            /// The symbolic name, if it is one that a file server uses.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1 "Operation not permitted"
    ENOENT = 2 "No such file or directory"
    EINTR = 4 "Interrupted"
    EIO = 5 "Input/output error"
    ENXIO = 6 "No such device or address"
    E2BIG = 7 "Argument list too long"
    EBADF = 9 "Bad file descriptor, here: unknown fid or wrong kind of fid"
    EAGAIN = 11 "Try again"
    ENOMEM = 12 "Out of memory"
    EACCES = 13 "Permission denied"
    EBUSY = 16 "Busy"
    EEXIST = 17 "File exists"
    EXDEV = 18 "Link across file systems"
    ENODEV = 19 "No such device"
    ENOTDIR = 20 "Not a directory"
    EISDIR = 21 "Is a directory"
    EINVAL = 22 "Invalid argument"
    ENFILE = 23 "Too many open files in the system"
    EMFILE = 24 "Too many open files"
    ETXTBSY = 26 "Text file busy"
    EFBIG = 27 "File too large"
    ENOSPC = 28 "No space left"
    ESPIPE = 29 "Not seekable"
    EROFS = 30 "Read-only file system"
    EMLINK = 31 "Too many links"
    ERANGE = 34 "Result does not fit"
    EDEADLK = 35 "Deadlock would occur"
    ENAMETOOLONG = 36 "File name too long"
    ENOLCK = 37 "No locks available"
    ENOTEMPTY = 39 "Directory not empty"
    ELOOP = 40 "Too many symbolic links"
    ENODATA = 61 "No such extended attribute"
    EOVERFLOW = 75 "Value too large"
    EMSGSIZE = 90 "Message too long"
    EOPNOTSUPP = 95 "Operation not supported"
    ESTALE = 116 "Stale file handle"
    EDQUOT = 122 "Disk quota exceeded"
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Errno {}
