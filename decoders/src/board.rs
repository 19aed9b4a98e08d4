//! What the boards of all guests have in common: what the host provides, and why a saved board cannot be restored.

use c2w_devices::backend::char::CharBackend;
use c2w_devices::backend::clock::WallClock;
use c2w_devices::virtio::VirtioDevice;

/// Number of virtio slots.
pub const VIRTIO_SLOTS: usize = 8;

/// What the host provides to a board.
pub struct BoardParts {
    /// The other end of the serial port.
    pub console: Box<dyn CharBackend>,
    /// What the real-time clock shows.
    pub wall_clock: Box<dyn WallClock>,
    /// Devices of the virtio slots from 0 on; at most [`VIRTIO_SLOTS`].
    pub virtio: Vec<Box<dyn VirtioDevice>>,
}

/// Why a saved board cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoardRestoreError {
    /// A device's state is impossible.
    #[error("the saved state of the {0} is impossible")]
    Impossible(&'static str),
    /// Another number of devices.
    #[error("the saved board has {saved} virtio devices, this one has {present}")]
    OtherDevices {
        /// In the state.
        saved: usize,
        /// Given by the host.
        present: usize,
    },
    /// A virtio device's state is impossible.
    #[error(transparent)]
    Virtio(#[from] c2w_devices::virtio::RestoreError),
}
