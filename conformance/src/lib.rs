//! Suites.

pub mod ins;
pub mod qemu_user;
pub mod riscv64;
