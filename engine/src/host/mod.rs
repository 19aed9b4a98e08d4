//! Hosts: where generated code and guest RAM live, and how code is entered.

#[cfg(unix)]
pub mod mapped;
#[cfg(all(unix, target_arch = "x86_64"))]
pub mod native;
#[cfg(feature = "wasmtime")]
pub mod wasmtime;
