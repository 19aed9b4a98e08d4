//! Guest memory: RAM with code and dirty tracking, the TLB, and the contract of memory-mapped devices.

pub mod device;
pub(crate) mod journal;
pub mod jumps;
mod large;
pub mod ram;
pub mod spaces;
pub mod tlb;
#[cfg(all(unix, target_arch = "x86_64"))]
pub(crate) mod untouched;
pub(crate) mod zeroed;
