//! Hosts: where lowered code runs.

pub mod callout;
#[cfg(feature = "wasmtime")]
pub mod wasmtime;
