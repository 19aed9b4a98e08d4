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

/// Forgets the translations of an address space identifier. Those of global pages go, too, which is allowed.
pub fn flush_asid(spaces: &mut Spaces<SpaceKey>, asid: u64) {
    spaces.flush_where(|key| satp::asid(key.satp) == asid);
}
