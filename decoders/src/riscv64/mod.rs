//! The riscv64 guest: RV64GC with the extensions of a current application processor, M/S/U privilege, and QEMU's
//! `virt` board.

pub mod regs;
