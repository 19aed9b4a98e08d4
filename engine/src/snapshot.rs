//! Saving and restoring: the trait every component with guest-visible state implements, and the vCPU's own state.
//!
//! A state is a plain struct; which bytes it becomes is the image format's business, not the engine's.

use crate::addr::Gva;
use crate::cpu::{Cpu, Reservation};
use crate::guest::Guest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A component that can be saved to a plain struct and made again from it.
pub trait Snapshot: Sized {
    /// All guest-visible state, and nothing of the host.
    type State: Serialize + DeserializeOwned;
    /// What the host side provides anew: back ends, interrupt lines.
    type Args;
    /// Why a state cannot be restored.
    type Error: std::error::Error;

    /// The state now.
    fn save(&self) -> Self::State;

    /// A component with the same state. Every value is checked first: nothing is half restored.
    fn restore(args: Self::Args, state: &Self::State) -> Result<Self, Self::Error>;
}

/// State of a vCPU: registers and system state, without RAM and devices.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct CpuState<G: Guest> {
    slots: Vec<u64>,
    pc: Gva,
    retired: u64,
    reservation: Option<Reservation>,
    waiting: bool,
    irq_levels: u64,
    guest: G,
}

/// Instruction counts of restored machines are below this: thousands of years of guest time, and far from wrapping.
const MAX_RETIRED: u64 = 1 << 62;

/// Why a vCPU state cannot be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CpuStateError {
    /// The state is of another layout.
    #[error("the vCPU state has {found} register slots instead of {expected}")]
    Slots {
        /// In the state.
        found: usize,
        /// Of this build.
        expected: usize,
    },
    /// No machine ever ran so long.
    #[error("the vCPU state has an impossible instruction count")]
    Retired,
}

impl<G: Guest> Cpu<G> {
    /// The vCPU's state now; call it between two runs.
    pub fn save(&self) -> CpuState<G> {
        CpuState {
            slots: self.slots.to_vec(),
            pc: self.pc,
            retired: self.retired,
            reservation: self.reservation,
            waiting: self.is_waiting(),
            irq_levels: self.irq.levels(),
            guest: self.guest.clone(),
        }
    }

    /// Takes over a saved state. Cached translations are dropped.
    pub fn restore(&mut self, state: &CpuState<G>) -> Result<(), CpuStateError> {
        let expected = self.slots.len();
        let slots = state.slots.as_slice().try_into();
        let slots = slots.map_err(|_| CpuStateError::Slots { found: state.slots.len(), expected })?;
        if state.retired >= MAX_RETIRED {
            return Err(CpuStateError::Retired);
        }
        *self.slots = slots;
        self.pc = state.pc;
        self.retired = state.retired;
        self.reservation = state.reservation;
        self.guest = state.guest.clone();
        self.irq.restore(state.irq_levels);
        self.tlb.flush();
        self.translations_changed();
        self.wake();
        if state.waiting {
            self.wait();
        }
        G::restored(self);
        Ok(())
    }
}
