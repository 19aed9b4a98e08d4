//! Lowerings: from a region of IR to code of a host.

#[cfg(target_arch = "x86_64")]
pub mod x64;
