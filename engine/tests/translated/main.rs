//! The tests of the machine once more, with everything translated that runs a second time.

#![cfg(all(unix, target_arch = "x86_64"))]

mod ahead;
mod churn;
#[path = "../machine/code.rs"]
mod code;
mod far;
mod grow;
mod kept;
#[path = "../machine/loops.rs"]
mod loops;
#[path = "../machine/memory.rs"]
mod memory;
#[path = "../machine/run_loop.rs"]
mod run_loop;
#[path = "../machine/toy.rs"]
mod toy;
mod verify;

/// Runs of a block before it is translated.
const TRANSLATE_AFTER: Option<u32> = Some(1);
