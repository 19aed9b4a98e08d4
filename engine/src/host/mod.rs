//! Hosts: where generated code and guest RAM live, and how code is entered.

#[cfg(any(feature = "wasmtime", feature = "cranelift"))]
mod call_out;
#[cfg(all(unix, any(feature = "cranelift", target_arch = "x86_64")))]
mod code_memory;
#[cfg(feature = "cranelift")]
pub mod cranelift;
#[cfg(unix)]
pub mod mapped;
#[cfg(all(unix, target_arch = "x86_64"))]
pub mod native;
#[cfg(any(feature = "wasmtime", feature = "cranelift"))]
pub mod regions;
#[cfg(feature = "wasmtime")]
pub mod wasmtime;
