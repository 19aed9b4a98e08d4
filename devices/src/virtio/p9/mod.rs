//! A 9P2000.L file server: shares a directory with the guest over virtio (virtio 1.2 has no section for device 9;
//! Linux's `net/9p/trans_virtio.c` is its specification).
//!
//! [`P9`] takes a message from a virtqueue, [`request`] reads it, [`Server`] carries it out on a
//! [`FileSystem`](crate::backend::fs::FileSystem) and `reply` writes the answer. `places` knows where fids stand in
//! the tree, `locks` who locked what. Messages are handled one at a time, to the end, in the order in which they come; so `Tflush`
//! never finds anything to cancel.
//!
//! Error numbers are the guest's ([`Errno`](crate::backend::fs::Errno)).

mod device;
mod locks;
mod places;
mod reply;
pub mod request;
mod server;
mod state;

pub use device::P9;
pub use reply::{ERROR_BYTES, Qid};
pub use server::{Limits, MSIZE_MAX_BYTES, MSIZE_MIN_BYTES, Options, Server};
pub use state::{FidState, LockState, PlaceState, Purpose, RestoreError, State};
