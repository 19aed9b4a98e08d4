//! The translation engine of c2w. It knows no instruction set and no device.
//!
//! Reading order: [`addr`], [`mem`], [`emit`] (the words instruction meanings are written in), [`guest`] (what an
//! instruction set provides), [`cpu`] and [`vcpu`], [`eager`] (the interpreter), [`cache`], [`machine`] (the run loop),
//! [`record`] and [`ir`] (what compilers read).

pub mod addr;
pub mod cache;
pub mod clock;
pub mod cpu;
pub mod eager;
pub mod emit;
pub mod fp;
pub mod guest;
pub mod host;
pub mod ir;
pub mod irq;
pub mod jit;
mod keys;
pub mod lower;
pub mod machine;
pub mod mem;
pub mod record;
pub mod snapshot;
pub mod vcpu;
mod vectors;
