//! The names of a region's module: what it imports and exports.
//!
//! A module has one region or several. It imports a memory, in which the vCPU, the link cells and guest RAM lie, and the
//! call-outs, of which some are functions that the dispatcher's module exports, which calls the host's if need be. It exports
//! one function, which is given a region's [`number`] and gives what [`crate::lower::calls`] tells, or [`LOOK_UP`], and a
//! variable that the host sets before it calls that: where the regions' link cells begin, so that the same module is good
//! wherever they are. A call-out that fails does not return: it unwinds to the host.

use crate::lower::calls::CallOut;

/// Module name of all imports.
pub const MODULE: &str = "c2w";
/// Name of the memory.
pub const MEMORY: &str = "memory";
/// Name of the table of regions, which the dispatcher imports.
pub const TABLE: &str = "regions";
/// The call-outs of the host's that the dispatcher imports, and exports under the same names: those for regions look an access
/// up at its page's other place in the TLB first.
pub const LOOKING: [CallOut; 3] = [CallOut::Load, CallOut::Store, CallOut::LoadToModify];
/// Name of the exported function.
pub const ENTRY: &str = "run";
/// Name of the exported variable: the address of the first region's first link cell, 32 bits. The other regions' follow.
pub const LINKS: &str = "links";

/// Where in a region's number the place of its module in the table of regions is.
pub const PLACE_SHIFT: u32 = 6;
/// Most regions of a module.
pub const MAX_REGIONS: usize = 1 << PLACE_SHIFT;

/// The number of a region, which link cells and the jump cache hold: that of the regions of the module at this place of the
/// table which has this place in its module.
pub const fn number(place: u32, region: u32) -> i32 {
    (place << PLACE_SHIFT | region) as i32
}

/// What a region returns to the dispatcher for it to look up `Vcpu::pc` in the jump cache: none is an unlinked cell's.
pub const LOOK_UP: i32 = i32::MIN;
