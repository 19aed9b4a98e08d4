//! Packer.

pub mod agent_build;
pub mod cache;
pub mod debian;
pub mod demo;
pub mod image;
pub mod kernel;
pub mod oci;
pub mod pack;
pub mod rootfs;
pub mod source;
pub mod toolchain;
