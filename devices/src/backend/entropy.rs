//! Where the guest's random numbers come from.

/// The host has no random numbers to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host gave no random numbers")]
pub struct NoEntropy;

/// A source of random bytes fit for cryptography.
pub trait Entropy: Send {
    /// Fills `to`, or fails and leaves it with anything.
    fn fill(&mut self, to: &mut [u8]) -> Result<(), NoEntropy>;
}

impl<F: FnMut(&mut [u8]) -> Result<(), NoEntropy> + Send> Entropy for F {
    fn fill(&mut self, to: &mut [u8]) -> Result<(), NoEntropy> {
        self(to)
    }
}

/// The operating system's random numbers.
#[cfg(feature = "native")]
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEntropy;

#[cfg(feature = "native")]
impl Entropy for HostEntropy {
    fn fill(&mut self, to: &mut [u8]) -> Result<(), NoEntropy> {
        getrandom::fill(to).map_err(|_| NoEntropy)
    }
}
