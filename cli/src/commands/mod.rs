//! The subcommands of `c2w`: a file for each, with its options and what it does.

pub mod boot;
pub mod cat;
pub mod demo;
pub mod extract;
pub mod inspect;
pub mod ls;
pub mod pack;
pub mod pull;
pub mod push;
pub mod unpack;
pub mod verify;
