//! The subcommands of `c2w`: a file for each, with its options and what it does.

pub mod boot;
pub mod demo;
pub mod pack;
pub mod verify;
