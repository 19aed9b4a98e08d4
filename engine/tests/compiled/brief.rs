//! The same regions as in `wasm`, in code that is soon compiled: its loads and stores call a function.

mod builder;
mod expressions;
#[path = "../machine/toy.rs"]
#[allow(dead_code, reason = "shared with the tests of the machine")]
mod toy;

mod chain;
mod flow;
mod grow;
mod jumps;
#[cfg(all(unix, target_arch = "x86_64"))]
mod kept;
#[path = "../machine/loops.rs"]
mod loops;
mod ops;
mod setup;
mod together;
mod vectors;

/// Runs of a block before it is translated; `None`: these tests translate by themselves.
const TRANSLATE_AFTER: Option<u32> = None;

mod host {
    use crate::setup::toy;
    use crate::toy::Toy;
    use c2w_engine::cpu::Cpu;
    use c2w_engine::host::wasmtime::{Host, Space};

    /// A vCPU with this much RAM, at the first address of RAM, and a host for it.
    pub fn vcpu(ram_bytes: u64) -> (Cpu<Toy>, Host<Toy>) {
        let space = Space::new(ram_bytes).expect("there is memory");
        let cpu = toy(Some(space.backing()), ram_bytes);
        (cpu, Host::brief(&space).expect("wasmtime starts"))
    }
}
