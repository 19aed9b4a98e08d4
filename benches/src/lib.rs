//! What c2w is measured by, next to QEMU on the same guest: the parts of `src/bin/figures.rs` and, in `workloads`, of
//! `src/bin/workloads.rs`.

pub mod assets;
pub mod figure;
pub mod guest;
pub mod memory;
pub mod ours;
pub mod process;
pub mod qemu;
pub mod tasks;
#[cfg(target_arch = "x86_64")]
pub mod tsc;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_tsc.rs"]
pub mod tsc;
pub mod workloads;
