//! What selects the address space that translations belong to.

use super::satp;
use c2w_engine::mem::spaces::Spaces;

/// What translations depend on besides the page tables: `satp` and MXR, on which rights depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceKey {
    /// The register.
    pub satp: u64,
    /// Executable pages are readable.
    pub mxr: bool,
}

impl SpaceKey {
    /// What translations of every address space depend on: how many levels their tables have, and MXR.
    pub fn shared(&self) -> (u32, bool) {
        (satp::levels(self.satp), self.mxr)
    }
}

/// Forgets the translations of an address space identifier. Those of global pages may stay, or go, too: both are allowed.
pub fn flush_asid(spaces: &mut Spaces<SpaceKey, (u32, bool)>, asid: u64) {
    spaces.flush_where(|key| satp::asid(key.satp) == asid);
}
