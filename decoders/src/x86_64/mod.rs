//! The x86_64 guest: long mode with its compatibility mode, 32-bit protected mode, and a small PC.
//!
//! Reading order: [`regs`] and [`state`] (where what is), [`mode`], [`insn`], [`decode`], [`lift`] and [`flags`] (what
//! instructions mean), [`guest`] (the place in the engine), [`trap`], [`exception`], [`interrupt`], [`mmu`], [`control`],
//! [`cpuid`], [`msr`], [`descriptor`], [`far`], [`system_calls`], [`io`], [`board`].

pub mod board;
pub mod boot;
pub mod control;
pub mod cpuid;
pub mod debug;
pub mod decode;
pub mod descriptor;
pub mod exception;
pub mod far;
pub mod flags;
pub mod float;
pub mod guest;
pub mod helpers;
pub mod insn;
pub mod interrupt;
pub mod io;
pub mod lift;
pub mod mmu;
pub mod mode;
pub mod msr;
pub(crate) mod operand;
pub mod random;
pub mod regs;
pub mod restore;
pub mod segment;
pub mod snapshot;
pub mod spaces;
pub mod stack;
pub mod state;
pub mod system_calls;
pub mod trap;

#[cfg(test)]
mod testing;
