//! The intermediate representation: what a recorder writes and the lowerings read.

pub mod eval;
pub mod ops;
