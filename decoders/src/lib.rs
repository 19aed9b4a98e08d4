//! The guests of c2w: a folder for each instruction set, with decoding, instruction meanings, system state and
//! board.

pub mod board;
pub mod boot;
pub mod formats;
pub mod riscv64;
pub mod snapshot;
pub mod x86_64;
