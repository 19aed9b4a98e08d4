//! Address spaces: from what CR3 says to the space numbers that TLB entries carry.

/// Which space number belongs to which address space.
#[derive(Clone, Debug, Default)]
pub struct Spaces;
