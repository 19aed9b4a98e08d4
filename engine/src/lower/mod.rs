//! Lowering: from the IR to code that a host runs.

pub mod wasm;
