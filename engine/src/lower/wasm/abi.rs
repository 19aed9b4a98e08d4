//! The names of a region's module: what it imports and exports.
//!
//! A module imports a memory, in which the vCPU, the link cells and guest RAM lie, the call-outs, and the function [`JUMP`]. That
//! and some of the call-outs are functions that the dispatcher's module exports, which calls the host's if need be. It exports
//! one function without parameters, which gives what [`crate::lower::calls`] tells, and a variable that the host sets before it
//! calls that: where the region's link cells begin, so that the same module is good wherever they are. A call-out that fails
//! does not return: it unwinds to the host.

use crate::lower::calls::CallOut;

/// Module name of all imports.
pub const MODULE: &str = "c2w";
/// Name of the memory.
pub const MEMORY: &str = "memory";
/// Name of the table of regions, which the dispatcher imports.
pub const TABLE: &str = "regions";
/// Name of the function that looks an address up at its other place in the jump cache, behind the call-outs.
pub const JUMP: &str = "jump";
/// The call-outs of the host's that the dispatcher imports, and exports under the same names: those for regions look an access
/// up at its page's other place in the TLB first.
pub const LOOKING: [CallOut; 3] = [CallOut::Load, CallOut::Store, CallOut::LoadToModify];
/// Name of the exported function.
pub const ENTRY: &str = "run";
/// Name of the exported variable: the address of the region's first link cell, 32 bits.
pub const LINKS: &str = "links";
