//! Hosts: where generated code lives and how it is entered.

#[cfg(all(unix, target_arch = "x86_64"))]
pub mod native;
#[cfg(feature = "wasmtime")]
pub mod wasmtime;
