//! What selects the address space that translations belong to.

use super::control::{CR0_PG, CR0_WP, CR4_PAE, CR4_PCIDE, CR4_PSE, CR4_SMAP, CR4_SMEP, EFER_LMA, EFER_NXE};
use super::state::State;

/// What translations depend on besides the page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceKey {
    /// CR3 without the identifier.
    root: u64,
    /// Process-context identifier.
    pcid: u64,
    /// The control bits that rights and the form of tables depend on, of CR0, CR4 and EFER, at their places there: no two
    /// of them share one.
    control: u64,
}

/// Bits of CR3 that are the identifier if there are any.
pub const PCID_MASK: u64 = 0xfff;

impl SpaceKey {
    /// The present one.
    pub fn of(state: &State) -> Self {
        let control = state.cr0 & (CR0_PG | CR0_WP)
            | state.cr4 & (CR4_PSE | CR4_PAE | CR4_SMEP | CR4_SMAP)
            | state.efer & (EFER_LMA | EFER_NXE);
        let root = if state.cr0 & CR0_PG != 0 { state.cr3 & !PCID_MASK } else { 0 };
        Self { root, pcid: pcid(state), control }
    }

    /// What translations of every address space depend on.
    pub fn control(&self) -> u64 {
        self.control
    }

    /// Its identifier.
    pub fn pcid(&self) -> u64 {
        self.pcid
    }
}

/// The current identifier; 0 without any.
pub fn pcid(state: &State) -> u64 {
    if state.cr4 & CR4_PCIDE != 0 { state.cr3 & PCID_MASK } else { 0 }
}
