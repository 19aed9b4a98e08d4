//! How guest code is run: the choice that a user has.

use anyhow::{Context, Result, anyhow};
use c2w_engine::guest::Guest;
use c2w_engine::host::{cranelift, wasmtime};
use c2w_engine::jit::THRESHOLD;
use c2w_engine::jit::any::AnyTranslator;
use c2w_engine::jit::compiled::{self, CompiledTranslator};
use c2w_engine::machine::{Backing, Machine};
use clap::ValueEnum;

/// How guest code is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Jit {
    /// Hot code is translated to code of this processor, where c2w can do that.
    #[default]
    Native,
    /// Hot code is translated by Cranelift to code of this processor, in the background.
    Cranelift,
    /// Hot code is translated to WebAssembly, in whose memory the whole machine lies.
    Wasm,
    /// Everything is interpreted.
    Off,
}

/// The choice, for one machine that is being built.
pub struct Prepared {
    jit: Jit,
    space: Option<wasmtime::Space>,
}

impl Jit {
    /// Gets the memory that it needs.
    ///
    /// # Errors
    /// There is not so much, or no address for it.
    pub fn reserve(self, memory_bytes: u64) -> Result<Prepared> {
        let space = match self {
            Jit::Wasm => Some(wasmtime::Space::new(memory_bytes).with_context(|| {
                format!("--jit wasm cannot have {} MiB of guest memory", memory_bytes >> 20)
            })?),
            Jit::Native | Jit::Cranelift | Jit::Off => None,
        };
        Ok(Prepared { jit: self, space })
    }
}

impl Prepared {
    /// Where the machine is to be, if not just anywhere.
    pub fn backing(&self) -> Option<Backing> {
        self.space.as_ref().map(wasmtime::Space::backing)
    }

    /// Lets a machine, in that memory, translate. Where this processor's own translation is not to be had, Cranelift's is.
    ///
    /// # Errors
    /// The compiler's.
    pub fn apply<G: Guest>(self, machine: &mut Machine<G>) -> Result<()> {
        match (self.jit, self.space) {
            (Jit::Native, _) if machine.translate(THRESHOLD) => {}
            (Jit::Native | Jit::Cranelift, _) => {
                let host = cranelift::Host::new().map_err(|error| anyhow!("--jit cranelift: {error}"))?;
                let translator = CompiledTranslator::new(host, compiled::THRESHOLD, true);
                machine.translate_by(AnyTranslator::Cranelift(Box::new(translator)));
            }
            (Jit::Wasm, Some(space)) => {
                let host = wasmtime::Host::new(&space).map_err(|error| anyhow!("--jit wasm: {error}"))?;
                let translator = CompiledTranslator::new(host, compiled::THRESHOLD, true);
                machine.translate_by(AnyTranslator::Wasm(Box::new(translator)));
            }
            (Jit::Wasm | Jit::Off, _) => {}
        }
        Ok(())
    }
}
