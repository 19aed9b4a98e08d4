//! Regions lowered to wasm and run in wasmtime, against the meanings of the operations and the interpreter.

mod builder;
mod expressions;
#[path = "../machine/toy.rs"]
#[allow(dead_code, reason = "shared with the tests of the machine")]
mod toy;

mod chain;
mod flow;
mod ops;
mod setup;
mod vectors;

/// Runs of a block before it is translated; `None`: these tests translate by themselves.
const TRANSLATE_AFTER: Option<u32> = None;
