//! Saving and restoring a server.

use super::{Fid, MSIZE_MIN_BYTES, Options, Role, Server};
use crate::backend::fs::{FileSystem, NAME_MAX_BYTES, XATTR_MAX_BYTES};
use crate::virtio::p9::locks::Lock;
use crate::virtio::p9::places::PlaceId;
use crate::virtio::p9::request::LockOwner;
use crate::virtio::p9::state::{FidState, LockState, Purpose, RestoreError, State};

impl<F: FileSystem> Server<F> {
    /// The state, without what the share itself holds.
    pub fn save(&self) -> State {
        let fid = |(&number, fid): (&u32, &Fid<F::File>)| FidState {
            fid: number,
            place: fid.place.0,
            uid: fid.uid,
            purpose: match &fid.role {
                Role::Walk => Purpose::Walk,
                Role::Open { flags, .. } => Purpose::Open(*flags),
                Role::XattrRead(value) => Purpose::XattrRead(value.to_vec()),
                Role::XattrWrite { name, flags, size_bytes, value } => Purpose::XattrWrite {
                    name: name.to_vec(),
                    flags: *flags,
                    size_bytes: *size_bytes,
                    value: value.clone(),
                },
            },
        };
        let lock = |lock: &Lock| LockState {
            fid: lock.fid,
            process: lock.process,
            client: lock.client.to_vec(),
            kind: lock.kind,
            range: lock.range,
        };
        State {
            msize: self.msize_bytes,
            places: self.places.save(),
            fids: self.fids.iter().map(fid).collect(),
            locks: self.locks.iter().map(lock).collect(),
        }
    }

    /// A server that goes on from a saved state, in the same share or a copy of it. Files are looked for when they
    /// are used: one that is gone, or had no name any more, answers `ESTALE`. A lock that somebody else on the host
    /// has taken meanwhile is lost.
    ///
    /// # Errors
    /// The root does not answer, or `state` is not what a server with these limits could have saved.
    pub fn restore(fs: F, options: Options, state: &State) -> Result<Self, RestoreError> {
        let mut server = Server::new(fs, options).map_err(RestoreError::Root)?;
        let limits = server.options.limits;
        if state.msize != 0 && !(MSIZE_MIN_BYTES..=limits.msize_bytes).contains(&state.msize) {
            return Err(RestoreError::Msize(state.msize));
        }
        server.msize_bytes = state.msize;
        server.places.restore(&state.places).ok_or(RestoreError::Places)?;
        for fid in &state.fids {
            server.restore_fid(fid).ok_or(RestoreError::Fid(fid.fid))?;
        }
        server.places.drop_unreferenced();
        for lock in &state.locks {
            let impossible = lock.range.first > lock.range.last || lock.client.len() > NAME_MAX_BYTES;
            let open = server.fid(lock.fid).is_ok_and(|fid| matches!(fid.role, Role::Open { .. }));
            if impossible || !open {
                return Err(RestoreError::Lock(lock.fid));
            }
            let owner = LockOwner { process: lock.process, client: &lock.client };
            // Lost if the file is gone or locked by others: nothing can be done for the guest.
            let _ = server.take_lock(lock.fid, lock.kind, lock.range, owner);
        }
        Ok(server)
    }

    fn restore_fid(&mut self, saved: &FidState) -> Option<()> {
        self.check_new(saved.fid).ok()?;
        let place = PlaceId(saved.place);
        if !self.places.exists(place) {
            return None;
        }
        let role = match &saved.purpose {
            Purpose::Walk => Role::Walk,
            // A server saves no flags that act once: opening the file again must not cut it.
            Purpose::Open(flags) if flags.truncate || flags.exclusive => return None,
            Purpose::Open(flags) => Role::Open { flags: *flags, file: None },
            Purpose::XattrRead(value) if value.len() <= XATTR_MAX_BYTES => {
                Role::XattrRead(value.clone().into())
            }
            Purpose::XattrWrite { name, flags, size_bytes, value }
                if *size_bytes <= XATTR_MAX_BYTES as u64
                    && value.len() as u64 <= *size_bytes
                    && (1..=NAME_MAX_BYTES).contains(&name.len())
                    && !name.contains(&0) =>
            {
                Role::XattrWrite {
                    name: name.clone().into(),
                    flags: *flags,
                    size_bytes: *size_bytes,
                    value: value.clone(),
                }
            }
            Purpose::XattrRead(_) | Purpose::XattrWrite { .. } => return None,
        };
        if matches!(&role, Role::Open { flags, .. } if self.options.read_only && flags.access.writes()) {
            return None;
        }
        self.charge_xattr(role.xattr_bytes()).ok()?;
        if matches!(role, Role::Open { .. }) {
            self.check_open_files().ok()?;
            self.open_files += 1;
            self.places.opened(place);
        }
        self.places.acquire(place);
        self.fids.insert(saved.fid, Fid { place, uid: saved.uid, role });
        Some(())
    }
}
