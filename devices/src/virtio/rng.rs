//! The virtio entropy device (virtio 1.2 §5.4).

use super::queue::{QueueError, QueueIndex};
use super::{Chain, DeviceId, DeviceState, VirtioDevice, VirtioIo};
use crate::backend::entropy::Entropy;

const QUEUE_SIZE: u16 = 8;
/// Most bytes given for one request; drivers ask for 64 or so, and may not get all they ask for.
const MAX_BYTES: u64 = 1 << 16;

/// The entropy device. It has no state: two resumes of one machine never get the same bytes.
pub struct Rng {
    entropy: Box<dyn Entropy>,
    chain: Chain,
}

impl Rng {
    /// A device that hands out `entropy`.
    pub fn new(entropy: Box<dyn Entropy>) -> Self {
        Self { entropy, chain: Chain::default() }
    }
}

impl VirtioDevice for Rng {
    fn id(&self) -> DeviceId {
        DeviceId::Entropy
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, _offset: u64, to: &mut [u8]) {
        to.fill(0);
    }

    fn reset(&mut self) {}

    fn notify(&mut self, queue: QueueIndex, io: &mut VirtioIo<'_>) -> Result<(), QueueError> {
        let queue = &mut io.queues[usize::from(queue.0)];
        while queue.pop(io.ram, &mut self.chain)? {
            let mut written = 0;
            for segment in self.chain.writable().window(0, MAX_BYTES) {
                let bytes = io.ram.slice_mut(segment.gpa, segment.len_bytes.into())?;
                // The guest gets less than it asked for, which it must expect anyway.
                if self.entropy.fill(bytes).is_err() {
                    break;
                }
                written += segment.len_bytes;
            }
            queue.push(io.ram, &self.chain, written)?;
        }
        Ok(())
    }

    fn save(&self) -> DeviceState {
        DeviceState::Stateless
    }
}
