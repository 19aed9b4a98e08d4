//! 9p shares of the host, mounted in the container.
//!
//! A virtio-9p device serves one mount. So each is mounted once, below `/shares` where no
//! container sees it, and what containers get are bind mounts of it or of a part of it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use c2w_agent::MountSpec;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::error::{AgentError, During};
use super::{path, sys};

/// The devices that are mounted.
#[derive(Default)]
pub struct Shares {
    /// From mount tag to the root of the share.
    mounted: BTreeMap<Vec<u8>, OwnedFd>,
}

impl Shares {
    /// Mounts a share or a part of it below `root`, the container's. The target is made as the
    /// source is: a directory or a file. Message size and options count at a device's first mount.
    ///
    /// # Errors
    /// When there is no such tag or source, or the target is of the other sort.
    pub fn mount(&mut self, root: BorrowedFd<'_>, spec: &MountSpec) -> Result<(), AgentError> {
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let action = || format!("mount share {} on {}", shown(&spec.tag), shown(&spec.target));
        if !self.mounted.contains_key(&spec.tag) {
            let place = format!("/shares/{}", self.mounted.len());
            let share = attach(spec, &place, action)?;
            self.mounted.insert(spec.tag.clone(), share);
        }
        let share = &self.mounted[&spec.tag];
        let source = if spec.source.is_empty() { b"." } else { spec.source.as_slice() };
        let source = rustix::fs::openat2(
            share,
            source,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )
        .during(action)?;
        let clone =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let part = open_tree(source.as_fd(), "", clone).during(action)?;
        if spec.read_only {
            sys::make_read_only(part.as_fd()).during(action)?;
        }
        let stat = rustix::fs::statat(&part, "", AtFlags::EMPTY_PATH).during(action)?;
        let target = if FileType::from_raw_mode(stat.st_mode).is_dir() {
            path::directory(root, &spec.target)?
        } else {
            path::file(root, &spec.target)?
        };
        let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(part.as_fd(), "", target.as_fd(), "", both).during(action)
    }
}

/// Mounts a device at `place` and returns its root.
fn attach(spec: &MountSpec, place: &str, action: impl Fn() -> String) -> Result<OwnedFd, AgentError> {
    let context = fsopen("9p", FsOpenFlags::FSOPEN_CLOEXEC).during(&action)?;
    let set = |key: &[u8], value: &[u8]| fsconfig_set_string(context.as_fd(), key, value).during(&action);
    set(b"source", &spec.tag)?;
    set(b"trans", b"virtio")?;
    set(b"version", b"9p2000.L")?;
    set(b"msize", spec.msize.to_string().as_bytes())?;
    for option in spec.options.split(|byte| *byte == b',').filter(|option| !option.is_empty()) {
        match option.iter().position(|byte| *byte == b'=') {
            Some(at) => set(&option[..at], &option[at + 1..])?,
            None => fsconfig_set_flag(context.as_fd(), option).during(&action)?,
        }
    }
    fsconfig_create(context.as_fd()).during(&action)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let share = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).during(&action)?;
    // (The root of a share may be a file, which only fits on a file.)
    let stat = rustix::fs::statat(&share, "", AtFlags::EMPTY_PATH).during(&action)?;
    let target = if FileType::from_raw_mode(stat.st_mode).is_dir() {
        path::directory(CWD, place.as_bytes())?
    } else {
        path::file(CWD, place.as_bytes())?
    };
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(share.as_fd(), "", target.as_fd(), "", both).during(&action)?;
    Ok(share)
}
