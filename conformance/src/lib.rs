//! Suites.

pub mod elf_suite;
pub mod floats;
pub mod ins;
pub mod ir_text;
pub mod qemu_user;
pub mod riscv64;
pub mod x86_64;
