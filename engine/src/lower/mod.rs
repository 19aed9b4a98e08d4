//! Lowerings: from a region of IR to code of a host.

pub mod calls;
#[cfg(feature = "cranelift")]
pub mod clif;
mod floats;
mod layout;
pub mod links;
mod moves;
mod shape;
mod slots;
pub mod wasm;
mod windows;
#[cfg(target_arch = "x86_64")]
pub mod x64;
