//! The intermediate representation: what a recorder writes and the lowerings read.

pub mod block;
pub mod eval;
pub mod ops;
pub mod region;
pub mod replay;
pub mod text;
pub mod vector;
pub mod verify;
