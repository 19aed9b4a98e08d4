//! 9p shares of the host, mounted in the container.

use std::os::fd::{AsFd, BorrowedFd};

use c2w_agent::MountSpec;
use rustix::fs::{AtFlags, FileType};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::error::{AgentError, During};
use super::path;

/// Mounts a share below `root`, the container's. The target is made as the source is: a directory
/// or a file.
///
/// # Errors
/// When there is no such tag or source, or the target is of the other sort.
pub fn mount(root: BorrowedFd<'_>, spec: &MountSpec) -> Result<(), AgentError> {
    let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let action = || format!("mount share {} on {}", shown(&spec.tag), shown(&spec.target));
    let context = fsopen("9p", FsOpenFlags::FSOPEN_CLOEXEC).during(action)?;
    let set = |key: &[u8], value: &[u8]| fsconfig_set_string(context.as_fd(), key, value).during(action);
    set(b"source", &spec.tag)?;
    set(b"trans", b"virtio")?;
    set(b"version", b"9p2000.L")?;
    set(b"msize", spec.msize.to_string().as_bytes())?;
    for option in spec.options.split(|byte| *byte == b',').filter(|option| !option.is_empty()) {
        match option.iter().position(|byte| *byte == b'=') {
            Some(at) => set(&option[..at], &option[at + 1..])?,
            None => fsconfig_set_flag(context.as_fd(), option).during(action)?,
        }
    }
    fsconfig_create(context.as_fd()).during(action)?;
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, spec.read_only);
    let mut share = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).during(action)?;
    let source: Vec<u8> = spec.source.iter().copied().skip_while(|byte| *byte == b'/').collect();
    if !source.is_empty() {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        share = open_tree(share.as_fd(), source, flags).during(action)?;
    }
    let stat = rustix::fs::statat(&share, "", AtFlags::EMPTY_PATH).during(action)?;
    let target = if FileType::from_raw_mode(stat.st_mode).is_dir() {
        path::directory(root, &spec.target)?
    } else {
        path::file(root, &spec.target)?
    };
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(share.as_fd(), "", target.as_fd(), "", both).during(action)
}
