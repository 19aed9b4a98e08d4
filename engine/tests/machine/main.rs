//! The engine's core under a toy instruction set: cached code, memory, the run loop, saving and restoring.

mod code;
mod memory;
mod run_loop;
mod toy;

/// Runs of a block before it is translated; `None`: it never is.
const TRANSLATE_AFTER: Option<u32> = None;
