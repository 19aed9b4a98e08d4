//! Regions compiled by Cranelift, against the meanings of the operations and the interpreter.

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

mod host {
    use crate::setup::toy;
    use crate::toy::Toy;
    use c2w_engine::cpu::Cpu;
    use c2w_engine::host::cranelift::Host;

    /// A vCPU with this much RAM, at the first address of RAM, and a host for it.
    pub fn vcpu(ram_bytes: u64) -> (Cpu<Toy>, Host<Toy>) {
        (
            toy(None, ram_bytes),
            Host::new(c2w_engine::jit::CODE_BYTES).expect("Cranelift knows this processor"),
        )
    }
}
