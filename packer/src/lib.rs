//! Packer.
pub mod image;
