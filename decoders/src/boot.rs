//! What booting has in common for all guests: the machine around what boots.

use crate::board::BoardParts;
use c2w_engine::clock::Clock;
use c2w_engine::irq::Attention;
use c2w_engine::machine::Backing;

/// The machine around what boots.
pub struct MachineConfig {
    /// Length of RAM, a multiple of 4096 between a guest's `boot::MIN_MEMORY_BYTES` and `MAX_MEMORY_BYTES`.
    pub memory_bytes: u64,
    /// Where RAM, of just that length, and vCPU are; without it, in memory of the host's.
    pub backing: Option<Backing>,
    /// The serial port's other end, the time of day and the virtio devices, at most [`crate::board::VIRTIO_SLOTS`].
    pub parts: BoardParts,
    /// Guest time.
    pub clock: Box<dyn Clock>,
    /// The flag that the back ends in `parts` set.
    pub attention: Attention,
    /// Entropy for the kernel's random number generator, of which x86_64 takes half for RDRAND; may be empty.
    pub rng_seed: Vec<u8>,
}
