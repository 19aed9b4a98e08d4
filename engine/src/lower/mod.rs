//! Lowerings: from a region of IR to code of a host.

pub mod wasm;
#[cfg(target_arch = "x86_64")]
pub mod x64;
