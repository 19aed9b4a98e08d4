//! Packer.
pub mod image;
pub mod cache;
pub mod kernel;
pub mod toolchain;
