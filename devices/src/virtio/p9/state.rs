//! The saved form of a server: which fids there are and where they stand. Files themselves are not part of it; a
//! restored server finds them again by name in the same share, and what is no longer there answers `ESTALE`.

use serde::{Deserialize, Serialize};

use crate::backend::fs::{LockKind, LockRange, OpenFlags};

/// State of a 9P server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Largest message both sides agreed on; 0 before they did.
    pub msize: u32,
    /// Places by index, the root first; `None` is a free index.
    pub places: Vec<Option<PlaceState>>,
    /// Fids in ascending order.
    pub fids: Vec<FidState>,
    /// Locks that the guest holds.
    pub locks: Vec<LockState>,
}

/// A place in the shared tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceState {
    /// Index of the directory it was found in; 0 for the root.
    pub above: u32,
    /// Its name there; empty for the root.
    pub name: Vec<u8>,
    /// Whether that name still leads to it. The file of a place without a name cannot be found again.
    pub named: bool,
}

/// A fid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FidState {
    /// Number that the guest gave it.
    pub fid: u32,
    /// Index of its place.
    pub place: u32,
    /// User on whose behalf it is used; `None` if the guest named none.
    pub uid: Option<u32>,
    /// What it is besides a place.
    pub purpose: Purpose,
}

/// What a fid is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Only names a file.
    Walk,
    /// Opened.
    Open(OpenFlags),
    /// Holds the value of an extended attribute, or the list of names, for reading.
    XattrRead(Vec<u8>),
    /// Gathers the value of an extended attribute, which is set when the fid is clunked.
    XattrWrite {
        /// Name of the attribute.
        name: Vec<u8>,
        /// Flags of the request.
        flags: u32,
        /// Bytes that were announced.
        size_bytes: u64,
        /// Bytes that have arrived.
        value: Vec<u8>,
    },
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockState {
    /// The fid through which it was taken.
    pub fid: u32,
    /// Process that holds it.
    pub process: u32,
    /// Host name of the client that holds it.
    pub client: Vec<u8>,
    /// Shared or exclusive.
    pub kind: LockKind,
    /// Bytes.
    pub range: LockRange,
}

/// Why a saved server cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The share's root does not answer.
    #[error("cannot reach the root of the share: {0}")]
    Root(crate::backend::fs::Errno),
    /// Places that contradict each other.
    #[error("the saved places do not form a tree")]
    Places,
    /// A fid that no server could have had.
    #[error("the saved fid {0} is impossible")]
    Fid(u32),
    /// A message size that no server would have agreed to.
    #[error("the saved message size {0} is impossible")]
    Msize(u32),
    /// A lock that contradicts another, or of a fid that is not there.
    #[error("a saved lock of fid {0} is impossible")]
    Lock(u32),
}
