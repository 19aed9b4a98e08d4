//! Paths inside the container's root, seen from outside: no symbolic link leads out of it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use c2w_agent::FileSpec;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

use super::error::{AgentError, During};

/// A path by which mount(2) reaches an open descriptor.
pub fn of_fd(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

fn open(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: u32) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = flags | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::from_raw_mode(mode), ResolveFlags::IN_ROOT)
}

/// Opens an existing file of the container.
///
/// # Errors
/// As openat2(2).
pub fn open_in(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open(root, path, flags, 0)
}

/// Opens (as a place, `O_PATH`) a directory of the container, making what is missing of the path
/// with mode 0755.
///
/// # Errors
/// When something else than a directory is in the way, or as mkdir(2).
pub fn directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, AgentError> {
    let action = || format!("create directory {}", String::from_utf8_lossy(path));
    let place = OFlags::PATH | OFlags::DIRECTORY;
    let mut here = open(root, b"", place, 0).during(action)?;
    let mut so_far = Vec::new();
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        so_far.extend_from_slice(name);
        let next = match open(root, &so_far, place, 0) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o755)).during(action)?;
                open(root, &so_far, place, 0)
            }
            other => other,
        };
        here = next.during(action)?;
        so_far.push(b'/');
    }
    Ok(here)
}

/// Opens (as a place) a file of the container, making an empty one and its directories if missing.
///
/// # Errors
/// As [`directory`] and open(2).
pub fn file(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, AgentError> {
    let action = || format!("create file {}", String::from_utf8_lossy(path));
    match open(root, path, OFlags::PATH, 0) {
        Err(Errno::NOENT) => {}
        found => return found.during(action),
    }
    directory(root, parent(path)?)?;
    drop(open(root, path, OFlags::CREATE | OFlags::WRONLY, 0o644).during(action)?);
    open(root, path, OFlags::PATH, 0).during(action)
}

/// Writes a file of the container. A symbolic link that leads nowhere is replaced by the file.
///
/// # Errors
/// As [`directory`], open(2) and write(2).
pub fn write(root: BorrowedFd<'_>, file: &FileSpec) -> Result<(), AgentError> {
    let action = || format!("write {}", String::from_utf8_lossy(&file.path));
    let directory = directory(root, parent(&file.path)?)?;
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY;
    let mode = file.mode & 0o7777;
    let opened = match open(root, &file.path, flags, mode) {
        Err(Errno::NOENT) => {
            let name = file.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            rustix::fs::unlinkat(&directory, name, AtFlags::empty()).during(action)?;
            open(root, &file.path, flags, mode)
        }
        other => other,
    };
    let fd = opened.during(action)?;
    let mut rest = file.contents.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&fd, rest).during(action)?;
        rest = &rest[written..];
    }
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode)).during(action)
}

/// Reads a file of the container from its beginning to its end, so that the kernel has it in memory. Twice: what was used
/// but once the kernel moves to another list at the next use, page by page. It only saves time: what cannot be read is
/// left.
pub fn read_through(root: BorrowedFd<'_>, path: &[u8]) {
    let Ok(file) = open(root, path, OFlags::RDONLY | OFlags::NONBLOCK, 0) else { return };
    let is_file = rustix::fs::fstat(&file)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..if is_file { 2 } else { 0 } {
        while rustix::io::read(&file, &mut buffer).is_ok_and(|len| len > 0) {}
        let _ = rustix::fs::seek(&file, SeekFrom::Start(0));
    }
}

/// The path of the directory that `path` is in.
fn parent(path: &[u8]) -> Result<&[u8], AgentError> {
    let bad = || AgentError::BadPath(String::from_utf8_lossy(path).into_owned());
    let slash = path.iter().rposition(|byte| *byte == b'/').ok_or_else(bad)?;
    if path[0] != b'/' || slash + 1 == path.len() {
        return Err(bad());
    }
    Ok(&path[..slash])
}
