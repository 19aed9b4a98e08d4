//! The protocol between c2w-run and the guest's agent, and what both ends need to speak it.
//!
//! The agent (`c2w-init`, the program of this crate) is PID 1 of the guest. It opens the
//! virtio-console port named [`PORT_NAME`], sends [`Report::Ready`] and from then on obeys
//! [`Command`]s. This library has no I/O and no dependency on an operating system, so that the
//! host side builds wherever the engine does, `wasm32-unknown-unknown` included.
//!
//! # Bytes on the wire
//!
//! Both directions are a sequence of frames, all numbers little endian:
//!
//! ```text
//! offset 0  u8   kind      which message (constants in `payload::kind`)
//!        1  u8   flags     bit 0: the message continues in the next frame
//!        2  u16  zero
//!        4  u32  id        the process, or the request, that the message is about; else 0
//!        8  u32  length    bytes of payload that follow, at most 64 KiB
//!       12  payload
//! ```
//!
//! The frames of one message follow each other without another frame between them and repeat its
//! kind and id; the payload is their concatenation. A [`Command`] has at most 8 MiB (more than
//! the 6 MiB that Linux ever allows for arguments and environment), a [`Report`] is one frame.
//! Inside a payload, a byte string is a `u32` length and the bytes; what a message carries last
//! and alone (stream data, text) has no length of its own. Arguments, environment and paths are
//! bytes, never text.
//!
//! # Order of events
//!
//! The host sends [`Command::Hello`] first; the agent answers [`Report::Ready`]. (The agent also
//! says `Ready` on its own when it has booted: the moment to take a snapshot of the machine.)
//! Commands with a request number are answered by `Done` or `Failed`, in order. `Start` is
//! answered by `Started` or `StartFailed`; then come output, one end of file for each output
//! stream, and last `Exited`. A process id may not be used twice.
//!
//! # Flow control
//!
//! Every stream (stdin, stdout and stderr of each process) begins with [`WINDOW_BYTES`] of credit
//! at its sender; sending takes from it, and the receiver gives back what it has passed on. So
//! neither side holds more than one window for each stream, however slow a reader is.

mod initramfs;
mod message;
mod payload;
mod session;
mod wire;

pub use initramfs::initramfs;
pub use message::{
    Command, FailureKind, FileSpec, MountSpec, Output, Power, Ready, Report, StartSpec, Status, WindowSize,
};
pub use session::{Event, ProcessId, RequestId, Session, SessionError, SessionState};
pub use wire::{Decoder, HEADER_BYTES, MAX_FRAME_PAYLOAD, Message, WireError, begin_frame, end_frame};

/// Version of the protocol; both sides must have the same.
pub const VERSION: u32 = 1;

/// Name of the virtio-console port that carries the protocol (virtio 1.2 §5.3.6.2, PORT_NAME).
pub const PORT_NAME: &str = "c2w.agent";

/// Credit in bytes that each stream's sender begins with.
pub const WINDOW_BYTES: u32 = 256 * 1024;

/// `PATH` of a process whose environment has none: what docker gives to one.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
