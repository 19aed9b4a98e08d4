//! The x86_64 guest: decoding and instruction meanings of 64-bit mode. What is not decoded yet is an undefined
//! instruction; system state, paging and the board are still to come.
//!
//! Reading order: [`regs`], [`insn`], [`decode`], [`lift`], [`flags`].

pub mod decode;
pub mod flags;
pub mod helpers;
pub mod insn;
pub mod lift;
pub mod regs;
