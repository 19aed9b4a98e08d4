//! The front end of c2w as a library: what the commands `c2w` and `c2w-run` are made of.

pub mod clock;
pub mod commands;
pub mod config_args;
pub mod console;
pub mod container;
pub mod cut_short;
pub mod exit;
pub mod host_io;
pub mod image_files;
pub mod jit;
pub mod launch;
pub mod output;
pub mod profile;
pub mod progress;
pub mod size;
pub mod snapshot;
pub mod source_args;
pub mod stats;
pub mod terminal;
pub mod timeline;
pub mod usage;
pub mod vm;
pub mod volume;
