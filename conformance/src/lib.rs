//! Suites.

pub mod ins;
pub mod riscv64;
