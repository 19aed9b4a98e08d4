//! Packer.

pub mod agent_build;
pub mod cache;
pub mod debian;
pub mod demo;
pub mod image;
pub mod kernel;
pub mod pack;
pub mod rootfs;
pub mod toolchain;
