//! What saved machines of all guests have in common: the state of a machine without its RAM, what the host provides to one
//! that goes on from it, and why that cannot be.

use crate::board::{BoardParts, BoardRestoreError};
use c2w_engine::addr::Gpa;
use c2w_engine::clock::Clock;
use c2w_engine::guest::Guest;
use c2w_engine::irq::Attention;
use c2w_engine::mem::ram::Ram;
use c2w_engine::snapshot::{CpuState, CpuStateError};
use c2w_engine::vcpu::VcpuBacking;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The state of a machine between two runs. Its RAM is saved next to it, as bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "B: Serialize + DeserializeOwned")]
pub struct MachineState<G: Guest, B> {
    /// Guest time when it was saved: the clock of the restored machine goes on from there.
    pub now_ns: u64,
    /// The vCPU.
    pub cpu: CpuState<G>,
    /// The board with its devices.
    pub board: B,
}

/// What the host provides to a restored machine.
pub struct RestoreParts {
    /// RAM with its saved contents, where the guest's RAM starts.
    pub ram: Ram,
    /// Where the vCPU is; without it, in memory of the host's.
    pub vcpu: Option<Box<dyn VcpuBacking>>,
    /// Back ends and the virtio devices, each restored from its part of [`MachineState::board`].
    pub board: BoardParts,
    /// Guest time, not before [`MachineState::now_ns`].
    pub clock: Box<dyn Clock>,
    /// The flag that the back ends set.
    pub attention: Attention,
}

impl RestoreParts {
    /// Checks that RAM starts where the guest's does.
    pub(crate) fn check_ram(&self, base: Gpa) -> Result<(), MachineRestoreError> {
        if self.ram.base() == base { Ok(()) } else { Err(MachineRestoreError::OtherRam(base)) }
    }
}

/// Why a saved machine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MachineRestoreError {
    /// RAM is elsewhere.
    #[error("the saved memory does not start at {0}")]
    OtherRam(Gpa),
    /// The board.
    #[error(transparent)]
    Board(#[from] BoardRestoreError),
    /// The vCPU.
    #[error(transparent)]
    Cpu(#[from] CpuStateError),
}
