//! Guest memory: RAM with code and dirty tracking, the TLB, and the contract of memory-mapped devices.

pub mod device;
pub(crate) mod journal;
pub mod jumps;
mod large;
pub mod ram;
pub mod spaces;
pub mod tlb;
pub(crate) mod zeroed;
