//! Lowerings: from a region of IR to code of a host.

pub mod wasm;
#[cfg(all(unix, target_arch = "x86_64"))]
pub mod x64;
