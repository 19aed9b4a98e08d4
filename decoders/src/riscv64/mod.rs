//! The riscv64 guest: RV64GC with the extensions of a current application processor, M/S/U privilege, and QEMU's
//! `virt` board.
//!
//! Reading order: [`insns`] (every instruction), [`decode`], [`lift`] (what they mean), [`guest`] (system state and its
//! place in the engine), [`trap`], [`csr`], [`mmu`], [`board`], [`sbi`], [`boot`].

pub mod asm;
pub mod board;
pub mod boot;
pub mod cbo;
mod compressed;
pub mod counters;
pub mod csr;
pub mod decode;
mod disasm;
pub mod envcfg;
pub mod fdt;
mod float;
pub mod float_env;
pub mod fp_helpers;
pub mod guest;
pub mod helpers;
pub mod htif;
pub mod insns;
pub mod irq;
pub mod lift;
pub mod mmu;
pub mod names;
pub mod pmp;
pub mod regs;
pub mod satp;
pub mod sbi;
pub mod snapshot;
pub mod spaces;
pub mod status;
pub mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod trap;
